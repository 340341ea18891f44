package oauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// asking makes six failures fill the pool, and little work open it.
func (w *world) asking() *world {
	w.Logins.Throttle.Pool = accounts.Limit{Failures: 6, Window: time.Hour}
	w.Logins.Proofs = accounts.Proofs{Kind: accounts.ProofOfWork, Bits: 8}
	return w
}

// besieged fills the pool of an account from addresses that nobody else has.
func (w *world) besieged(email string) {
	w.t.Helper()
	for i := range 6 {
		if err := w.wrongLogins(1, attempt{email: email, ip: fmt.Sprintf("203.0.113.%d", i)}); !errors.Is(err, fault.InvalidCredentials) {
			w.t.Fatalf("guess %d at %s: %v", i+1, email, err)
		}
	}
}

// shows logs in with a proof.
func (w *world) shows(a attempt, proof string) (oauth.Response, error) {
	return w.Exchange(w.t.Context(), oauth.GrantPassword, apiClient, oauth.Request{
		Params: oauth.Params{"username": a.email, "password": a.password, "proof": proof},
		Origin: ident.Origin{IP: netip.MustParseAddr(a.ip), UserAgent: "test"}, Device: a.device,
	})
}

// asked is the challenge of a refusal.
func (w *world) challengeIn(err error) accounts.Challenge {
	w.t.Helper()
	var p *accounts.ProofRequired
	if !errors.As(err, &p) {
		w.t.Fatalf("no challenge in %v", err)
	}
	return p.Challenge
}

// worked answers a challenge.
func worked(c accounts.Challenge) string {
	for n := 0; ; n++ {
		proof := fmt.Sprintf("%s.%d", c.Token, n)
		if h := sha256.Sum256([]byte(proof)); bits.LeadingZeros32(binary.BigEndian.Uint32(h[:])) >= c.Bits {
			return proof
		}
	}
}

func TestAProofOpensAFullPoolOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		clock := newClock()
		w := open(t, o, clock).asking()
		replicas := []*world{w}
		if t.Name() != "TestAProofOpensAFullPoolOnce/SQLite" { // which one process owns
			replicas = append(replicas, open(t, o, clock).asking())
		}
		w.person("ada@example.com")
		w.besieged("ada@example.com")
		w.besieged("nobody@example.com")
		right := attempt{email: "ada@example.com", password: rightPassword, ip: "198.51.100.1"}
		hashes := w.hashes.Load()
		_, err := w.shows(right, "")
		c := w.challengeIn(err)
		if f := fault.Of(err); f.Code != fault.AccountLocked || f.Reason != "proof_required" || f.RetryAfter != time.Hour || c.Bits != 8 || c.Kind != accounts.ProofOfWork || w.hashes.Load() != hashes {
			t.Errorf("asked by %v, for %v, with %+v", f, f.RetryAfter, c)
		}
		proof := worked(c)
		nobody := right
		nobody.email = "nobody@example.com"
		for name, a := range map[string]struct {
			attempt
			proof string
		}{"for somebody else": {nobody, proof}, "without its work": {right, c.Token + ".not it"}, "forged": {right, proof[:40] + string(proof[40]^1) + proof[41:]}, "no proof at all": {right, "please"}} {
			if _, err := w.shows(a.attempt, a.proof); !errors.Is(err, fault.AccountLocked) || fault.Of(err).Reason != "proof_required" {
				t.Errorf("a proof %s: %v", name, err)
			}
		}
		w.heard()
		got, err := replicas[len(replicas)-1].shows(right, proof) // another replica asked for it
		must(t, err)
		if e := replicas[len(replicas)-1].heard(); len(e) != 1 || e[0].Meta["proof"] != "accepted" || e[0].Meta["device"] != "unknown" {
			t.Errorf("recorded %+v", e)
		}
		for _, w := range replicas {
			w.heard()
			if _, err := w.shows(right, proof); !errors.Is(err, fault.AccountLocked) || w.challengeIn(err).Token == c.Token {
				t.Errorf("the proof once more: %v", err)
			}
			if e := w.heard(); len(e) != 1 || e[0].Meta["proof"] != "refused" || e[0].Reason != "locked" || e[0].Meta["scope"] != "pool" {
				t.Errorf("recorded %+v", e)
			}
		}
		known := right // from now on the device is known, and nobody asks
		known.device = got.Device
		_, err = w.shows(known, "")
		must(t, err)

		_, err = w.shows(right, "")
		late := worked(w.challengeIn(err))
		clock.advance(accounts.ProofTTL)
		if _, err := w.shows(right, late); !errors.Is(err, fault.AccountLocked) {
			t.Errorf("a late proof: %v", err)
		}
		clock.advance(time.Hour)
		if n, _, err := w.Logins.Prune(t.Context()); err != nil || n == 0 {
			t.Errorf("pruned %d, %v: challenges that were answered stay for ever", n, err)
		}
		_, err = w.shows(right, late) // the pool is empty again: a proof that is no good is none
		must(t, err)
	})
}

