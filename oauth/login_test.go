package oauth_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

func TestLoginOfTheSessionClient(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	ada := w.person("ada@example.com")
	got, err := w.login(sessionClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	if c := claims(t, got.Access); c.ExpiresAt-c.IssuedAt != 86400 || c.ExpiresAt != got.ExpiresAt.Unix() || c.Subject != ada.ID || c.Session != got.Session || c.Client != oauth.SessionClientID {
		t.Errorf("K5: claims %+v for %+v", c, got)
	}
	if !got.Refresh.IsZero() || !got.RefreshExpiresAt.IsZero() {
		t.Error("K6: a refresh token was given")
	}
	if got.User != (oauth.Person{ID: ada.ID, Email: "ada@example.com", Name: "Ada"}) || got.Org == "" || got.Role != accounts.RoleOwner {
		t.Errorf("K3: the reply says %+v", got)
	}
	again, err := w.login(sessionClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	if again.AccessID == got.AccessID || again.Session == got.Session {
		t.Error("K6: a second login gave the same token or session")
	}
	for _, r := range []oauth.Response{got, again} {
		must(t, w.Sessions.Check(t.Context(), tokens.AccessID{Token: r.AccessID, Session: r.Session, User: r.User.ID, IssuedAt: r.IssuedAt}))
	}
	if f, err := w.db.Sessions().Family(t.Context(), got.Session); err != nil || f.Refreshable || !f.ExpiresAt.Equal(w.clock.now().Add(24*time.Hour)) {
		t.Errorf("the session outlives its only token: %+v, %v", f, err)
	}
}

func TestLoginOfTheAPIClient(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	got, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	if c := claims(t, got.Access); c.ExpiresAt-c.IssuedAt != 3600 { // O8
		t.Errorf("the token lives %d s", c.ExpiresAt-c.IssuedAt)
	}
	if got.Refresh.IsZero() || !got.RefreshExpiresAt.Equal(w.clock.now().Add(7*24*time.Hour)) { // O11
		t.Errorf("refresh token until %v", got.RefreshExpiresAt)
	}
	if want := []string{"password access_token", "password refresh_token"}; !slices.Equal(w.issued, want) {
		t.Errorf("observed %v, want %v", w.issued, want)
	}
	es := w.heard()
	if len(es) != 1 {
		t.Fatalf("a login recorded %+v", es)
	}
	e := es[0]
	if e.Name != audit.LoginSucceeded || e.Actor.ID != string(got.User.ID) || e.Actor.Via != "password" || e.Session != got.Session ||
		e.Org != got.Org || e.Meta["client"] != string(oauth.APIClientID) || e.Meta["method"] != "password" || !e.Origin.IP.IsValid() {
		t.Errorf("the event of a login is %+v", e)
	}
}

func TestLoginIsOneCommitAfterTheOneThatTakesThePlace(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		w.person("ada@example.com")
		before := w.commits
		_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
		must(t, err)
		// The hook hears of commits with events: the place is taken without any.
		if got := w.commits - before; got != 1 {
			t.Errorf("%d commits with events, want 1", got)
		}
	})
}

// Whatever statement of a login fails, nothing of it is left: no session, no
// event, and the next login works at once or after the lease at the latest.
func TestLoginThatFailsLeavesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		w.person("ada@example.com")
		failed := 0
		for n := 0; ; n++ {
			w.plan.FailAt(n)
			got, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
			if w.plan.Heal() == "" {
				must(t, err)
				break
			}
			failed++
			if code := fault.Of(err).Code; err == nil || code != fault.Unavailable {
				t.Fatalf("statement %d fails: %v (%v), want fault.Unavailable", n, err, code)
			}
			if told := w.told(); len(told) > 0 || !got.Access.IsZero() {
				t.Errorf("statement %d fails, but %v was recorded", n, told)
			}
			if fs := w.sessions("ada@example.com"); len(fs) != 0 {
				t.Fatalf("statement %d fails, but a session is open: %+v", n, fs)
			}
		}
		if failed < 9 {
			t.Errorf("only %d statements could fail", failed)
		}
	})
}

func (w *world) sessions(email string) []tokens.Family {
	w.t.Helper()
	u, err := w.db.Accounts().UserByCanonical(w.t.Context(), email)
	must(w.t, err)
	fs, err := w.Sessions.Sessions(w.t.Context(), w.caller(u), ident.Page{Limit: 100})
	must(w.t, err)
	return fs
}

