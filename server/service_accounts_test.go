package server_test

import (
	"strings"
	"testing"
)

// What the routes of service accounts take and answer is as they are described.
func TestServiceAccountsAsDescribed(t *testing.T) {
	g := start(t)
	admin := g.login(adminEmail, adminPassword).text("access_token")
	made := g.want(g.do("POST", "/api/v1/service-accounts", `{"name":"deploy-bot","role":"engineer"}`, bearer(admin)...), 201)
	id := made.text("id")
	if made.text("name") != "deploy-bot" || made.text("role") != "engineer" || made.text("status") != "active" || made.text("description") != "" {
		t.Errorf("made %s", made.body)
	}
	for body, field := range map[string]string{
		`{"role":"viewer"}`: "name", `{"name":"x"}`: "role", `{"name":"x","role":"nobody"}`: "role", `{"name":"x","role":"viewer","org_id":"org_1"}`: "org_id",
		`{"name":"svc_x","role":"viewer"}`: "name", `{"name":"x","role":"viewer","description":"\u0007"}`: "description",
	} {
		if a := g.do("POST", "/api/v1/service-accounts", body, bearer(admin)...); a.status != 422 || !strings.Contains(string(a.body), `"name":"`+field+`"`) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := g.do("POST", "/api/v1/service-accounts", `{"name":"deploy-bot","role":"viewer"}`, bearer(admin)...); a.status != 409 || a.text("code") != "CONFLICT" {
		t.Errorf("a name that is taken: %d %s", a.status, a.body)
	}
	patched := g.want(g.do("PATCH", "/api/v1/service-accounts/"+id, `{"description":"ask Jane"}`, bearer(admin)...), 200)
	if patched.text("description") != "ask Jane" || patched.text("name") != "deploy-bot" {
		t.Errorf("patched %s", patched.body)
	}
	if a := g.do("PATCH", "/api/v1/service-accounts/"+id, `{"status":"asleep"}`, bearer(admin)...); a.status != 422 {
		t.Errorf("asleep: %d %s", a.status, a.body)
	}
	key := g.want(g.do("POST", "/api/v1/api-keys", `{"name":"k","permissions":["agents:read"],"owner":"`+id+`"}`, bearer(admin)...), 201)
	if key.text("owner") != id || key.text("owner_kind") != "service_account" {
		t.Errorf("key %s", key.body)
	}
	if one := g.want(g.do("GET", "/api/v1/api-keys/"+key.text("id"), "", bearer(admin)...), 200); one.text("owner_name") != "deploy-bot" {
		t.Errorf("read %s", one.body)
	}
	me := g.want(g.do("GET", "/api/v1/me", "", bearer(admin)...), 200).text("id")
	for _, q := range []string{"?status=active", "?owner=" + id, "?status=owner_inactive&owner=" + id} {
		g.want(g.do("GET", "/api/v1/api-keys"+q, "", bearer(admin)...), 200)
	}
	given := g.want(g.do("PATCH", "/api/v1/api-keys/"+key.text("id"), `{"owner":"`+me+`"}`, bearer(admin)...), 200)
	if given.text("owner") != me || given.text("owner_kind") != "user" {
		t.Errorf("given %s", given.body)
	}
	if list := g.want(g.do("GET", "/api/v1/service-accounts", "", bearer(admin)...), 200); !strings.Contains(string(list.body), id) {
		t.Errorf("listed %s", list.body)
	}
	g.want(g.do("GET", "/api/v1/service-accounts/"+id, "", bearer(admin)...), 200)
	g.want(g.do("DELETE", "/api/v1/service-accounts/"+id, "", bearer(admin)...), 204)
	g.want(g.do("GET", "/api/v1/service-accounts/"+id, "", bearer(admin)...), 404)
}
