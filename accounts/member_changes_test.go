package accounts_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

func TestRoleChangeTakesEffectAtOnce(t *testing.T) {
	// O33, SEC-KEY-08: the standing that tokens and keys are capped by
	w := newWorld(t)
	acme := w.org("acme")
	owner, eve := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "eve@example.com", accounts.RoleAdmin)
	if !w.as(eve).May(accounts.UsersCreate) {
		t.Fatal("an administrator may not create users")
	}
	caller := w.as(owner)
	w.told()
	w.announced()
	w.pass(time.Minute)
	m, err := w.SetRole(t.Context(), caller, eve.ID, accounts.RoleViewer)
	if err != nil || m.Role != accounts.RoleViewer || m.JoinedAt != eve.JoinedAt {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := w.as(eve).Permissions; got.Allows(accounts.UsersCreate) || !got.Allows("agents:read") {
		t.Errorf("a viewer holds %v", got)
	}
	events := w.told()
	if len(events) != 1 || events[0].Name != audit.MemberRoleSet || events[0].Meta["from"] != "admin" || events[0].Meta["to"] != "viewer" ||
		events[0].Actor.ID != string(owner.ID) || events[0].Org != acme.ID {
		t.Errorf("events %+v", events)
	}
	want := []changes.Change{
		{Kind: changes.User, Key: string(eve.ID), At: w.now},
		{Kind: changes.SubjectCutoff, Key: string(eve.ID), At: w.now, Until: w.now.Add(accounts.DefaultTokenTTL)},
	}
	if got := w.announced(); !slices.Equal(got, want) {
		t.Errorf("announced %+v, want %+v", got, want)
	}
	if _, err := w.SetRole(t.Context(), caller, eve.ID, accounts.RoleViewer); err != nil {
		t.Error(err)
	}
	w.wantEvents() // nothing changed
}

func TestNobodyGivesOrTakesWhatTheyLack(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner, second := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "second@example.com", accounts.RoleOwner)
	admin, viewer := w.user(acme, "admin@example.com", accounts.RoleAdmin), w.user(acme, "viewer@example.com", accounts.RoleViewer)
	keyed := w.as(admin) // an API key of the administrator with three permissions
	keyed.Kind, keyed.Key, keyed.Permissions = ident.APIKey, "key_1", scope.Of(accounts.UsersUpdate, "agents:read", "*:read")
	w.told()
	for name, try := range map[string]func() error{
		"admin makes an owner":  func() error { return ignore(w.SetRole(t.Context(), w.as(admin), viewer.ID, accounts.RoleOwner)) },
		"admin makes himself":   func() error { return ignore(w.SetRole(t.Context(), w.as(admin), admin.ID, accounts.RoleOwner)) },
		"admin demotes owner":   func() error { return ignore(w.SetRole(t.Context(), w.as(admin), second.ID, accounts.RoleViewer)) },
		"admin disables owner":  func() error { return ignore(w.SetStatus(t.Context(), w.as(admin), second.ID, accounts.Disabled)) },
		"admin removes owner":   func() error { return w.RemoveMember(t.Context(), w.as(admin), second.ID) },
		"viewer changes a role": func() error { return ignore(w.SetRole(t.Context(), w.as(viewer), viewer.ID, accounts.RoleViewer)) },
		"viewer disables":       func() error { return ignore(w.SetStatus(t.Context(), w.as(viewer), viewer.ID, accounts.Disabled)) },
		"key without rights":    func() error { return ignore(w.SetRole(t.Context(), keyed, viewer.ID, accounts.RoleEngineer)) },
	} {
		err := try()
		if f := fault.Of(err); f.Code != fault.InsufficientPermissions || len(f.Required) == 0 {
			t.Errorf("%s: %v, want a refusal that names what is lacking", name, err)
		}
		if es := w.told(); len(es) != 1 || es[0].Name != audit.PermissionDenied || es[0].Outcome != audit.Denied {
			t.Errorf("%s: events %+v", name, es)
		}
	}
	for m, want := range map[accounts.Member]string{owner: "owner", second: "owner", admin: "admin", viewer: "viewer"} {
		if got := w.role(m); got != want {
			t.Errorf("%s is %s now", m.Email, got)
		}
	}
}

