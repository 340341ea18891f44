package storagetest

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func organisations(t *testing.T, f *fixture) {
	s, ctx := f.Accounts(), t.Context()
	acme, globex, twin := f.org("acme"), f.org("globex"), f.org("acme")
	globex.ID = ident.NewOrgID(f.now.Add(time.Second), rand.Reader)
	f.add(t, nil, []accounts.Org{acme, globex})
	f.people(t, func(tx accounts.Tx) error {
		added, err := tx.InsertOrg(twin)
		if added || err != nil {
			t.Errorf("a slug that is taken: %v, %v; want false", added, err)
		}
		if _, err := tx.LockOrg("org_none"); !errors.Is(err, fault.NotFound) {
			t.Errorf("LockOrg of none: %v", err)
		}
		got, err := tx.LockOrg(acme.ID)
		if err != nil || got != acme {
			t.Errorf("LockOrg = %+v, %v", got, err)
		}
		acme.Name, acme.Status = "Acme 2", accounts.Disabled
		return tx.UpdateOrg(acme)
	})
	if got, err := s.Org(ctx, acme.ID); err != nil || got != acme {
		t.Errorf("Org = %+v, %v; want %+v", got, err, acme)
	}
	if got, err := s.OrgBySlug(ctx, "globex"); err != nil || got != globex {
		t.Errorf("OrgBySlug = %+v, %v; want %+v", got, err, globex)
	}
	_, err1 := s.Org(ctx, twin.ID)
	_, err2 := s.OrgBySlug(ctx, "Acme")
	if !errors.Is(err1, fault.NotFound) || !errors.Is(err2, fault.NotFound) {
		t.Errorf("organisations that do not exist: %v, %v", err1, err2)
	}
	if first, err := s.FirstOrg(ctx); err != nil || first != acme.ID {
		t.Errorf("FirstOrg = %s, %v; want %s, the oldest", first, err, acme.ID)
	}
	for page, want := range map[ident.Page][]accounts.Org{
		{Limit: 5}:                            {globex, acme},
		{Limit: 1}:                            {globex},
		{Limit: 5, Before: string(globex.ID)}: {acme},
		{Limit: 5, Before: string(acme.ID)}:   {},
	} {
		if got, err := s.Orgs(ctx, page); err != nil || !slices.Equal(got, want) {
			t.Errorf("Orgs(%+v) = %+v, %v; want %+v", page, got, err, want)
		}
	}
}

func memberships(t *testing.T, f *fixture) {
	s, ctx := f.Accounts(), t.Context()
	anna, bob := f.user("anna@example.com"), f.user("bob@example.com")
	bob.ID = ident.NewUserID(f.now.Add(time.Second), rand.Reader)
	acme, globex := f.org("acme"), f.org("globex")
	f.add(t, []accounts.User{anna, bob}, []accounts.Org{acme, globex})
	f.member(t, anna, acme, "owner", f.now.Add(time.Hour))
	f.member(t, bob, acme, "viewer", f.now.Add(2*time.Hour))
	f.member(t, anna, globex, "sre", f.now)
	f.people(t, func(tx accounts.Tx) error {
		added, err := tx.InsertMembership(accounts.Membership{User: anna.ID, Org: acme.ID, Role: "viewer", CreatedAt: f.now})
		if added || err != nil {
			t.Errorf("a member twice: %v, %v; want false", added, err)
		}
		of, err := tx.OrgsOf(anna.ID)
		if len(of) != 2 || of[0].Org >= of[1].Org || of[0].User != anna.ID {
			t.Errorf("OrgsOf = %+v, %v; want both, ordered", of, err)
		}
		return err
	})
	inAcme := func(u accounts.User, role string, at time.Time) accounts.Member {
		return accounts.Member{User: u, Org: acme.ID, Role: role, JoinedAt: at}
	}
	both := []accounts.Member{inAcme(bob, "viewer", f.now.Add(2*time.Hour)), inAcme(anna, "owner", f.now.Add(time.Hour))}
	for page, want := range map[ident.Page][]accounts.Member{
		{Limit: 5}: both, {Limit: 1}: both[:1], {Limit: 5, Before: string(bob.ID)}: both[1:], {Limit: 5, Before: string(anna.ID)}: {},
	} {
		if got, err := s.Members(ctx, tenant(acme.ID), page); err != nil || !slices.Equal(got, want) {
			t.Errorf("Members(%+v) = %+v, %v; want %+v", page, got, err, want)
		}
	}
	if got, err := s.Member(ctx, tenant(acme.ID), bob.ID); err != nil || got != both[0] {
		t.Errorf("Member = %+v, %v", got, err)
	}
	// O28: nobody is seen from another organisation, nor from none.
	_, err1 := s.Member(ctx, tenant(globex.ID), bob.ID)
	_, err2 := s.Member(ctx, ident.Tenant{}, bob.ID)
	none, err3 := s.Members(ctx, ident.Tenant{}, ident.Page{Limit: 5})
	if !errors.Is(err1, fault.NotFound) || !errors.Is(err2, fault.NotFound) || len(none) != 0 || err3 != nil {
		t.Errorf("seen from outside: %v, %v, %+v, %v", err1, err2, none, err3)
	}
	f.homes(t, anna, acme, globex)
}

func (f *fixture) homes(t *testing.T, u accounts.User, later, earlier accounts.Org) {
	home := func(want ident.OrgID) {
		t.Helper()
		if got, err := f.Accounts().Home(t.Context(), u.ID); err != nil || got != want {
			t.Errorf("Home = %s, %v; want %s", got, err, want)
		}
	}
	home(earlier.ID)
	earlier.Status, later.Status = accounts.Disabled, accounts.Disabled
	f.people(t, func(tx accounts.Tx) error { return tx.UpdateOrg(earlier) })
	home(later.ID) // the oldest that is active
	f.people(t, func(tx accounts.Tx) error { return tx.UpdateOrg(later) })
	home(earlier.ID) // the oldest of all
	f.people(t, func(tx accounts.Tx) error {
		return errors.Join(tx.SetMemberRole(earlier.ID, u.ID, ""), tx.SetMemberRole(later.ID, u.ID, "admin"))
	})
	home(later.ID)
	if m, err := f.Accounts().Member(t.Context(), tenant(later.ID), u.ID); err != nil || m.Role != "admin" {
		t.Errorf("after SetMemberRole: %+v, %v", m, err)
	}
	if _, err := f.Accounts().Home(t.Context(), "user_none"); !errors.Is(err, fault.NotFound) {
		t.Errorf("home of nobody: %v", err)
	}
}