// What the refusals of an account and of an address that nobody has cost and say
// is the same, challenge and all.
func TestProofsTellNothingOfAccounts(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock()).asking()
	w.person("ada@example.com")
	must(t, w.disable(w.person("disabled@example.com")))
	type trace struct {
		fault          fault.Error
		challenge      accounts.Challenge
		asked, commits int64
		hashes         int64
	}
	traces := map[string][]trace{}
	emails := []string{"ada@example.com", "disabled@example.com", "nobody@example.com"}
	for _, email := range emails {
		w.besieged(email)
		a := attempt{email: email, password: "wrong", ip: "198.51.100.1"}
		proof := ""
		for range 6 { // refused; five wrong ones with proofs; and then the pair is locked
			asked, commits, hashes := w.asked.Load(), int64(w.commits), w.hashes.Load()
			_, err := w.shows(a, proof)
			var p accounts.ProofRequired
			if found := new(accounts.ProofRequired); errors.As(err, &found) {
				p = *found
				proof = worked(p.Challenge)
				if len(p.Challenge.Token) != 78 {
					t.Errorf("a challenge of %d characters", len(p.Challenge.Token))
				}
				p.Challenge.Token = ""
			}
			traces[email] = append(traces[email], trace{*fault.Of(err), p.Challenge, w.asked.Load() - asked, int64(w.commits) - commits, w.hashes.Load() - hashes})
		}
	}
	for _, email := range emails[1:] {
		if !reflect.DeepEqual(traces[email], traces[emails[0]]) {
			t.Errorf("%s is answered otherwise than %s:\n%+v\n%+v", email, emails[0], traces[email], traces[emails[0]])
		}
	}
	for i, got := range traces[emails[0]] {
		want := []fault.Code{fault.AccountLocked, fault.InvalidCredentials}[min(i, 1)]
		if got.fault.Code != want || got.hashes != int64(min(i, 1)) || got.challenge.Bits != 8 {
			t.Errorf("attempt %d: %+v", i, got)
		}
	}
}

