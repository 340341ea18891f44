package storagetest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// invitation is one of an organisation that the fixture has.
func (f *fixture) invitation(id ident.InvitationID, org ident.OrgID, canonical string) accounts.Invitation {
	return accounts.Invitation{
		ID: id, Org: org, OrgName: string(org), Email: "As Typed", Canonical: canonical, Role: "viewer", Ceiling: scope.Of("agents:read", "metrics:*"),
		Inviter: "user_1", InvitedBy: "owner@example.com", State: accounts.InvitationOpen, CreatedAt: f.now, ExpiresAt: f.now.Add(time.Hour),
	}
}

// inPeopleTx fails the test where the transaction does.
func (f *fixture) inPeopleTx(t *testing.T, fn func(accounts.Tx) error) {
	t.Helper()
	if err := f.Accounts().InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) addInvitations(t *testing.T, is ...accounts.Invitation) {
	t.Helper()
	f.inPeopleTx(t, func(tx accounts.Tx) error {
		for _, i := range is {
			if _, err := tx.InsertOrg(accounts.Org{ID: i.Org, Name: string(i.Org), Slug: string(i.Org), Status: accounts.Active, CreatedAt: f.now}); err != nil {
				return err
			}
			if err := tx.InsertInvitation(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// invitationKeeping: an invitation comes back as it was stored, to its organisation
// and to whoever has its link.
func invitationKeeping(t *testing.T, f *fixture) {
	a, b, other := f.invitation("inv_1", "org_1", "a@example.com"), f.invitation("inv_2", "org_1", "b@example.com"), f.invitation("inv_3", "org_2", "a@example.com")
	f.addInvitations(t, a, b, other)
	list := func(org ident.OrgID, p ident.Page) []accounts.Invitation {
		t.Helper()
		got, err := f.Accounts().Invitations(t.Context(), tenant(org), p)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := list("org_1", ident.Page{Limit: 9}); !reflect.DeepEqual(got, []accounts.Invitation{b, a}) {
		t.Errorf("listed %+v", got)
	}
	if got := list("org_1", ident.Page{Limit: 1, Before: "inv_2"}); !reflect.DeepEqual(got, []accounts.Invitation{a}) {
		t.Errorf("the second page %+v", got)
	}
	for org, want := range map[ident.OrgID]error{"org_1": nil, "org_2": fault.NotFound} {
		if got, err := f.Accounts().OneInvitation(t.Context(), tenant(org), "inv_1"); !errors.Is(err, want) || err == nil && !reflect.DeepEqual(got, a) {
			t.Errorf("to %s it is %+v, %v", org, got, err)
		}
	}
	f.keepsInvitation(t, a)
}

// keepsInvitation reads an invitation of org_1 in a transaction, changes it, links it.
func (f *fixture) keepsInvitation(t *testing.T, a accounts.Invitation) {
	t.Helper()
	f.inPeopleTx(t, func(tx accounts.Tx) error {
		if got, err := tx.Invitation("org_1", "inv_1"); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("read %+v, %v", got, err)
		}
		if _, err := tx.Invitation("org_2", "inv_1"); !errors.Is(err, fault.NotFound) {
			t.Errorf("another organisation's: %v", err)
		}
		if got, err := tx.OpenInvitation("org_2", "a@example.com"); err != nil || got.ID != "inv_3" {
			t.Errorf("open %+v, %v", got, err)
		}
		a.Ceiling, a.Inviter, a.InvitedBy, a.ExpiresAt = scope.Of("agents:read"), "", "the operator", f.now.Add(2*time.Hour)
		return errors.Join(tx.UpdateInvitation(a), tx.InsertInvitationLink([]byte("digest"), "inv_1"), tx.InsertInvitationLink([]byte("another"), "inv_1"))
	})
	for _, link := range []string{"digest", "another"} {
		if got, err := f.Accounts().InvitationByLink(t.Context(), []byte(link)); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("by link %+v, %v", got, err)
		}
	}
	if _, err := f.Accounts().InvitationByLink(t.Context(), []byte("diges")); !errors.Is(err, fault.NotFound) {
		t.Errorf("nobody's link: %v", err)
	}
}

// invitationEnds: one address has one invitation that is open, and it ends once.
func invitationEnds(t *testing.T, f *fixture) {
	f.addInvitations(t, f.invitation("inv_1", "org_1", "a@example.com"), f.invitation("inv_3", "org_2", "a@example.com"))
	twice := f.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
		return tx.InsertInvitation(f.invitation("inv_4", "org_1", "a@example.com"))
	})
	if !errors.Is(twice, fault.Conflict) {
		t.Errorf("a second open one: %v", twice)
	}
	f.inPeopleTx(t, func(tx accounts.Tx) error {
		first, err := tx.SettleInvitation("inv_1", accounts.InvitationAccepted)
		again, err2 := tx.SettleInvitation("inv_1", accounts.InvitationRevoked)
		if !first || again {
			t.Errorf("ended %v, and again %v", first, again)
		}
		_, none := tx.OpenInvitation("org_1", "a@example.com")
		if !errors.Is(none, fault.NotFound) {
			t.Errorf("still open: %v", none)
		}
		return errors.Join(err, err2, tx.InsertInvitation(f.invitation("inv_4", "org_1", "a@example.com")))
	})
	for id, want := range map[ident.InvitationID]bool{"inv_3": true, "inv_9": false} {
		if there, err := f.Accounts().InvitationExists(t.Context(), id); err != nil || there != want {
			t.Errorf("%s exists: %v, %v", id, there, err)
		}
	}
}

// invitationMembers: whether an address is a member's is said of one organisation.
func invitationMembers(t *testing.T, f *fixture) {
	f.addInvitations(t, f.invitation("inv_1", "org_1", "a@example.com"), f.invitation("inv_2", "org_2", "a@example.com"))
	f.inPeopleTx(t, func(tx accounts.Tx) error {
		if _, err := tx.InsertUser(accounts.User{ID: "user_1", Email: "A@example.com", Canonical: "a@example.com", Status: accounts.Active, CreatedAt: f.now}); err != nil {
			return err
		}
		if _, err := tx.InsertMembership(accounts.Membership{User: "user_1", Org: "org_1", Role: "viewer", CreatedAt: f.now}); err != nil {
			return err
		}
		for org, want := range map[ident.OrgID]bool{"org_1": true, "org_2": false} {
			if is, err := tx.MemberByEmail(org, "a@example.com"); err != nil || is != want {
				t.Errorf("a member of %s: %v, %v", org, is, err)
			}
		}
		return nil
	})
}

// invitationLetters: letters are counted and sent once, and go with their invitation.
func invitationLetters(t *testing.T, f *fixture) {
	q := f.InvitationQueue()
	f.addInvitations(t, f.invitation("inv_1", "org_1", "a@example.com"))
	letter := func(id string, created, due time.Time) accounts.InvitationLetter {
		return accounts.InvitationLetter{ID: id, Invitation: "inv_1", Org: "org_1", Canonical: "a@example.com", CreatedAt: created, DueAt: due}
	}
	first, second, shown := letter("1", f.now, f.now), letter("2", f.now.Add(time.Second), f.now.Add(time.Minute)), letter("3", f.now.Add(2*time.Second), time.Time{})
	f.inPeopleTx(t, func(tx accounts.Tx) error {
		return errors.Join(tx.AddInvitationLetter(first), tx.AddInvitationLetter(second), tx.AddInvitationLetter(shown))
	})
	f.inPeopleTx(t, func(tx accounts.Tx) error {
		n, oldest, err := tx.InvitationLettersOf("org_1", f.now)
		if n != 2 || !oldest.Equal(second.CreatedAt) {
			t.Errorf("%d letters since the first, the oldest of %v", n, oldest)
		}
		none, never, err2 := tx.InvitationLettersOf("org_2", time.Time{})
		if none != 0 || !never.IsZero() {
			t.Errorf("another organisation's: %d, %v", none, never)
		}
		return errors.Join(err, err2)
	})
	due, err := q.DueInvitations(t.Context(), f.now, 9)
	if err != nil || !reflect.DeepEqual(due, []accounts.InvitationLetter{first}) {
		t.Fatalf("due %+v, %v", due, err)
	}
	due, err = q.DueInvitations(t.Context(), second.DueAt, 9)
	if err != nil || !reflect.DeepEqual(due, []accounts.InvitationLetter{first}) {
		t.Fatalf("due later, both to one address: %+v, %v", due, err)
	}
	if i, err := q.InvitationOf(t.Context(), first); err != nil || i.ID != "inv_1" || i.OrgName != "org_1" {
		t.Errorf("its invitation %+v, %v", i, err)
	}
	f.sendsOnce(t, first, second)
	for n, before := range []time.Time{f.now, f.now.Add(2 * time.Hour)} {
		if removed, err := q.PruneInvitations(t.Context(), before, 9); err != nil || removed != n {
			t.Errorf("pruned %d before %v, %v", removed, before, err)
		}
	}
	if next, err := q.NextInvitation(t.Context()); err != nil || !next.IsZero() {
		t.Errorf("a letter is left: %v, %v", next, err)
	}
}

// sendsOnce claims, puts off and settles the first of two letters.
func (f *fixture) sendsOnce(t *testing.T, first, second accounts.InvitationLetter) {
	t.Helper()
	q := f.InvitationQueue()
	won, err := q.ClaimInvitation(t.Context(), first, f.now.Add(time.Minute), []byte("digest"))
	again, err2 := q.ClaimInvitation(t.Context(), first, f.now.Add(time.Minute), []byte("another"))
	if err = errors.Join(err, err2); err != nil || !won || again {
		t.Fatalf("claimed %v, and again %v: %v", won, again, err)
	}
	if _, err := f.Accounts().InvitationByLink(t.Context(), []byte("another")); !errors.Is(err, fault.NotFound) {
		t.Errorf("the loser's link: %v", err)
	}
	first.Attempts = 1
	for _, l := range []accounts.InvitationLetter{first, second} { // one is under way: the first
		if n, err := q.InvitationsSentTo(t.Context(), l, f.now.Add(-time.Second)); err != nil || (n == 1) != (l.ID == second.ID) {
			t.Errorf("sent besides %s: %d, %v", l.ID, n, err)
		}
	}
	if err := q.PostponeInvitation(t.Context(), first, f.now.Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if next, err := q.NextInvitation(t.Context()); err != nil || !next.Equal(f.now.Add(30*time.Second)) {
		t.Errorf("next %v, %v", next, err)
	}
	if oldest, err := q.OldestInvitation(t.Context(), f.now); err != nil || !oldest.Equal(first.CreatedAt) {
		t.Errorf("oldest %v, %v", oldest, err)
	}
	sent := audit.Event{Time: f.now, Name: audit.MailSent, Outcome: audit.Success, Actor: audit.Actor{Type: "system"}, Org: "org_1"}
	if err := errors.Join(q.SettleInvitationLetter(t.Context(), first, f.now, sent), q.SettleInvitationLetter(t.Context(), first, f.now, sent)); err != nil {
		t.Fatal(err)
	}
	if got := f.committed(); len(got) != 1 {
		t.Errorf("recorded %v", got)
	}
	if n, err := q.InvitationsSentTo(t.Context(), second, f.now.Add(-time.Second)); err != nil || n != 1 {
		t.Errorf("sent %d, %v", n, err)
	}
	if oldest, err := q.OldestInvitation(t.Context(), f.now); err != nil || !oldest.IsZero() { // the second is not due
		t.Errorf("oldest %v, %v", oldest, err)
	}
	if next, err := q.NextInvitation(t.Context()); err != nil || !next.Equal(second.DueAt) {
		t.Errorf("next after it %v, %v", next, err)
	}
}
