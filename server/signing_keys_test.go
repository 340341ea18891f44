package server_test

import (
	"strings"
	"testing"
	"time"
)

// The keys that sign everybody's tokens are replaced by whoever runs the
// deployment, and by nobody else, whatever their role in an organisation.
func TestOnlyTheFirstOrganisationRotatesSigningKeys(t *testing.T) {
	g := start(t)
	admin := g.admin()
	g.advance(time.Second) // organisations of one moment have no first among them
	before := string(g.want(g.do("GET", "/.well-known/jwks.json", ""), 200).body)
	for who, token := range map[string]string{
		"the owner of another organisation": g.stranger("owner@other.example"),
		"an engineer":                       g.member(admin, "engineer@example.com", "engineer"),
	} {
		if a := g.do("POST", "/api/v1/signing-keys/rotate", "", bearer(token)...); a.status != 403 || a.text("code") != "INSUFFICIENT_PERMISSIONS" {
			t.Errorf("%s: %d %s", who, a.status, a.body)
		}
	}
	if after := string(g.want(g.do("GET", "/.well-known/jwks.json", ""), 200).body); after != before {
		t.Errorf("the keys changed: %s", after)
	}
	for _, alg := range []string{"EdDSA", "none", "HS256"} {
		g.want(g.do("POST", "/api/v1/signing-keys/rotate", `{"algorithm":"`+alg+`"}`, bearer(admin)...), 422)
	}
	a := g.want(g.do("POST", "/api/v1/signing-keys/rotate", `{"algorithm":"ES256","immediately":true}`, bearer(admin)...), 200)
	fresh := a.json["data"].([]any)[0].(map[string]any)["id"].(string)
	set := string(g.want(g.do("GET", "/.well-known/jwks.json", ""), 200).body)
	if strings.Contains(before, fresh) || !strings.Contains(set, fresh) || strings.Count(set, `"kid"`) != 3 {
		t.Errorf("after the rotation: %s", set)
	}
	// What the old key signed is still good, and the new one signs.
	g.want(g.do("GET", "/api/v1/me", "", bearer(admin)...), 200)
	if header, _ := claims(t, g.admin()); header["kid"] != fresh {
		t.Errorf("a token is signed by %v; want %s", header["kid"], fresh)
	}
	g.want(g.do("POST", "/api/v1/signing-keys/rotate", `{"immediately":true}`, bearer(admin)...), 200)
	if set := string(g.want(g.do("GET", "/.well-known/jwks.json", ""), 200).body); strings.Count(set, `"kid"`) != 5 {
		t.Errorf("after a rotation of all: %s", set)
	}
}
