package storagetest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// honest are the ways of a client that nothing is wrong with. None of them may
// sign it out.
var honest = []struct {
	name string
	live func(*holder)
}{
	{"SEC-OAU-33: a lost reply, retried after 2 s", retriedAfter(2 * time.Second)},
	{"SEC-OAU-33: a lost reply, retried after 20 s", retriedAfter(20 * time.Second)},
	{"a lost reply, retried after 1 h", retriedAfter(time.Hour)},
	{"three lost replies in a row", func(h *holder) {
		first := h.loses()
		for range 2 {
			h.pass(5 * time.Minute)
			if h.loses() != first {
				h.Error("a repeated request got another token")
			}
		}
		h.pass(5 * time.Minute)
	}},
	{"a lost reply, retried after 1 h from another network", func(h *holder) {
		h.loses()
		h.pass(time.Hour)
		h.at = onTrain
	}},
	{"two tabs whose replies arrive in the other order", func(h *holder) {
		first := h.loses()
		h.token = first
		h.pass(31 * time.Second)
		h.loses() // the other tab's reply is stored first …
		h.token = first
	}},
	{"ten parallel requests of a server", func(h *holder) {
		together(10, func() {
			if _, err := h.present(h.token); err != nil {
				h.Error(err)
			}
		})
	}},
	{"O12: a client that never stores the new token, for its seven days", neverStoring(func(int) ident.Origin { return atHome })},
	{"a client that never stores the new token and roams", neverStoring(func(i int) ident.Origin {
		return ident.Origin{IP: netip.AddrFrom4([4]byte{10, 0, byte(i / 3), 1}), UserAgent: atHome.UserAgent}
	})},
	{"two processes with copies of their own", func(h *holder) {
		other := h.copied(atHome)
		for range 20 {
			h.pass(30 * time.Minute)
			h.refreshes()
			h.pass(25 * time.Minute)
			other.refreshes()
		}
	}},
	{"a stale replay out of a service worker's queue", func(h *holder) {
		queued := h.copied(atHome)
		for range 3 {
			h.refreshes()
			h.pass(time.Hour)
		}
		queued.refused("stale")
	}},
	{"a fail-over of the database that lost the last write", func(h *holder) {
		h.refreshes()
		h.pass(time.Hour)
		before := h.stored(h, h.id)
		h.refreshes()
		if err := h.Sessions().InTx(h.Context(), func(tx tokens.Tx) error { return tx.SaveFamily(before) }); err != nil {
			h.Fatal(err)
		}
		h.pass(time.Hour)
		h.refreshes()
		if h.results[tokens.Adopted] != 1 || h.told(audit.SessionRefreshed, h.id) == 0 {
			h.Errorf("results %v, want one adoption, and an event of it", h.results)
		}
	}},
	{"a browser that shows its device cookie, from anywhere and late", func(h *holder) {
		f, token := h.open(h, tokens.Opening{Origin: atHome, Refreshable: true, Proof: "device"})
		h.id, h.token, h.proof = f.ID, token, "device"
		late := h.copied(onTrain)
		for range 3 {
			h.pass(time.Hour)
			h.refreshes()
		}
		late.refreshes()
	}},
	{"a request repeated with its Idempotency-Key from another network and program", func(h *holder) {
		h.key = "9d0f"
		first := h.loses()
		h.pass(5 * time.Minute)
		again := h.copied(aThief)
		if again.loses() != first {
			h.Error("the same request got another answer")
		}
		h.token, h.key = first, ""
	}},
}

func retriedAfter(wait time.Duration) func(*holder) {
	return func(h *holder) {
		lost := h.loses()
		h.pass(wait)
		if h.loses() != lost {
			h.Error("the retry got another token than the reply that was lost")
		}
	}
}

// neverStoring refreshes 150 times within 6.99 days, always with the token of
// the login, and must be told after 7 days that it has expired (O11).
func neverStoring(where func(i int) ident.Origin) func(*holder) {
	return func(h *holder) {
		const life = 7 * 24 * time.Hour
		begin := h.stored(h, h.id).CreatedAt
		step := (life - 14*time.Minute - h.now.Sub(begin)) / 150
		for i := range 150 {
			h.pass(step)
			h.at = where(i)
			h.loses()
		}
		if used := h.now.Sub(begin); used < life-15*time.Minute {
			h.Fatalf("only %s went by", used)
		}
		current := h.loses()
		h.now = begin.Add(life + 14*time.Minute) // day 7.01
		h.refused("expired")
		h.token = current // the family lives on for who stores
	}
}

