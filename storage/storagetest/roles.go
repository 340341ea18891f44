package storagetest

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

func roles(t *testing.T, f *fixture) {
	s, ctx := f.Accounts(), t.Context()
	anna, bob := f.user("anna@example.com"), f.user("bob@example.com")
	bob.Status = accounts.Disabled
	acme, globex := f.org("acme"), f.org("globex")
	f.add(t, []accounts.User{anna, bob}, []accounts.Org{acme, globex})
	f.member(t, anna, acme, "sre", f.now)
	f.member(t, bob, acme, "sre", f.now)
	f.member(t, anna, globex, "sre", f.now)
	sre := accounts.Role{Org: acme.ID, Name: "sre", Permissions: scope.Of("agents:*", "metrics:read"), UpdatedAt: f.now}
	other := accounts.Role{Org: acme.ID, Name: "other", Permissions: scope.Of("x:y"), UpdatedAt: f.now}
	f.people(t, func(tx accounts.Tx) error {
		return errors.Join(tx.PutRole(accounts.Role{Org: acme.ID, Name: "sre", Permissions: scope.Of("a:b"), UpdatedAt: f.now}), tx.PutRole(other))
	})
	f.people(t, func(tx accounts.Tx) error { return tx.PutRole(sre) }) // replaced
	if got, err := s.Roles(ctx, tenant(acme.ID)); err != nil || !reflect.DeepEqual(got, []accounts.Role{other, sre}) {
		t.Errorf("Roles = %+v, %v; want both by name", got, err)
	}
	if got, err := s.Roles(ctx, tenant(globex.ID)); err != nil || len(got) != 0 {
		t.Errorf("roles seen from another organisation: %+v, %v", got, err)
	}
	f.people(t, func(tx accounts.Tx) error {
		got, err := tx.CustomRole(acme.ID, "sre")
		if !reflect.DeepEqual(got, sre) || err != nil {
			t.Errorf("CustomRole = %+v, %v", got, err)
		}
		if _, err := tx.CustomRole(globex.ID, "sre"); !errors.Is(err, fault.NotFound) {
			t.Errorf("another organisation's role: %v", err)
		}
		holders, err := tx.Holders(acme.ID, "sre")
		want := []accounts.Holder{{User: anna.ID, Status: accounts.Active}, {User: bob.ID, Status: accounts.Disabled}}
		slices.SortFunc(want, func(a, b accounts.Holder) int { return cmp.Compare(a.User, b.User) })
		if !slices.Equal(holders, want) {
			t.Errorf("Holders = %+v, want %+v", holders, want)
		}
		return err
	})
	f.facts(t, anna, bob, acme, globex)
	f.people(t, func(tx accounts.Tx) error { return tx.PutRole(accounts.Role{Org: acme.ID, Name: "sre"}) })
	if got, err := s.Roles(ctx, tenant(acme.ID)); err != nil || len(got) != 1 {
		t.Errorf("after its permissions went the role is still there: %+v, %v", got, err)
	}
}

func (f *fixture) facts(t *testing.T, anna, bob accounts.User, acme, globex accounts.Org) {
	member := accounts.Facts{Email: anna.Email, Name: anna.Name, UserStatus: accounts.Active, OrgName: acme.Name, OrgStatus: accounts.Active, Role: "sre"}
	member.Custom = scope.Of("agents:*", "metrics:read")
	elsewhere, disabled := member, member
	elsewhere.OrgName, elsewhere.Custom = globex.Name, nil
	disabled.Email, disabled.UserStatus = bob.Email, accounts.Disabled
	for _, c := range []struct {
		name string
		user ident.UserID
		org  ident.OrgID
		want accounts.Facts
	}{
		{"a member", anna.ID, acme.ID, member},
		{"a role that only another organisation has", anna.ID, globex.ID, elsewhere},
		{"a disabled member", bob.ID, acme.ID, disabled},
		{"no member", bob.ID, globex.ID, accounts.Facts{Email: bob.Email, Name: bob.Name, UserStatus: accounts.Disabled}},
		{"no organisation", anna.ID, "org_none", accounts.Facts{Email: anna.Email, Name: anna.Name, UserStatus: accounts.Active}},
		{"nobody", "user_none", acme.ID, accounts.Facts{}},
	} {
		got, err := f.Accounts().Facts(t.Context(), c.user, c.org)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: Facts =\n%+v, %v; want\n%+v", c.name, got, err, c.want)
		}
		f.people(t, func(tx accounts.Tx) error {
			got, err := tx.(accounts.StandingTx).Facts(c.user, c.org)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: Facts in a transaction = %+v, want %+v", c.name, got, c.want)
			}
			return err
		})
	}
}
