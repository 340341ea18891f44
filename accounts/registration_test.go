package accounts_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

var origin = ident.Origin{UserAgent: "test", Request: "req_test"}

func registration(email string) accounts.Registration {
	return accounts.Registration{Email: email, Password: secret.Of(password), Name: "Anna", OrganizationName: "Globex"}
}

func TestWhoRegistersOwnsAnOrganisation(t *testing.T) {
	w := newWorld(t)
	if err := w.Register(t.Context(), registration(" Anna@Example.com"), origin); err != nil {
		t.Fatal(err)
	}
	events := w.told()
	u, err := w.UserByEmail(t.Context(), w.operator(""), "ANNA@example.com")
	if err != nil || u.Email != "Anna@Example.com" || u.Name != "Anna" || u.Status != accounts.Active || !u.CreatedAt.Equal(w.now) {
		t.Fatalf("user %+v, %v", u, err)
	}
	if ok, _, err := w.Hasher.Verify(t.Context(), u.PasswordHash, password); !ok || err != nil {
		t.Errorf("the password does not match: %v", err)
	}
	org, err := w.OrgBySlug(t.Context(), w.operator(""), "globex")
	if err != nil || org.Name != "Globex" {
		t.Fatalf("organisation %+v, %v", org, err)
	}
	home, err := w.dir.Home(t.Context(), u.ID)
	s, err2 := w.dir.Standing(t.Context(), u.ID, home)
	if home != org.ID || s.Role != accounts.RoleOwner || !s.Active || !slices.Equal(s.Permissions, w.Catalogue.All()) || err != nil || err2 != nil {
		t.Errorf("home %s, standing %+v, %v, %v; want the owner of %s", home, s, err, err2, org.ID)
	}
	var names []audit.Name
	for _, e := range events {
		names = append(names, e.Name)
		if e.Org != org.ID || e.Actor.Type != "anonymous" || e.Origin != origin || e.Outcome != audit.Success {
			t.Errorf("event %+v", e)
		}
	}
	if !slices.Equal(names, []audit.Name{audit.OrgCreated, audit.UserRegistered, audit.MemberAdded}) {
		t.Errorf("events %v", names)
	}
}

func TestRegisteringAKnownAddressLooksTheSame(t *testing.T) {
	// SEC-LOG-26 (register half), SEC-LOG-17
	w := newWorld(t)
	var answered []time.Time
	w.RegisterTime = 250 * time.Millisecond
	w.Answer = func(_ context.Context, at time.Time) error { answered = append(answered, at); return nil }
	if err := w.Register(t.Context(), registration("anna@example.com"), origin); err != nil {
		t.Fatal(err)
	}
	before, hashes := w.db.Accounts(), w.inflight()
	u, _ := before.UserByCanonical(t.Context(), "anna@example.com")
	w.told()
	for i, spelling := range []string{"anna@example.com", "ANNA@EXAMPLE.COM", " anna@example.com\n", "Ａnna@example.com", "anna@ｅxample.com"} {
		again := registration(spelling)
		again.Password, again.Name = secret.Of("another password entirely"), "Mallory"
		if err := w.Register(t.Context(), again, origin); err != nil {
			t.Fatalf("%q: %v", spelling, err)
		}
		if w.inflight() != hashes+i+1 {
			t.Errorf("%q: %d hashes, want 1", spelling, w.inflight()-hashes-i)
		}
	}
	if now, err := before.UserByCanonical(t.Context(), "anna@example.com"); now != u || err != nil {
		t.Errorf("a second registration changed the user: %+v, %v", now, err)
	}
	if orgs, err := w.Orgs(t.Context(), w.operator(""), ident.Page{Limit: 10}); len(orgs) != 1 || err != nil {
		t.Errorf("organisations %v, %v; want 1", orgs, err)
	}
	for _, e := range w.told() {
		if e.Name != audit.UserRegistered || e.Outcome != audit.Failure || e.Reason != "email_taken" || e.Org != "" {
			t.Errorf("event %+v; want one that no organisation sees", e)
		}
	}
	if len(answered) != 6 || slices.ContainsFunc(answered, func(at time.Time) bool { return !at.Equal(w.now.Add(w.RegisterTime)) }) {
		t.Errorf("answered at %v, want all of them at one time after the start", answered)
	}
}

