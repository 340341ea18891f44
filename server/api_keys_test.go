package server_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// O19 O20 O21 O22 O23 O25 O26 K11 K12: an API key from the first to the last request.
// AK-04, AK-17, AK-19.
func TestTheLifeOfAnAPIKey(t *testing.T) {
	g := start(t)
	admin := g.admin()
	made := g.want(g.do("POST", "/api/v1/api-keys", `{"name":"CI/CD Pipeline","permissions":["incidents:read","incidents:create","procedures:execute"]}`, bearer(admin)...), 201)
	id, value := made.text("id"), made.text("api_key")
	if !regexp.MustCompile(`^th_live_[0-9A-Za-z]{46}$`).MatchString(value) || !strings.HasPrefix(id, "key_") || made.text("created_at") != "2030-01-31T12:00:00Z" {
		t.Errorf("%s", made.body)
	}
	if fmt.Sprint(made.json["permissions"]) != "[incidents:read incidents:create procedures:execute]" { // O21: in their order
		t.Errorf("permissions %v", made.json["permissions"])
	}
	second := g.want(g.do("POST", "/api/v1/api-keys", `{"name":"CI/CD Pipeline","permissions":["agents:read"]}`, bearer(admin)...), 201) // K11: names need not differ
	g.want(g.do("GET", "/api/v1/me", "", "X-API-Key", value), 200)

	for _, path := range []string{"/api/v1/api-keys", "/api/v1/api-keys/" + id, "/api/v1/audit-events", "/api/v1/audit?key_id=" + id} {
		r := g.want(g.do("GET", path, "", bearer(admin)...), 200)
		if strings.Contains(string(r.body), value) || strings.Contains(string(r.body), `"api_key":`) {
			t.Errorf("%s shows the key: %s", path, r.body)
		}
	}
	shown := g.want(g.do("GET", "/api/v1/api-keys/"+id, "", bearer(admin)...), 200)
	if shown.text("status") != "active" || shown.text("name") != "CI/CD Pipeline" || shown.text("hint") == "" || shown.json["expires_at"] != nil {
		t.Errorf("%s", shown.body)
	}
	renamed := g.want(g.do("PATCH", "/api/v1/api-keys/"+id, `{"name":"ci-monitor"}`, bearer(admin)...), 200)
	if renamed.text("name") != "ci-monitor" {
		t.Errorf("%s", renamed.body)
	}

	del := g.want(g.do("DELETE", "/api/v1/api-keys/"+id, "", bearer(admin)...), 204)
	if len(del.body) != 0 {
		t.Errorf("%s", del.body)
	}
	dead := g.do("GET", "/api/v1/me", "", "X-API-Key", value)
	if dead.status != 401 || dead.text("code") != "INVALID_API_KEY" || dead.text("error") != "unauthorized" {
		t.Errorf("%d %s", dead.status, dead.body)
	}
	g.want(g.do("DELETE", "/api/v1/api-keys/"+id, "", bearer(admin)...), 404)
	revoked := g.want(g.do("GET", "/api/v1/api-keys/"+id, "", bearer(admin)...), 200)
	if revoked.text("status") != "revoked" || revoked.json["revoked_at"] == nil || revoked.json["revoked_by"] == nil { // K17: when, and by whom
		t.Errorf("%s", revoked.body)
	}
	g.want(g.do("GET", "/api/v1/me", "", "X-API-Key", second.text("api_key")), 200) // K25
}

// K24: rotation with and without a grace.
func TestRotatingAnAPIKey(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, first := g.createKey(admin, `{"name":"k","permissions":["agents:read"]}`)
	works := func(key string) bool { return g.do("GET", "/api/v1/me", "", "X-API-Key", key).status == 200 }

	r := g.want(g.do("POST", "/api/v1/api-keys/"+id+"/rotate", `{"grace":"24h"}`, bearer(admin)...), 200)
	second := r.text("api_key")
	if r.text("id") != id || second == first || !works(first) || !works(second) {
		t.Fatalf("%s", r.body)
	}
	old, _ := r.json["previous_secret"].(map[string]any)
	if old["valid_until"] != "2030-02-01T12:00:00Z" {
		t.Errorf("previous_secret %v", old)
	}
	g.advance(24*time.Hour + time.Second)
	if works(first) || !works(second) {
		t.Error("the old value outlives its grace, or the new one does not")
	}
	admin = g.admin()
	for _, body := range []string{`{"grace":"0s"}`, ``} {
		before := second
		second = g.want(g.do("POST", "/api/v1/api-keys/"+id+"/rotate", body, bearer(admin)...), 200).text("api_key")
		if works(before) || !works(second) {
			t.Errorf("body %q: the old value works, or the new one does not", body)
		}
	}
	for _, body := range []string{`{"grace":"-1s"}`, `{"grace":"soon"}`, `{"grace":3600}`, `{"grace":"100000h"}`} {
		if a := g.do("POST", "/api/v1/api-keys/"+id+"/rotate", body, bearer(admin)...); a.status != 422 {
			t.Errorf("body %s: %d %s", body, a.status, a.body)
		}
	}
}

