package storagetest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// service is a service account that is in no backend yet.
func (f *fixture) service(o accounts.Org, name, role string, at time.Time) accounts.ServiceAccount {
	return accounts.ServiceAccount{
		ID: ident.NewServiceAccountID(at, rand.Reader), Org: o.ID, Name: name, Description: "o'neil's\nown", Role: role, Status: accounts.Active, CreatedAt: at,
	}
}

// serviceAccounts: one comes back as it was stored, to its own organisation
// only (O28), and holds its role beside the people.
func serviceAccounts(t *testing.T, f *fixture) {
	s, ctx := f.Accounts(), t.Context()
	anna := f.user("anna@example.com")
	acme, globex := f.org("acme"), f.org("globex")
	f.add(t, []accounts.User{anna}, []accounts.Org{acme, globex})
	f.member(t, anna, acme, "sre", f.now)
	old, young := f.service(acme, "old", "sre", f.now), f.service(acme, "young", "viewer", f.now.Add(time.Second))
	foreign := f.service(globex, "old", "sre", f.now)
	f.people(t, func(tx accounts.Tx) error {
		if err := tx.PutRole(accounts.Role{Org: acme.ID, Name: "sre", Permissions: scope.Of("agents:*"), UpdatedAt: f.now}); err != nil {
			return err
		}
		for _, sa := range []accounts.ServiceAccount{old, young, foreign} {
			if added, err := tx.InsertServiceAccount(sa); !added || err != nil {
				t.Errorf("InsertServiceAccount(%s) = %t, %v", sa.Name, added, err)
			}
		}
		twin := f.service(acme, "old", "viewer", f.now)
		added, err := tx.InsertServiceAccount(twin)
		if added || err != nil {
			t.Errorf("a name that is taken: %t, %v; want false", added, err)
		}
		twin = young
		twin.Name = "old"
		if done, err := tx.UpdateServiceAccount(twin); done || err != nil {
			t.Errorf("renamed to a name that is taken: %t, %v; want false", done, err)
		}
		_, err = tx.LockServiceAccount(tenant(acme.ID), foreign.ID)
		if !errors.Is(err, fault.NotFound) {
			t.Errorf("another organisation's, locked: %v", err)
		}
		got, err := tx.LockServiceAccount(tenant(acme.ID), old.ID)
		if got != old {
			t.Errorf("locked %+v, want %+v", got, old)
		}
		return err
	})
	for page, want := range map[ident.Page][]accounts.ServiceAccount{
		{Limit: 5}: {young, old}, {Limit: 1}: {young}, {Limit: 5, Before: string(young.ID)}: {old}, {Limit: 5, Before: string(old.ID)}: {},
	} {
		if got, err := s.ServiceAccounts(ctx, tenant(acme.ID), page); err != nil || !slices.Equal(got, want) {
			t.Errorf("ServiceAccounts(%+v) = %+v, %v; want %+v", page, got, err, want)
		}
	}
	if got, err := s.ServiceAccount(ctx, tenant(globex.ID), foreign.ID); err != nil || got != foreign {
		t.Errorf("read %+v, %v; want %+v", got, err, foreign)
	}
	_, err1 := s.ServiceAccount(ctx, tenant(acme.ID), foreign.ID)
	none, err2 := s.ServiceAccounts(ctx, ident.Tenant{}, ident.Page{Limit: 5})
	if !errors.Is(err1, fault.NotFound) || len(none) != 0 || err2 != nil {
		t.Errorf("seen from outside: %v, %+v, %v", err1, none, err2)
	}
	for id, want := range map[ident.UserID]bool{old.ID: true, foreign.ID: true, "svc_none": false, anna.ID: false} {
		if got, err := s.ServiceAccountExists(ctx, id); err != nil || got != want {
			t.Errorf("ServiceAccountExists(%s) = %t, %v", id, got, err)
		}
	}
	f.serviceStandings(t, anna, old, acme, globex)
	f.serviceEndings(t, old, acme)
}

// serviceStandings: what decides a standing, and who holds a role.
func (f *fixture) serviceStandings(t *testing.T, anna accounts.User, sa accounts.ServiceAccount, acme, globex accounts.Org) {
	want := accounts.Facts{Name: sa.Name, UserStatus: accounts.Active, OrgName: acme.Name, OrgStatus: accounts.Active, Role: "sre", Custom: scope.Of("agents:*")}
	if got, err := f.Accounts().Facts(t.Context(), sa.ID, acme.ID); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Facts = %+v, %v; want %+v", got, err, want)
	}
	for name, where := range map[string]struct {
		id  ident.UserID
		org ident.OrgID
	}{"in another organisation": {sa.ID, globex.ID}, "of none": {"svc_none", acme.ID}} {
		if got, err := f.Accounts().Facts(t.Context(), where.id, where.org); err != nil || !reflect.DeepEqual(got, accounts.Facts{}) {
			t.Errorf("Facts %s = %+v, %v", name, got, err)
		}
	}
	f.people(t, func(tx accounts.Tx) error {
		got, err := tx.(accounts.StandingTx).Facts(sa.ID, acme.ID)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Facts in a transaction = %+v", got)
		}
		if err != nil {
			return err
		}
		holders, err := tx.Holders(acme.ID, "sre")
		all := []accounts.Holder{{User: sa.ID, Status: accounts.Active}, {User: anna.ID, Status: accounts.Active}}
		if !slices.Equal(holders, all) {
			t.Errorf("Holders = %+v, want %+v", holders, all)
		}
		return err
	})
}

// serviceEndings: the keys it owns are counted while they can be used, and it
// goes without a trace.
func (f *fixture) serviceEndings(t *testing.T, sa accounts.ServiceAccount, acme accounts.Org) {
	usable, expired, revoked, other := usableKey(acme.ID, "AAAA1111", f.now), usableKey(acme.ID, "AAAA2222", f.now), usableKey(acme.ID, "AAAA3333", f.now), usableKey(acme.ID, "AAAA4444", f.now)
	for _, k := range []*apikeys.Key{&usable, &expired, &revoked} {
		k.Owner = sa.ID
	}
	expired.ExpiresAt, revoked.RevokedAt = f.now, f.now
	insertKeys(t, f, usable, expired, revoked, other)
	f.people(t, func(tx accounts.Tx) error {
		if n, err := tx.UsableAPIKeys(sa.ID, f.now); n != 1 || err != nil {
			t.Errorf("UsableAPIKeys = %d, %v; want 1", n, err)
		}
		sa.Name, sa.Description, sa.Role, sa.Status = "renamed", "", "viewer", accounts.Disabled
		done, err := tx.UpdateServiceAccount(sa)
		if !done {
			t.Error("it was not changed")
		}
		return err
	})
	if got, err := f.Accounts().ServiceAccount(t.Context(), tenant(acme.ID), sa.ID); err != nil || got != sa {
		t.Errorf("changed to %+v, %v; want %+v", got, err, sa)
	}
	f.people(t, func(tx accounts.Tx) error { return tx.DeleteServiceAccount(sa.ID) })
	if _, err := f.Accounts().ServiceAccount(t.Context(), tenant(acme.ID), sa.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("deleted: %v", err)
	}
}
