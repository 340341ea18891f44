package tokens_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// lists is status lists of two lists, with a clock, a store and a count of
// signatures.
type lists struct {
	*tokens.StatusLists
	key    *aKey
	now    time.Time
	stored []string
	down   error
	signed int
	asked  atomic.Int64
}

var statusKey = bytes.Repeat([]byte("k"), 32)

func newLists(t testing.TB) *lists {
	l := &lists{key: newAKey(t), now: accessNow, stored: []string{"list0001", "list0002"}}
	l.StatusLists = &tokens.StatusLists{
		Signer: l, Issuer: accessIssuer, Now: func() time.Time { return l.now },
		Index: func(list string) func(uint32) uint32 { return tokens.PermutationOf(statusKey, list).Index },
		Lists: func(context.Context) ([]tokens.StatusList, error) {
			l.asked.Add(1)
			var out []tokens.StatusList
			for _, id := range l.stored {
				out = append(out, tokens.StatusList{ID: id})
			}
			return out, l.down
		},
	}
	return l
}

func (l *lists) Sign(ctx context.Context, payload []byte, typ string) (string, error) {
	l.signed++
	return l.key.Sign(ctx, payload, typ)
}

// revokes is a change that revokes count places for an hour.
func (l *lists) revokes(list string, first, count uint32) changes.Change {
	r := tokens.PlaceRange{Place: tokens.Place{List: list, Position: first}, Count: count}
	return changes.Change{Kind: changes.StatusRevoked, Key: r.String(), At: l.now, Until: l.now.Add(time.Hour)}
}

type statusClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	TTL      int64  `json:"ttl"`
	List     struct {
		Bits int    `json:"bits"`
		List string `json:"lst"`
	} `json:"status_list"`
}