func TestParallelRegistrationsMakeOneAccount(t *testing.T) {
	// SEC-LOG-17
	onBoth(t, func(t *testing.T, w *world) {
		spellings := []string{"anna@example.com", "ANNA@example.com", "anna@EXAMPLE.com ", "Ａnna@example.com"}
		together(8, func(i int) {
			if err := w.Register(t.Context(), registration(spellings[i%len(spellings)]), origin); err != nil {
				t.Error(err)
			}
		})
		counts := map[audit.Name]int{}
		for _, e := range w.told() {
			counts[e.Name+audit.Name("/"+string(e.Outcome))]++
		}
		if counts["user.registered/success"] != 1 || counts["user.registered/failure"] != 7 || counts["org.created/success"] != 1 {
			t.Errorf("events %v; want one success, 7 failures, one organisation", counts)
		}
		if orgs, err := w.Orgs(t.Context(), w.operator(""), ident.Page{Limit: 10}); len(orgs) != 1 || err != nil {
			t.Errorf("organisations %v, %v", orgs, err)
		}
	})
}

func TestOrganisationsOfOneNameHaveTwoSlugs(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		together(4, func(i int) {
			if err := w.Register(t.Context(), registration(string(rune('a'+i))+"@example.com"), origin); err != nil {
				t.Error(err)
			}
		})
		orgs, err := w.Orgs(t.Context(), w.operator(""), ident.Page{Limit: 10})
		slugs := map[string]bool{}
		for _, o := range orgs {
			slugs[o.Slug] = o.Name == "Globex" && strings.HasPrefix(o.Slug, "globex")
		}
		if len(slugs) != 4 || !slugs["globex"] || err != nil {
			t.Errorf("slugs %v, %v", slugs, err)
		}
	})
}

func TestRegistrationWithoutAnOrganisationNameIsNamedAfterThePerson(t *testing.T) {
	w := newWorld(t)
	for email, want := range map[string]string{"bob@example.com": "Bob B.", "carol@example.com": "carol"} {
		r := accounts.Registration{Email: email, Password: secret.Of(password)}
		if want != "carol" {
			r.Name = want
		}
		if err := w.Register(t.Context(), r, origin); err != nil {
			t.Fatal(err)
		}
		if e := w.told()[0]; e.Targets[0].Name != want {
			t.Errorf("%s: organisation %q, want %q", email, e.Targets[0].Name, want)
		}
	}
}

func TestBadRegistrationsAreRefusedBeforeAnythingIsComputed(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		field  string
		change func(*accounts.Registration)
	}{
		"SEC-OAU-71 two ats":    {"email", func(r *accounts.Registration) { r.Email = "a@b@c" }},
		"no address":            {"email", func(r *accounts.Registration) { r.Email = "" }},
		"SEC-LOG-14 too long":   {"password", func(r *accounts.Registration) { r.Password = secret.Of(strings.Repeat("a", 1025)) }},
		"SEC-LOG-14 1 MB":       {"password", func(r *accounts.Registration) { r.Password = secret.Of(strings.Repeat("a", 1<<20)) }},
		"too short":             {"password", func(r *accounts.Registration) { r.Password = secret.Of("short") }},
		"SEC-LOG-20 own name":   {"password", func(r *accounts.Registration) { r.Password = secret.Of("i am called anna, so there") }},
		"SEC-LOG-20 org":        {"password", func(r *accounts.Registration) { r.Password = secret.Of("globex is where i work") }},
		"SEC-LOG-20 product":    {"password", func(r *accounts.Registration) { r.Password = secret.Of("this is TokenHouse 2026") }},
		"name with line break":  {"name", func(r *accounts.Registration) { r.Name = "a\nb" }},
		"long organisation":     {"organization_name", func(r *accounts.Registration) { r.OrganizationName = strings.Repeat("o", 201) }},
		"organisation with NUL": {"organization_name", func(r *accounts.Registration) { r.OrganizationName = "a\x00" }},
	} {
		r := registration("anna@example.com")
		c.change(&r)
		err := w.Register(t.Context(), r, origin)
		if f := fault.Of(err); f.Code != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Name != c.field {
			t.Errorf("%s: %v, want a refusal of %s", name, err, c.field)
		}
	}
	if w.inflight() != 0 {
		t.Errorf("%d hashes were computed", w.inflight())
	}
	w.wantEvents()
}

