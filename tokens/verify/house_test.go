package verify_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// O16, O17: a resource server that never asks about a token learns from the
// signed feed of a running house that its bearer logged out.
func TestO17ALogoutReachesAnOfflineVerifier(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	c := h.Client()
	issuer := h.Config.Issuer
	keys := &verify.RemoteKeys{URL: issuer + "/.well-known/jwks.json", Now: h.Clock.Now}
	revoked := &verify.RemoteRevocations{URL: issuer + "/.well-known/revocations", Issuer: issuer, Keys: keys, Now: h.Clock.Now}
	v := &verify.Verifier{Issuer: issuer, Audience: issuer, Keys: keys, Revoked: revoked, Now: h.Clock.Now}

	first, second := c.Login(h.Admin.Email, h.Admin.Password), c.Login(h.Admin.Email, h.Admin.Password)
	refused(t, v, first.Access, verify.ErrUnavailable) // nothing was heard of the feed
	poll := func() {
		t.Helper()
		if err := revoked.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	if claims := accepted(t, v, first.Access); claims.OrgID != first.Org || claims.Subject != first.User {
		t.Errorf("claims %+v", claims)
	}
	c.As(first.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
	poll()
	refused(t, v, first.Access, verify.ErrRevoked)
	accepted(t, v, second.Access)

	before := string(c.Get("/.well-known/revocations").Expect(http.StatusOK).Body)
	h.Advance(25 * time.Hour)
	after := string(c.Get("/.well-known/revocations").Expect(http.StatusOK).Body)
	if len(after) >= len(before) {
		t.Error("the entry is still listed although every token it names has expired")
	}
}
