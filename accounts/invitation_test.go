package accounts_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// invite makes an invitation and returns it with its link.
func (w *world) invite(by ident.Caller, email, role string) accounts.Offer {
	w.t.Helper()
	o, err := w.Invite(w.t.Context(), by, email, role)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// newcomer accepts as somebody without an account.
func (w *world) newcomer(link secret.Plain) error {
	return w.AcceptNew(w.t.Context(), accounts.Newcomer{Token: link, Name: "Guest", Password: secret.Of(password)}, ident.Origin{})
}

// memberBy is the role of who has the address; empty: they are no member.
func (w *world) memberBy(org accounts.Org, email string) string {
	w.t.Helper()
	u, err := w.db.Accounts().UserByCanonical(w.t.Context(), email)
	if err != nil {
		return ""
	}
	return w.role(accounts.Member{User: u, Org: org.ID})
}

func TestAnInvitedStrangerJoinsOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		org := w.org("acme")
		owner := w.user(org, "owner@example.com", accounts.RoleOwner)
		w.told()
		o := w.invite(w.as(owner), " Guest@Example.org ", accounts.RoleEngineer)
		if o.Email != "Guest@Example.org" || o.State != accounts.InvitationOpen || o.InvitedBy != "owner@example.com" || !o.ExpiresAt.Equal(w.clock().Add(accounts.InvitationTTL)) {
			t.Errorf("%+v", o)
		}
		w.wantEvents(audit.InvitationCreated)
		found, err := w.InvitationBehind(t.Context(), o.Link)
		if err != nil || found.Role != accounts.RoleEngineer || found.OrgName != org.Name {
			t.Fatalf("%+v, %v", found, err)
		}
		hashes := w.inflight()
		wantCode(t, w.AcceptNew(t.Context(), accounts.Newcomer{Token: o.Link, Password: secret.Of("short")}, ident.Origin{}), fault.Invalid)
		wantCode(t, w.newcomer(secret.Of("th_invite_nothing")), fault.InsufficientPermissions)
		if w.inflight() != hashes {
			t.Error("hashed for nothing")
		}
		var joined atomic.Int32
		together(4, func(int) {
			if err := w.newcomer(o.Link); err == nil {
				joined.Add(1)
			}
		})
		if got := w.memberBy(org, "guest@example.org"); got != accounts.RoleEngineer {
			t.Errorf("the guest is %q", got)
		}
		n := map[audit.Name]int{}
		for _, e := range w.told() {
			if e.Outcome == audit.Success {
				n[e.Name]++
			}
			if e.Name == audit.InvitationAccepted && (e.Org != org.ID || e.Meta["invited_by"] != "owner@example.com") {
				t.Errorf("%+v", e)
			}
		}
		if n[audit.UserRegistered] != 1 || n[audit.MemberAdded] != 1 || n[audit.InvitationAccepted] != 1 {
			t.Errorf("recorded %v", n)
		}
		wantCode(t, w.newcomer(o.Link), fault.InsufficientPermissions)
	})
}

// Whoever has the link learns nothing of an account: the form without its password
// changes nothing and is answered as that of a stranger. The owner accepts signed in.
func TestAnAccountIsNotGivenAwayByAnInvitation(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		org, other := w.org("acme"), w.org("other")
		owner, known := w.user(org, "owner@example.com", accounts.RoleOwner), w.user(other, "known@example.com", accounts.RoleViewer)
		stranger := w.user(other, "eve@example.com", accounts.RoleOwner)
		o := w.invite(w.as(owner), "KNOWN@example.com", accounts.RoleAdmin)
		w.told()
		hashes := w.inflight()
		if err := w.newcomer(o.Link); err != nil {
			t.Fatal(err)
		}
		if w.inflight() != hashes+1 {
			t.Error("the answer had another price")
		}
		if es := w.told(); len(es) != 1 || es[0].Name != audit.UserRegistered || es[0].Org != "" || es[0].Reason != "email_taken" {
			t.Errorf("recorded %+v", es)
		}
		if got := w.role(accounts.Member{User: known.User, Org: org.ID}); got != "" {
			t.Errorf("joined as %q", got)
		}
		_, err := w.AcceptAs(t.Context(), w.as(stranger), o.Link)
		wantCode(t, err, fault.InsufficientPermissions)
		w.wantEvents(audit.InvitationRefused)
		m, err := w.AcceptAs(t.Context(), w.as(known), o.Link)
		if err != nil || m.Role != accounts.RoleAdmin || w.role(accounts.Member{User: known.User, Org: org.ID}) != accounts.RoleAdmin {
			t.Fatalf("%+v, %v", m, err)
		}
		if m, err := w.InvitedInto(t.Context(), o.Link, known.ID); err != nil || m.Org != org.ID {
			t.Errorf("where they joined: %+v, %v", m, err)
		}
		_, err = w.InvitedInto(t.Context(), o.Link, stranger.ID)
		wantCode(t, err, fault.NotFound)
		_, err = w.Invite(t.Context(), w.as(owner), "known@example.com", accounts.RoleViewer)
		wantCode(t, err, fault.Conflict)
	})
}

