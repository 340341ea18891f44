package server_test

import (
	"strings"
	"testing"
)

// Forward authentication: what nginx, Traefik, Caddy and Envoy are told.
// AK-35, AK-64, AK-65, AK-66.
func TestForwardAuthentication(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	admin := a.text("access_token")
	user, _ := a.json["user"].(map[string]any)
	id, key := g.createKey(admin, `{"name":"k","permissions":["incidents:read","agents:*"]}`)
	everything := []string{"X-Auth-User", "X-Auth-Email", "X-Auth-Org", "X-Auth-Key", "X-Auth-Permissions"}

	for _, c := range []struct {
		name, query string
		headers     []string
		status      int
		code        string
		required    string
		auth        map[string]string
	}{
		{"a token", "", bearer(admin), 200, "", "", map[string]string{"X-Auth-User": str(user["id"]), "X-Auth-Email": adminEmail, "X-Auth-Org": str(user["organization_id"]), "X-Auth-Key": ""}},
		{"a cookie", "?permission=agents:read", []string{"Cookie", "th_access=" + admin}, 200, "", "", map[string]string{"X-Auth-User": str(user["id"])}},
		{"a key", "?permission=incidents:read&permission=agents:delete", []string{"X-API-Key", key}, 200, "", "", map[string]string{"X-Auth-Key": id, "X-Auth-Org": str(user["organization_id"]), "X-Auth-Email": adminEmail}},
		{"a key as bearer", "?permission=incidents:read", bearer(key), 200, "", "", map[string]string{"X-Auth-Key": id}},
		{"O35: a key that lacks it", "?permission=incidents:read&permission=procedures:execute", []string{"X-API-Key", key}, 403, "INSUFFICIENT_PERMISSIONS", "procedures:execute", nil},
		{"a wildcard is all of it", "?permission=incidents:*", []string{"X-API-Key", key}, 403, "INSUFFICIENT_PERMISSIONS", "incidents:*", nil},
		{"nothing", "?permission=agents:read", nil, 401, "INVALID_TOKEN", "", nil},
		{"a bad key", "", []string{"X-API-Key", key + "x"}, 401, "INVALID_API_KEY", "", nil},
		{"no permission's name", "?permission=everything", bearer(admin), 422, "VALIDATION_FAILED", "", nil},
		{"an empty permission", "?permission=", bearer(admin), 422, "VALIDATION_FAILED", "", nil},
		{"too many", "?" + strings.Repeat("permission=agents:read&", 33), bearer(admin), 422, "VALIDATION_FAILED", "", nil},
		{"a forged header", "", append(bearer(admin), "X-Auth-User", "user_evil", "X-Auth-Key", "key_evil"), 200, "", "", map[string]string{"X-Auth-User": str(user["id"]), "X-Auth-Key": ""}},
		{"a cookie, for a change asked for by another site", "", []string{"Cookie", "th_access=" + admin, "X-Forwarded-Method", "POST", "Origin", "https://evil.example"}, 403, "CROSS_ORIGIN", "", nil},
		{"a cookie, for a change of our own", "", []string{"Cookie", "th_access=" + admin, "X-Original-Method", "DELETE", "Origin", "http://localhost:8080"}, 200, "", "", nil},
		{"a cookie, for a link from another site", "", []string{"Cookie", "th_access=" + admin, "X-Forwarded-Method", "GET", "Sec-Fetch-Site", "cross-site"}, 200, "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := g.do("GET", "/api/v1/auth/verify"+c.query, "", c.headers...)
			if r.status != c.status || r.text("code") != c.code {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if c.status == 200 {
				for _, h := range everything {
					if _, ok := r.header[h]; !ok {
						t.Errorf("no %s: a proxy would let the client's own through", h)
					}
				}
			}
			for h, want := range c.auth {
				if got := r.header.Get(h); got != want {
					t.Errorf("%s: %q, want %q", h, got, want)
				}
			}
			if c.required != "" {
				list, _ := r.json["required"].([]any)
				if len(list) != 1 || list[0] != c.required {
					t.Errorf("required %v", list)
				}
				if !strings.Contains(r.header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
					t.Errorf("WWW-Authenticate %q", r.header.Get("WWW-Authenticate"))
				}
			}
		})
	}
}

