package accounts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func TestPeopleNameThemselves(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		acme := w.org("acme")
		eve := w.user(acme, "eve@example.com", accounts.RoleViewer)
		c := w.as(eve)
		w.told()
		w.announced()
		u, err := w.ChangeName(t.Context(), c, "  Eve Müller ")
		if err != nil || u.Name != "Eve Müller" {
			t.Fatalf("%q, %v", u.Name, err)
		}
		w.wantEvents(audit.UserUpdated)
		if cs := w.announced(); len(cs) != 1 || cs[0].Kind != changes.User || cs[0].Key != string(eve.ID) {
			t.Errorf("announced %v", cs)
		}
		if s, err := w.dir.Standing(t.Context(), eve.ID, acme.ID); err != nil || s.Name != "Eve Müller" {
			t.Errorf("known as %q, %v", s.Name, err)
		}
		if self, err := w.Self(t.Context(), c); err != nil || self.Name != "Eve Müller" || self.Email != "eve@example.com" {
			t.Errorf("%+v, %v", self, err)
		}
		if _, err := w.ChangeName(t.Context(), c, "Eve Müller"); err != nil {
			t.Error(err)
		}
		w.wantEvents() // it is her name already
		if u, err := w.ChangeName(t.Context(), c, ""); err != nil || u.Name != "" {
			t.Errorf("without a name: %q, %v", u.Name, err)
		}
	})
}

func TestANameIsRefused(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	eve := w.user(acme, "eve@example.com", accounts.RoleViewer)
	c := w.as(eve)
	key := c
	key.Kind, key.Key = ident.APIKey, "key_1"
	for name, try := range map[string]struct {
		caller ident.Caller
		name   string
		want   fault.Code
	}{
		"two lines":           {c, "Eve\nAdministrator", fault.Invalid},
		"right to left":       {c, "Eve \u202eevE", fault.Invalid},
		"too long":            {c, strings.Repeat("e", 201), fault.Invalid},
		"by API key":          {key, "Eve", fault.InsufficientPermissions},
		"by nobody":           {ident.Caller{}, "Eve", fault.InsufficientPermissions},
		"by the command line": {w.operator(acme.ID), "Eve", fault.InsufficientPermissions},
	} {
		if _, err := w.ChangeName(t.Context(), try.caller, try.name); !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", name, err, try.want)
		}
	}
	if _, err := w.SetStatus(t.Context(), w.operator(acme.ID), eve.ID, accounts.Disabled); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ChangeName(t.Context(), c, "Eve"); !errors.Is(err, fault.AccountDisabled) {
		t.Errorf("of somebody disabled: %v", err)
	}
}