// A proof opens the pool and nothing else: what limits a network at an account, a
// network, and the passwords that are looked at stays.
func TestAProofPassesNoOtherLimit(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock()).asking()
	w.person("ada@example.com")
	w.besieged("ada@example.com")
	wrong := attempt{email: "ada@example.com", password: "wrong", ip: "198.51.100.1"}
	_, err := w.shows(wrong, "")
	for i := range 5 {
		if _, err = w.shows(wrong, worked(w.challengeIn(err))); !errors.Is(err, fault.InvalidCredentials) {
			t.Fatalf("wrong password %d: %v", i+1, err)
		}
	}
	proof, hashes := worked(w.challengeIn(err)), w.hashes.Load()
	for _, shown := range []string{proof, "", "forged"} {
		_, err := w.shows(wrong, shown)
		if f := fault.Of(err); f.Code != fault.AccountLocked || f.Reason != "" || f.RetryAfter != time.Minute || errors.As(err, new(*accounts.ProofRequired)) {
			t.Errorf("the sixth from one network: %v, wait %v; a proof would help", err, f.RetryAfter)
		}
	}
	w.clock.advance(time.Minute) // and the proof was not used up by a lock that it does not open
	if _, err = w.shows(wrong, proof); !errors.Is(err, fault.InvalidCredentials) || w.hashes.Load() != hashes+1 {
		t.Errorf("after the lock: %v", err)
	}
	w.clock.advance(time.Hour)
	w.Logins.Throttle.Source = accounts.Limit{Failures: 4, Window: time.Minute}
	for i := range 4 {
		_ = w.wrongLogins(1, attempt{email: fmt.Sprintf("user%d@example.com", i), ip: "192.0.2.77"})
	}
	w.besieged("ada@example.com")
	_, err = w.shows(attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.78"}, "")
	if _, err := w.shows(attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.77"}, worked(w.challengeIn(err))); !errors.Is(err, fault.RateLimited) {
		t.Errorf("from a network that sprays: %v", err)
	}
	// Where no proofs are asked for, there are none.
	w.Logins.Proofs = accounts.Proofs{}
	if _, err := w.shows(attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.79"}, worked(w.challengeIn(err))); !errors.Is(err, fault.AccountLocked) || errors.As(err, new(*accounts.ProofRequired)) {
		t.Errorf("where proofs are off: %v", err)
	}
}

// Proofs have a pool of their own, and each ten failures in it double the work:
// guessing with them costs more and more, and ends after a hundred.
func TestGuessingWithProofsEnds(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock()).asking()
	w.Logins.Throttle.Proof = accounts.Limit{Failures: 26, Window: time.Hour} // the 25 below, and one from the stock
	ada := w.person("ada@example.com")
	w.besieged("ada@example.com")
	var asked []int
	stockpile := make([]string, 3) // proofs of the least work, for later
	for i := range stockpile {
		_, err := w.shows(attempt{email: "ada@example.com", password: "wrong", ip: "192.0.2.1"}, "")
		stockpile[i] = worked(w.challengeIn(err))
	}
	w.heard()
	for i := range 25 {
		a := attempt{email: "ada@example.com", password: "wrong", ip: fmt.Sprintf("198.51.100.%d", i)}
		_, err := w.shows(a, "")
		c := w.challengeIn(err)
		asked = append(asked, c.Bits)
		if _, err = w.shows(a, worked(c)); !errors.Is(err, fault.InvalidCredentials) {
			t.Fatalf("guess %d: %v", i+1, err)
		}
		if i == 10 || i == 20 { // one bit less will do, two will not
			hashes := w.hashes.Load()
			_, err := w.shows(attempt{email: "ada@example.com", password: "wrong", ip: fmt.Sprintf("192.0.2.%d", i)}, stockpile[i/10])
			if looked := w.hashes.Load() > hashes; looked != (i == 10) {
				t.Errorf("after %d failures a proof of the least work: %v", i+1, err)
			}
		}
	}
	if want := slices.Concat(slices.Repeat([]int{8}, 10), slices.Repeat([]int{9}, 9), slices.Repeat([]int{10}, 6)); !slices.Equal(asked, want) {
		t.Errorf("asked for %v bits, want %v", asked, want)
	}
	if _, err := w.shows(attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.199"}, ""); !errors.Is(err, fault.AccountLocked) || errors.As(err, new(*accounts.ProofRequired)) {
		t.Errorf("after so many failures with proofs one more is asked for: %v", err)
	}
	locks := slices.DeleteFunc(w.told(), func(e string) bool { return e != "login.locked proof" })
	if len(locks) != 1 {
		t.Errorf("recorded %v", locks)
	}
	// It is never permanent, and whoever unlocks the account opens this too.
	must(t, w.Logins.Unlock(t.Context(), ident.OperatorOf("", nil), ada.ID))
	w.besieged("ada@example.com")
	right := attempt{email: "ada@example.com", password: rightPassword, ip: "192.0.2.200"}
	_, err := w.shows(right, "")
	_, err = w.shows(right, worked(w.challengeIn(err)))
	must(t, err)
}

