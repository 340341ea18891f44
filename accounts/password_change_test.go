package accounts_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const next = "an entirely different one"

func TestChangedPasswordEndsEveryOtherSession(t *testing.T) {
	// SEC-LOG-23 (password change)
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	eve := w.user(acme, "eve@example.com", accounts.RoleViewer)
	there, err := w.AddMember(t.Context(), w.operator(globex.ID), eve.ID, accounts.RoleViewer)
	if err != nil {
		t.Fatal(err)
	}
	mine, other, away := w.session(eve), w.session(eve), w.session(there)
	c := w.as(eve)
	c.Session = mine
	w.told()
	w.announced()
	w.pass(time.Minute)
	if err := w.ChangePassword(t.Context(), c, secret.Of(password), secret.Of(next)); err != nil {
		t.Fatal(err)
	}
	if w.ended(mine) != "" || w.ended(other) != "password_changed" || w.ended(away) != "password_changed" {
		t.Errorf("sessions ended: own %q, other %q, elsewhere %q", w.ended(mine), w.ended(other), w.ended(away))
	}
	for _, ch := range w.announced() {
		if ch.Kind == changes.SubjectCutoff || ch.Key == string(mine) {
			t.Errorf("%+v would refuse the session that changed it", ch)
		}
	}
	w.wantEvents(audit.PasswordChanged)
	u, err := w.db.Accounts().User(t.Context(), eve.ID)
	if err != nil || !u.PasswordChangedAt.Equal(w.now) {
		t.Errorf("changed at %v, %v", u.PasswordChangedAt, err)
	}
	for p, want := range map[string]bool{password: false, next: true} {
		if ok, _, err := w.Hasher.Verify(t.Context(), u.PasswordHash, p); ok != want || err != nil {
			t.Errorf("%q matches: %v, %v", p, ok, err)
		}
	}
}

func TestPasswordChangeIsRefused(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	eve := w.user(acme, "eve@example.com", accounts.RoleViewer)
	c := w.as(eve)
	c.Session = w.session(eve)
	key := c
	key.Kind, key.Key = ident.APIKey, "key_1"
	for name, try := range map[string]struct {
		caller        ident.Caller
		current, next string
		want          fault.Code
		field         string
	}{
		"wrong password":       {c, "not the password at all", next, fault.InvalidCredentials, ""},
		"no password":          {c, "", next, fault.Invalid, "current_password"},
		"too short":            {c, password, "short", fault.Invalid, "new_password"},
		"the same":             {c, password, password, fault.Invalid, "new_password"},
		"the address":          {c, password, "my eve@example.com password", fault.Invalid, "new_password"},
		"the organisation":     {c, password, "the acme organisation", fault.Invalid, "new_password"},
		"by API key":           {key, password, next, fault.InsufficientPermissions, ""},
		"by nobody":            {ident.Caller{}, password, next, fault.InsufficientPermissions, ""},
		"by the command line ": {w.operator(acme.ID), password, next, fault.InsufficientPermissions, ""},
	} {
		err := w.ChangePassword(t.Context(), try.caller, secret.Of(try.current), secret.Of(try.next))
		f := fault.Of(err)
		if f.Code != try.want || try.field != "" && f.Fields[0].Name != try.field {
			t.Errorf("%s: %v, want %s %s", name, err, try.want, try.field)
		}
	}
	if w.ended(c.Session) != "" {
		t.Error("a refused change ended the session")
	}
	if u, err := w.db.Accounts().User(t.Context(), eve.ID); u.PasswordHash != eve.PasswordHash || err != nil {
		t.Errorf("a refused change changed the hash: %v", err)
	}
}

func TestGuessingByChangingIsThrottled(t *testing.T) {
	// One counter set for every way to present a password.
	w := newWorld(t)
	eve := w.user(w.org("acme"), "eve@example.com", accounts.RoleViewer)
	c := w.as(eve)
	c.Session = w.session(eve)
	for range 20 {
		err := w.ChangePassword(t.Context(), c, secret.Of("not the password at all"), secret.Of(next))
		if errors.Is(err, fault.AccountLocked) {
			return
		}
		wantCode(t, err, fault.InvalidCredentials)
	}
	t.Error("20 guesses were let through")
}

func TestOfTwoPasswordChangesOneWins(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		eve := w.user(w.org("acme"), "eve@example.com", accounts.RoleViewer)
		c := w.as(eve)
		c.Session = w.session(eve)
		w.pass(time.Minute)
		choices := []string{"the first of two passwords", "the second of two passwords"}
		errs := make([]error, 2)
		together(2, func(i int) {
			errs[i] = w.ChangePassword(t.Context(), c, secret.Of(password), secret.Of(choices[i]))
		})
		u, err := w.db.Accounts().User(t.Context(), eve.ID)
		if err != nil {
			t.Fatal(err)
		}
		for i, choice := range choices {
			ok, _, err := w.Hasher.Verify(t.Context(), u.PasswordHash, choice)
			if err != nil || ok != (errs[i] == nil) {
				t.Errorf("choice %d: answered %v, matches %v, %v", i, errs[i], ok, err)
			}
		}
	})
}

func TestDisabledWhileChangingThePassword(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner, eve := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "eve@example.com", accounts.RoleViewer)
	c := w.as(eve)
	if _, err := w.SetStatus(t.Context(), w.as(owner), eve.ID, accounts.Disabled); err != nil {
		t.Fatal(err)
	}
	err := w.ChangePassword(t.Context(), c, secret.Of(password), secret.Of(next))
	if !errors.Is(err, fault.AccountDisabled) && !errors.Is(err, fault.InvalidCredentials) {
		t.Errorf("a disabled user changed the password: %v", err)
	}
}
