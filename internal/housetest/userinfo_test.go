package housetest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// invalidToken fails the test unless the answer is a 401 as RFC 6750 §3.1 words it.
func invalidToken(t *testing.T, what string, r housetest.Reply) {
	t.Helper()
	if r.Status != http.StatusUnauthorized || !strings.Contains(r.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("%s: %s %q", what, r, r.Header.Get("WWW-Authenticate"))
	}
}

// Scopes and the claims parameter decide what userinfo says; what nobody knows
// is left out (OpenID Connect Core 1.0 §5.3.2, §5.4, §5.5).
func TestWhatUserinfoSays(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := attacked(t, h, nil)
	for scope, want := range map[string][]string{
		"openid": {"sub"}, "openid profile": {"name", "preferred_username", "sub"}, "openid email": {"email", "email_verified", "sub"},
		"openid phone address": {"sub"}, "openid profile email": {"email", "email_verified", "name", "preferred_username", "sub"},
	} {
		p.scope, p.browser = scope, h.Browser()
		got := p.happy(nil)
		for _, r := range []housetest.Reply{
			h.Client().As(got.access).Get("/oauth2/userinfo"), h.Client().As(got.access).Post("/oauth2/userinfo", nil),
			form(h.Client(), "/oauth2/userinfo", "access_token", got.access), form(h.Client().As(got.access), "/oauth2/userinfo"),
		} {
			var said map[string]any
			if err := json.Unmarshal(r.Expect(http.StatusOK).Body, &said); err != nil {
				t.Fatal(err)
			}
			var names []string
			for name := range said {
				names = append(names, name)
			}
			if slices.Sort(names); !slices.Equal(names, want) || said["sub"] != string(p.user.ID) {
				t.Errorf("%s: %s; want %q", scope, r, want)
			}
			if v, there := said["email_verified"]; there && v != false { // nobody was asked to prove it
				t.Errorf("email_verified is %v", v)
			}
			if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", r.Header)
			}
		}
	}
}

// SEC-OAU-25: once the user or the client may do nothing any more, or the token
// was revoked, userinfo tells nothing.
func TestUserinfoEndsWithUserClientAndToken(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		for what, end := range map[string]func(p *party, got issued){
			"the token was revoked":   func(p *party, got issued) { p.post("/oauth2/revoke", "token", got.access).Expect(http.StatusOK) },
			"its session was revoked": func(p *party, got issued) { p.post("/oauth2/revoke", "token", got.refresh).Expect(http.StatusOK) },
			"the user is disabled": func(p *party, _ issued) {
				admin.Patch("/api/v1/users/"+string(p.user.ID), map[string]string{"status": "disabled"}).Expect(http.StatusOK)
			},
			"the client is disabled": func(p *party, _ issued) {
				admin.Patch("/api/v1/clients/"+p.client.id, map[string]string{"status": "disabled"}).Expect(http.StatusOK)
			},
			"the client is gone": func(p *party, _ issued) {
				admin.Delete("/api/v1/clients/" + p.client.id).Expect(http.StatusNoContent)
			},
		} {
			p := &party{t: t, h: h, browser: h.Browser(), scope: "openid", client: web(admin, nil)}
			p.user = h.Person(h.Admin.Org, strings.ReplaceAll(what, " ", "-"), "viewer")
			got := p.happy(nil)
			end(p, got)
			h.Follow()
			for i := range h.Replicas {
				invalidToken(t, what, h.At(i).As(got.access).Get("/oauth2/userinfo"))
			}
		}
	})
}