func TestFullPoolTurnsRegistrationsAway(t *testing.T) {
	w := newWorld(t)
	w.Hasher.Slots, w.Hasher.Queue = 1, 1
	var held []*accounts.Ticket
	for range 2 {
		k, err := w.Hasher.Admit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, k)
	}
	err := w.Register(t.Context(), registration("anna@example.com"), origin)
	if f := fault.Of(err); f.Code != fault.Unavailable || f.RetryAfter == 0 {
		t.Errorf("%v, want 503 with Retry-After", err)
	}
	held[0].Release()
	held[1].Release()
	if err := w.Register(t.Context(), registration("anna@example.com"), origin); err != nil {
		t.Error(err)
	}
}

func TestCreateUserStaysBelowItsCeiling(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	admin := w.user(acme, "admin@example.com", accounts.RoleAdmin)
	w.told()
	n := accounts.NewUser{Email: "eve@example.com", Role: accounts.RoleOwner, Password: secret.Of(password)}
	_, err := w.CreateUser(t.Context(), w.as(admin), n)
	if f := fault.Of(err); f.Code != fault.InsufficientPermissions || !slices.Equal(f.Required, []string{string(accounts.OrganizationsDelete)}) {
		t.Errorf("an administrator made an owner: %v", err)
	}
	w.wantEvents(audit.PermissionDenied)
	n.Role = accounts.RoleAdmin
	m, err := w.CreateUser(t.Context(), w.as(admin), n)
	if err != nil || m.Org != acme.ID || m.Role != accounts.RoleAdmin || m.Email != "eve@example.com" {
		t.Errorf("created %+v, %v", m, err)
	}
	if got, err := w.Member(t.Context(), w.as(admin), m.ID); got != m || err != nil {
		t.Errorf("stored %+v, %v; want %+v", got, err, m)
	}
	w.wantEvents(audit.UserCreated, audit.MemberAdded)
	_, err = w.CreateUser(t.Context(), w.as(admin), n)
	wantCode(t, err, fault.Conflict)
	n.Email, n.Role = "new@example.com", "no-such-role"
	_, err = w.CreateUser(t.Context(), w.as(admin), n)
	if f := fault.Of(err); f.Code != fault.Invalid || f.Fields[0].Name != "role" {
		t.Errorf("unknown role: %v", err)
	}
	if _, err := w.UserByEmail(t.Context(), w.operator(""), "new@example.com"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a refused user was left behind: %v", err)
	}
}

func TestOnlyTheOperatorImportsHashesAndOnlyBoundedOnes(t *testing.T) {
	w := newWorld(t)
	acme := w.org("acme")
	owner := w.user(acme, "owner@example.com", accounts.RoleOwner)
	hash, err := hashed()
	if err != nil {
		t.Fatal(err)
	}
	n := accounts.NewUser{Email: "eve@example.com", Role: accounts.RoleViewer, PasswordHash: hash}
	_, err = w.CreateUser(t.Context(), w.as(owner), n)
	wantCode(t, err, fault.InsufficientPermissions)
	// SEC-LOG-18
	n.PasswordHash = strings.Replace(hash, "m=19456", "m=4194304", 1)
	_, err = w.CreateUser(t.Context(), w.operator(acme.ID), n)
	wantCode(t, err, fault.Invalid)
	n.PasswordHash, n.Password = hash, secret.Of(password)
	_, err = w.CreateUser(t.Context(), w.operator(acme.ID), n)
	wantCode(t, err, fault.Invalid)
	n.Password = secret.Plain{}
	if _, err = w.CreateUser(t.Context(), w.operator(acme.ID), n); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		ignore(w.CreateOrg(t.Context(), w.as(owner), "x", "x")), ignore(w.OrgBySlug(t.Context(), w.as(owner), "acme")),
		ignore(w.UserByEmail(t.Context(), w.as(owner), "eve@example.com")), ignore(w.AddMember(t.Context(), w.as(owner), owner.ID, "viewer")),
	} {
		wantCode(t, err, fault.InsufficientPermissions)
	}
}

// ignore keeps only the error.
func ignore[T any](_ T, err error) error { return err }
