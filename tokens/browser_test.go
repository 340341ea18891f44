package tokens_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

func (b *bench) signIn(ctx context.Context, present ident.SessionID) (tokens.SignedIn, error) {
	var in tokens.SignedIn
	err := b.Store.InTx(ctx, func(tx tokens.Tx) (err error) {
		in, err = b.SignIn(tx, b.now, present, tokens.Opening{User: b.user, Org: "org_1", Method: "password", Origin: origin})
		return err
	})
	return in, err
}

func (b *bench) mustSignIn(t testing.TB, present ident.SessionID) tokens.SignedIn {
	t.Helper()
	in, err := b.signIn(t.Context(), present)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// sees is what the cookie stands for: the session, or nobody.
func (b *bench) sees(t testing.TB, cookie secret.Plain) (tokens.Family, bool) {
	t.Helper()
	f, err := b.Browser(t.Context(), cookie.Reveal())
	if err != nil && (!errors.Is(err, fault.InvalidToken) || f != (tokens.Family{})) {
		t.Fatalf("%+v, %v", f, err)
	}
	return f, err == nil
}

// SEC-WEB-17: a browser session ends when it was unused for too long, and at
// its absolute end however busy it is.
func TestABrowserSessionIdlesAndExpires(t *testing.T) {
	b := newBench(t)
	b.Policy = tokens.Policy{BrowserIdle: 8 * time.Hour, BrowserAbsolute: 24 * time.Hour}
	for name, tt := range map[string]struct {
		every time.Duration // between visits
		alive int           // visits that see the session
	}{
		"idle at its instant":            {8 * time.Hour, 0},
		"idle, almost":                   {8*time.Hour - time.Microsecond, 3},
		"the absolute end, however busy": {time.Hour, 23},
	} {
		in := b.mustSignIn(t, "")
		seen := 0
		for range 40 {
			b.now = b.now.Add(tt.every)
			f, alive := b.sees(t, in.Cookie)
			if !alive {
				break
			}
			if !f.Seen.At.Equal(b.now) || !f.ExpiresAt.Equal(in.Family.ExpiresAt) {
				t.Errorf("%s: seen at %v, expires at %v", name, f.Seen.At, f.ExpiresAt)
			}
			seen++
		}
		if seen != tt.alive {
			t.Errorf("%s: alive at %d visits, want %d", name, seen, tt.alive)
		}
	}
}

// SEC-WEB-17: a clock that is set back prolongs nothing, and what was over
// stays over.
func TestAClockSetBackProlongsNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := shared(t)
		b.Policy = tokens.Policy{BrowserIdle: 8 * time.Hour, BrowserAbsolute: 24 * time.Hour}
		in := b.mustSignIn(t, "")
		latest, over := b.now, false // the latest time at which the session was seen alive
		for range rapid.IntRange(1, 12).Draw(r, "visits") {
			b.now = b.now.Add(time.Duration(rapid.IntRange(-600, 600).Draw(r, "minutes")) * time.Minute)
			_, alive := b.sees(t, in.Cookie)
			switch {
			case alive && over:
				r.Fatal("it came to life again")
			case alive && !b.now.Before(in.Family.ExpiresAt):
				r.Fatal("it lives beyond its absolute end")
			case alive && !b.now.Before(latest.Add(8*time.Hour)):
				r.Fatal("it lives though unused")
			case !alive:
				over = true
			case b.now.After(latest):
				latest = b.now
			}
		}
	})
}

var sharedBench *bench

// shared is one bench for the many runs of a property.
func shared(t *testing.T) *bench {
	if sharedBench == nil {
		sharedBench = newBench(t)
		t.Cleanup(func() { sharedBench = nil })
	}
	return sharedBench
}

