package accounts_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// counted is the real store, counting the reads of facts.
type counted struct {
	accounts.UserReader
	reads int
}

func (c *counted) Facts(ctx context.Context, u ident.UserID, o ident.OrgID) (accounts.Facts, error) {
	c.reads++
	return c.UserReader.Facts(ctx, u, o)
}

func TestStandingIsReadOnceUntilSomethingChanges(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	eve, bob := w.user(acme, "eve@example.com", accounts.RoleViewer), w.user(globex, "bob@example.com", accounts.RoleViewer)
	store := &counted{UserReader: w.db.Accounts()}
	var fresh atomic.Bool
	fresh.Store(true)
	d := accounts.NewDirectory(store, w.Catalogue, 10, fresh.Load)
	ask := func(want int) {
		t.Helper()
		store.reads = 0
		for range 2 {
			for _, m := range []accounts.Member{eve, bob} {
				s, err := d.Standing(t.Context(), m.ID, m.Org)
				if err != nil || !s.Active || s.Email != m.Email || s.User != m.ID || s.Org != m.Org || s.Role != accounts.RoleViewer {
					t.Fatalf("standing %+v, %v", s, err)
				}
			}
		}
		if store.reads != want {
			t.Errorf("%d reads, want %d", store.reads, want)
		}
	}
	ask(2)
	ask(0)
	d.Hear([]changes.Change{{Kind: changes.User, Key: string(eve.ID)}})
	ask(1)
	d.Hear([]changes.Change{{Kind: changes.Org, Key: string(globex.ID)}})
	ask(1)
	d.Hear([]changes.Change{{Kind: changes.SessionRevoked, Key: string(eve.ID)}, {Kind: changes.User, Key: "user_other"}})
	ask(0)
	d.Forget()
	ask(2)
	fresh.Store(false) // the feed is silent: nothing cached is believed
	ask(4)
}

func TestStandingSaysWhyNot(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	eve, bob := w.user(acme, "eve@example.com", accounts.RoleViewer), w.user(globex, "bob@example.com", accounts.RoleOwner)
	globex.Status = accounts.Disabled
	err := w.db.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		return errors.Join(tx.UpdateOrg(globex), tx.SetMemberRole(acme.ID, eve.ID, "gone"))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user   ident.UserID
		org    ident.OrgID
		reason string
		active bool
	}{
		{eve.ID, acme.ID, "", true}, // a role that does not exist permits nothing
		{eve.ID, globex.ID, accounts.ReasonNotAMember, false},
		{bob.ID, globex.ID, accounts.ReasonOrgDisabled, false},
		{bob.ID, "org_none", accounts.ReasonNotAMember, false},
		{"user_none", acme.ID, accounts.ReasonUnknown, false},
		{"", "", accounts.ReasonUnknown, false},
	} {
		s, err := w.dir.Standing(t.Context(), c.user, c.org)
		if err != nil || s.Active != c.active || s.Reason != c.reason || len(s.Permissions) != 0 {
			t.Errorf("standing of %s in %s = %+v, %v; want %q", c.user, c.org, s, err, c.reason)
		}
	}
	_, err = w.CreateUser(t.Context(), w.operator(globex.ID), accounts.NewUser{Email: "x@example.com", Role: "viewer", PasswordHash: mustHash(t)})
	wantCode(t, err, fault.Conflict)
	if m, err := w.SetRole(t.Context(), w.operator(acme.ID), eve.ID, accounts.RoleEngineer); m.Role != accounts.RoleEngineer || err != nil {
		t.Errorf("a role that does not exist cannot be replaced: %+v, %v", m, err)
	}
	if home, err := w.dir.Home(t.Context(), eve.ID); home != acme.ID || err != nil {
		t.Errorf("home %s, %v", home, err)
	}
}

func mustHash(t *testing.T) string {
	t.Helper()
	h, err := hashed()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestStandingFailsWhileTheDatabaseDoes(t *testing.T) {
	w := newWorld(t)
	eve := w.user(w.org("acme"), "eve@example.com", accounts.RoleViewer)
	w.plan.FailAll()
	_, err := w.dir.Standing(t.Context(), eve.ID, eve.Org)
	w.plan.Heal()
	wantCode(t, err, fault.Unavailable)
	if s, err := w.dir.Standing(t.Context(), eve.ID, eve.Org); !s.Active || err != nil {
		t.Errorf("after it healed: %+v, %v; the failure was remembered", s, err)
	}
}

func TestCatalogueHoldsOursAndTheConfigured(t *testing.T) {
	c, err := accounts.NewCatalogue("x:y")
	if err != nil || !c.Knows("x:y") || c.Knows("agents:read") {
		t.Errorf("catalogue %v, %v", c.All(), err)
	}
	for _, p := range accounts.Permissions() {
		if !slices.Contains(c.All(), p) {
			t.Errorf("%s is missing", p)
		}
	}
	for _, bad := range []string{"x", "x:*", "X:y", ""} {
		if _, err := accounts.NewCatalogue(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