// K20 K21 K22 O9 O14 at the edge: what a caller with a bad token is told.
func TestBadTokens(t *testing.T) {
	g := start(t)
	token := g.admin()
	parts := strings.Split(token, ".")
	for name, bad := range map[string]string{
		"K20 payload": parts[0] + "." + flip(parts[1]) + "." + parts[2], "K20 signature": parts[0] + "." + parts[1] + "." + flip(parts[2]), "header": flip(parts[0]) + "." + parts[1] + "." + parts[2],
	} {
		a := g.do("GET", "/api/v1/me", "", bearer(bad)...)
		if a.status != 401 || a.text("error") != "invalid token" || a.text("code") != "INVALID_TOKEN" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	g.advance(59 * 60 * 1e9)
	g.want(g.do("GET", "/api/v1/me", "", bearer(token)...), 200) // O14
	g.advance(5 * 60 * 1e9)
	a := g.do("GET", "/api/v1/me", "", bearer(token)...)
	if a.status != 401 || a.text("detail") != "JWT token has expired" || a.json["status_code"] != float64(401) || a.text("error") != "token expired" || a.text("code") != "INVALID_TOKEN" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// O33: what a token may do ends with the role, on the next request.
func TestADemotedUserLosesTheirTokens(t *testing.T) {
	g := start(t)
	admin := g.admin()
	engineer := g.member(admin, "engineer@example.com", "engineer")
	me := g.want(g.do("GET", "/api/v1/me", "", bearer(engineer)...), 200)
	if me.text("role") != "engineer" || me.text("organization_id") == "" {
		t.Errorf("%s", me.body)
	}
	g.want(g.do("PATCH", "/api/v1/memberships/"+me.text("id"), `{"role":"viewer"}`, bearer(admin)...), 200)
	if a := g.do("GET", "/api/v1/me", "", bearer(engineer)...); a.status != 401 || a.text("reason") != "revoked" {
		t.Errorf("%d %s", a.status, a.body)
	}
	fresh := g.login("engineer@example.com", userPassword).text("access_token")
	if a := g.do("POST", "/api/v1/api-keys", `{"name":"k","permissions":["agents:read"]}`, bearer(fresh)...); a.status != 403 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// SEC-WEB-19: a disabled user is out at once.
	g.want(g.do("PATCH", "/api/v1/users/"+me.text("id"), `{"status":"disabled"}`, bearer(admin)...), 200)
	if a := g.do("GET", "/api/v1/me", "", bearer(fresh)...); a.status != 401 || a.text("reason") != "revoked" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Some proxies ask with the method of the request they ask about, and append its
// path and its query: neither is part of the question.
func TestForwardAuthenticationInTheWaysOfProxies(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, key := g.createKey(admin, `{"name":"k","permissions":["incidents:read","agents:*"]}`)
	const may, mayNot = "/api/v1/auth/verify/incidents:read,agents:delete", "/api/v1/auth/verify/incidents:read,procedures:execute"
	cookie := []string{"Cookie", "th_access=" + admin}

	for _, c := range []struct {
		name, path string
		headers    []string
		status     int
	}{
		{"nothing is asked for", "/api/v1/auth/verify/any", []string{"X-API-Key", key}, 200},
		{"permissions in the path", may, []string{"X-API-Key", key}, 200},
		{"one that it lacks", mayNot, []string{"X-API-Key", key}, 403},
		{"a path behind it", may + "/a/b", []string{"X-API-Key", key}, 200},
		{"the root behind it", may + "/", []string{"X-API-Key", key}, 200},
		{"a path that is spelled oddly", may + "//a/./../b;c/%2e%2e%2f", []string{"X-API-Key", key}, 200},
		{"the query of the request is not ours", may + "/a?permission=users:create&permission=nonsense&%zz", []string{"X-API-Key", key}, 200},
		{"and takes nothing away", mayNot + "/a?permission=incidents:read", []string{"X-API-Key", key}, 403},
		{"climbing out of it", mayNot + "/../any", []string{"X-API-Key", key}, 403},
		{"no permission's name", "/api/v1/auth/verify/everything/a", []string{"X-API-Key", key}, 422},
		{"an empty name", "/api/v1/auth/verify/incidents:read,/a", []string{"X-API-Key", key}, 422},
		{"encoded permissions", "/api/v1/auth/verify/incidents%3aread/a", []string{"X-API-Key", key}, 404},
		{"an empty segment", "/api/v1/auth/verify//a", []string{"X-API-Key", key}, 404},
		{"another path with that beginning", "/api/v1/auth/verifying", []string{"X-API-Key", key}, 404},
		{"no credential", may + "/a", nil, 401},
		{"a bad key", may + "/a", []string{"X-API-Key", key + "x"}, 401},
		{"a cookie", may + "/a", cookie, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				body := ""
				if method == "POST" {
					body = "this is not for us"
				}
				a := g.do(method, c.path, body, c.headers...)
				if a.status != c.status {
					t.Errorf("%s: %d %s", method, a.status, a.body)
				}
				if c.status == 200 && c.headers[0] == "X-API-Key" && a.header.Get("X-Auth-Key") != id {
					t.Errorf("%s: %v", method, a.header)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		method, path string
		headers      []string
		status       int
	}{
		"a change that another site asks for":           {"POST", may + "/a", append(cookie, "Origin", "https://evil.example"), 403},
		"a link from another site":                      {"GET", may + "/a", append(cookie, "Sec-Fetch-Site", "cross-site"), 200},
		"a change, of our own":                          {"DELETE", may + "/a", append(cookie, "Origin", "http://localhost:8080"), 200},
		"without the path: a change of another site's":  {"PUT", "/api/v1/auth/verify", append(cookie, "Origin", "https://evil.example"), 403},
		"without the path: HEAD":                        {"HEAD", "/api/v1/auth/verify?permission=incidents:read", []string{"X-API-Key", key}, 200},
		"without the path: HEAD, lacking":               {"HEAD", "/api/v1/auth/verify?permission=users:read", []string{"X-API-Key", key}, 403},
		"a method that nobody forwards":                 {"PROPFIND", may, []string{"X-API-Key", key}, 405},
		"another route is not reached through this one": {"POST", may + "/../../api-keys", []string{"X-API-Key", key}, 200},
	} {
		if a := g.do(c.method, c.path, "", c.headers...); a.status != c.status || len(a.body) > 0 && a.status == 200 && string(a.body) != "{}" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}
