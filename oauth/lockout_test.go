package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// wrongLogins lets n wrong passwords come in one after the other and returns
// the last refusal.
func (w *world) wrongLogins(n int, a attempt) (last error) {
	w.t.Helper()
	a.password = "wrong"
	for range n {
		if _, last = w.login(apiClient, a); last == nil {
			w.t.Fatal("a wrong password logged in")
		}
	}
	return last
}

func TestO42SixthWrongLoginIsLockedOut(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		w.person("ada@example.com")
		home, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "203.0.113.9"})
		must(t, err)
		for _, email := range []string{"ada@example.com", "nobody@example.com"} { // known and unknown
			w.heard()
			if err := w.wrongLogins(5, attempt{email: email}); !errors.Is(err, fault.InvalidCredentials) {
				t.Fatalf("%s: fifth wrong login: %v", email, err)
			}
			if told := w.told(); len(told) != 6 || told[5] != "login.locked pair" {
				t.Errorf("%s: recorded %v", email, told)
			}
			f := fault.Of(w.wrongLogins(1, attempt{email: email}))
			if f.Code != fault.AccountLocked || f.RetryAfter != time.Minute {
				t.Fatalf("%s: sixth wrong login: %v, wait %v", email, f, f.RetryAfter)
			}
			if told := w.told(); !slices.Equal(told, []string{"login.refused locked"}) {
				t.Errorf("%s: recorded %v", email, told)
			}
		}
		// The right password does not help from there, and the owner's own device
		// is not concerned, even on the attacker's network.
		if _, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword}); !errors.Is(err, fault.AccountLocked) {
			t.Errorf("right password while locked: %v", err)
		}
		_, err = w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, device: home.Device})
		must(t, err)
		_, err = w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.1"})
		must(t, err) // nor is the owner somewhere else

		w.clock.advance(time.Minute) // INV-11: Retry-After later it works
		_, err = w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
		must(t, err)
	})
}

func TestRefusalsTellNothing(t *testing.T) { // SEC-LOG-01, SEC-LOG-02 as far as a service can show it
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	must(t, w.disable(w.person("disabled@example.com")))
	bare := w.person("bare@example.com")
	must(t, w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		_, err := tx.ReplaceHash(bare.ID, bare.PasswordHash, "", time.Time{}) // signs in elsewhere only
		return err
	}))
	type trace struct {
		fault          fault.Error
		asked, commits int64
		hashes         int64
		answered       time.Duration
	}
	var released time.Time
	w.Logins.RefusalTime = 250 * time.Millisecond
	w.Logins.Answer = func(_ context.Context, at time.Time) error { released = at; return nil }
	traces := map[string][]trace{}
	emails := []string{"ada@example.com", "disabled@example.com", "bare@example.com", "nobody@example.com", "not an address"}
	for i, email := range emails {
		for range 7 { // five wrong ones and two while locked
			asked, commits, hashes := w.asked.Load(), int64(w.commits), w.hashes.Load()
			released = time.Time{}
			err := w.wrongLogins(1, attempt{email: email, ip: fmt.Sprintf("203.0.113.%d", i+1)})
			traces[email] = append(traces[email], trace{
				*fault.Of(err), w.asked.Load() - asked, int64(w.commits) - commits, w.hashes.Load() - hashes, released.Sub(w.clock.now()),
			})
		}
	}
	for _, email := range emails[1:] {
		if !reflect.DeepEqual(traces[email], traces[emails[0]]) {
			t.Errorf("%s is answered otherwise than %s:\n%+v\n%+v", email, emails[0], traces[email], traces[emails[0]])
		}
	}
	for i, got := range traces[emails[0]] {
		if got.answered != 250*time.Millisecond || got.hashes != map[bool]int64{true: 1, false: 0}[i < 5] {
			t.Errorf("attempt %d took %v and %d hashes", i+1, got.answered, got.hashes)
		}
	}
	reasons := map[string]bool{}
	for _, e := range w.heard() {
		if e.Name == audit.LoginFailed {
			reasons[e.Reason] = true
		}
		if e.Meta["identifier"] == "" || strings.Contains(fmt.Sprint(e), "not an address") || strings.Contains(fmt.Sprint(e), "nobody") {
			t.Errorf("an identifier of nobody is told in clear: %+v", e)
		}
	}
	if !reasons["wrong_password"] || !reasons["unknown_user"] || !reasons["no_password"] {
		t.Errorf("the log knows only %v", reasons)
	}
}

func TestSpellingVariantsShareOneCounter(t *testing.T) { // SEC-LOG-04
	w := open(t, backends["SQLite"](t), newClock())
	w.person("josé@bücher.example")
	variants := []string{
		"josé@bücher.example", "JOSÉ@BÜCHER.EXAMPLE", " josé@bücher.example ", "jose\u0301@bücher.example",
		"josé@xn--bcher-kva.example", "ｊosé@bücher.example",
	}
	for i, v := range variants {
		err := w.wrongLogins(1, attempt{email: v})
		if want := []error{fault.InvalidCredentials, fault.AccountLocked}[i/5]; !errors.Is(err, want) {
			t.Errorf("attempt %d as %q: %v, want %v", i+1, v, err, want)
		}
	}
}

