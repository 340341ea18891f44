package housetest_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func static(token string) oauth2.TokenSource {
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})
}

// TestOIDCCServerRotateKeys is oidcc-server-rotate-keys: an administrator
// rotates the signing keys at once while a client of go-oidc watches, which knows the
// old key set. What was signed before stays good, and what is signed with the
// new key is good for the client at once, which fetches the set anew.
func TestOIDCCServerRotateKeys(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		p := &party{t: t, h: h, browser: h.Browser(), scope: "openid", user: h.Person(h.Admin.Org, "member", "viewer")}
		p.client = web(admin, nil)
		watcher := p.provider().VerifierContext(t.Context(), &oidc.Config{ClientID: p.client.id, Now: h.Clock.Now})
		first := p.happy(nil)
		if _, err := watcher.Verify(t.Context(), first.id); err != nil {
			t.Fatal(err)
		}
		before := cleanKeys(t, p.discover().JWKS)
		old, _ := p.signedByPublished(first.id)
		admin.Post("/api/v1/signing-keys/rotate", map[string]any{"algorithm": "RS256", "immediately": true}).Expect(http.StatusOK)
		h.Follow()
		after := cleanKeys(t, p.discover().JWKS)
		if len(after.Keys) != len(before.Keys)+1 || len(after.Key(old.KeyID)) != 1 {
			t.Fatalf("%d keys before, %d after; the old one: %v", len(before.Keys), len(after.Keys), after.Key(old.KeyID))
		}
		p.browser = h.Browser()
		second := p.happy(nil)
		if header, _ := p.signedByPublished(second.id); header.KeyID == old.KeyID {
			t.Error("the old key still signs")
		}
		for _, id := range []string{second.id, first.id} {
			if _, err := watcher.Verify(t.Context(), id); err != nil {
				t.Errorf("the watching client: %v", err)
			}
		}
		for _, k := range after.Keys {
			if other := cleanKeys(t, h.Replicas[1].URL+"/.well-known/jwks.json"); len(other.Key(k.KeyID)) != 1 {
				t.Errorf("the other replica does not publish %s", k.KeyID)
			}
		}
	})
}
