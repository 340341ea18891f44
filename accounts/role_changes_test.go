package accounts_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

func TestCustomRoleLivesAndDies(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	owner, eve := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "eve@example.com", accounts.RoleViewer)
	caller := w.as(owner)
	w.told()
	r, err := w.SetRolePermissions(t.Context(), caller, "on-call", []string{"incidents:read", "agents:*", "agents:*"})
	if err != nil || !slices.Equal(r.Permissions, scope.Of("agents:*", "incidents:read")) || r.Org != acme.ID {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := w.SetRole(t.Context(), caller, eve.ID, "on-call"); err != nil {
		t.Fatal(err)
	}
	w.wantEvents(audit.RoleSet, audit.MemberRoleSet)
	if got := w.as(eve).Permissions; !slices.Equal(got, scope.Of("agents:create", "agents:read", "incidents:read")) {
		t.Errorf("on call: %v", got)
	}
	w.announced()
	if _, err := w.SetRolePermissions(t.Context(), caller, "on-call", []string{"agents:*", "incidents:read", "metrics:read"}); err != nil {
		t.Fatal(err)
	}
	if cs := w.announced(); len(cs) != 1 || cs[0].Kind != changes.Org {
		t.Errorf("a role that only grew announced %+v", cs)
	}
	if !w.as(eve).May("metrics:read") {
		t.Error("a role that grew is not believed")
	}
	if _, err := w.SetRolePermissions(t.Context(), caller, "on-call", []string{"agents:read"}); err != nil {
		t.Fatal(err)
	}
	if cs := w.announced(); !slices.ContainsFunc(cs, func(c changes.Change) bool { return c.Kind == changes.SubjectCutoff && c.Key == string(eve.ID) }) {
		t.Errorf("a role that shrank announced %+v, no cut-off", cs)
	}
	if got := w.as(eve).Permissions; !slices.Equal(got, scope.Of("agents:read")) {
		t.Errorf("after the role shrank: %v", got)
	}
	wantCode(t, w.DeleteRole(t.Context(), caller, "on-call"), fault.Conflict) // eve holds it
	if _, err := w.SetRole(t.Context(), caller, eve.ID, accounts.RoleViewer); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.DeleteRole(t.Context(), w.operator(globex.ID), "on-call"), fault.NotFound)
	w.told()
	if err := w.DeleteRole(t.Context(), caller, "on-call"); err != nil {
		t.Error(err)
	}
	w.wantEvents(audit.RoleDeleted)
	wantCode(t, w.DeleteRole(t.Context(), caller, "on-call"), fault.NotFound)
	wantCode(t, ignore(w.SetRole(t.Context(), caller, eve.ID, "on-call")), fault.Invalid)
}

func TestBadRolesAreRefused(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner, admin := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "admin@example.com", accounts.RoleAdmin)
	caller := w.as(owner)
	for name, c := range map[string]struct {
		role   string
		ps     []string
		fields []string
	}{
		"built-in":    {accounts.RoleViewer, []string{"agents:read"}, []string{"name"}},
		"name":        {"Not A Name", []string{"agents:read"}, []string{"name"}},
		"none":        {"x", nil, []string{"permissions"}},
		"too many":    {"x", make([]string, 257), []string{"permissions"}},
		"unknown":     {"x", []string{"agents:read", "agents:fly", "nope:*", "agents"}, []string{"permissions[1]", "permissions[2]", "permissions[3]"}},
		"upper case":  {"x", []string{"Agents:read"}, []string{"permissions[0]"}},
		"only spaces": {"x", []string{"agents:read ", ""}, []string{"permissions[0]", "permissions[1]"}},
	} {
		_, err := w.SetRolePermissions(t.Context(), caller, c.role, c.ps)
		var got []string
		for _, f := range fault.Of(err).Fields {
			got = append(got, f.Name)
		}
		if fault.Of(err).Code != fault.Invalid || !slices.Equal(got, c.fields) {
			t.Errorf("%s: %v names %v, want %v", name, err, got, c.fields)
		}
	}
	wantCode(t, w.DeleteRole(t.Context(), caller, accounts.RoleViewer), fault.Conflict)
	w.told()
	_, err := w.SetRolePermissions(t.Context(), w.as(admin), "super", []string{"*:*"})
	if f := fault.Of(err); f.Code != fault.InsufficientPermissions || !slices.Equal(f.Required, []string{string(accounts.OrganizationsDelete)}) {
		t.Errorf("an administrator made a role above their own: %v", err)
	}
	if _, err := w.SetRolePermissions(t.Context(), caller, "super", []string{"*:*"}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		ignore(w.SetRolePermissions(t.Context(), w.as(admin), "super", []string{"agents:read"})), w.DeleteRole(t.Context(), w.as(admin), "super"),
	} {
		wantCode(t, err, fault.InsufficientPermissions) // nor do they take it away
	}
	w.wantEvents(audit.PermissionDenied, audit.RoleSet, audit.PermissionDenied, audit.PermissionDenied)
}

