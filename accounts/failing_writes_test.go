package accounts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// everything is what the database holds that these operations could change.
func (w *world) everything() string {
	w.t.Helper()
	ctx, page := w.t.Context(), ident.Page{Limit: 200}
	orgs, err := w.db.Accounts().Orgs(ctx, page)
	out := fmt.Sprintf("%+v\n", orgs)
	for _, o := range orgs {
		t := ident.Caller{Org: o.ID}.Tenant()
		ms, err1 := w.db.Accounts().Members(ctx, t, page)
		rs, err2 := w.db.Accounts().Roles(ctx, t)
		ss, err3 := w.db.Sessions().Sessions(ctx, t, tokens.Query{Page: page})
		bots, err6 := w.db.Accounts().ServiceAccounts(ctx, t, page)
		out += fmt.Sprintf("%+v\n%+v\n%+v\n%+v\n", ms, rs, ss, bots)
		err = errors.Join(err, err1, err2, err3, err6)
	}
	events, err4 := w.db.Audit().Export(ctx, 0, 1000)
	cs, _, err5 := w.db.Changes().Start(ctx, w.clock())
	if err := errors.Join(err, err4, err5); err != nil {
		w.t.Fatal(err)
	}
	return out + fmt.Sprintf("%d events, %+v", len(events), cs)
}

func TestFailingWritesLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	first, err := w.FirstRun(t.Context(), firstAdmin)
	if err != nil {
		t.Fatal(err)
	}
	acme := w.org("acme")
	owner := w.user(acme, "owner@example.com", accounts.RoleOwner)
	caller, n := w.as(owner), 0
	fresh := func() string { n++; return fmt.Sprintf("user-%d@example.com", n) }
	victim := func() accounts.Member {
		m := w.user(acme, fresh(), accounts.RoleViewer)
		w.session(m)
		return m
	}
	hash := mustHash(t)
	for _, op := range []struct {
		name    string
		prepare func() func() error // what it returns succeeds once
	}{
		{"register", func() func() error {
			r := registration(fresh())
			return func() error { return w.Register(t.Context(), r, origin) }
		}},
		{"register again", func() func() error {
			return func() error { return w.Register(t.Context(), registration("owner@example.com"), origin) }
		}},
		{"create user", func() func() error {
			nu := accounts.NewUser{Email: fresh(), Role: accounts.RoleViewer, PasswordHash: hash}
			return func() error { return ignore(w.CreateUser(t.Context(), w.operator(acme.ID), nu)) }
		}},
		{"set role", func() func() error {
			m := victim()
			return func() error { return ignore(w.SetRole(t.Context(), caller, m.ID, accounts.RoleEngineer)) }
		}},
		{"disable", func() func() error {
			m := victim()
			return func() error { return ignore(w.SetStatus(t.Context(), caller, m.ID, accounts.Disabled)) }
		}},
		{"remove", func() func() error {
			m := victim()
			return func() error { return w.RemoveMember(t.Context(), caller, m.ID) }
		}},
		{"create service account", func() func() error {
			n := accounts.NewServiceAccount{Name: strings.TrimSuffix(fresh(), "@example.com"), Role: accounts.RoleViewer}
			return func() error { return ignore(w.CreateServiceAccount(t.Context(), caller, n)) }
		}},
		{"change service account", func() func() error {
			s := w.service(caller, strings.TrimSuffix(fresh(), "@example.com"), accounts.RoleViewer)
			role, off, text := accounts.RoleEngineer, accounts.Disabled, "for a test"
			return func() error {
				return ignore(w.UpdateServiceAccount(t.Context(), caller, s.ID, accounts.ServiceAccountPatch{Description: &text, Role: &role, Status: &off}))
			}
		}},
		{"delete service account", func() func() error {
			s := w.service(caller, strings.TrimSuffix(fresh(), "@example.com"), accounts.RoleViewer)
			return func() error { return w.DeleteServiceAccount(t.Context(), caller, s.ID) }
		}},
		{"create organisation", func() func() error {
			n++
			slug := fmt.Sprintf("org-%d", n)
			return func() error { return ignore(w.CreateOrg(t.Context(), w.operator(""), slug, slug)) }
		}},
		{"rename organisation", func() func() error {
			n++
			name := fmt.Sprintf("Acme %d", n)
			return func() error { return ignore(w.RenameOrg(t.Context(), caller, acme.ID, name)) }
		}},
		{"set permissions", func() func() error {
			n++
			name := fmt.Sprintf("role-%d", n)
			return func() error {
				return ignore(w.SetRolePermissions(t.Context(), caller, name, []string{"agents:read"}))
			}
		}},
		{"complete set-up", func() func() error {
			token, _, err := w.IssueSetupLink(t.Context(), w.operator(""), first.User)
			if err != nil {
				t.Fatal(err)
			}
			s := accounts.Setup{Token: token, Email: fresh(), Password: secret.Of(password), OrgName: "New"}
			return func() error { return w.CompleteSetup(t.Context(), s, origin) }
		}},
	} {
		do, failures := op.prepare(), 0
		for ; ; failures++ {
			before := w.everything()
			w.told()
			w.plan.FailAt(failures)
			err := do()
			if at := w.plan.Heal(); at == "" {
				if err != nil {
					t.Errorf("%s: without a failure: %v", op.name, err)
				}
				break
			} else if !errors.Is(err, fault.Unavailable) {
				t.Errorf("%s: statement %d (%s) failed, answered %v, want fault.Unavailable", op.name, failures, at, err)
			}
			if after := w.everything(); after != before {
				t.Errorf("%s: statement %d failed and left:\n%s\nbefore:\n%s", op.name, failures, after, before)
			}
			w.wantEvents()
			if failures > 100 {
				t.Fatalf("%s never succeeds", op.name)
			}
		}
		if failures < 3 {
			t.Errorf("%s: only %d statements", op.name, failures)
		}
		if len(w.recorded()) == 0 {
			t.Errorf("%s left no event", op.name)
		}
	}
}