// A page costs one read; every five minutes also a write, and its commit.
func TestCostOfASignedInBrowser(t *testing.T) {
	b := newBench(t)
	in := b.mustSignIn(t, "")
	for _, tt := range []struct {
		after      time.Duration
		statements int
	}{{0, 1}, {5*time.Minute - time.Microsecond, 1}, {time.Microsecond, 3}, {time.Minute, 1}} {
		b.now = b.now.Add(tt.after)
		b.plan.FailAt(tt.statements)
		if _, alive := b.sees(t, in.Cookie); !alive {
			t.Errorf("after %v: signed out", tt.after)
		}
		if fired := b.plan.Heal(); fired != "" {
			t.Errorf("after %v: more than %d statements (%s)", tt.after, tt.statements, fired)
		}
	}
	b.plan.FailAt(0)
	if _, err := b.Browser(t.Context(), in.Cookie.Reveal()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("no read, or no failure of it: %v", err)
	}
	b.plan.Heal()
	b.plan.FailAll()
	if _, alive := b.sees(t, secret.Of("thb_deadbeef")); alive {
		t.Error("a forged cookie is somebody")
	}
	b.plan.Heal()
	if b.committed != 0 {
		t.Errorf("visits committed %d events and changes", b.committed)
	}
}

// SEC-WEB-02: who proves again who they are gets a new cookie; neither the old
// one nor one of another user, or of a session that is over, goes on.
func TestReauthenticationNeedsALivingSessionOfTheSameUser(t *testing.T) {
	b := newBench(t)
	reauthenticate := func(id ident.SessionID, user ident.UserID) error {
		return b.Store.InTx(t.Context(), func(tx tokens.Tx) error {
			_, _, err := b.Reauthenticate(tx, b.now, id, tokens.Opening{User: user, Method: "password", Origin: elsewhere})
			return err
		})
	}
	in := b.mustSignIn(t, "")
	b.now = b.now.Add(time.Hour)
	if err := reauthenticate(in.Family.ID, "user_other"); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("another user: %v", err)
	}
	plain, err := b.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]ident.SessionID{"none": "sess_none", "no browser's": plain.id} {
		if err := reauthenticate(id, b.user); !errors.Is(err, fault.InvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, alive := b.sees(t, in.Cookie); !alive {
		t.Error("refused, it ended the session")
	}
	if err := reauthenticate(in.Family.ID, b.user); err != nil {
		t.Fatal(err)
	}
	if _, alive := b.sees(t, in.Cookie); alive {
		t.Error("the old cookie is good")
	}
	b.now = b.now.Add(tokens.DefaultBrowserIdle)
	if err := reauthenticate(in.Family.ID, b.user); !errors.Is(err, fault.InvalidToken) {
		t.Errorf("an idle session: %v", err)
	}
	fresh := b.mustSignIn(t, in.Family.ID)
	if f, alive := b.sees(t, fresh.Cookie); !alive || f.ID == in.Family.ID {
		t.Errorf("in place of an idle session: %+v", f)
	}
}

// What delegated families depend on ends in one commit with them, or not at
// all: a statement that fails leaves everything alive, whichever it is.
func TestABrowserSessionEndsWithItsClientsOrNotAtAll(t *testing.T) {
	b := newBench(t)
	for n := 0; ; n++ {
		in := b.mustSignIn(t, "")
		var ids []ident.SessionID
		for range 2 {
			err := b.Store.InTx(t.Context(), func(tx tokens.Tx) error {
				f, _, err := b.Begin(tx, b.now, tokens.Opening{User: b.user, Org: "org_1", Client: "cli_web", Delegation: tokens.Delegation{Browser: in.Family.ID}})
				ids = append(ids, f.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		b.committed = 0
		by := ident.Caller{Kind: ident.Person, User: b.user, Org: "org_1", Session: in.Family.ID}
		b.plan.FailAt(n)
		children, err := b.EndBrowser(t.Context(), by, in.Family.ID, "logout")
		if b.plan.Heal() == "" {
			if err != nil || len(children) != 2 || b.committed != 6 || n < 6 {
				t.Errorf("with working storage: %d children, %v, %d events and changes, %d statements", len(children), err, b.committed, n)
			}
			return
		}
		if !errors.Is(err, fault.Unavailable) || children != nil || b.committed > 0 {
			t.Fatalf("statement %d fails: %v, %v, %d events and changes", n, children, err, b.committed)
		}
		for _, id := range append(ids, in.Family.ID) {
			if f, err := b.Store.Family(t.Context(), id); err != nil || !f.Ended.At.IsZero() {
				t.Fatalf("statement %d fails, and %s is %+v, %v", n, id, f.Ended, err)
			}
		}
	}
}
