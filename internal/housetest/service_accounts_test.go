package housetest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// serviceAccount makes a service account and returns its id.
func serviceAccount(c *housetest.Client, name, role string) string {
	return c.Post("/api/v1/service-accounts", map[string]string{"name": name, "role": role, "description": "for a test"}).Expect(http.StatusCreated).Text("id")
}

// keyOf makes a key of an owner and returns its id and the key.
func keyOf(c *housetest.Client, owner, name string, permissions ...string) (id, key string) {
	r := c.Post("/api/v1/api-keys", map[string]any{"name": name, "permissions": permissions, "owner": owner}).Expect(http.StatusCreated)
	return r.Text("id"), r.Text("api_key")
}

// The keys of a service account work at every replica, as its role lets them,
// until it is disabled; and tell proxies whose they are.
func TestTheKeysOfAServiceAccount(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		bot := serviceAccount(admin, "deploy-bot", "engineer")
		id, key := keyOf(admin, bot, "deploy", "agents:read", "agents:create", "api-keys:read")
		everywhere := func(path string, status int) {
			t.Helper()
			h.Follow()
			for i := range h.Replicas {
				h.At(i).For(t).WithKey(key).Get(path).Expect(status)
			}
		}
		create := func() housetest.Reply {
			return h.Client().WithKey(key).Post("/api/v1/agents", map[string]string{"name": "a"})
		}
		everywhere("/api/v1/agents", http.StatusOK)
		create().Expect(http.StatusCreated)
		seen := h.Client().WithKey(key).Get("/api/v1/auth/verify?permission=agents:read").Expect(http.StatusOK).Header
		if seen.Get("X-Auth-User") != bot || seen.Get("X-Auth-Email") != "" || seen.Get("X-Auth-Key") != id || len(seen.Values("X-Auth-Email")) != 1 {
			t.Errorf("a proxy learns %v", seen)
		}
		listed := admin.Get("/api/v1/api-keys?owner=" + bot).Expect(http.StatusOK)
		if listed.Text("data.0.id") != id || listed.Text("data.0.owner_kind") != "service_account" || listed.Text("data.0.owner_name") != "deploy-bot" || listed.Has("data.1") {
			t.Errorf("listed %s", listed.Body)
		}
		// SEC-KEY-08: the role caps the key at once, here and elsewhere.
		change := func(what, value string) {
			t.Helper()
			admin.Patch("/api/v1/service-accounts/"+bot, map[string]string{what: value}).Expect(http.StatusOK)
		}
		change("role", "viewer")
		create().Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
		everywhere("/api/v1/agents", http.StatusOK)
		everywhere("/api/v1/api-keys", http.StatusForbidden)
		change("role", "engineer")
		everywhere("/api/v1/api-keys", http.StatusOK)
		change("status", "disabled")
		h.Client().WithKey(key).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_API_KEY") // INV-02: with the reply
		everywhere("/api/v1/agents", http.StatusUnauthorized)
		if got := admin.Get("/api/v1/api-keys?status=owner_inactive").Text("data.0.id"); got != id {
			t.Errorf("with an inactive owner: %q, want %s", got, id)
		}
		change("status", "active")
		everywhere("/api/v1/agents", http.StatusOK)
		admin.Delete("/api/v1/service-accounts/"+bot).Problem(http.StatusConflict, "CONFLICT")
		admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		admin.Delete("/api/v1/service-accounts/" + bot).Expect(http.StatusNoContent)
		admin.Get("/api/v1/service-accounts/"+bot).Problem(http.StatusNotFound, "NOT_FOUND")
	})
}