// SEC-KEY-03: nobody makes a key without a present and deliberate credential.
func TestCreatingAKeyTakesACredential(t *testing.T) {
	g := start(t)
	expired := g.admin()
	g.advance(2 * time.Hour)
	admin := g.admin()
	const body = `{"name":"k","permissions":["agents:read"]}`
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"nothing":                          {nil, 401},
		"an expired token":                 {bearer(expired), 401},
		"an expired token in a cookie":     {[]string{"Cookie", "th_access=" + expired}, 401},
		"a cookie, from another site":      {[]string{"Cookie", "th_access=" + admin, "Origin", "https://evil.example"}, 403},
		"a cookie, by a form of another's": {[]string{"Cookie", "th_access=" + admin, "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"}, 403},
		"a cookie, from our own page":      {[]string{"Cookie", "th_access=" + admin, "Sec-Fetch-Site", "same-origin"}, 201},
	} {
		if a := g.do("POST", "/api/v1/api-keys", body, c.headers...); a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if ids, _ := g.pages(admin, "/api/v1/api-keys", 50); len(ids) != 1 {
		t.Errorf("%d keys were made", len(ids))
	}
}

// SEC-KEY-05: the key that is judged is the key that is changed: there is one
// identifier, that of the path.
func TestTheKeyInThePathIsTheOneThatIsChanged(t *testing.T) {
	g := start(t)
	admin := g.admin()
	one, _ := g.createKey(admin, `{"name":"one","permissions":["agents:read"]}`)
	two, _ := g.createKey(admin, `{"name":"two","permissions":["agents:read"]}`)
	if a := g.do("PATCH", "/api/v1/api-keys/"+one+"?id="+two, `{"name":"new","id":"`+two+`"}`, bearer(admin)...); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.want(g.do("PATCH", "/api/v1/api-keys/"+one+"?id="+two, `{"name":"new"}`, bearer(admin)...), 200)
	if a := g.want(g.do("GET", "/api/v1/api-keys/"+two, "", bearer(admin)...), 200); a.text("name") != "two" {
		t.Errorf("%s", a.body)
	}
}

