package server_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestUsersAndMemberships(t *testing.T) {
	g := start(t)
	admin := g.admin()
	made := g.want(g.do("POST", "/api/v1/users", `{"email":"Jane@Example.com","name":"Jane Doe","role":"engineer","password":"`+userPassword+`"}`, bearer(admin)...), 201)
	id := made.text("id")
	if made.text("email") != "Jane@Example.com" || made.text("role") != "engineer" || made.text("status") != "active" {
		t.Errorf("%s", made.body)
	}
	if a := g.do("POST", "/api/v1/users", `{"email":"jane@example.COM","name":"Joan","role":"viewer","password":"`+userPassword+`"}`, bearer(admin)...); a.status != 409 || a.text("code") != "CONFLICT" {
		t.Errorf("the same address again: %d %s", a.status, a.body)
	}
	for body, field := range map[string]string{
		`{"email":"x@example.com","role":"viewer"}`:                                            "password",
		`{"email":"no address","role":"viewer","password":"` + userPassword + `"}`:             "email",
		`{"email":"x@example.com","role":"emperor","password":"` + userPassword + `"}`:         "role",
		`{"email":"x@example.com","role":"viewer","password":"short"}`:                         "password",
		`{"email":"x@example.com","role":"viewer","password":"x","organization_id":"org_x"}`:   "organization_id",
		`{"email":"x@example.com","role":"viewer","password":"` + userPassword + `","id":"u"}`: "id",
	} {
		if a := g.do("POST", "/api/v1/users", body, bearer(admin)...); a.status != 422 || !strings.Contains(string(a.body), `{"name":"`+field+`"`) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	patched := g.want(g.do("PATCH", "/api/v1/users/"+id, `{"name":"Jane Roe"}`, bearer(admin)...), 200)
	if patched.text("name") != "Jane Roe" || patched.text("role") != "engineer" {
		t.Errorf("%s", patched.body)
	}
	if a := g.do("PATCH", "/api/v1/users/"+id, `{"status":"asleep"}`, bearer(admin)...); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
	roleSet := g.want(g.do("PATCH", "/api/v1/memberships/"+id, `{"role":"viewer"}`, bearer(admin)...), 200)
	if roleSet.text("user_id") != id || roleSet.text("role") != "viewer" {
		t.Errorf("%s", roleSet.body)
	}
	for _, list := range []string{"/api/v1/users", "/api/v1/memberships"} {
		r := g.want(g.do("GET", list, "", bearer(admin)...), 200)
		if data, _ := r.json["data"].([]any); len(data) != 2 {
			t.Errorf("%s: %s", list, r.body)
		}
	}
	g.want(g.do("POST", "/api/v1/users/"+id+"/unlock", "", bearer(admin)...), 204)
	g.want(g.do("DELETE", "/api/v1/memberships/"+id, "", bearer(admin)...), 204)
	g.want(g.do("GET", "/api/v1/users/"+id, "", bearer(admin)...), 404)
	g.want(g.do("DELETE", "/api/v1/memberships/"+id, "", bearer(admin)...), 404)

	me := g.want(g.do("GET", "/api/v1/me", "", bearer(admin)...), 200).text("id")
	for _, c := range [][3]string{{"DELETE", "/api/v1/memberships/" + me, ""}, {"PATCH", "/api/v1/memberships/" + me, `{"role":"viewer"}`}, {"PATCH", "/api/v1/users/" + me, `{"status":"disabled"}`}} {
		if a := g.do(c[0], c[1], c[2], bearer(admin)...); a.status != 409 {
			t.Errorf("the last owner, %s %s: %d %s", c[0], c[1], a.status, a.body)
		}
	}
}

func TestMalformedIdentifiersNameNothing(t *testing.T) {
	g := start(t)
	admin := g.admin()
	for _, route := range []string{"/api/v1/users/", "/api/v1/api-keys/", "/api/v1/organizations/"} {
		for _, id := range []string{"x", "user_", "key_" + strings.Repeat("0", 25), "key_" + strings.Repeat("U", 26), "org_" + strings.Repeat("i", 26), strings.Repeat("9", 500), "'", "..."} {
			if a := g.do("GET", route+id, "", bearer(admin)...); a.status != 404 || a.text("code") != "NOT_FOUND" {
				t.Errorf("%s%s: %d %s", route, id, a.status, a.body)
			}
		}
	}
}

func TestOrganizationsAndRoles(t *testing.T) {
	g := start(t)
	admin := g.admin()
	list := g.want(g.do("GET", "/api/v1/organizations", "", bearer(admin)...), 200)
	data, _ := list.json["data"].([]any)
	if len(data) != 1 {
		t.Fatalf("%s", list.body)
	}
	id := str(data[0].(map[string]any)["id"])
	if a := g.want(g.do("PATCH", "/api/v1/organizations/"+id, `{"name":"Renamed"}`, bearer(admin)...), 200); a.text("name") != "Renamed" {
		t.Errorf("%s", a.body)
	}
	if a := g.want(g.do("GET", "/api/v1/organizations/"+id, "", bearer(admin)...), 200); a.text("name") != "Renamed" {
		t.Errorf("%s", a.body)
	}

	role := g.want(g.do("PUT", "/api/v1/roles/reader", `{"permissions":["incidents:read","agents:*"]}`, bearer(admin)...), 200)
	if role.text("name") != "reader" || role.json["built_in"] != false {
		t.Errorf("%s", role.body)
	}
	roles := g.want(g.do("GET", "/api/v1/roles", "", bearer(admin)...), 200)
	if data, _ := roles.json["data"].([]any); len(data) != 5 || roles.json["next_cursor"] != nil {
		t.Errorf("%s", roles.body)
	}
	for body, want := range map[string]int{`{}`: 422, `{"permissions":["no such thing"]}`: 422, `{"permissions":["nothing:known"]}`: 422} {
		if a := g.do("PUT", "/api/v1/roles/reader", body, bearer(admin)...); a.status != want {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := g.do("PUT", "/api/v1/roles/owner", `{"permissions":["agents:read"]}`, bearer(admin)...); a.status < 400 || a.status >= 500 {
		t.Errorf("a built-in role was changed: %d %s", a.status, a.body)
	}
	g.want(g.do("DELETE", "/api/v1/roles/reader", "", bearer(admin)...), 204)
	g.want(g.do("DELETE", "/api/v1/roles/reader", "", bearer(admin)...), 404)
}

func TestSessions(t *testing.T) {
	g := start(t)
	here, there, elsewhere := g.login(adminEmail, adminPassword), g.login(adminEmail, adminPassword), g.login(adminEmail, adminPassword)
	token := here.text("access_token")
	list := g.want(g.do("GET", "/api/v1/sessions", "", bearer(token)...), 200)
	data, _ := list.json["data"].([]any)
	if len(data) != 3 {
		t.Fatalf("%s", list.body)
	}
	var current int
	for _, d := range data {
		if d.(map[string]any)["current"] == true {
			current++
		}
	}
	_, payload := claims(t, there.text("access_token"))
	if current != 1 {
		t.Errorf("%d current sessions: %s", current, list.body)
	}
	g.want(g.do("DELETE", "/api/v1/sessions/"+str(payload["sid"]), "", bearer(token)...), 204)
	g.want(g.do("GET", "/api/v1/me", "", bearer(there.text("access_token"))...), 401)
	g.want(g.do("DELETE", "/api/v1/sessions/"+str(payload["sid"]), "", bearer(token)...), 404)
	if a := g.want(g.do("DELETE", "/api/v1/sessions", "", bearer(token)...), 200); a.json["revoked"] != float64(1) {
		t.Errorf("%s", a.body)
	}
	g.want(g.do("GET", "/api/v1/me", "", bearer(elsewhere.text("access_token"))...), 401)
	g.want(g.do("GET", "/api/v1/me", "", bearer(token)...), 200)

	viewer := g.member(token, "viewer@example.com", "viewer")
	me := g.want(g.do("GET", "/api/v1/me", "", bearer(token)...), 200).text("id")
	for query, want := range map[string]int{"?user_id=*": 2, "?user_id=" + me: 1, "": 1} {
		a := g.want(g.do("GET", "/api/v1/sessions"+query, "", bearer(token)...), 200)
		if data, _ := a.json["data"].([]any); len(data) != want {
			t.Errorf("%q: %d sessions, want %d", query, len(data), want)
		}
	}
	for _, query := range []string{"?user_id=*", "?user_id=" + me} {
		if a := g.do("GET", "/api/v1/sessions"+query, "", bearer(viewer)...); a.status != 403 || !strings.Contains(string(a.body), "sessions:read") {
			t.Errorf("a viewer, %q: %d %s", query, a.status, a.body)
		}
	}
	if a := g.do("GET", "/api/v1/sessions?user_id=me", "", bearer(token)...); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
	_, auditor := g.createKey(token, `{"name":"k","permissions":["sessions:read"]}`)
	g.want(g.do("GET", "/api/v1/sessions?user_id=*", "", "X-API-Key", auditor), 200)
	_, key := g.createKey(token, `{"name":"k","permissions":["agents:read"]}`)
	for _, c := range [][2]string{{"GET", "/api/v1/sessions"}, {"DELETE", "/api/v1/sessions"}, {"POST", "/api/v1/me/password"}} {
		if a := g.do(c[0], c[1], "", "X-API-Key", key); a.status != 403 || a.text("code") != "INSUFFICIENT_PERMISSIONS" {
			t.Errorf("an API key, %s %s: %d %s", c[0], c[1], a.status, a.body)
		}
	}
}

func TestChangingThePassword(t *testing.T) {
	g := start(t)
	here, there := g.login(adminEmail, adminPassword), g.login(adminEmail, adminPassword)
	change := func(current, next string) answer {
		return g.do("POST", "/api/v1/me/password", fmt.Sprintf(`{"current_password":%q,"new_password":%q}`, current, next), bearer(here.text("access_token"))...)
	}
	if a := change("wrong", userPassword); a.status != 401 || a.text("code") != "INVALID_CREDENTIALS" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := change(adminPassword, "short"); a.status != 422 || !strings.Contains(string(a.body), "new_password") {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.want(change(adminPassword, userPassword), 204)
	g.want(g.do("GET", "/api/v1/me", "", bearer(there.text("access_token"))...), 401)
	g.want(g.do("GET", "/api/v1/me", "", bearer(here.text("access_token"))...), 200)
	g.login(adminEmail, userPassword)
}

// SEC-OBS-02: what a known caller was refused is one event, with who and why.
func TestARefusalIsRecordedOnce(t *testing.T) {
	g := start(t)
	admin := g.admin()
	viewer := g.member(admin, "viewer@example.com", "viewer")
	refused := g.do("GET", "/api/v1/users?limit=1", "", bearer(viewer)...)
	if refused.status == 403 {
		t.Fatal("a viewer may list users; take another route")
	}
	refused = g.do("POST", "/api/v1/users", `{}`, append(bearer(viewer), "User-Agent", "a browser")...)
	if refused.status != 403 {
		t.Fatalf("%d %s", refused.status, refused.body)
	}
	events := g.want(g.do("GET", "/api/v1/audit-events?request_id="+refused.text("request_id"), "", bearer(admin)...), 200)
	data, _ := events.json["data"].([]any)
	if len(data) != 1 {
		t.Fatalf("%s", events.body)
	}
	e := data[0].(map[string]any)
	actor, _ := e["actor"].(map[string]any)
	meta, _ := e["meta"].(map[string]any)
	if e["event"] != "permission.denied" || e["outcome"] != "denied" || e["ip"] != "127.0.0.1" || e["user_agent"] != "a browser" || actor["name"] != "viewer@example.com" || meta["required"] != "users:create" {
		t.Errorf("%s", events.body)
	}
}