// A service account is nobody: it is in no list of people, cannot be addressed
// as one, and nothing that takes a login takes it.
func TestAServiceAccountCannotPassForAPerson(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	bot := serviceAccount(admin, "bot", "owner")
	_, key := keyOf(admin, bot, "all", "*:*")
	for _, list := range []string{"/api/v1/users", "/api/v1/memberships"} {
		if n := len(admin.Get(list).Expect(http.StatusOK).List("data")); n != 1 {
			t.Errorf("%s lists %d people", list, n)
		}
	}
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/api/v1/users/" + bot, nil}, {"PATCH", "/api/v1/users/" + bot, map[string]string{"name": "x"}}, {"POST", "/api/v1/users/" + bot + "/unlock", nil},
		{"PATCH", "/api/v1/memberships/" + bot, map[string]string{"role": "viewer"}}, {"DELETE", "/api/v1/memberships/" + bot, nil},
	} {
		admin.Do(c.method, c.path, c.body).Problem(http.StatusNotFound, "NOT_FOUND")
	}
	for _, name := range []string{bot, "bot", bot + "@example.com"} {
		if r := h.Client().TryLogin(name, "a long enough sentence for one"); r.Status != http.StatusUnauthorized && r.Status != http.StatusUnprocessableEntity {
			t.Errorf("logging in as %s: %s", name, r)
		}
	}
	me := h.Client().WithKey(key)
	me.Post("/api/v1/me/password", map[string]string{"current_password": "x", "new_password": "a long enough sentence for one"}).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	me.Get("/api/v1/me/consents").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	if r := me.Get("/api/v1/me"); r.Status != http.StatusOK {
		t.Errorf("its key asks who it is: %s", r)
	}
	// The last person who owns the organisation stays, whatever service accounts there are.
	admin.Patch("/api/v1/memberships/"+string(h.Admin.ID), map[string]string{"role": "viewer"}).Problem(http.StatusConflict, "CONFLICT")
}

// Nobody reaches further through a service account than by themselves.
func TestServiceAccountsGiveNobodyMore(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	admin.Put("/api/v1/roles/keeper", map[string]any{"permissions": []string{"service-accounts:*", "api-keys:*", "agents:read"}}).Expect(http.StatusOK)
	keeper := h.Client().As(h.Login(h.Person(h.Admin.Org, "keeper", "keeper")).Access)
	engineer := h.Client().As(h.Login(h.Person(h.Admin.Org, "engineer", "engineer")).Access)
	mighty := serviceAccount(admin, "mighty", "admin")
	humble := serviceAccount(keeper, "humble", "keeper")
	mightyKey, _ := keyOf(admin, mighty, "mighty", "users:create", "agents:read")
	type body = map[string]any
	for _, c := range []struct {
		who          *housetest.Client
		method, path string
		body         any
	}{
		{engineer, "POST", "/api/v1/service-accounts", body{"name": "x", "role": "viewer"}},
		{engineer, "PATCH", "/api/v1/service-accounts/" + humble, body{"role": "engineer"}},
		{engineer, "DELETE", "/api/v1/service-accounts/" + humble, nil},
		{engineer, "POST", "/api/v1/api-keys", body{"name": "x", "permissions": []string{"agents:read"}, "owner": humble}},
		{keeper, "POST", "/api/v1/service-accounts", body{"name": "x", "role": "engineer"}},
		{keeper, "PATCH", "/api/v1/service-accounts/" + humble, body{"role": "admin"}},
		{keeper, "PATCH", "/api/v1/service-accounts/" + mighty, body{"role": "keeper"}},
		{keeper, "PATCH", "/api/v1/service-accounts/" + mighty, body{"status": "disabled"}},
		{keeper, "DELETE", "/api/v1/service-accounts/" + mighty, nil},
		{keeper, "POST", "/api/v1/api-keys", body{"name": "x", "permissions": []string{"users:create"}, "owner": mighty}},
		{keeper, "PATCH", "/api/v1/api-keys/" + mightyKey, body{"owner": humble}},
		{keeper, "POST", "/api/v1/api-keys/" + mightyKey + "/rotate", body{"grace": "0s"}},
	} {
		c.who.Do(c.method, c.path, c.body).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	}
	keeper.Patch("/api/v1/api-keys/"+mightyKey, body{"owner": humble, "name": "x"}).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
	keeper.Post("/api/v1/api-keys", body{"name": "x", "permissions": []string{"agents:read"}, "owner": "root"}).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
	keeper.Post("/api/v1/api-keys", body{"name": "x", "permissions": []string{"agents:read"}, "owner": string(h.Admin.ID)}).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
	keyOf(keeper, humble, "within", "agents:read")
}

