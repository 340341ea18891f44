package accounts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

func newHasher() *Hasher {
	return &Hasher{Random: rand.Reader, Now: func() time.Time { return noon }}
}

func TestHasherKnowsItsPasswordsWhole(t *testing.T) {
	h, ctx := newHasher(), t.Context()
	long := strings.Repeat("x", 72)
	for name, c := range map[string]struct {
		password, presented string
		same                bool
	}{
		"itself":                  {"correct horse battery", "correct horse battery", true},
		"another":                 {"correct horse battery", "correct horse batterz", false},
		"case":                    {"correct horse battery", "Correct horse battery", false},
		"SEC-LOG-15 73rd byte":    {long + "a", long + "b", false},
		"SEC-LOG-14 no cut at 72": {long, long + "a", false},
		"SEC-LOG-14 1024 signs":   {strings.Repeat("ü", 1024), strings.Repeat("ü", 1024), true},
		"SEC-LOG-14 last of 1024": {strings.Repeat("ü", 1024), strings.Repeat("ü", 1023) + "u", false},
		"SEC-LOG-16 NUL":          {"abc\x00def", "abc\x00xyz", false},
		"SEC-LOG-16 spaces":       {" leading", "leading", false},
		"SEC-LOG-16 trailing":     {"trailing", "trailing ", false},
		"SEC-LOG-16 NFC and NFD":  {"caf\u00e9", "cafe\u0301", true},
		"SEC-LOG-16 not NFKC":     {"ﬁne", "fine", false},
	} {
		hash, err := h.Hash(ctx, c.password)
		if err != nil {
			t.Fatal(err)
		}
		ok, stale, err := h.Verify(ctx, hash, c.presented)
		if ok != c.same || stale || err != nil {
			t.Errorf("%s: %v, stale %v, %v; want %v", name, ok, stale, err, c.same)
		}
		if strings.Contains(hash, c.password) || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("%s: hash %s", name, hash)
		}
	}
	a, _ := h.Hash(ctx, "same")
	b, _ := h.Hash(ctx, "same")
	if a == b {
		t.Error("two hashes of one password are equal: the salt is not fresh")
	}
}

func TestHashesAreThoseOfArgon2id(t *testing.T) {
	// The reference command: echo -n password | argon2 somesalt -id -t 2 -k 19456 -p 1 -l 32 -e
	// must agree, so the text is derived here by the library alone.
	salt := []byte("somesaltsomesalt")
	hash := argon2.IDKey([]byte("password"), salt, 2, 19456, 1, 32)
	stored := phc{params: FloorParams(), salt: salt, hash: hash}.String()
	if ok, _, err := newHasher().Verify(t.Context(), stored, "password"); !ok || err != nil {
		t.Errorf("%s is not of its password: %v", stored, err)
	}
}

func TestParametersOnlyRise(t *testing.T) {
	ctx := t.Context()
	weak := newHasher()
	weak.Params = Params{Memory: 8, Time: 1}
	hash, err := weak.Hash(ctx, "correct horse battery")
	if err != nil || !strings.Contains(hash, "m=19456,t=2,p=1") {
		t.Errorf("parameters below the floor made %s, %v", hash, err)
	}
	strong := newHasher()
	strong.Params = Params{Memory: 20 * 1024, Time: 3}
	if ok, stale, err := strong.Verify(ctx, hash, "correct horse battery"); !ok || !stale || err != nil {
		t.Errorf("after the parameters rose: %v, stale %v, %v; want a stale match", ok, stale, err)
	}
	if _, stale, _ := strong.Verify(ctx, hash, "wrong"); stale {
		t.Error("a wrong password asks for a rehash")
	}
	better, err := strong.Hash(ctx, "correct horse battery")
	if err != nil || !strings.Contains(better, "m=20480,t=3,p=1") {
		t.Fatalf("%s, %v", better, err)
	}
	if ok, stale, err := newHasher().Verify(ctx, better, "correct horse battery"); !ok || stale || err != nil {
		t.Errorf("after the parameters fell: %v, stale %v, %v; want a match that stays", ok, stale, err)
	}
}

