package housetest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// guest is an application that people sign in to.
type guest struct{ id, redirect string }

const verifier = "a-verifier-of-the-length-that-rfc-7636-wants-it-to-have"

// invite registers a public client with that redirect URI.
func invite(h *housetest.Harness, redirect string, change map[string]any) guest {
	body := map[string]any{
		"name": "Field Notes", "auth_method": "none", "grants": []string{"authorization_code", "refresh_token"},
		"scopes": []string{"openid", "profile", "email", "offline_access", "agents:read"}, "redirect_uris": []string{redirect},
	}
	maps.Copy(body, change)
	admin := h.Login(h.Admin)
	r := h.Client().As(admin.Access).Post("/api/v1/clients", body).Expect(http.StatusCreated)
	return guest{r.Text("client_id"), redirect}
}

// asks is the address of an authorization request; changes are names and values,
// an empty value takes a parameter away.
func (g guest) asks(changes ...string) string {
	return "/oauth2/authorize?" + g.request(changes...).Encode()
}

func (g guest) request(changes ...string) url.Values {
	digest := sha256.Sum256([]byte(verifier))
	v := url.Values{
		"client_id": {g.id}, "redirect_uri": {g.redirect}, "response_type": {"code"}, "scope": {"openid email"}, "state": {"a state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(changes); i += 2 {
		if v.Del(changes[i]); changes[i+1] != "" {
			v.Set(changes[i], changes[i+1])
		}
	}
	return v
}

// The whole way: sign in, allow, and the code is worth tokens.
func TestSigningInToAnApplication(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb", nil)
		b := h.Browser().For(t)
		b.Open(g.asks()).Shows("Sign in").Expect(http.StatusOK)
		if !strings.Contains(b.Page.Words, "Field Notes") {
			t.Errorf("the page does not say for whom: %s", b.Page)
		}
		b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}).Shows("Allow access?")
		if b.Page.ID("client") != "Field Notes" || b.Page.ID("user") != h.Admin.Email || b.Page.ID("host") != "notes.example" || b.Page.ID("org") == "" {
			t.Errorf("who asks whom for what is not said: %s", b.Page)
		}
		b.Submit(map[string]string{"decision": "allow"})
		got := b.FollowsTo(g.redirect + "?")
		if got.Get("state") != "a state" || got.Get("iss") != h.Config.Issuer || !strings.HasPrefix(got.Get("code"), "thc_") {
			t.Errorf("the client hears %v", got)
		}
		r := form(h.Client(), "/oauth2/token", "grant_type", "authorization_code", "code", got.Get("code"), "redirect_uri", g.redirect, "client_id", g.id, "code_verifier", verifier).Expect(http.StatusOK)
		if r.Text("access_token") == "" || r.Text("id_token") == "" {
			t.Errorf("no tokens: %s", r)
		}
		// Signed in and allowed: nothing is asked any more.
		b.Open(g.asks("state", "again"))
		if got := b.FollowsTo(g.redirect); got.Get("state") != "again" || got.Get("code") == "" {
			t.Errorf("the second time: %v", got)
		}
	})
}