func TestLastOwnerStays(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner, other := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "other@example.com", accounts.RoleOwner)
	if _, err := w.SetStatus(t.Context(), w.as(owner), other.ID, accounts.Disabled); err != nil {
		t.Fatal(err) // a disabled owner is none
	}
	for name, try := range map[string]func() error{
		"demote":  func() error { return ignore(w.SetRole(t.Context(), w.as(owner), owner.ID, accounts.RoleAdmin)) },
		"disable": func() error { return ignore(w.SetStatus(t.Context(), w.as(owner), owner.ID, accounts.Disabled)) },
		"remove":  func() error { return w.RemoveMember(t.Context(), w.as(owner), owner.ID) },
		"operator demotes": func() error {
			return ignore(w.SetRole(t.Context(), w.operator(acme.ID), owner.ID, accounts.RoleAdmin))
		},
	} {
		err := try()
		if f := fault.Of(err); f.Code != fault.Conflict || f.Reason != "last_owner" {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	if got := w.as(owner); !got.May(accounts.OrganizationsDelete) {
		t.Errorf("the last owner holds %v", got.Permissions)
	}
	if _, err := w.SetStatus(t.Context(), w.operator(""), owner.ID, accounts.Disabled); err != nil {
		t.Errorf("the operator cannot stop a stolen account: %v", err)
	}
}

func TestOwnersWhoOustEachOtherLeaveOne(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		acts := map[string]func(c ident.Caller, victim ident.UserID) error{
			"demote": func(c ident.Caller, v ident.UserID) error {
				return ignore(w.SetRole(t.Context(), c, v, accounts.RoleViewer))
			},
			"disable": func(c ident.Caller, v ident.UserID) error {
				return ignore(w.SetStatus(t.Context(), c, v, accounts.Disabled))
			},
			"remove": func(c ident.Caller, v ident.UserID) error { return w.RemoveMember(t.Context(), c, v) },
		}
		n := 0
		for first, one := range acts {
			for second, two := range acts {
				n++
				org := w.org(fmt.Sprintf("org-%d", n))
				a := w.user(org, fmt.Sprintf("a%d@example.com", n), accounts.RoleOwner)
				b := w.user(org, fmt.Sprintf("b%d@example.com", n), accounts.RoleOwner)
				callerA, callerB := w.as(a), w.as(b)
				errs := make([]error, 2)
				together(2, func(i int) {
					if i == 0 {
						errs[0] = one(callerA, b.ID)
					} else {
						errs[1] = two(callerB, a.ID)
					}
				})
				refused := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
				if len(refused) != 1 || !errors.Is(refused[0], fault.Conflict) {
					t.Errorf("%s against %s: %v, want one success and one conflict", first, second, errs)
				}
			}
		}
	})
}

