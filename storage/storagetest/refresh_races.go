package storagetest

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// refreshTogether: 64 parallel refreshes of one token are one rotation and 64
// times the same answer; whatever the networks, nobody is turned away.
func refreshTogether(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	h := d.login(t)
	for round := range 3 {
		d.pass(time.Hour)
		d.results = map[tokens.Result]int{}
		var mu sync.Mutex
		answers := map[string]int{}
		together(64, func() {
			r, err := h.present(h.token)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[r.Token.Reveal()]++
		})
		for token := range answers {
			h.token = token
		}
		if len(answers) != 1 || answers[h.token] != 64 || d.results[tokens.Rotated] != 1 || d.results[tokens.Replayed] != 63 {
			t.Fatalf("%d different answers, results %v; want one rotation and one answer", len(answers), d.results)
		}
		if fam := d.stored(t, h.id); fam.Chain.Generation != uint32(round+1) || d.told(audit.SessionRefreshed, h.id) != round+1 {
			t.Errorf("generation %d, %d events; want one of each per hour", fam.Chain.Generation, d.told(audit.SessionRefreshed, h.id))
		}
	}
	d.pass(time.Hour)
	var n atomic.Int32
	together(64, func() { // every request from a network of its own
		from := h.copied(ident.Origin{IP: netip.AddrFrom4([4]byte{10, 0, byte(n.Add(1)), 1}), UserAgent: atHome.UserAgent})
		if _, err := from.present(h.token); err != nil {
			t.Error(err)
		}
	})
	// Now each disputes what the one before was given, and none is lost.
	d.pass(time.Hour)
	together(16, func() {
		from := h.copied(ident.Origin{IP: netip.AddrFrom4([4]byte{10, 1, byte(n.Add(1)), 1}), UserAgent: fmt.Sprint("agent ", n.Load())})
		if _, err := from.present(h.token); err != nil {
			t.Error(err)
		}
	})
	if fam := d.stored(t, h.id); !fam.Ended.At.IsZero() {
		t.Errorf("ended: %+v", fam.Ended)
	}
}

// refreshAgainstRevocation: SEC-OAU-38, INV-02. 500 families (on each of two backends) are
// refreshed by two and revoked by a third at some moment. Nothing that begins
// after the revocation was acknowledged is accepted.
func refreshAgainstRevocation(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	const rounds, workers = 500, 32
	holders := make([]*holder, rounds)
	each := func(do func(i int)) {
		var next atomic.Int32
		together(workers, func() {
			for i := int(next.Add(1)); i <= rounds; i = int(next.Add(1)) {
				do(i - 1)
			}
		})
	}
	each(func(i int) { holders[i] = d.login(t) })
	d.pass(time.Hour)
	each(func(i int) { d.race(t, holders[i], i) })
	fresh := d.restarted() // SEC-OAU-35: a restart forgets nothing
	for _, h := range holders[:20] {
		if _, err := fresh.Refresh(t.Context(), tokens.Presented{Token: h.token, Client: apiClient, Origin: atHome}); fault.Of(err).Reason != "revoked" {
			t.Errorf("after a restart: %v", err)
		}
	}
}

// race lets two refresh in a row of their own while a third revokes.
func (d *desk) race(t *testing.T, h *holder, seed int) {
	var revoked atomic.Bool
	var done sync.WaitGroup
	spread := uint32(seed) * 2654435761 >> 8 // the same every time, without a pattern
	how, moment := spread%3, make(chan struct{})
	var left atomic.Int32 // how many requests begin before the revocation does
	left.Store(int32(spread/3%8) + 1)
	for _, o := range []ident.Origin{atHome, onTrain} {
		mine := h.copied(o)
		done.Go(func() {
			for range 8 {
				late := revoked.Load()
				if left.Add(-1) == 0 {
					close(moment)
				}
				r, err := mine.present(mine.token)
				if err == nil && late {
					t.Error("SEC-OAU-38: refreshed after the revocation was acknowledged")
					return
				}
				if err != nil {
					if reason := fault.Of(err).Reason; reason != "revoked" {
						t.Errorf("refused with %v, want revoked", err)
					}
					return
				}
				mine.token = r.Token.Reveal()
			}
		})
	}
	<-moment
	var err error
	switch how {
	case 0:
		err = d.service.Logout(t.Context(), d.caller(h.id))
	case 1:
		err = d.service.RevokeSession(t.Context(), d.caller(h.id), h.id)
	default:
		err = d.service.RevokePresented(t.Context(), tokens.Presented{Token: h.token, Client: apiClient, Origin: atHome})
	}
	if err != nil {
		t.Errorf("revoke: %v", err)
	}
	revoked.Store(true)
	if err := d.service.Check(t.Context(), tokens.AccessID{Token: "tok_1", Session: h.id, User: d.user.ID, IssuedAt: d.now}); err == nil {
		t.Error("INV-02: an access token is accepted after the revocation was acknowledged")
	}
	done.Wait()
	if _, err := h.present(h.token); fault.Of(err).Reason != "revoked" {
		t.Errorf("SEC-OAU-38: after the revocation: %v", err)
	}
}