// AK-57.
func TestRefusedAPIKeys(t *testing.T) {
	g := start(t)
	admin := g.admin()
	_, parent := g.createKey(admin, `{"name":"parent","permissions":["api-keys:create","incidents:read"]}`)
	viewer := g.member(admin, "viewer@example.com", "viewer")
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		code, in   string
	}{
		{"O19: a role without api-keys:create", `{"name":"k","permissions":["agents:read"]}`, bearer(viewer), 403, "INSUFFICIENT_PERMISSIONS", "api-keys:create"},
		{"O19: more than the parent key", `{"name":"k","permissions":["procedures:execute"]}`, []string{"X-API-Key", parent}, 403, "INSUFFICIENT_PERMISSIONS", "procedures:execute"},
		{"O20: unknown permission", `{"name":"k","permissions":["nothing:known"]}`, bearer(admin), 422, "VALIDATION_FAILED", "permissions[0]"},
		{"O20: none", `{"name":"k","permissions":[]}`, bearer(admin), 422, "VALIDATION_FAILED", "permissions"},
		{"K11: no name", `{"name":"","permissions":["agents:read"]}`, bearer(admin), 422, "VALIDATION_FAILED", "name"},
		{"SEC-KEY-02: identity in the body", `{"name":"k","permissions":["agents:read"],"org_id":"org_x","owner":"user_x"}`, bearer(admin), 422, "VALIDATION_FAILED", "org_id"},
		{"an expiry in the past", `{"name":"k","permissions":["agents:read"],"expires_at":"2029-01-01T00:00:00Z"}`, bearer(admin), 422, "VALIDATION_FAILED", "expires_at"},
		{"no time", `{"name":"k","permissions":["agents:read"],"expires_at":"2031"}`, bearer(admin), 422, "VALIDATION_FAILED", "expires_at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.do("POST", "/api/v1/api-keys", c.body, c.headers...)
			if a.status != c.status || a.text("code") != c.code || !strings.Contains(string(a.body), `"`+c.in+`"`) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	child := g.want(g.do("POST", "/api/v1/api-keys", `{"name":"child","permissions":["incidents:read"]}`, "X-API-Key", parent), 201)
	if !strings.HasPrefix(child.text("created_by"), "key_") {
		t.Errorf("created_by %s", child.body)
	}
}

// O40: unknown, malformed, revoked and foreign-prefix keys are answered alike.
// AK-34.
func TestBadAPIKeysAreAnsweredAlike(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, key := g.createKey(admin, `{"name":"k","permissions":["agents:read"]}`)
	g.want(g.do("DELETE", "/api/v1/api-keys/"+id, "", bearer(admin)...), 204)
	var first string
	for name, bad := range map[string]string{
		"revoked": key, "checksum": flip(key), "other prefix": "kw_live_" + key[len("th_live_"):], "short": "th_live_x", "huge": strings.Repeat("x", 8192), "SEC-KEY-16: a JWT": admin,
	} {
		a := g.do("GET", "/api/v1/agents", "", "X-API-Key", bad)
		b := g.do("GET", "/api/v1/me", "", "X-API-Key", bad)
		for _, r := range []answer{a, b} {
			text := strings.ReplaceAll(string(r.body), r.text("request_id"), "")
			if first == "" {
				first = text
			}
			if r.status != 401 || r.text("code") != "INVALID_API_KEY" || text != first {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
	}
}

// AK-59.
func TestJudgingAKeyForOthers(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, key := g.createKey(admin, `{"name":"k","permissions":["agents:read"],"expires_at":"2031-01-01T00:00:00Z"}`)
	foreign := g.stranger("else@example.com")
	_, theirs := g.createKey(foreign, `{"name":"k","permissions":["agents:read"]}`)
	judge := func(token, key string) answer {
		return g.want(g.do("POST", "/api/v1/api-keys/verify", `{"api_key":"`+key+`"}`, bearer(token)...), 200)
	}
	good := judge(admin, key)
	if good.json["valid"] != true || good.text("code") != "VALID" || good.text("key_id") != id || good.text("expires_at") != "2031-01-01T00:00:00Z" || fmt.Sprint(good.json["permissions"]) != "[agents:read]" {
		t.Errorf("%s", good.body)
	}
	if other := judge(admin, theirs); string(other.body) != `{"valid":false,"code":"NOT_FOUND"}` {
		t.Errorf("another organisation's key: %s", other.body)
	}
	if bad := judge(admin, flip(key)); string(bad.body) != `{"valid":false,"code":"INVALID_API_KEY"}` {
		t.Errorf("%s", bad.body)
	}
	if a := g.do("POST", "/api/v1/api-keys/verify", `{}`, bearer(admin)...); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// AK-48: each list of keys says when the secret that a rotation replaced was last
// used, and from where, so that people know when nobody needs it any more.
func TestAListTellsWhoUsesTheReplacedSecret(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, old := g.createKey(admin, `{"name":"k","permissions":["agents:read"]}`)
	g.want(g.do("POST", "/api/v1/api-keys/"+id+"/rotate", `{"grace":"24h"}`, bearer(admin)...), 200)
	previous := func() map[string]any {
		t.Helper()
		if err := g.house.APIKeys.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, _ := g.want(g.do("GET", "/api/v1/api-keys", "", bearer(admin)...), 200).json["data"].([]any)
		if len(list) != 1 {
			t.Fatalf("%d keys are listed", len(list))
		}
		k, _ := list[0].(map[string]any)
		if current, _ := k["current_secret"].(map[string]any); current["last_used_at"] != nil {
			t.Errorf("nobody used the new secret, and yet %v", current)
		}
		secret, _ := k["previous_secret"].(map[string]any)
		return secret
	}
	if p := previous(); p == nil || p["last_used_at"] != nil || p["last_used_ip"] != "" {
		t.Errorf("before it is used: %v", p)
	}
	g.advance(10 * time.Minute)
	g.want(g.do("GET", "/api/v1/me", "", "X-API-Key", old, "User-Agent", "an old deployment"), 200)
	if p := previous(); p["last_used_at"] != "2030-01-31T12:10:00Z" || p["last_used_ip"] != "127.0.0.1" || p["last_used_user_agent"] != "an old deployment" {
		t.Errorf("after it was used: %v", p)
	}
}

// AK-53, AK-54: with a key end those that it made, and not with cascade=false.
func TestWhatEndsWithAKey(t *testing.T) {
	g := start(t)
	admin := g.admin()
	for query, spared := range map[string]bool{"": false, "?cascade=true": false, "?cascade=false": true} {
		id, maker := g.createKey(admin, `{"name":"maker","permissions":["api-keys:create","agents:read"]}`)
		child := g.want(g.do("POST", "/api/v1/api-keys", `{"name":"child","permissions":["agents:read"]}`, "X-API-Key", maker), 201).text("api_key")
		if a := g.do("DELETE", "/api/v1/api-keys/"+id+"?cascade=maybe", "", bearer(admin)...); a.status != 422 {
			t.Errorf("cascade=maybe: %d %s", a.status, a.body)
		}
		g.want(g.do("DELETE", "/api/v1/api-keys/"+id+query, "", bearer(admin)...), 204)
		g.want(g.do("GET", "/api/v1/me", "", "X-API-Key", maker), 401)
		g.want(g.do("GET", "/api/v1/me", "", "X-API-Key", child), map[bool]int{true: 200, false: 401}[spared])
	}
}
