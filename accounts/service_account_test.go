package accounts_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// service makes a service account with a role.
func (w *world) service(c ident.Caller, name, role string) accounts.ServiceAccount {
	w.t.Helper()
	s, err := w.CreateServiceAccount(w.t.Context(), c, accounts.NewServiceAccount{Name: name, Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// may is what a service account may do now, and whether it is active.
func (w *world) may(s accounts.ServiceAccount) (scope.Set, bool) {
	w.t.Helper()
	st, err := w.dir.Standing(w.t.Context(), s.ID, s.Org)
	if err != nil {
		w.t.Fatal(err)
	}
	return st.Permissions, st.Active
}

func TestAServiceAccountStandsWhereAPersonDoes(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		acme := w.org("acme")
		caller := w.as(w.user(acme, "owner@example.com", accounts.RoleOwner))
		w.told()
		bot := w.service(caller, " deploy-bot ", accounts.RoleEngineer)
		if bot.Name != "deploy-bot" || bot.Org != acme.ID || bot.Status != accounts.Active || !bot.ID.IsServiceAccount() {
			t.Errorf("made %+v", bot)
		}
		engineer := accounts.Effective(w.Catalogue, accounts.RoleEngineer, nil)
		if got, active := w.may(bot); !active || !slices.Equal(got, engineer) {
			t.Errorf("it may %v (%t), want %v", got, active, engineer)
		}
		w.announced()
		name, text, role := "deployer", "Rolls out\nthe agents.", accounts.RoleViewer
		got, err := w.UpdateServiceAccount(t.Context(), caller, bot.ID, accounts.ServiceAccountPatch{Name: &name, Description: &text, Role: &role})
		if err != nil || got.Name != name || got.Description != text || got.Role != role {
			t.Fatalf("changed to %+v, %v", got, err)
		}
		if may, active := w.may(bot); !active || may.Allows("agents:create") || !may.Allows("agents:read") {
			t.Errorf("after its role shrank it may %v (%t)", may, active)
		}
		if cs := w.announced(); !slices.ContainsFunc(cs, func(c changes.Change) bool { return c.Kind == changes.SubjectCutoff && c.Key == string(bot.ID) }) {
			t.Errorf("a role that shrank announced %+v, no cut-off", cs)
		}
		off, on := accounts.Disabled, accounts.Active
		for _, status := range []*accounts.Status{&off, &off, &on} {
			if _, err := w.UpdateServiceAccount(t.Context(), caller, bot.ID, accounts.ServiceAccountPatch{Status: status}); err != nil {
				t.Fatal(err)
			}
			if _, active := w.may(bot); active != (*status == on) {
				t.Errorf("%s: active %t", *status, active)
			}
		}
		if err := w.DeleteServiceAccount(t.Context(), caller, bot.ID); err != nil {
			t.Fatal(err)
		}
		if may, active := w.may(bot); active || len(may) > 0 {
			t.Errorf("deleted it may %v (%t)", may, active)
		}
		wantCode(t, w.DeleteServiceAccount(t.Context(), caller, bot.ID), fault.NotFound)
		w.wantEvents(audit.ServiceCreated, audit.ServiceUpdated, audit.ServiceRoleSet, audit.ServiceDisabled, audit.ServiceEnabled, audit.ServiceDeleted)
	})
}

// A service account is nobody: what asks for people does not find it.
func TestAServiceAccountIsNobody(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		acme := w.org("acme")
		m := w.user(acme, "owner@example.com", accounts.RoleOwner)
		caller := w.as(m)
		bot := w.service(caller, "bot", accounts.RoleOwner)
		members, err := w.Members(t.Context(), caller, ident.Page{Limit: 10})
		if err != nil || len(members) != 1 || members[0].ID != m.ID {
			t.Errorf("members %+v, %v", members, err)
		}
		op := w.operator(acme.ID)
		role, disabled := accounts.RoleViewer, accounts.Disabled
		for name, err := range map[string]error{
			"read":       ignore(w.Member(t.Context(), caller, bot.ID)),
			"found":      ignore(w.UserByEmail(t.Context(), op, string(bot.ID)+"@example.com")),
			"changed":    ignore(w.Update(t.Context(), caller, bot.ID, accounts.Patch{Role: &role})),
			"removed":    w.RemoveMember(t.Context(), caller, bot.ID),
			"made":       ignore(w.AddMember(t.Context(), op, bot.ID, accounts.RoleViewer)),
			"disabled":   ignore(w.SetStatus(t.Context(), op, bot.ID, disabled)),
			"invited":    ignoreLink(w.IssueSetupLink(t.Context(), op, bot.ID)),
			"at home":    ignore(w.dir.Home(t.Context(), bot.ID)),
			"as address": ignore(w.UserByEmail(t.Context(), op, "bot@example.com")),
		} {
			wantCode(t, err, fault.NotFound)
			if t.Failed() {
				t.Fatalf("%s as a person", name)
			}
		}
		// A service account that owns the organisation does not stand in for the last person who does.
		wantCode(t, ignore(w.SetRole(t.Context(), op, m.ID, accounts.RoleViewer)), fault.Conflict)
		wantCode(t, w.RemoveMember(t.Context(), op, m.ID), fault.Conflict)
	})
}

func ignoreLink[A, B any](_ A, _ B, err error) error { return err }