// What a client allowed people to see of its own tokens: the login behind them
// too (RFC 7662 §2.2), plain or signed (RFC 9701), until they are revoked.
func TestIntrospectionOfWhatAUserAllowed(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: openRegistration})
	p := attacked(t, h, nil)
	p.scope = "openid profile offline_access"
	got := p.happy(nil)
	for what, token := range map[string]string{"access": got.access, "refresh": got.refresh} {
		r := p.post("/oauth2/introspect", "token", token).Expect(http.StatusOK)
		var said struct {
			Active                    bool
			Scope, Sub, Username, Acr string
			AuthTime                  int64 `json:"auth_time"`
			Sid                       string
			Amr                       []string
			ClientID                  string `json:"client_id"`
		}
		if err := json.Unmarshal(r.Body, &said); err != nil {
			t.Fatal(err)
		}
		if !said.Active || said.Scope != p.scope || said.Sub != string(p.user.ID) || said.Username != p.user.Email || said.ClientID != p.client.id ||
			said.AuthTime != got.authTime(t).Unix() || said.Sid != got.claims["sid"] {
			t.Errorf("%s: %s", what, r)
		}
	}
	signed := func(q *party, token string) (jose.Header, map[string]any) {
		t.Helper()
		both := serviceClient{q.client.id, q.client.secret}.by(h.Client())
		r := form(both.With("Accept", "application/token-introspection+jwt"), "/oauth2/introspect", "token", token).Expect(http.StatusOK)
		if ct := r.Header.Get("Content-Type"); ct != "application/token-introspection+jwt" {
			t.Fatalf("content type %q", ct)
		}
		return q.signedByPublished(string(r.Body))
	}
	header, claims := signed(p, got.access)
	inside, _ := claims["token_introspection"].(map[string]any)
	if header.Algorithm != "RS256" || header.ExtraHeaders["typ"] != "token-introspection+jwt" || claims["iss"] != h.Config.Issuer || claims["aud"] != p.client.id ||
		claims["iat"] != float64(h.Clock.Now().Unix()) || claims["sub"] != nil || claims["exp"] != nil || inside["active"] != true || inside["scope"] != p.scope {
		t.Errorf("%v %v", header, claims)
	}
	chooser := p.other(map[string]any{"introspection_signed_response_alg": "ES256"})
	if header, claims := signed(chooser, got.access); header.Algorithm != "ES256" || len(claims["token_introspection"].(map[string]any)) != 1 {
		t.Errorf("for a client whose token it is not: %v %v", header, claims)
	}
	// A signed answer is no token: neither ours nor an ID token.
	r := form(serviceClient{p.client.id, p.client.secret}.by(h.Client()).With("Accept", "application/token-introspection+jwt, */*;q=0.1"), "/oauth2/introspect", "token", got.access)
	invalidToken(t, "a signed introspection", h.Client().As(string(r.Body)).Get("/oauth2/userinfo"))
	for _, accept := range []string{"application/json", "*/*", "application/*", "application/token-introspection+jwt;q=0", ";;;", "application/token-introspection+jwt;q=x"} {
		if r := form(serviceClient{p.client.id, p.client.secret}.by(h.Client()).With("Accept", accept), "/oauth2/introspect", "token", got.access); r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("Accept %q: %s", accept, r)
		}
	}
	p.post("/oauth2/revoke", "token", got.refresh).Expect(http.StatusOK)
	for what, token := range map[string]string{"access": got.access, "refresh": got.refresh} {
		if r := p.post("/oauth2/introspect", "token", token).Expect(http.StatusOK); string(r.Body) != `{"active":false}` {
			t.Errorf("%s after the end of the session: %s", what, r)
		}
	}
	if _, claims := signed(p, got.access); len(claims["token_introspection"].(map[string]any)) != 1 {
		t.Errorf("signed, after the end of the session: %v", claims)
	}
}

// SEC-JWT-16: a token for somebody else's resource is none for ours. Its client
// may still ask what it is worth, and end it.
func TestATokenForAnotherResourceIsNotForUs(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	robot := enrol(admin, []string{"agents:read"}, map[string]any{"resources": []string{"https://files.example/"}})
	token := form(robot.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials", "resource", "https://files.example/").Expect(http.StatusOK).Text("access_token")
	if aud := claimsOf(t, token)["aud"]; aud != "https://files.example/" {
		t.Fatalf("aud is %v", aud)
	}
	for _, path := range []string{"/api/v1/agents", "/api/v1/me", "/oauth2/userinfo"} {
		invalidToken(t, path, h.Client().As(token).Get(path))
	}
	if r := form(robot.by(h.Client()), "/oauth2/introspect", "token", token); r.Text("active") != "true" || r.Text("aud") != "https://files.example/" {
		t.Errorf("introspection: %s", r)
	}
	form(robot.by(h.Client()), "/oauth2/revoke", "token", token).Expect(http.StatusOK)
	if r := form(robot.by(h.Client()), "/oauth2/introspect", "token", token); string(r.Body) != `{"active":false}` {
		t.Errorf("introspection after the revocation: %s", r)
	}
}
