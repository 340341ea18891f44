package server_test

import (
	"strings"
	"testing"
)

func TestChangingOnesOwnName(t *testing.T) {
	g := start(t)
	admin := g.admin()
	key := g.want(g.do("POST", "/api/v1/api-keys", `{"name":"mine","permissions":["*:*"]}`, bearer(admin)...), 201).text("api_key")
	a := g.want(g.do("PATCH", "/api/v1/me", `{"name":"Ada <script>"}`, bearer(admin)...), 200)
	if a.text("name") != "Ada <script>" || a.text("email") != adminEmail {
		t.Errorf("%s", a.body)
	}
	if a := g.want(g.do("GET", "/api/v1/me", "", bearer(admin)...), 200); a.text("name") != "Ada <script>" {
		t.Errorf("afterwards: %s", a.body)
	}
	for body, field := range map[string]string{`{}`: "name", `{"name":"two\nlines"}`: "name", `{"name":"x","email":"x@example.com"}`: "email"} {
		if a := g.do("PATCH", "/api/v1/me", body, bearer(admin)...); a.status != 422 || !strings.Contains(string(a.body), `{"name":"`+field+`"`) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	g.want(g.do("PATCH", "/api/v1/me", `{"name":"x"}`, "X-API-Key", key), 403) // a key is not its owner
	g.want(g.do("PATCH", "/api/v1/me", `{"name":"x"}`), 401)
}

// SEC-LOG-20: what was stolen elsewhere is refused wherever a password is set.
func TestStolenPasswordsAreRefused(t *testing.T) {
	g := start(t)
	admin := bearer(g.admin())
	const stolen = "123456789987654321"
	for name, a := range map[string]answer{
		"registration": g.do("POST", "/api/v1/auth/register", `{"email":"new@example.com","password":"`+stolen+`"}`),
		"a new user":   g.do("POST", "/api/v1/users", `{"email":"new@example.com","role":"viewer","password":"`+stolen+`"}`, admin...),
		"a change":     g.do("POST", "/api/v1/me/password", `{"current_password":"`+adminPassword+`","new_password":"`+stolen+`"}`, admin...),
	} {
		if a.status != 422 || a.text("reason") != "breached" || strings.Contains(string(a.body), stolen) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}