func TestHostileHashesAreNotComputed(t *testing.T) {
	// SEC-LOG-18
	const tail = "$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAA"
	good := "$argon2id$v=19$m=19456,t=2,p=1" + tail
	if err := CheckHash(good); err != nil {
		t.Fatalf("%s: %v", good, err)
	}
	h := newHasher()
	for name, s := range map[string]string{
		"empty": "", "text": "password", "bcrypt": "$2b$12$abcdefghijklmnopqrstuv", "argon2i": strings.Replace(good, "argon2id", "argon2i", 1),
		"4 GiB": strings.Replace(good, "m=19456", "m=4194304", 1), "1 GiB and 1": strings.Replace(good, "m=19456", "m=1048577", 1),
		"2^31 passes": strings.Replace(good, "t=2", "t=2147483648", 1), "17 passes": strings.Replace(good, "t=2", "t=17", 1),
		"255 lanes": strings.Replace(good, "p=1", "p=255", 1), "257 lanes": strings.Replace(good, "p=1", "p=257", 1),
		"no memory": strings.Replace(good, "m=19456", "m=0", 1), "no passes": strings.Replace(good, "t=2", "t=0", 1), "no lanes": strings.Replace(good, "p=1", "p=0", 1),
		"negative": strings.Replace(good, "t=2", "t=-2", 1), "plus": strings.Replace(good, "t=2", "t=+2", 1), "leading zero": strings.Replace(good, "t=2", "t=02", 1),
		"overflow": strings.Replace(good, "t=2", "t=18446744073709551618", 1), "too little memory for lanes": strings.Replace(good, "m=19456,t=2,p=1", "m=8,t=2,p=2", 1),
		"order": strings.Replace(good, "m=19456,t=2", "t=2,m=19456", 1), "four costs": strings.Replace(good, "p=1", "p=1,x=1", 1),
		"old version": strings.Replace(good, "v=19", "v=16", 1), "no salt": strings.Replace(good, "$c29tZXNhbHRzb21lc2FsdA", "$", 1),
		"short hash": strings.Replace(good, "AAAAAAAAAAAAAAAAAAAAAA", "AAAA", 1), "loose base 64": strings.Replace(good, "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", 1),
		"long salt": strings.Replace(good, "c29tZXNhbHRzb21lc2FsdA", strings.Repeat("AAAA", 30), 1), "a part more": good + "$x", "newline": good + "\n",
	} {
		if err := CheckHash(s); !errors.Is(err, ErrHash) {
			t.Errorf("%s: CheckHash(%q) = %v", name, s, err)
		}
		if ok, _, err := h.Verify(t.Context(), s, "password"); ok || !errors.Is(err, ErrHash) {
			t.Errorf("%s: Verify = %v, %v", name, ok, err)
		}
	}
}

func TestDummyMatchesNothingAtTheSameCost(t *testing.T) {
	h := newHasher()
	h.Params = Params{Time: 3}
	d, err := h.Dummy()
	if err != nil || !strings.HasPrefix(d, "$argon2id$v=19$m=19456,t=3,p=1$") {
		t.Fatalf("Dummy = %s, %v", d, err)
	}
	if ok, stale, err := h.Verify(t.Context(), d, ""); ok || stale || err != nil {
		t.Errorf("%v, %v, %v", ok, stale, err)
	}
	p, _ := parsePHC(d)
	real, _ := h.Hash(t.Context(), "x")
	q, _ := parsePHC(real)
	if len(p.salt) != len(q.salt) || len(p.hash) != len(q.hash) || p.params != q.params {
		t.Error("the dummy costs something else than a hash")
	}
}

func TestFullPoolRefusesAtOnceAndKeepsItsPromises(t *testing.T) {
	h := newHasher()
	h.Slots, h.Queue = 2, 3
	var tickets []*Ticket
	for range 5 {
		k, err := h.Admit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, k)
	}
	_, err := h.Admit(t.Context())
	if f := fault.Of(err); f.Code != fault.Unavailable || f.RetryAfter != time.Second {
		t.Fatalf("the sixth of five places: %v", err)
	}
	if _, err := h.Hash(t.Context(), "x"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Hash without a place: %v", err)
	}
	var all sync.WaitGroup
	for _, k := range tickets {
		all.Go(func() {
			if _, err := k.Hash(t.Context(), "x"); err != nil {
				t.Errorf("a ticket was not served: %v", err)
			}
			k.Release()
			k.Release() // twice does no harm
		})
	}
	all.Wait()
	for range 5 {
		k, err := h.Admit(t.Context())
		if err != nil {
			t.Fatalf("after all were released: %v", err)
		}
		defer k.Release()
	}
	if _, err := h.Admit(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a double release made a place: %v", err)
	}
}

func TestNoMoreHashesThanSlotsAtOnce(t *testing.T) {
	h := newHasher()
	h.Slots, h.Queue = 2, 20
	var mu sync.Mutex
	var now, most, waits int
	h.Inflight = func(d int) {
		mu.Lock()
		defer mu.Unlock()
		now += d
		most = max(most, now)
	}
	h.Waited = func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		waits++
		if d != 0 {
			t.Errorf("waited %v on a stopped clock", d)
		}
	}
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if _, err := h.Hash(t.Context(), fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most > 2 || now != 0 || waits != 10 {
		t.Errorf("at most %d at once, %d left, %d waits; want 2, 0, 10", most, now, waits)
	}
}

func TestWhoLeavesTheQueueIsNotServed(t *testing.T) {
	h := newHasher()
	h.Slots, h.Queue = 1, 1
	h.start()
	h.slots <- struct{}{} // somebody hashes
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k, err := h.Admit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	k.Release()
	if h.held.Load() != 0 {
		t.Error("the place was not given back")
	}
}

func TestHashFailsWithoutRandomness(t *testing.T) {
	h := newHasher()
	h.Random = strings.NewReader("short")
	if s, err := h.Hash(t.Context(), "x"); err == nil {
		t.Errorf("a hash without a salt: %s", s)
	}
	if s, err := h.Dummy(); err == nil {
		t.Errorf("a dummy without randomness: %s", s)
	}
}

func FuzzCheckHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=4294967296,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Fatalf("%q is read as %q: it has two spellings", s, p)
		}
		if p.params.Memory > maxMemory || p.params.Time > maxTime || p.params.Threads > maxThreads || p.params.Time == 0 || p.params.Threads == 0 {
			t.Fatalf("%q exceeds the bounds", s)
		}
	})
}