// Nobody makes, raises, lowers, disables or deletes a service account beyond
// what they may do themselves.
func TestServiceAccountsDoNotEscalate(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner := w.as(w.user(acme, "owner@example.com", accounts.RoleOwner))
	if _, err := w.SetRolePermissions(t.Context(), owner, "keeper", []string{"service-accounts:*", "api-keys:*", "agents:read"}); err != nil {
		t.Fatal(err)
	}
	keeper := w.as(w.user(acme, "keeper@example.com", "keeper"))
	mighty, humble := w.service(owner, "mighty", accounts.RoleAdmin), w.service(keeper, "humble", "keeper")
	w.told()
	for _, role := range []string{accounts.RoleOwner, accounts.RoleAdmin, accounts.RoleEngineer, accounts.RoleViewer} {
		wantCode(t, ignore(w.CreateServiceAccount(t.Context(), keeper, accounts.NewServiceAccount{Name: "x", Role: role})), fault.InsufficientPermissions)
		wantCode(t, ignore(w.UpdateServiceAccount(t.Context(), keeper, humble.ID, accounts.ServiceAccountPatch{Role: &role})), fault.InsufficientPermissions)
	}
	lower, off, taken := "keeper", accounts.Disabled, "humble"
	wantCode(t, ignore(w.UpdateServiceAccount(t.Context(), keeper, mighty.ID, accounts.ServiceAccountPatch{Role: &lower})), fault.InsufficientPermissions)
	wantCode(t, ignore(w.UpdateServiceAccount(t.Context(), keeper, mighty.ID, accounts.ServiceAccountPatch{Status: &off})), fault.InsufficientPermissions)
	wantCode(t, w.DeleteServiceAccount(t.Context(), keeper, mighty.ID), fault.InsufficientPermissions)
	for _, e := range w.told() {
		if e.Name != audit.PermissionDenied || e.Outcome != audit.Denied {
			t.Errorf("recorded %+v", e)
		}
	}
	if got, err := w.ServiceAccount(t.Context(), owner, mighty.ID); err != nil || got != mighty {
		t.Errorf("it changed: %+v, %v", got, err)
	}
	wantCode(t, ignore(w.UpdateServiceAccount(t.Context(), owner, mighty.ID, accounts.ServiceAccountPatch{Name: &taken})), fault.Conflict)
	wantCode(t, ignore(w.CreateServiceAccount(t.Context(), owner, accounts.NewServiceAccount{Name: "humble", Role: "keeper"})), fault.Conflict)

	// A custom role that a service account holds cannot go, and loses it what the role loses.
	wantCode(t, w.DeleteRole(t.Context(), owner, "keeper"), fault.Conflict)
	w.announced()
	if _, err := w.SetRolePermissions(t.Context(), owner, "keeper", []string{"service-accounts:*"}); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(w.announced(), func(c changes.Change) bool { return c.Kind == changes.SubjectCutoff && c.Key == string(humble.ID) }) {
		t.Error("who held the role was not cut off")
	}
	if may, _ := w.may(humble); may.Allows("agents:read") {
		t.Errorf("it may still %v", may)
	}
}

// O28: another organisation's service accounts do not exist, and asking is recorded.
func TestServiceAccountsStayInTheirOrganisation(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	owner, stranger := w.as(w.user(acme, "owner@example.com", accounts.RoleOwner)), w.as(w.user(globex, "stranger@example.com", accounts.RoleOwner))
	bot := w.service(owner, "bot", accounts.RoleViewer)
	w.service(stranger, "bot", accounts.RoleViewer) // a name is one organisation's
	w.told()
	name := "taken over"
	for _, err := range []error{
		ignore(w.ServiceAccount(t.Context(), stranger, bot.ID)),
		ignore(w.UpdateServiceAccount(t.Context(), stranger, bot.ID, accounts.ServiceAccountPatch{Name: &name})),
		w.DeleteServiceAccount(t.Context(), stranger, bot.ID),
	} {
		wantCode(t, err, fault.NotFound)
	}
	w.wantEvents(audit.CrossOrgDenied, audit.CrossOrgDenied, audit.CrossOrgDenied)
	list, err := w.ServiceAccounts(t.Context(), stranger, ident.Page{Limit: 10})
	if err != nil || len(list) != 1 || list[0].ID == bot.ID {
		t.Errorf("listed %+v, %v", list, err)
	}
	if st, err := w.dir.Standing(t.Context(), bot.ID, globex.ID); err != nil || st.Active || len(st.Permissions) > 0 {
		t.Errorf("elsewhere it is %+v, %v", st, err)
	}
	wantCode(t, ignore(w.ServiceAccount(t.Context(), stranger, ident.NewServiceAccountID(w.clock(), strings.NewReader("0123456789")))), fault.NotFound)
	w.wantEvents()
}

func TestBadServiceAccountsAreRefused(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	caller := w.as(w.user(acme, "owner@example.com", accounts.RoleOwner))
	bot := w.service(caller, "bot", accounts.RoleViewer)
	for field, n := range map[string][]accounts.NewServiceAccount{
		"name": {
			{Role: "viewer"}, {Name: " ", Role: "viewer"}, {Name: "two\nlines", Role: "viewer"}, {Name: strings.Repeat("x", 201), Role: "viewer"},
			{Name: "svc_me", Role: "viewer"}, {Name: "me@example.com", Role: "viewer"},
		},
		"description": {{Name: "x", Role: "viewer", Description: "bell\a"}, {Name: "x", Role: "viewer", Description: strings.Repeat("x", 1001)}},
		"role":        {{Name: "x"}, {Name: "x", Role: "nobody"}},
	} {
		for _, bad := range n {
			_, err := w.CreateServiceAccount(t.Context(), caller, bad)
			if f := fault.Of(err); f == nil || f.Code != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Name != field {
				t.Errorf("%+v: %v, want a refusal of %s", bad, err, field)
			}
		}
	}
	status := accounts.Status("asleep")
	wantCode(t, ignore(w.UpdateServiceAccount(t.Context(), caller, bot.ID, accounts.ServiceAccountPatch{Status: &status})), fault.Invalid)
}