// refreshAtRandom: what the model in package tokens shows of the rules holds
// with the real service and the real store.
func refreshAtRandom(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	t.Run("an honest client is never signed out", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) {
			h := d.login(t)
			for range rapid.IntRange(1, 6).Draw(r, "refreshes") {
				d.pass(time.Duration(rapid.IntRange(1, 9000).Draw(r, "pause")) * time.Second)
				if rapid.Bool().Draw(r, "move") {
					h.at.IP = netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(1, 5).Draw(r, "network")), 1})
				}
				got := h.loses()
				if rapid.IntRange(1, 10).Draw(r, "luck") > 4 {
					h.token = got
				}
			}
		})
	})
	t.Run("a thief on another network is always found", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) {
			owner := d.login(t)
			for range rapid.IntRange(0, 2).Draw(r, "before") {
				d.pass(time.Hour)
				owner.refreshes()
			}
			thief := owner.copied(aThief)
			lag := time.Duration(rapid.IntRange(5, 3000).Draw(r, "lag")) * time.Second
			if rapid.Bool().Draw(r, "same user agent") {
				thief.at, lag = onTrain, lag+2*time.Minute
			}
			goOn(owner, thief, time.Hour, lag)
			if d.stored(t, owner.id).Ended.Reason != "reuse_detected" {
				r.Fatal("the family lives")
			}
		})
	})
}

// refreshRefusals: how long things last, and what a client is told.
func refreshRefusals(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	day := 24 * time.Hour
	begin := d.now
	refusal := func(h *holder, reason, detail string) {
		t.Helper()
		_, err := h.present(h.token)
		if f := fault.Of(err); err == nil || f.Code != fault.InvalidToken || f.Reason != reason || f.Detail != detail {
			t.Errorf("answered %v, want %q because of %q", err, detail, reason)
		}
	}
	kept, stored, sleeping, loggedOut := d.login(t), d.login(t), d.login(t), d.login(t)
	d.pass(time.Minute)
	sleeping.refreshes()
	if err := d.service.Logout(t.Context(), d.caller(loggedOut.id)); err != nil {
		t.Fatal(err)
	}
	refusal(loggedOut, "revoked", "Refresh token has been revoked") // O15, O16
	d.now = begin.Add(7*day - 15*time.Minute)                       // O11: day 6.99
	kept.loses()
	stored.refreshes()
	d.now = begin.Add(7*day + 15*time.Minute) // O11: day 7.01
	refusal(kept, "expired", "Refresh token has expired")
	refusal(sleeping, "idle", "Refresh token has not been used for too long")
	for d.now.Before(begin.Add(30*day - 5*time.Hour)) { // SEC-OAU-37: to the absolute limit
		d.pass(4 * time.Hour)
		stored.refreshes()
	}
	last := d.stored(t, stored.id)
	if want := begin.Add(30 * day); !last.ExpiresAt.Equal(want) || last.Chain.Generation < 100 {
		t.Errorf("after %d refreshes the limit is %s, want %s", last.Chain.Generation, last.ExpiresAt, want)
	}
	if r, err := stored.present(stored.token); err != nil || !r.ExpiresAt.Equal(last.ExpiresAt) {
		t.Errorf("the token expires at %s, %v; want the absolute limit", r.ExpiresAt, err)
	}
	if all, err := d.service.Sessions(t.Context(), d.caller(stored.id), ident.Page{Limit: 200}); err != nil || len(all) != 1 {
		t.Errorf("%d sessions are listed, %v; want the one that is neither ended nor idle", len(all), err)
	}
	d.now = begin.Add(30 * day)
	refusal(stored, "expired", "Refresh token has expired")
	if all, err := d.service.Sessions(t.Context(), d.caller(stored.id), ident.Page{Limit: 200}); err != nil || len(all) != 0 {
		t.Errorf("%d sessions are listed, %v; want none", len(all), err)
	}
	if n := d.told(audit.RefreshRefused, stored.id); n != 1 {
		t.Errorf("%d events of one refusal", n)
	}
	d.pass(8 * day)
	if c, err := d.service.Cleanup(t.Context()); err != nil || c.Sessions != 4 {
		t.Errorf("cleanup: %+v, %v; want the four sessions gone", c, err)
	}
	refusal(stored, "expired", "Refresh token has expired")
	d.refusesOthers(t)
}

// refusesOthers: SEC-OAU-30, SEC-OAU-36.
func (d *desk) refusesOthers(t *testing.T) {
	t.Helper()
	h := d.login(t)
	h.TB = t
	_, err := d.service.Refresh(t.Context(), tokens.Presented{Token: h.token, Client: "cli_other", Origin: atHome})
	if f := fault.Of(err); f.Code != fault.InvalidToken || f.Reason != "" {
		t.Errorf("SEC-OAU-30: another client's token: %v", err)
	}
	if n := d.told(audit.RefreshRefused, h.id); n != 1 {
		t.Errorf("%d events of it, want 1", n)
	}
	h.refreshes() // and the family is unharmed
	d.disable(t, d.user)
	d.people(t, func(tx accounts.Tx) error {
		_, err := tx.EndSessions(accounts.Ending{User: d.user.ID, Reason: "user_disabled", At: d.now, Until: d.service.Until(d.now)})
		return err
	})
	h.refused("revoked") // SEC-OAU-36: the user was disabled
}