func TestOtherOrganisationsDoNotExist(t *testing.T) {
	// K15, O28
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	owner, stranger := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(globex, "stranger@example.com", accounts.RoleViewer)
	c := w.as(owner)
	w.told()
	name := "New"
	tries := map[string]func(ident.UserID) error{
		"get":     func(u ident.UserID) error { return ignore(w.Member(t.Context(), c, u)) },
		"rename":  func(u ident.UserID) error { return ignore(w.Update(t.Context(), c, u, accounts.Patch{Name: &name})) },
		"role":    func(u ident.UserID) error { return ignore(w.SetRole(t.Context(), c, u, accounts.RoleOwner)) },
		"disable": func(u ident.UserID) error { return ignore(w.SetStatus(t.Context(), c, u, accounts.Disabled)) },
		"remove":  func(u ident.UserID) error { return w.RemoveMember(t.Context(), c, u) },
	}
	for what, try := range tries {
		there, nowhere := try(stranger.ID), try("user_00000000000000000000000000")
		wantCode(t, there, fault.NotFound)
		if there == nil || nowhere == nil || there.Error() != nowhere.Error() {
			t.Errorf("%s: %v for a stranger, %v for nobody; want the same", what, there, nowhere)
		}
		es := w.told()
		if len(es) != 1 || es[0].Name != audit.CrossOrgDenied || es[0].Outcome != audit.Denied || es[0].Org != acme.ID || es[0].Targets[0].ID != string(stranger.ID) {
			t.Errorf("%s: events %+v, want one that acme can read", what, es)
		}
	}
	if got, err := w.Member(t.Context(), w.operator(globex.ID), stranger.ID); got != stranger || err != nil {
		t.Errorf("the stranger changed: %+v, %v", got, err)
	}
	if ms, err := w.Members(t.Context(), c, ident.Page{Limit: 10}); len(ms) != 1 || ms[0] != owner || err != nil {
		t.Errorf("members %+v, %v", ms, err)
	}
	wantCode(t, ignore(w.Org(t.Context(), c, globex.ID)), fault.NotFound)
	w.wantEvents(audit.CrossOrgDenied)
	wantCode(t, ignore(w.RenameOrg(t.Context(), c, globex.ID, "Mine")), fault.NotFound)
	w.wantEvents(audit.CrossOrgDenied)
	wantCode(t, ignore(w.Org(t.Context(), ident.Caller{}, "")), fault.NotFound) // no credential, no organisation
	if os, err := w.Orgs(t.Context(), c, ident.Page{Limit: 10}); len(os) != 1 || os[0] != acme || err != nil {
		t.Errorf("organisations %+v, %v", os, err)
	}
}

func TestDisabledUsersAreOutEverywhere(t *testing.T) {
	// SEC-LOG-23 (disable), SEC-KEY-08
	w := newWorld(t)
	acme := w.org("acme")
	owner, eve := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "eve@example.com", accounts.RoleEngineer)
	one, two, others := w.session(eve), w.session(eve), w.session(owner)
	w.as(eve) // cached
	caller := w.as(owner)
	w.told()
	w.announced()
	if _, err := w.SetStatus(t.Context(), caller, eve.ID, accounts.Disabled); err != nil {
		t.Fatal(err)
	}
	if w.ended(one) != "user_disabled" || w.ended(two) != "user_disabled" || w.ended(others) != "" {
		t.Errorf("sessions ended: %q, %q, the owner's %q", w.ended(one), w.ended(two), w.ended(others))
	}
	kinds := map[changes.Kind]int{}
	for _, c := range w.announced() {
		kinds[c.Kind]++
	}
	if kinds[changes.SessionRevoked] != 2 || kinds[changes.SubjectCutoff] != 1 || kinds[changes.User] != 1 {
		t.Errorf("announced %v", kinds)
	}
	s, err := w.dir.Standing(t.Context(), eve.ID, acme.ID)
	if s.Active || s.Reason != accounts.ReasonUserDisabled || len(s.Permissions) != 0 || err != nil {
		t.Errorf("standing %+v, %v", s, err)
	}
	w.wantEvents(audit.UserDisabled)
	if _, err := w.SetStatus(t.Context(), caller, eve.ID, accounts.Active); err != nil {
		t.Fatal(err)
	}
	w.wantEvents(audit.UserEnabled)
	if !w.as(eve).May("agents:read") || w.ended(one) == "" {
		t.Error("an enabled user stands as before, with their sessions still ended")
	}
}