// SEC-KEY-08: whatever an owner loses their keys lose at both
// replicas; what was given to another owner before goes on.
// AK-25, AK-52.
func TestKeysOfOwnersThatLeave(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		bot := serviceAccount(admin, "heir", "engineer")
		for name, leave := range map[string]struct {
			ask    func(user string) housetest.Reply
			status int // of the key afterwards
		}{
			"demoted": {func(user string) housetest.Reply {
				return admin.Patch("/api/v1/memberships/"+user, map[string]string{"role": "viewer"})
			}, http.StatusForbidden},
			"disabled": {func(user string) housetest.Reply {
				return admin.Patch("/api/v1/users/"+user, map[string]string{"status": "disabled"})
			}, http.StatusUnauthorized},
			"removed": {func(user string) housetest.Reply { return admin.Delete("/api/v1/memberships/" + user) }, http.StatusUnauthorized},
		} {
			p := h.Person(h.Admin.Org, name, "engineer")
			theirs := h.Client().As(h.Login(p).Access)
			_, stays := theirs.CreateKey("stays", "agents:create")
			given, goes := theirs.CreateKey("goes", "agents:create")
			ask := func(replica int, key string) int {
				return h.At(replica).For(t).WithKey(key).Post("/api/v1/agents", map[string]string{"name": name}).Status
			}
			for i := range h.Replicas {
				for _, key := range []string{stays, goes} {
					if got := ask(i, key); got != http.StatusCreated {
						t.Fatalf("%s: before, replica %d answers %d", name, i, got)
					}
				}
			}
			admin.Patch("/api/v1/api-keys/"+given, map[string]string{"owner": bot}).Expect(http.StatusOK)
			leave.ask(string(p.ID)).Expect(http.StatusOK, http.StatusNoContent)
			if got := ask(0, stays); got != leave.status { // with the reply
				t.Errorf("%s: the key is answered %d where it was decided, want %d", name, got, leave.status)
			}
			h.Follow()
			for i := range h.Replicas {
				if got := ask(i, stays); got != leave.status {
					t.Errorf("%s: the key is answered %d by replica %d, want %d", name, got, i, leave.status)
				}
				if got := ask(i, goes); got != http.StatusCreated {
					t.Errorf("%s: the key that was given away is answered %d by replica %d", name, got, i)
				}
			}
		}
		inactive := admin.Get("/api/v1/api-keys?status=owner_inactive").Expect(http.StatusOK)
		if n := len(inactive.List("data")); n != 2 {
			t.Errorf("%d keys have an inactive owner, want 2\n%s", n, inactive.Body)
		}
	})
}

