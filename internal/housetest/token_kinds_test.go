package housetest_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// kinds is one good token of each kind, all of one client and one user.
func kinds(p *party) map[string]string {
	p.t.Helper()
	got := p.happy(nil)
	now := p.h.Clock.Now().Unix()
	logout, err := json.Marshal(map[string]any{
		"iss": p.h.Config.Issuer, "sub": got.subject, "aud": p.client.id, "iat": now, "exp": now + 120, "jti": rand.Text(), "sid": claimsOf(p.t, got.id)["sid"],
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	logoutToken, err := p.h.Replicas[0].House.Ring.SignWith(p.t.Context(), "RS256", logout, "logout+jwt")
	if err != nil {
		p.t.Fatal(err)
	}
	object := map[string]any{"iss": p.client.id, "aud": p.h.Config.Issuer, "client_id": p.client.id, "response_type": "code", "scope": "openid", "redirect_uri": callback, "prompt": "none"}
	return map[string]string{
		"access token": got.access, "refresh token": got.refresh, "ID token": got.id, "logout token": logoutToken,
		"client assertion": p.client.key.sign(p.t, nil), "request object": signedBy(p, jose.RS256, p.signingKey())(object),
	}
}

// SEC-JWT-10, SEC-JWT-11: each kind of token is good for what it is, and for
// nothing that another kind is for.
func TestNoTokenPassesForOneOfAnotherKind(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: openRegistration})
	p := &party{t: t, h: h, browser: h.Browser(), scope: "openid offline_access", user: h.Person(h.Admin.Org, "member", "viewer")}
	p = p.registers(map[string]any{"grant_types": []string{"authorization_code", "refresh_token"}})
	const assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	places := []struct {
		name string
		own  []string // what is good there
		try  func(token string) bool
	}{
		{"bearer token of the API", []string{"access token"}, func(token string) bool {
			r := h.Client().As(token).Get("/api/v1/me")
			if r.Status != http.StatusOK {
				r.Problem(http.StatusUnauthorized, "INVALID_TOKEN")
			}
			return r.Status == http.StatusOK
		}},
		{"access cookie", []string{"access token"}, func(token string) bool {
			return h.Client().With("Cookie", "th_access="+token).Get("/api/v1/me").Status == http.StatusOK
		}},
		{"bearer token of userinfo", []string{"access token"}, func(token string) bool {
			return h.Client().As(token).Get("/oauth2/userinfo").Status == http.StatusOK
		}},
		{"token to be introspected", []string{"access token", "refresh token"}, func(token string) bool {
			return p.post("/oauth2/introspect", "token", token).Expect(http.StatusOK).Text("active") == "true"
		}},
		{"refresh token", []string{"refresh token"}, func(token string) bool {
			r := p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", token)
			if r.Status != http.StatusOK {
				refused(t, r, http.StatusBadRequest, "invalid_grant")
			}
			return r.Status == http.StatusOK
		}},
		{"authorization code", nil, func(token string) bool {
			return p.post("/oauth2/token", "grant_type", "authorization_code", "code", token, "redirect_uri", callback).Status == http.StatusOK
		}},
		{"client assertion", []string{"client assertion"}, func(token string) bool {
			r := form(h.Client(), "/oauth2/introspect", "token", "x", "client_assertion", token, "client_assertion_type", assertion)
			if r.Status != http.StatusOK {
				refused(t, r, http.StatusUnauthorized, "invalid_client")
			}
			return r.Status == http.StatusOK
		}},
		{"request object", []string{"request object"}, func(token string) bool {
			p.open(p.request(map[string]string{"request": token, "prompt": "none"}))
			return p.browser.Left != nil && p.browser.Left.Query().Has("code")
		}},
		{"id_token_hint at the logout", []string{"ID token"}, func(token string) bool {
			// Of a browser in which nobody is logged in: a good hint needs no page.
			b := h.Browser()
			b.Open("/oauth2/logout?" + url.Values{"id_token_hint": {token}, "post_logout_redirect_uri": {callback + "/bye"}}.Encode())
			return b.Left != nil
		}},
		{"id_token_hint of an authorization", []string{"ID token"}, func(token string) bool {
			p.open(p.request(map[string]string{"id_token_hint": token, "prompt": "none"}))
			return p.browser.Left != nil && p.browser.Left.Query().Has("code")
		}},
	}
	for _, place := range places {
		p = p.registers(map[string]any{
			"grant_types": []string{"authorization_code", "refresh_token"}, "post_logout_redirect_uris": []string{callback + "/bye"},
		})
		p.browser = h.Browser()
		for kind, token := range kinds(p) {
			want := false
			for _, own := range place.own {
				want = want || own == kind
			}
			if got := place.try(token); got != want {
				t.Errorf("%s as %s: accepted %v, want %v", kind, place.name, got, want)
			}
		}
	}
}

// SEC-JWT-35, FLT-CLU-04: a resource server that knows the old keys follows a
// rotation at once, and trusts no key that is published no more. On all
// replicas alike.
func TestResourceServersFollowARotation(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		watcher := &verify.Verifier{
			Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Now: h.Clock.Now,
			Keys: &verify.RemoteKeys{URL: h.Replicas[1].URL + "/.well-known/jwks.json", Now: h.Clock.Now},
		}
		first := h.Login(h.Admin).Access
		if _, err := watcher.Verify(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		h.Advance(time.Minute)
		h.Client().As(first).Post("/api/v1/signing-keys/rotate", map[string]any{"immediately": true}).Expect(http.StatusOK)
		second := h.Login(h.Admin).Access
		h.At(1).As(second).Get("/api/v1/me").Expect(http.StatusOK) // though nobody told this replica
		h.Follow()
		for name, token := range map[string]string{"new": second, "old": first} {
			if _, err := watcher.Verify(t.Context(), token); err != nil {
				t.Errorf("the token of the %s key: %v", name, err)
			}
			h.At(1).As(token).Get("/api/v1/me").Expect(http.StatusOK)
		}
		var old struct {
			Data []struct{ ID, State string }
		}
		r := h.Client().As(second).Get("/api/v1/signing-keys").Expect(http.StatusOK)
		if err := json.Unmarshal(r.Body, &old); err != nil {
			t.Fatal(err)
		}
		retiring := 0
		for _, k := range old.Data {
			if k.State == "retiring" {
				retiring++
			}
		}
		if len(old.Data) != 4 || retiring != 2 {
			t.Errorf("keys: %s", r)
		}
		h.Advance(26 * time.Hour)
		for _, replica := range h.Replicas {
			if err := replica.House.Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		h.Follow()
		for i := range h.Replicas {
			if keys := cleanKeys(t, h.Replicas[i].URL+"/.well-known/jwks.json"); len(keys.Keys) != 2 {
				t.Errorf("replica %d publishes %d keys after a day", i, len(keys.Keys))
			}
		}
	})
}