func TestRolesAreListedPerOrganisation(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	for _, name := range []string{"b", "a"} {
		if _, err := w.SetRolePermissions(t.Context(), w.operator(acme.ID), name, []string{"agents:read"}); err != nil {
			t.Fatal(err)
		}
	}
	for org, want := range map[ident.OrgID][]string{
		acme.ID:   {"owner", "admin", "engineer", "viewer", "a", "b"},
		globex.ID: {"owner", "admin", "engineer", "viewer"},
	} {
		rs, err := w.Roles(t.Context(), w.operator(org))
		var got []string
		for _, r := range rs {
			got = append(got, r.Name)
			if r.Org != org || r.BuiltIn != accounts.IsBuiltIn(r.Name) || len(r.Permissions) == 0 {
				t.Errorf("role %+v", r)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("roles %v, %v; want %v", got, err, want)
		}
	}
}

func TestRoleIsNotDeletedUnderItsNewHolder(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		acme := w.org("acme")
		eve := w.user(acme, "eve@example.com", accounts.RoleViewer)
		for range 5 {
			if _, err := w.SetRolePermissions(t.Context(), w.operator(acme.ID), "x", []string{"agents:read"}); err != nil {
				t.Fatal(err)
			}
			errs := make([]error, 2)
			together(2, func(i int) {
				if i == 0 {
					errs[0] = w.DeleteRole(t.Context(), w.operator(acme.ID), "x")
				} else {
					errs[1] = ignore(w.SetRole(t.Context(), w.operator(acme.ID), eve.ID, "x"))
				}
			})
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Errorf("delete: %v, give: %v; want one of them", errs[0], errs[1])
			}
			if _, err := w.SetRole(t.Context(), w.operator(acme.ID), eve.ID, accounts.RoleViewer); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestNobodyEverHoldsMoreThanWasGiven lets members of every power give and take
// roles at random, and looks at what each then holds.
func TestNobodyEverHoldsMoreThanWasGiven(t *testing.T) {
	// INV-08, SEC-KEY-08
	w := newWorld(t)
	acme := w.org("acme")
	members := []accounts.Member{}
	for i, role := range []string{accounts.RoleOwner, accounts.RoleAdmin, accounts.RoleEngineer, accounts.RoleViewer} {
		members = append(members, w.user(acme, fmt.Sprintf("m%d@example.com", i), role))
	}
	roleNames := rapid.SampledFrom([]string{"owner", "admin", "engineer", "viewer", "x", "y"})
	permission := rapid.SampledFrom([]string{"agents:*", "agents:read", "*:read", "users:update", "users:disable", "roles:manage", "*:*", "metrics:read"})
	rapid.Check(t, func(rt *rapid.T) {
		by, on := rapid.SampledFrom(members).Draw(rt, "by"), rapid.SampledFrom(members).Draw(rt, "on")
		c := w.as(by)
		before := map[ident.UserID]scope.Set{}
		for _, m := range members {
			before[m.ID] = w.as(m).Permissions
		}
		switch rapid.IntRange(0, 2).Draw(rt, "act") {
		case 0:
			_, _ = w.SetRole(t.Context(), c, on.ID, roleNames.Draw(rt, "role"))
		case 1:
			_, _ = w.SetRolePermissions(t.Context(), c, rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "name"), rapid.SliceOfN(permission, 1, 3).Draw(rt, "permissions"))
		case 2:
			status := rapid.SampledFrom([]accounts.Status{accounts.Active, accounts.Active, accounts.Disabled}).Draw(rt, "status")
			_, _ = w.SetStatus(t.Context(), c, on.ID, status)
		}
		owners := 0
		for _, m := range members {
			s, err := w.dir.Standing(t.Context(), m.ID, acme.ID)
			if err != nil {
				rt.Fatal(err)
			}
			custom := scope.Set{}
			roles, err := w.Roles(t.Context(), w.operator(acme.ID))
			if err != nil {
				rt.Fatal(err)
			}
			for _, r := range roles {
				if r.Name == s.Role {
					custom = r.Permissions
				}
			}
			if lacks := accounts.Effective(w.Catalogue, s.Role, custom).Lacks(s.Permissions); lacks != nil {
				rt.Fatalf("%s holds %v beyond the role %s", m.Email, lacks, s.Role)
			}
			// A user who was disabled regains what their role gave before.
			if gained := before[m.ID].Lacks(s.Permissions); len(before[m.ID]) > 0 && c.Permissions.Lacks(gained) != nil {
				rt.Fatalf("%s gave %v what they lack: %v", by.Email, m.Email, c.Permissions.Lacks(gained))
			}
			if s.Active && s.Role == accounts.RoleOwner {
				owners++
			}
		}
		if owners == 0 {
			rt.Fatal("no owner is left")
		}
	})
}