// Every filter and its pages show the same keys as the whole list, and a cursor
// is good for its own filter only.
func TestListsOfKeysByStatusAndOwner(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		p := h.Person(h.Admin.Org, "leaver", "engineer")
		theirs := h.Client().As(h.Login(p).Access)
		for i := range 3 {
			theirs.CreateKey(fmt.Sprintf("theirs %d", i), "agents:read")
		}
		old := h.Client().As(h.Login(h.Admin).Access)
		old.CreateKey("old", "agents:read")
		old.Post("/api/v1/api-keys", map[string]any{"name": "short", "permissions": []string{"agents:read"}, "expires_at": h.Clock.Now().Add(time.Hour)}).Expect(http.StatusCreated)
		h.Advance(91 * 24 * time.Hour)
		admin := h.Client().As(h.Login(h.Admin).Access)
		ended, _ := admin.CreateKey("ended", "agents:read")
		admin.Delete("/api/v1/api-keys/" + ended).Expect(http.StatusNoContent)
		admin.CreateKey("young", "agents:read")
		admin.Patch("/api/v1/users/"+string(p.ID), map[string]string{"status": "disabled"}).Expect(http.StatusOK)
		by := map[string][]string{}
		for _, k := range admin.Get("/api/v1/api-keys").Expect(http.StatusOK).List("data") {
			key := k.(map[string]any)
			by["status="+key["status"].(string)] = append(by["status="+key["status"].(string)], key["name"].(string))
			by["owner="+key["owner"].(string)] = append(by["owner="+key["owner"].(string)], key["name"].(string))
		}
		if len(by) != 7 || len(by["status=owner_inactive"]) != 3 || !slices.Equal(by["status=rotation_due"], []string{"old"}) {
			t.Fatalf("there are %v", by)
		}
		for filter, want := range by {
			var got []string
			for path := "/api/v1/api-keys?limit=2&" + filter; path != ""; {
				r := admin.Get(path).Expect(http.StatusOK)
				for _, k := range r.List("data") {
					got = append(got, k.(map[string]any)["name"].(string))
				}
				path = ""
				if next := r.Text("next_cursor"); next != "" {
					path = "/api/v1/api-keys?limit=2&" + filter + "&cursor=" + next
					admin.Get("/api/v1/api-keys?limit=2&cursor="+next).Expect(http.StatusBadRequest, http.StatusUnprocessableEntity)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s lists %q, want %q", filter, got, want)
			}
		}
		for _, bad := range []string{"status=asleep", "owner=me", "owner=key_0"} {
			admin.Get("/api/v1/api-keys?"+bad).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
		}
	})
}

// A token that a service account's key was exchanged for is the key's, as long
// as the service account may: at every replica, whoever owns the key by then.
func TestTokensOfServiceAccountKeys(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		bot := serviceAccount(admin, "deploy-bot", "engineer")
		id, key := keyOf(admin, bot, "deploy", "agents:read", "agents:create")
		h.Follow()
		token := exchanged(h.Client(), key)
		everywhere := func(token string, status int) {
			t.Helper()
			h.Follow()
			for i := range h.Replicas {
				h.At(i).For(t).As(token).Post("/api/v1/agents", map[string]string{"name": "a"}).Expect(status)
			}
		}
		everywhere(token, http.StatusCreated)
		seen := h.Client().As(token).Get("/api/v1/auth/verify").Expect(http.StatusOK).Header
		if seen.Get("X-Auth-User") != bot || seen.Get("X-Auth-Key") != id {
			t.Errorf("a proxy learns %v", seen)
		}
		h.Client().As(token).Get("/api/v1/me/consents").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
		admin.Patch("/api/v1/service-accounts/"+bot, map[string]string{"role": "viewer"}).Expect(http.StatusOK)
		h.Client().As(token).Post("/api/v1/agents", map[string]string{"name": "a"}).Expect(http.StatusUnauthorized, http.StatusForbidden)
		h.Advance(time.Second) // a token is younger than what was decided before
		token = exchanged(h.Client(), key)
		everywhere(token, http.StatusForbidden)
		admin.Patch("/api/v1/service-accounts/"+bot, map[string]string{"status": "disabled"}).Expect(http.StatusOK)
		everywhere(token, http.StatusUnauthorized)
		exchange(h.Client(), key).Expect(http.StatusBadRequest, http.StatusUnauthorized)
	})
}

// Who is removed from an organisation has no token of a key left there.
func TestTokensOfKeysOfSomebodyRemoved(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Replicas: 2})
	admin := h.Client().As(h.Login(h.Admin).Access)
	p := h.Person(h.Admin.Org, "leaver", "engineer")
	_, key := h.Client().As(h.Login(p).Access).CreateKey("theirs", "agents:read")
	token := exchanged(h.Client(), key)
	h.Client().As(token).Get("/api/v1/agents").Expect(http.StatusOK)
	admin.Delete("/api/v1/memberships/" + string(p.ID)).Expect(http.StatusNoContent)
	h.Follow()
	for i := range h.Replicas {
		h.At(i).As(token).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
	}
}