// INV-10 for proofs: one that is shown many times at once is worth one look at a
// password.
func TestOneProofAtOnceIsOneGuess(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock()).asking()
		w.person("ada@example.com")
		w.besieged("ada@example.com")
		_, err := w.shows(attempt{email: "ada@example.com", password: "wrong", ip: "198.51.100.1"}, "")
		proof, hashes := worked(w.challengeIn(err)), w.hashes.Load()
		var all sync.WaitGroup
		barrier := make(chan struct{})
		for i := range 20 {
			all.Go(func() {
				<-barrier
				if _, err := w.shows(attempt{email: "ada@example.com", password: "wrong", ip: fmt.Sprintf("198.51.100.%d", i)}, proof); err == nil {
					t.Error("a wrong password logged in")
				}
			})
		}
		close(barrier)
		all.Wait()
		if n := w.hashes.Load() - hashes; n != 1 {
			t.Errorf("one proof was worth %d guesses", n)
		}
	})
}

// judged is a provider that says what a test wants.
type judged func(answer string) (bool, error)

func (j judged) Solved(_ context.Context, answer string) (bool, error) { return j(answer) }

func TestAPuzzleOpensAFullPoolOnce(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock()).asking()
	var asked []string
	var failure error
	w.Logins.Proofs = accounts.Proofs{Kind: "turnstile", SiteKey: "a site", Captcha: judged(func(answer string) (bool, error) {
		asked = append(asked, answer)
		return answer == "right.with dots", failure
	})}
	w.person("ada@example.com")
	w.besieged("ada@example.com")
	right := attempt{email: "ada@example.com", password: rightPassword, ip: "198.51.100.1"}
	next := func() accounts.Challenge {
		t.Helper()
		_, err := w.shows(right, "")
		return w.challengeIn(err)
	}
	c := next()
	if c.Kind != "turnstile" || c.SiteKey != "a site" || c.Bits != 0 {
		t.Errorf("asked for %+v", c)
	}
	if _, err := w.shows(right, c.Token+".wrong"); !errors.Is(err, fault.AccountLocked) {
		t.Errorf("a wrong answer: %v", err)
	}
	if _, err := w.shows(right, c.Token+".right.with dots"); !errors.Is(err, fault.AccountLocked) || len(asked) != 1 {
		t.Errorf("another answer to the same challenge: %v, asked %q", err, asked)
	}
	failure = errors.New("the provider is down")
	hashes := w.hashes.Load()
	if _, err := w.shows(right, next().Token+".right.with dots"); !errors.Is(err, fault.Unavailable) || fault.Of(err).RetryAfter == 0 || w.hashes.Load() != hashes {
		t.Errorf("while the provider is down: %v", err)
	}
	failure = nil
	_, err := w.shows(right, next().Token+".right.with dots")
	must(t, err)
	n := len(asked)
	for _, proof := range []string{"", "x.right.with dots", c.Token + "."} { // nobody makes us ask without a challenge of ours
		_, _ = w.shows(right, proof)
	}
	if other := right; len(asked) == n {
		other.email = "nobody@example.com" // nor with one of somebody else
		if _, err := w.shows(other, next().Token+".right.with dots"); !errors.Is(err, fault.InvalidCredentials) {
			t.Errorf("an account nobody attacks: %v", err)
		}
	}
	if len(asked) != n {
		t.Errorf("the provider was asked %q", asked[n:])
	}
}