func TestOneOrganisationDoesNotDisableAnothersUser(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.org("acme"), w.org("globex")
	owner, eve := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "eve@example.com", accounts.RoleViewer)
	w.user(globex, "boss@example.com", accounts.RoleOwner)
	there, err := w.AddMember(t.Context(), w.operator(globex.ID), eve.ID, accounts.RoleAdmin)
	if err != nil || there.Org != globex.ID {
		t.Fatal(err)
	}
	wantCode(t, ignore(w.AddMember(t.Context(), w.operator(globex.ID), eve.ID, accounts.RoleAdmin)), fault.Conflict)
	name := "Evil"
	wantCode(t, ignore(w.SetStatus(t.Context(), w.as(owner), eve.ID, accounts.Disabled)), fault.Conflict)
	wantCode(t, ignore(w.Update(t.Context(), w.as(owner), eve.ID, accounts.Patch{Name: &name})), fault.Conflict)
	here, away := w.session(eve), w.session(there)
	caller := w.as(owner)
	w.told()
	if err := w.RemoveMember(t.Context(), caller, eve.ID); err != nil {
		t.Fatal(err)
	}
	w.wantEvents(audit.MemberRemoved)
	if w.ended(here) != "member_removed" || w.ended(away) != "" {
		t.Errorf("sessions ended: here %q, elsewhere %q", w.ended(here), w.ended(away))
	}
	if s, err := w.dir.Standing(t.Context(), eve.ID, acme.ID); s.Active || s.Reason != accounts.ReasonNotAMember || err != nil {
		t.Errorf("standing in acme %+v, %v", s, err)
	}
	if s, err := w.dir.Standing(t.Context(), eve.ID, globex.ID); !s.Active || s.Role != accounts.RoleAdmin || err != nil {
		t.Errorf("standing in globex %+v, %v", s, err)
	}
	if _, err := w.SetStatus(t.Context(), w.operator(""), eve.ID, accounts.Disabled); err != nil || w.ended(away) != "user_disabled" {
		t.Errorf("the operator disables anyone: %v, session %q", err, w.ended(away))
	}
}

func TestUpdateChangesAllOrNothing(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner, eve := w.user(acme, "owner@example.com", accounts.RoleOwner), w.user(acme, "eve@example.com", accounts.RoleViewer)
	caller, name, role, off, odd := w.as(owner), " Eve ", accounts.RoleEngineer, accounts.Disabled, accounts.Status("gone")
	w.told()
	bad := "nobody"
	for _, p := range []accounts.Patch{{Name: &name, Role: &bad}, {Name: &name, Status: &odd}} {
		wantCode(t, ignore(w.Update(t.Context(), caller, eve.ID, p)), fault.Invalid)
	}
	if got, err := w.Member(t.Context(), caller, eve.ID); got != eve || err != nil {
		t.Errorf("a refused change left %+v, %v", got, err)
	}
	w.wantEvents()
	m, err := w.Update(t.Context(), caller, eve.ID, accounts.Patch{Name: &name, Role: &role, Status: &off})
	if err != nil || m.Name != "Eve" || m.Role != role || m.Status != off {
		t.Errorf("%+v, %v", m, err)
	}
	w.wantEvents(audit.UserUpdated, audit.MemberRoleSet, audit.UserDisabled)
	if got, err := w.Member(t.Context(), caller, eve.ID); got != m || err != nil {
		t.Errorf("stored %+v, %v; want %+v", got, err, m)
	}
}

func TestOrganisationsAreCreatedAndRenamed(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	w.wantEvents(audit.OrgCreated)
	for slug, want := range map[string]fault.Code{"acme": fault.Conflict, "No Slug": fault.Invalid} {
		wantCode(t, ignore(w.CreateOrg(t.Context(), w.operator(""), "Acme", slug)), want)
	}
	if o, err := w.CreateOrg(t.Context(), w.operator(""), "Acme & Sons", ""); o.Slug != "acme-sons" || err != nil {
		t.Errorf("%+v, %v", o, err)
	}
	owner := w.user(acme, "owner@example.com", accounts.RoleOwner)
	caller := w.as(owner)
	w.told()
	for _, bad := range []string{"", "  ", "a\nb"} {
		wantCode(t, ignore(w.RenameOrg(t.Context(), caller, acme.ID, bad)), fault.Invalid)
	}
	o, err := w.RenameOrg(t.Context(), caller, acme.ID, " Acme 2 ")
	if err != nil || o.Name != "Acme 2" || o.Slug != "acme" {
		t.Errorf("%+v, %v", o, err)
	}
	w.wantEvents(audit.OrgUpdated)
	if s, err := w.dir.Standing(t.Context(), owner.ID, acme.ID); s.OrgName != "Acme 2" || err != nil {
		t.Errorf("the directory still says %q, %v", s.OrgName, err)
	}
	if _, err := w.RenameOrg(t.Context(), caller, acme.ID, "Acme 2"); err != nil {
		t.Error(err)
	}
	w.wantEvents()
}