// Nobody is invited to more than whoever invites may give, when they invite and
// when it is accepted.
func TestAnInvitationGivesNoMoreThanItsInviterMay(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		org := w.org("acme")
		owner, admin := w.user(org, "owner@example.com", accounts.RoleOwner), w.user(org, "admin@example.com", accounts.RoleAdmin)
		set := func(role string, permissions ...string) {
			t.Helper()
			if _, err := w.SetRolePermissions(t.Context(), w.as(owner), role, permissions); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.Invite(t.Context(), w.as(admin), "a@example.org", accounts.RoleOwner)
		wantCode(t, err, fault.InsufficientPermissions)
		_, err = w.Invite(t.Context(), w.as(admin), "a@example.org", "nonesuch")
		wantCode(t, err, fault.Invalid)

		set("helper", "agents:read")
		o := w.invite(w.as(admin), "more@example.org", "helper")
		set("helper", "agents:read", "metrics:read")
		wantCode(t, w.newcomer(o.Link), fault.InsufficientPermissions)
		if _, err := w.ResendInvitation(t.Context(), w.as(admin), o.ID); err != nil { // who vouches for it anew
			t.Fatal(err)
		}
		if err := w.newcomer(o.Link); err != nil || w.memberBy(org, "more@example.org") != "helper" {
			t.Errorf("sent again: %v", err)
		}

		set("doomed", "agents:read")
		gone := w.invite(w.as(admin), "gone@example.org", "doomed")
		if err := w.DeleteRole(t.Context(), w.as(owner), "doomed"); err != nil {
			t.Fatal(err)
		}
		wantCode(t, w.newcomer(gone.Link), fault.InsufficientPermissions)

		left := w.invite(w.as(admin), "left@example.org", accounts.RoleAdmin)
		demoted := w.invite(w.as(admin), "demoted@example.org", accounts.RoleAdmin)
		if _, err := w.SetRole(t.Context(), w.as(owner), admin.ID, accounts.RoleEngineer); err != nil {
			t.Fatal(err)
		}
		wantCode(t, w.newcomer(demoted.Link), fault.InsufficientPermissions)
		_, err = w.ResendInvitation(t.Context(), w.as(admin), demoted.ID)
		wantCode(t, err, fault.InsufficientPermissions)
		wantCode(t, w.RevokeInvitation(t.Context(), w.as(admin), demoted.ID), fault.InsufficientPermissions)
		if err := w.RemoveMember(t.Context(), w.as(owner), admin.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, w.newcomer(left.Link), fault.InsufficientPermissions)
		for _, email := range []string{"gone@example.org", "left@example.org", "demoted@example.org"} {
			if got := w.memberBy(org, email); got != "" {
				t.Errorf("%s is %q", email, got)
			}
		}
	})
}

// An invitation of another organisation does not exist, and asking for it is recorded.
func TestInvitationsOfOthers(t *testing.T) {
	w := newWorld(t)
	org, other := w.org("acme"), w.org("other")
	owner, eve := w.user(org, "owner@example.com", accounts.RoleOwner), w.user(other, "eve@example.com", accounts.RoleOwner)
	o := w.invite(w.as(owner), "guest@example.org", accounts.RoleViewer)
	w.told()
	wantCode(t, w.RevokeInvitation(t.Context(), w.as(eve), o.ID), fault.NotFound)
	_, err := w.ResendInvitation(t.Context(), w.as(eve), o.ID)
	wantCode(t, err, fault.NotFound)
	w.wantEvents(audit.CrossOrgDenied, audit.CrossOrgDenied)
	wantCode(t, w.RevokeInvitation(t.Context(), w.as(eve), ident.NewInvitationID(w.clock(), w.Random)), fault.NotFound)
	w.wantEvents()
	if found, err := w.Invitations(t.Context(), w.as(eve), ident.Page{Limit: 10}); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	w.invite(w.as(eve), "guest@example.org", accounts.RoleViewer) // each has its own
}

// Where mail is sent, nobody but the letter has the link.
func TestALetterHasTheOnlyLink(t *testing.T) {
	w := newWorld(t)
	w.Mails = true
	org := w.org("acme")
	owner := w.user(org, "owner@example.com", accounts.RoleOwner)
	o := w.invite(w.as(owner), "guest@example.org", accounts.RoleViewer)
	if !o.Link.IsZero() {
		t.Error("whoever invites has the link")
	}
	due, err := w.db.InvitationQueue().DueInvitations(t.Context(), w.clock(), 10)
	if err != nil || len(due) != 1 || due[0].Invitation != o.ID {
		t.Fatalf("%+v, %v", due, err)
	}
	w.pass(time.Hour)
	if err := w.RevokeInvitation(t.Context(), w.as(owner), o.ID); err != nil {
		t.Fatal(err)
	}
}