func TestINV10ConcurrentGuessesCostAtMostTheLimit(t *testing.T) { // SEC-LOG-06
	onBoth(t, func(t *testing.T, o opener) {
		for _, replicas := range []int{1, 2} {
			if t.Name() == "TestINV10ConcurrentGuessesCostAtMostTheLimit/SQLite" && replicas == 2 {
				continue // one process owns an SQLite database
			}
			t.Run(fmt.Sprint(replicas, " replicas"), func(t *testing.T) {
				clock := newClock()
				var ws []*world
				for range replicas {
					ws = append(ws, open(t, o, clock))
				}
				email := fmt.Sprintf("ada%d@example.com", replicas)
				ws[0].person(email)
				before := ws[0].hashes.Load()
				codes := guessAtOnce(ws, email, 200)
				evaluated := -before
				for _, w := range ws {
					evaluated += w.hashes.Load()
				}
				wrong := codes[fault.InvalidCredentials]
				if evaluated > 5 || int64(wrong) != evaluated || wrong+codes[fault.AccountLocked]+codes[fault.RateLimited] != 200 {
					t.Errorf("%d hashes evaluated, answers %v; want at most 5, the rest 423 or 429", evaluated, codes)
				}
				if err := ws[0].wrongLogins(6, attempt{email: email}); !errors.Is(err, fault.AccountLocked) {
					t.Errorf("afterwards: %v; a place was not given back, or a failure not counted", err)
				}
			})
		}
	})
}

// guessAtOnce sends n wrong passwords through a barrier and counts the answers.
func guessAtOnce(ws []*world, email string, n int) map[fault.Code]int {
	codes := map[fault.Code]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	barrier := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-barrier
			_, err := ws[i%len(ws)].login(apiClient, attempt{email: email, password: fmt.Sprint("guess ", i)})
			mu.Lock()
			defer mu.Unlock()
			codes[fault.Of(err).Code]++
		})
	}
	close(barrier)
	wg.Wait()
	return codes
}

func TestCountersOutliveTheProcess(t *testing.T) { // SEC-LOG-09
	onBoth(t, func(t *testing.T, o opener) {
		clock := newClock()
		w := open(t, o, clock)
		w.person("ada@example.com")
		_ = w.wrongLogins(4, attempt{email: "ada@example.com"})
		// A success from elsewhere resets nothing here.
		_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "203.0.113.9"})
		must(t, err)
		next := open(t, o, clock) // restarted, or a second replica
		_ = next.wrongLogins(1, attempt{email: "ada@example.com"})
		for name, w := range map[string]*world{"first": w, "next": next} {
			if err := w.wrongLogins(1, attempt{email: "ada@example.com"}); !errors.Is(err, fault.AccountLocked) {
				t.Errorf("%s process: %v, want fault.AccountLocked", name, err)
			}
		}
	})
}

func TestRightPasswordStartsItsOwnCountersAnew(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		w.person("ada@example.com")
		_ = w.wrongLogins(4, attempt{email: "ada@example.com"})
		home, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
		must(t, err)
		if err := w.wrongLogins(4, attempt{email: "ada@example.com"}); !errors.Is(err, fault.InvalidCredentials) {
			t.Errorf("fourth wrong login after a right one: %v", err)
		}
		device := attempt{email: "ada@example.com", password: rightPassword, device: home.Device}
		for range 2 {
			_ = w.wrongLogins(9, device)
			_, err = w.login(apiClient, device)
			must(t, err)
		}
	})
}

func TestSprayingIsStoppedAtItsSource(t *testing.T) { // SEC-LOG-10
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	spray := func(i int) attempt {
		return attempt{email: fmt.Sprintf("user%d@example.com", i), ip: fmt.Sprintf("2001:db8:0:7::%x", i+1)} // one /64
	}
	for i := range 20 {
		if err := w.wrongLogins(1, spray(i)); !errors.Is(err, fault.InvalidCredentials) {
			t.Fatalf("account %d: %v", i+1, err)
		}
	}
	f := fault.Of(w.wrongLogins(1, spray(20)))
	if f.Code != fault.RateLimited || f.RetryAfter != 10*time.Minute {
		t.Errorf("account 21: %v, wait %v; want 429 for 10 min", f, f.RetryAfter)
	}
	told := w.told()
	if got := told[len(told)-2:]; !slices.Equal(got, []string{"login.locked source", "login.refused throttled"}) {
		t.Errorf("recorded %v", got)
	}
	// No account is locked by it: not from another /64, not for its owner.
	if err := w.wrongLogins(1, attempt{email: "user20@example.com", ip: "2001:db8:0:8::1"}); !errors.Is(err, fault.InvalidCredentials) {
		t.Errorf("from another /64: %v", err)
	}
	w.clock.advance(10 * time.Minute)
	if err := w.wrongLogins(1, spray(20)); !errors.Is(err, fault.InvalidCredentials) {
		t.Errorf("after the window: %v", err)
	}
	w.Logins.Throttle.Offices = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for i := range 25 {
		if err := w.wrongLogins(1, attempt{email: fmt.Sprintf("colleague%d@example.com", i), ip: "::ffff:192.0.2.5"}); !errors.Is(err, fault.InvalidCredentials) {
			t.Fatalf("colleague %d in a shared office: %v", i, err)
		}
	}
}