// refreshHonest: the scenario suite, its honest half.
func refreshHonest(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	for _, s := range honest {
		t.Run(s.name, func(t *testing.T) {
			h := d.login(t)
			d.results = map[tokens.Result]int{}
			d.pass(time.Hour)
			s.live(h)
			h.alive()
			if n := d.told(audit.RefreshReused, h.id) + d.results[tokens.Reused] + d.results[tokens.Revoked]; n > 0 {
				t.Errorf("%v: taken for a thief", d.results)
			}
		})
	}
}

// thefts are what a second party does with a copied token. Every one of them
// ends the family, and no other.
var thefts = []struct {
	name string
	live func(owner *holder)
}{
	{"SEC-OAU-32: a thief ten minutes after each refresh of the owner's", func(owner *holder) {
		steals(owner, aThief, 50*time.Minute, 10*time.Minute)
	}},
	{"a thief ten minutes before each refresh of the owner's", func(owner *holder) {
		steals(owner, aThief, 10*time.Minute, 50*time.Minute)
	}},
	{"a thief five seconds after each refresh, with another user agent", func(owner *holder) {
		steals(owner, aThief, time.Hour, 5*time.Second)
	}},
	{"a thief with the same user agent", func(owner *holder) {
		steals(owner, onTrain, 30*time.Minute, 30*time.Minute)
	}},
	{"a thief who only ever uses the one stolen token", func(owner *holder) {
		stolen := owner.copied(aThief)
		for range 2 {
			owner.refreshes()
			owner.pass(time.Hour)
		}
		stolen.refused("reuse_detected")
	}},
	{"SEC-OAU-34: a thief with a token two refreshes old, at once", func(owner *holder) {
		stolen := owner.copied(aThief)
		owner.refreshes()
		owner.pass(31 * time.Second)
		owner.refreshes()
		owner.pass(time.Second)
		stolen.refused("reuse_detected")
	}},
	{"a thief without the owner's device cookie, who is always first", func(owner *holder) {
		f, token := owner.open(owner, tokens.Opening{Origin: atHome, Refreshable: true, Proof: "device"})
		owner.id, owner.token, owner.proof = f.ID, token, "device"
		owner.pass(time.Hour)
		stolen := owner.copied(aThief)
		stolen.proof = ""
		goOn(stolen, owner, 10*time.Minute, 50*time.Minute)
	}},
}

// steals copies the owner's token; then both go on with what they hold: the
// owner after the first wait, the thief after the second.
func steals(owner *holder, o ident.Origin, first, second time.Duration) {
	owner.refreshes()
	goOn(owner, owner.copied(o), first, second)
}

// goOn lets both refresh until one is refused.
func goOn(a, b *holder, first, second time.Duration) {
	a.Helper()
	for range 4 {
		for _, turn := range []struct {
			who  *holder
			wait time.Duration
		}{{a, first}, {b, second}} {
			a.pass(turn.wait)
			r, err := turn.who.present(turn.who.token)
			if err != nil {
				turn.who.refused("reuse_detected")
				return
			}
			turn.who.token = r.Token.Reveal()
		}
	}
	a.Error("both went on for four rounds")
}

// refreshThefts: the scenario suite, its other half. INV-03.
func refreshThefts(t *testing.T, f *fixture) {
	d := newDesk(t, f)
	bystander := d.login(t)
	for _, s := range thefts {
		t.Run(s.name, func(t *testing.T) {
			owner := d.login(t)
			d.results = map[tokens.Result]int{}
			d.pass(time.Hour)
			s.live(owner)
			fam := d.stored(t, owner.id)
			if fam.Ended.Reason != "reuse_detected" {
				t.Fatalf("ended %+v, want it revoked because of reuse; answers: %v", fam.Ended, d.results)
			}
			owner.refused("reuse_detected")
			access := tokens.AccessID{Token: "tok_1", Session: owner.id, User: d.user.ID, IssuedAt: d.now}
			if err := d.service.Check(t.Context(), access); err == nil {
				t.Error("access tokens of the family are still accepted")
			}
			if n := d.told(audit.RefreshReused, owner.id); n != 1 {
				t.Errorf("%d events tell of the reuse, want one", n)
			}
			bystander.TB = t
			bystander.refreshes()
		})
	}
}