// opened returns what a list says, and its bits.
func (l *lists) opened(t testing.TB, id string) (statusClaims, []byte) {
	t.Helper()
	d, err := l.Document(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(string(d.Body), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	public, _ := l.key.public("kid-1")
	payload, err := jws.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	if typ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != tokens.StatusListType {
		t.Errorf("typ %v", typ)
	}
	var c statusClaims
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	packed, err := base64.RawURLEncoding.DecodeString(c.List.List)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	bits, err := io.ReadAll(z)
	if err != nil || len(bits) != tokens.StatusListPlaces/8 {
		t.Fatalf("%d bytes, %v", len(bits), err)
	}
	return c, bits
}

// revoked lists the positions that a list says are revoked, in order.
func (l *lists) revoked(t testing.TB, id string) []uint32 {
	t.Helper()
	_, bits := l.opened(t, id)
	p := tokens.PermutationOf(statusKey, id)
	var out []uint32
	for i := range uint32(tokens.StatusListPlaces) {
		if bits[i/8] != 0 && bits[i/8]>>(i%8)&1 == 1 {
			out = append(out, p.Position(i))
		}
	}
	slices.Sort(out)
	return out
}

func (l *lists) says(t testing.TB, id string, want ...uint32) {
	t.Helper()
	if got := l.revoked(t, id); !slices.Equal(got, want) {
		t.Errorf("%s says %v, want %v", id, got, want)
	}
}

// The claims are those of draft-ietf-oauth-status-list §5.1, and the bits those
// of the places revoked, of that list alone.
func TestAStatusListSaysWhichPlacesAreRevoked(t *testing.T) {
	l := newLists(t)
	l.Hear([]changes.Change{
		l.revokes("list0001", 7, 1), l.revokes("list0001", 100, 3), l.revokes("list0002", tokens.StatusListPlaces-1, 1),
		{Kind: changes.SessionRevoked, Key: "sess_1", Until: l.now.Add(time.Hour)},
	})
	c, _ := l.opened(t, "list0001")
	want := statusClaims{Issuer: accessIssuer, Subject: accessIssuer + "/oauth2/status-lists/list0001", IssuedAt: l.now.Unix(), Expires: l.now.Unix() + 300, TTL: 60}
	want.List.Bits, want.List.List = 1, c.List.List
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	l.says(t, "list0001", 7, 100, 101, 102)
	l.says(t, "list0002", tokens.StatusListPlaces-1)
	if n := l.Count(); n != (tokens.StatusCount{Lists: 2, Revoked: 5}) {
		t.Errorf("counted %+v", n)
	}
	uris, err := l.URIs(t.Context())
	if err != nil || !slices.Equal(uris, []string{accessIssuer + "/oauth2/status-lists/list0001", accessIssuer + "/oauth2/status-lists/list0002"}) {
		t.Errorf("%v %v", uris, err)
	}
}

// A change is heard twice where it was made, and a session that ended may end
// again by its user: a place is clear only when nothing revokes it any more.
func TestAPlaceIsClearedWhenItsLastRevocationIsOver(t *testing.T) {
	l := newLists(t)
	once := l.revokes("list0001", 10, 4)
	l.Hear([]changes.Change{once})
	l.Hear([]changes.Change{once, l.revokes("list0001", 12, 4)})
	longer := l.revokes("list0001", 13, 1)
	longer.Until = longer.Until.Add(time.Hour)
	l.Hear([]changes.Change{longer})
	l.Forget()
	l.says(t, "list0001", 10, 11, 12, 13, 14, 15)

	prolonged := once
	prolonged.Until = once.Until.Add(30 * time.Minute)
	l.now = l.now.Add(50 * time.Minute)
	l.Hear([]changes.Change{prolonged})
	l.now = once.Until.Add(2 * time.Minute) // the clocks of verifiers differ
	l.says(t, "list0001", 10, 11, 12, 13)
	l.now = prolonged.Until.Add(2 * time.Minute)
	l.says(t, "list0001", 13)
	l.now = longer.Until.Add(2*time.Minute - time.Second)
	l.says(t, "list0001", 13)
	l.now = longer.Until.Add(2*time.Minute + 31*time.Second)
	l.says(t, "list0001")
	if n := l.Count(); n.Revoked != 0 {
		t.Errorf("counted %+v", n)
	}
}

// However spans overlap and end, the bits are those that counting them all anew
// would set.
func TestBitsFollowTheirSpans(t *testing.T) {
	l, random := newLists(t), rand.New(rand.NewPCG(1, 2))
	var all []changes.Change
	for range 15 {
		for range random.IntN(30) {
			c := l.revokes("list0001", uint32(random.IntN(60)), uint32(1+random.IntN(12)))
			c.Until = l.now.Add(time.Duration(random.IntN(600)) * time.Second)
			l.Hear([]changes.Change{c})
			all = append(all, c)
		}
		l.now = l.now.Add(time.Duration(31+random.IntN(240)) * time.Second)
		var want []uint32
		for _, c := range all {
			if r, err := tokens.ParsePlaceRange(c.Key); err == nil && c.Until.Add(2*time.Minute).After(l.now) {
				for n := range r.Count {
					want = append(want, r.Position+n)
				}
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		l.says(t, "list0001", want...)
		if n := l.Count().Revoked; n != len(want) {
			t.Fatalf("counted %d, want %d", n, len(want))
		}
	}
}

// What is no place of a list is nobody's: nothing grows, nothing panics.
func TestMalformedPlacesAreNotRevoked(t *testing.T) {
	l := newLists(t)
	l.Index = func(string) func(uint32) uint32 { return func(position uint32) uint32 { return position } }
	for _, key := range []string{"", "list0001", "list0001/1", "list0001/-1/1", "list0001/1/0", "list0001/1048576/1", "list0001/1048575/2", "list0001/0/4294967295", "list0001/4294967295/1", "/1/1"} {
		l.Hear([]changes.Change{{Kind: changes.StatusRevoked, Key: key, Until: l.now.Add(time.Hour)}})
	}
	if n := l.Count(); n.Revoked != 0 {
		t.Errorf("%+v", n)
	}
	l.Hear([]changes.Change{l.revokes("list0001", 0, tokens.StatusListPlaces)})
	l.now = l.now.Add(time.Second)
	if _, bits := l.opened(t, "list0001"); bytes.Count(bits, []byte{0xff}) != len(bits) || l.Count().Revoked != tokens.StatusListPlaces {
		t.Errorf("of a whole list %d places are revoked", l.Count().Revoked)
	}
}

// One list is made per change and half ttl, however many ask; the others stay
// as they are.
func TestAListIsSignedOncePerChange(t *testing.T) {
	l := newLists(t)
	took := 0
	l.Observe = func(time.Duration) { took++ }
	get := func(id string) tokens.StatusDocument {
		t.Helper()
		d, err := l.Document(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := get("list0001"), get("list0002")
	if one.MaxAge != 30*time.Second || one.ETag == two.ETag || !one.IssuedAt.Equal(accessNow.Truncate(time.Second)) {
		t.Errorf("%+v", one)
	}
	l.now = l.now.Add(29 * time.Second)
	if d := get("list0001"); d.ETag != one.ETag || d.MaxAge != time.Second || l.signed != 2 {
		t.Errorf("signed %d times; max-age %v", l.signed, d.MaxAge)
	}
	l.Hear([]changes.Change{l.revokes("list0001", 1, 1)})
	if d := get("list0001"); d.ETag == one.ETag {
		t.Error("the revocation is not told")
	}
	if d := get("list0002"); d.ETag != two.ETag {
		t.Error("the other list was made anew")
	}
	// Many revocations in one second are told by one list, which caches do not keep.
	l.Hear([]changes.Change{l.revokes("list0001", 2, 1)})
	if d := get("list0001"); l.signed != 3 || d.MaxAge != 0 {
		t.Errorf("signed %d times; max-age %v", l.signed, d.MaxAge)
	}
	l.now = l.now.Add(time.Second)
	l.says(t, "list0001", 1, 2)
	get("list0002")
	if l.signed != 5 || took != 5 {
		t.Errorf("signed %d times, of which %d were told", l.signed, took)
	}
	l.Forget() // another key signs
	if d := get("list0002"); l.signed != 6 || d.ETag == two.ETag {
		t.Errorf("signed %d times", l.signed)
	}
}

func TestAListIsNotToldWhileTheChangesAreNotBelieved(t *testing.T) {
	l, fresh := newLists(t), true
	l.Fresh = func() bool { return fresh }
	l.says(t, "list0001")
	fresh = false
	if _, err := l.Document(t.Context(), "list0001"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	fresh = true
	l.Hear([]changes.Change{l.revokes("list0001", 1, 1)})
	l.now, l.key.fail = l.now.Add(time.Second), errors.New("the key is gone")
	for range 2 { // the second finds the bits compressed already
		if _, err := l.Document(t.Context(), "list0001"); err == nil {
			t.Error("an old list was told in place of a new one")
		}
	}
	l.key.fail = nil
	l.says(t, "list0001", 1)
}

func TestListsThatAreUnknown(t *testing.T) {
	l := newLists(t)
	for _, id := range []string{"", "list0003", string(bytes.Repeat([]byte("a"), 65)), "../jwks"} {
		if _, err := l.Document(t.Context(), id); !errors.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	l.stored = append(l.stored, "list0003") // another replica opened it
	l.says(t, "list0003")
	l.down = errors.New("the database is gone")
	l.says(t, "list0001") // what is known is told
	if _, err := l.Document(t.Context(), "list0009"); !errors.Is(err, l.down) {
		t.Errorf("got %v", err)
	}
	if _, err := l.URIs(t.Context()); !errors.Is(err, l.down) {
		t.Errorf("got %v", err)
	}
	l.down, l.stored = nil, l.stored[:1] // the others have no living tokens any more
	if uris, err := l.URIs(t.Context()); err != nil || len(uris) != 1 {
		t.Errorf("%v %v", uris, err)
	}
	if _, err := l.Document(t.Context(), "list0003"); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	if n := l.Count(); n.Lists != 1 {
		t.Errorf("%+v are kept", n)
	}
}

// However many ask about lists that there are not, the store answers one
// question at a time, and whoever goes away does not take the answer along.
func TestQuestionsAboutUnknownListsAreShared(t *testing.T) {
	l := newLists(t)
	var inside, most atomic.Int64
	enter, plain := make(chan struct{}), l.Lists
	l.Lists = func(ctx context.Context) ([]tokens.StatusList, error) {
		most.Store(max(most.Load(), inside.Add(1)))
		defer inside.Add(-1)
		<-enter
		return plain(ctx)
	}
	gone, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for n := range 50 {
		ctx := t.Context()
		if n%2 == 0 {
			ctx = gone
		}
		all.Go(func() {
			_, err := l.Document(ctx, fmt.Sprint("unknown", n))
			if !errors.Is(err, fault.NotFound) && !(ctx == gone && errors.Is(err, context.Canceled)) {
				t.Error(err)
			}
		})
	}
	leave()
	close(enter)
	all.Wait()
	if n := l.asked.Load(); most.Load() != 1 || n > 50 {
		t.Errorf("%d questions, %d at once", n, most.Load())
	}
}

func TestRevocationsAndReadersAtOnce(t *testing.T) {
	l := newLists(t)
	var all sync.WaitGroup
	for n := range uint32(4) {
		all.Go(func() {
			for p := range uint32(50) {
				l.Hear([]changes.Change{l.revokes("list0001", n*50+p, 1)})
			}
		})
		all.Go(func() {
			for range 5 {
				if _, err := l.Document(t.Context(), "list0001"); err != nil {
					t.Error(err)
				}
				l.Count()
			}
		})
	}
	all.Wait()
	l.now = l.now.Add(time.Second)
	if n := len(l.revoked(t, "list0001")); n != 200 {
		t.Errorf("%d places are revoked", n)
	}
}
