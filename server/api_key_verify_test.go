package server_test

import (
	"slices"
	"testing"
)

// What a resource server learns of a key that it was sent: 200 in any case, a
// code, and no more of a key that is not its organisation's than of one that
// does not exist.
// AK-58.
func TestAResourceServerAsksAboutAKey(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, key := g.createKey(admin, `{"name":"k","permissions":["incidents:read","agents:*"],"expires_at":"2100-01-01T00:00:00Z"}`)
	deadID, dead := g.createKey(admin, `{"name":"dead","permissions":["agents:read"]}`)
	g.want(g.do("DELETE", "/api/v1/api-keys/"+deadID, "", bearer(admin)...), 204)
	ask := func(body string) answer {
		t.Helper()
		return g.want(g.do("POST", "/api/v1/api-keys/verify", body, bearer(admin)...), 200)
	}
	for _, c := range []struct {
		name, body string
		code       string
		required   []any
	}{
		{"a good key", `{"api_key":"` + key + `"}`, "VALID", nil},
		{"with what it may", `{"api_key":"` + key + `","permission":"incidents:read","permissions":["agents:read","agents:delete"]}`, "VALID", nil},
		{"with what it may not", `{"api_key":"` + key + `","permission":"users:read"}`, "INSUFFICIENT_PERMISSIONS", []any{"users:read"}},
		{"with some that it may not", `{"api_key":"` + key + `","permissions":["agents:read","incidents:create","users:read"]}`, "INSUFFICIENT_PERMISSIONS", []any{"incidents:create", "users:read"}},
		{"a revoked key", `{"api_key":"` + dead + `"}`, "INVALID_API_KEY", nil},
		{"a typing error", `{"api_key":"` + key + `x"}`, "INVALID_API_KEY", nil},
		{"a revoked key, with permissions", `{"api_key":"` + dead + `","permission":"users:read"}`, "INVALID_API_KEY", nil},
	} {
		a := ask(c.body)
		required, _ := a.json["required"].([]any)
		if a.text("code") != c.code || a.json["valid"] != (c.code == "VALID") || !slices.Equal(required, c.required) {
			t.Errorf("%s: %s", c.name, a.body)
		}
		known := c.code == "VALID" || c.code == "INSUFFICIENT_PERMISSIONS"
		if known != (a.text("key_id") == id) || known != (a.text("owner") != "" && a.text("org_id") != "" && a.text("expires_at") == "2100-01-01T00:00:00Z" && a.json["permissions"] != nil) {
			t.Errorf("%s: %s", c.name, a.body)
		}
	}
	for _, body := range []string{`{"api_key":"` + key + `","permission":"everything"}`, `{"api_key":"` + key + `","permissions":["agents:read",""]}`, `{"api_key":"` + key + `","ip":"here"}`, `{}`} {
		g.want(g.do("POST", "/api/v1/api-keys/verify", body, bearer(admin)...), 422)
	}
	// With the address of whoever sent the key, for its networks.
	if a := ask(`{"api_key":"` + key + `","ip":"192.0.2.7"}`); a.text("code") != "VALID" {
		t.Errorf("%s", a.body)
	}
}