// brokenSigner fails, or does something first.
type brokenSigner struct {
	tokens.Signer
	do func() error
}

func (b brokenSigner) Sign(ctx context.Context, payload []byte, typ string) (string, error) {
	if err := b.do(); err != nil {
		return "", err
	}
	return b.Signer.Sign(ctx, payload, typ)
}

func TestLoginThatCannotBeSignedLeavesNothing(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	ring := w.Minter.Signer
	w.Minter.Signer = brokenSigner{ring, func() error { return errors.New("no key") }}
	for range 6 { // more than the places there are: each is given back
		if _, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword}); fault.Of(err).Code != fault.Internal {
			t.Fatalf("login without a signing key: %v", err)
		}
	}
	if told, fs := w.told(), w.sessions("ada@example.com"); len(told)+len(fs) != 0 {
		t.Errorf("it left %v and %v", told, fs)
	}
	w.Minter.Signer = ring
	_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
}

// A login with the old password that is under way while the password changes
// must not survive the change.
func TestLoginRacedByAChangeOfPassword(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		ada := w.person("ada@example.com")
		next, err := w.people.Hasher.Hash(t.Context(), "another long enough password")
		must(t, err)
		raced := false
		w.Minter.Signer = brokenSigner{w.Minter.Signer, func() error {
			if raced {
				return nil
			}
			raced = true
			return w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
				_, err := tx.ReplaceHash(ada.ID, ada.PasswordHash, next, w.clock.now())
				return err
			})
		}}
		if _, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword}); !errors.Is(err, fault.InvalidCredentials) {
			t.Errorf("the old password: %v, want fault.InvalidCredentials", err)
		}
		if told := w.told(); !slices.Equal(told, []string{"login.failed wrong_password"}) || len(w.sessions("ada@example.com")) != 0 {
			t.Errorf("it left %v and %d sessions", told, len(w.sessions("ada@example.com")))
		}
		_, err = w.login(apiClient, attempt{email: "ada@example.com", password: "another long enough password"})
		must(t, err)
	})
}

// The same for a user who is disabled while a login is under way.
func TestLoginRacedByADisabling(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		w := open(t, o, newClock())
		ada := w.person("ada@example.com")
		w.Minter.Signer = brokenSigner{w.Minter.Signer, func() error { return w.disable(ada) }}
		_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
		if !errors.Is(err, fault.AccountDisabled) {
			t.Errorf("%v, want fault.AccountDisabled", err)
		}
		if told := w.told(); !slices.Equal(told, []string{"login.failed disabled"}) {
			t.Errorf("recorded %v", told)
		}
	})
}

func (w *world) disable(u accounts.User) error {
	u.Status = accounts.Disabled
	return w.db.Accounts().InTx(w.t.Context(), func(tx accounts.Tx) error { return tx.UpdateUser(u) })
}

func TestStaleHashIsReplacedAtLogin(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		c := newClock()
		w := open(t, o, c)
		ada := w.person("ada@example.com")
		w.Logins.Hasher = &accounts.Hasher{Params: accounts.Params{Time: 3}, Random: rand.Reader, Now: c.now}
		for i, want := range [][]string{{"password.rehashed", "login.succeeded"}, {"login.succeeded"}} {
			_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
			must(t, err)
			if told := w.told(); !slices.Equal(told, want) {
				t.Errorf("login %d recorded %v, want %v", i+1, told, want)
			}
		}
		now, err := w.db.Accounts().User(t.Context(), ada.ID)
		must(t, err)
		if !strings.Contains(now.PasswordHash, "t=3") || !now.PasswordChangedAt.Equal(ada.PasswordChangedAt) {
			t.Errorf("hash %.40s…, changed at %v", now.PasswordHash, now.PasswordChangedAt)
		}
	})
}

// Two logins at the same moment both find the hash stale: one replaces it, and
// the other is no less right.
func TestStaleHashIsReplacedOnceByConcurrentLogins(t *testing.T) {
	c := newClock()
	w := open(t, backends["SQLite"](t), c)
	w.person("ada@example.com")
	w.Logins.Hasher = &accounts.Hasher{Params: accounts.Params{Time: 3}, Random: rand.Reader, Now: c.now}
	signer, first := w.Minter.Signer, true
	w.Minter.Signer = brokenSigner{signer, func() error {
		if !first {
			return nil
		}
		first = false
		_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword, ip: "203.0.113.9"})
		return err
	}}
	_, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	if told := w.told(); !slices.Equal(told, []string{"password.rehashed", "login.succeeded", "login.succeeded"}) {
		t.Errorf("recorded %v", told)
	}
}

