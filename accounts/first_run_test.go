package accounts_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

var firstAdmin = accounts.FirstAdmin{Email: "admin@localhost", Password: secret.Of("generated-and-printed-once")}

func TestReplicasThatStartTogetherMakeOneAdministrator(t *testing.T) {
	// SEC-LOG-29
	onBoth(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var created []accounts.First
		together(6, func(int) {
			f, err := w.FirstRun(t.Context(), firstAdmin)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if f.Created {
				created = append(created, f)
			} else if f != (accounts.First{}) {
				t.Errorf("not created, yet %+v", f)
			}
		})
		if len(created) != 1 {
			t.Fatalf("%d administrators, want 1", len(created))
		}
		first := created[0]
		w.wantEvents(audit.OrgCreated, audit.UserCreated, audit.MemberAdded)
		org, err := w.OrgBySlug(t.Context(), w.operator(""), "default")
		s, err2 := w.dir.Standing(t.Context(), first.User, first.Org)
		if org.ID != first.Org || org.Name != "Default" || s.Role != accounts.RoleOwner || !s.Active || err != nil || err2 != nil {
			t.Errorf("organisation %+v, standing %+v, %v, %v", org, s, err, err2)
		}
		if !strings.HasPrefix(first.Link.Reveal(), "th_setup_") || !first.LinkExpires.Equal(w.now.Add(accounts.SetupLinkTTL)) {
			t.Errorf("link until %v", first.LinkExpires)
		}
		if again, err := w.FirstRun(t.Context(), accounts.FirstAdmin{}); again.Created || err != nil {
			t.Errorf("a second start: %+v, %v", again, err)
		}
	})
}

func TestFirstRunRefusesBadCredentials(t *testing.T) {
	w := newWorld(t)
	for _, a := range []accounts.FirstAdmin{
		{Email: "nobody", Password: firstAdmin.Password}, {Email: firstAdmin.Email, Password: secret.Of("short")}, {Email: firstAdmin.Email},
	} {
		_, err := w.FirstRun(t.Context(), a)
		wantCode(t, err, fault.Invalid)
	}
	w.user(w.org("acme"), "eve@example.com", accounts.RoleViewer)
	if f, err := w.FirstRun(t.Context(), firstAdmin); f.Created || err != nil {
		t.Errorf("a first run where users are: %+v, %v", f, err)
	}
}

func setup(link secret.Plain, email string) accounts.Setup {
	return accounts.Setup{Token: link, Email: email, Password: secret.Of("chosen by the administrator"), OrgName: "Acme"}
}

func TestSetupLinkServesOnce(t *testing.T) {
	// SEC-LOG-29
	onBoth(t, func(t *testing.T, w *world) {
		first, err := w.FirstRun(t.Context(), firstAdmin)
		if err != nil {
			t.Fatal(err)
		}
		old := w.session(accounts.Member{User: accounts.User{ID: first.User}, Org: first.Org})
		if ok, err := w.SetupLinkValid(t.Context(), first.Link); !ok || err != nil {
			t.Fatalf("the link is not valid: %v", err)
		}
		w.told()
		errs := make([]error, 4)
		together(4, func(i int) { errs[i] = w.CompleteSetup(t.Context(), setup(first.Link, "Boss@Example.com"), origin) })
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, fault.InsufficientPermissions) {
				t.Errorf("a loser got %v, want 403", err)
			}
		}
		if won != 1 {
			t.Fatalf("%d completed, want 1: %v", won, errs)
		}
		w.wantEvents(audit.SetupCompleted)
		u, err := w.UserByEmail(t.Context(), w.operator(""), "boss@example.com")
		if err != nil || u.ID != first.User || u.Email != "Boss@Example.com" {
			t.Fatalf("user %+v, %v", u, err)
		}
		if ok, _, err := w.Hasher.Verify(t.Context(), u.PasswordHash, "chosen by the administrator"); !ok || err != nil {
			t.Errorf("the chosen password does not match: %v", err)
		}
		if s, err := w.dir.Standing(t.Context(), u.ID, first.Org); s.OrgName != "Acme" || s.Email != u.Email || err != nil {
			t.Errorf("standing %+v, %v", s, err)
		}
		if w.ended(old) != "password_changed" {
			t.Errorf("a session of the printed password lives on: %q", w.ended(old))
		}
		wantCode(t, w.CompleteSetup(t.Context(), setup(first.Link, "x@example.com"), origin), fault.InsufficientPermissions)
		if ok, err := w.SetupLinkValid(t.Context(), first.Link); ok || err != nil {
			t.Errorf("a used link is valid: %v", err)
		}
	})
}

func TestBadSetupLinksCostNothing(t *testing.T) {
	w := newWorld(t)
	first, err := w.FirstRun(t.Context(), firstAdmin)
	if err != nil {
		t.Fatal(err)
	}
	w.told()
	hashes := w.inflight()
	for name, token := range map[string]string{"empty": "", "unknown": "th_setup_" + strings.Repeat("a", 43), "shortened": first.Link.Reveal()[:40], "digest": string(secret.Sum(first.Link.Reveal()))} {
		err := w.CompleteSetup(t.Context(), setup(secret.Of(token), "boss@example.com"), origin)
		if !errors.Is(err, fault.InsufficientPermissions) {
			t.Errorf("%s: %v, want 403", name, err)
		}
	}
	for _, s := range []accounts.Setup{
		{Token: first.Link, Email: "nobody", Password: secret.Of(password)}, {Token: first.Link, Email: "a@b.example", Password: secret.Of("short")},
		{Token: first.Link, Email: "a@b.example", Password: secret.Of(password), OrgName: "a\nb"},
	} {
		wantCode(t, w.CompleteSetup(t.Context(), s, origin), fault.Invalid) // and the link can still be used
	}
	w.pass(accounts.SetupLinkTTL)
	wantCode(t, w.CompleteSetup(t.Context(), setup(first.Link, "boss@example.com"), origin), fault.InsufficientPermissions)
	if w.inflight() != hashes {
		t.Errorf("%d hashes were computed for bad links", w.inflight()-hashes)
	}
	w.wantEvents()
	token, until, err := w.IssueSetupLink(t.Context(), w.operator(""), first.User)
	if err != nil || !until.Equal(w.now.Add(24*time.Hour)) {
		t.Fatal(err)
	}
	if err := w.CompleteSetup(t.Context(), setup(token, "boss@example.com"), origin); err != nil {
		t.Errorf("a link issued anew: %v", err)
	}
	_, _, err = w.IssueSetupLink(t.Context(), ident.Caller{Kind: ident.Person, Permissions: w.Catalogue.All()}, first.User)
	wantCode(t, err, fault.InsufficientPermissions)
	_, _, err = w.IssueSetupLink(t.Context(), w.operator(""), "user_none")
	wantCode(t, err, fault.NotFound)
}

func TestSetupDoesNotTakeAnothersAddress(t *testing.T) {
	w := newWorld(t)
	first, err := w.FirstRun(t.Context(), firstAdmin)
	if err != nil {
		t.Fatal(err)
	}
	w.user(accounts.Org{ID: first.Org}, "eve@example.com", accounts.RoleViewer)
	wantCode(t, w.CompleteSetup(t.Context(), setup(first.Link, "EVE@example.com"), origin), fault.Conflict)
	if err := w.CompleteSetup(t.Context(), setup(first.Link, "boss@example.com"), origin); err != nil {
		t.Errorf("a refused use used the link up: %v", err)
	}
}