func TestFullHashingPoolCountsNothing(t *testing.T) { // SEC-LOG-13
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	w.Logins.Hasher = &accounts.Hasher{Slots: 1, Queue: 1, Random: w.Random, Now: w.clock.now}
	var held []*accounts.Ticket
	for range 2 {
		ticket, err := w.Logins.Hasher.Admit(t.Context())
		must(t, err)
		held = append(held, ticket)
	}
	for range 20 {
		if f := fault.Of(w.wrongLogins(1, attempt{email: "ada@example.com"})); f.Code != fault.Unavailable || f.RetryAfter == 0 {
			t.Fatalf("a full pool: %v, wait %v", f, f.RetryAfter)
		}
	}
	for _, ticket := range held {
		ticket.Release()
	}
	_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
}

// Who hangs up while their guess is being checked has guessed all the same.
func TestHangingUpDoesNotMakeAGuessFree(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	for i := range 6 {
		ctx, hangUp := context.WithCancel(t.Context())
		w.Logins.Hasher.Inflight = func(delta int) {
			if delta < 0 {
				hangUp() // the hash is done, nothing of it recorded yet
			}
		}
		_, err := w.Exchange(ctx, oauth.GrantPassword, apiClient, oauth.Request{
			Params: oauth.Params{"username": "ada@example.com", "password": "wrong"}, Origin: ident.Origin{IP: netip.MustParseAddr("198.51.100.7")},
		})
		if want := []error{fault.InvalidCredentials, fault.AccountLocked}[i/5]; !errors.Is(err, want) {
			t.Fatalf("attempt %d: %v, want %v", i+1, err, want)
		}
		hangUp()
	}
}

// A process that dies in the middle of attempts keeps their places for 30 s.
func TestPlacesOfADeadProcessComeBack(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		clock := newClock()
		w := open(t, o, clock)
		w.person("ada@example.com")
		for range 5 {
			if _, err := w.Logins.Authenticate(t.Context(), accounts.Attempt{
				Identifier: "ada@example.com", Password: secret.Of(rightPassword), Origin: ident.Origin{IP: netip.MustParseAddr("198.51.100.7")},
			}); err != nil {
				t.Fatal(err) // verified, and never settled
			}
		}
		right := attempt{email: "ada@example.com", password: rightPassword}
		if _, err := w.login(apiClient, right); !errors.Is(err, fault.RateLimited) || fault.Of(err).RetryAfter != time.Second {
			t.Errorf("while every place is taken: %v", err)
		}
		clock.advance(30 * time.Second)
		_, err := w.login(apiClient, right)
		must(t, err)
	})
}

func TestUnlockForgetsOneAccountsFailures(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		ada := w.person("ada@example.com")
		eve := w.person("eve@example.com")
		_ = w.wrongLogins(5, attempt{email: "ada@example.com"})
		_ = w.wrongLogins(5, attempt{email: "eve@example.com"})
		if err := w.Logins.Unlock(t.Context(), w.caller(eve), ada.ID); !errors.Is(err, fault.NotFound) {
			t.Errorf("unlocked by another organisation: %v", err)
		}
		w.heard()
		must(t, w.Logins.Unlock(t.Context(), w.caller(ada), ada.ID))
		if e := w.heard(); len(e) != 1 || e[0].Name != audit.LoginUnlocked || e[0].Targets[0].ID != string(ada.ID) {
			t.Errorf("recorded %+v", e)
		}
		_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
		must(t, err)
		if _, err := w.login(apiClient, attempt{email: "eve@example.com", password: rightPassword}); !errors.Is(err, fault.AccountLocked) {
			t.Errorf("another account: %v", err)
		}
		must(t, w.Logins.Unlock(t.Context(), ident.OperatorOf("", nil), eve.ID))
		_, err = w.login(apiClient, attempt{email: "eve@example.com", password: rightPassword})
		must(t, err)
	})
}

func TestCountersAreForgotten(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	if n, _, err := w.Logins.Prune(t.Context()); err != nil || n != 0 {
		t.Errorf("pruned %d, %v", n, err)
	}
	w.clock.advance(24 * time.Hour)
	if n, _, err := w.Logins.Prune(t.Context()); err != nil || n != 0 {
		t.Errorf("a login without failures left %d counters, %v", n, err)
	}
	_ = w.wrongLogins(6, attempt{email: "ada@example.com"})
	if n, err := w.db.Logins().LockedNow(t.Context(), w.clock.now()); err != nil || n[accounts.PairCounter] != 1 {
		t.Errorf("locked now: %v, %v", n, err)
	}
	w.clock.advance(time.Hour + time.Microsecond)
	if n, more, err := w.Logins.Prune(t.Context()); err != nil || n != 3 || more {
		t.Errorf("pruned %d, more %v, %v; want source, pair and pool", n, more, err)
	}
}