func TestDisabledIsToldOnlyAfterARightPassword(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	must(t, w.disable(w.person("ada@example.com")))
	for password, want := range map[string]fault.Code{"wrong": fault.InvalidCredentials, rightPassword: fault.AccountDisabled} {
		if _, err := w.login(apiClient, attempt{email: "ada@example.com", password: password}); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func TestWhoBelongsNowhereMayNotEnter(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	ada := w.person("ada@example.com")
	must(t, w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		return tx.SetMemberRole(w.caller(ada).Org, ada.ID, "")
	}))
	for range 6 {
		if _, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword}); !errors.Is(err, fault.AccountDisabled) {
			t.Fatalf("%v, want fault.AccountDisabled", err)
		}
	}
	if told := w.told(); told[0] != "login.failed "+accounts.ReasonNotAMember {
		t.Errorf("recorded %v", told)
	}
}

func TestLoginRefusesWhatNoPasswordIs(t *testing.T) { // SEC-LOG-14
	w := open(t, backends["SQLite"](t), newClock())
	w.person("ada@example.com")
	before := w.hashes.Load()
	for name, a := range map[string]attempt{
		"no password":           {email: "ada@example.com"},
		"a password too long":   {email: "ada@example.com", password: strings.Repeat("x", 1025)},
		"a megabyte":            {email: "ada@example.com", password: strings.Repeat("x", 1<<20)},
		"no UTF-8":              {email: "ada@example.com", password: "\xff"},
		"no identifier":         {password: "x"},
		"an identifier to long": {email: strings.Repeat("x", 1025), password: "x"},
	} {
		if _, err := w.login(apiClient, a); !errors.Is(err, fault.Invalid) || len(fault.Of(err).Fields) != 1 {
			t.Errorf("%s: %v, want fault.Invalid with one field", name, err)
		}
	}
	if w.hashes.Load() != before {
		t.Error("a hash was computed")
	}
	long := strings.Repeat("å", 1024)
	hash, err := w.people.Hasher.Hash(t.Context(), long)
	must(t, err)
	ada, err := w.db.Accounts().UserByCanonical(t.Context(), "ada@example.com")
	must(t, err)
	must(t, w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		_, err := tx.ReplaceHash(ada.ID, ada.PasswordHash, hash, w.clock.now())
		return err
	}))
	_, err = w.login(apiClient, attempt{email: "ada@example.com", password: long})
	must(t, err)
	if _, err = w.login(apiClient, attempt{email: "ada@example.com", password: strings.TrimSuffix(long, "å")}); !errors.Is(err, fault.InvalidCredentials) {
		t.Errorf("1023 of 1024 characters: %v", err)
	}
}

func TestReauthenticationHasCountersOfItsSession(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	ada := w.person("ada@example.com")
	in, err := w.login(apiClient, attempt{email: "ada@example.com", password: rightPassword})
	must(t, err)
	caller := w.caller(ada)
	caller.Session, caller.Origin.IP = in.Session, netip.MustParseAddr("198.51.100.7")
	for range 5 { // a stranger on the same address locks the pair
		_, _ = w.login(apiClient, attempt{email: "ada@example.com", password: "wrong"})
	}
	must(t, w.Logins.Prove(t.Context(), caller, secret.Of(rightPassword)))
	w.heard()
	for i := range 11 {
		want := fault.InvalidCredentials
		if i == 10 {
			want = fault.AccountLocked
		}
		if err := w.Logins.Prove(t.Context(), caller, secret.Of("wrong")); !errors.Is(err, want) {
			t.Fatalf("wrong password %d: %v, want %v", i+1, err, want)
		}
	}
	if e := w.heard()[0]; e.Meta["method"] != "reauthentication" || e.Reason != "wrong_password" || e.Targets[0].ID != string(ada.ID) {
		t.Errorf("recorded %+v", e)
	}
	caller.Session = "sess_other" // another session of the same person is not locked by it
	must(t, w.Logins.Prove(t.Context(), caller, secret.Of(rightPassword)))
}
