package housetest_test

import (
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// offCurve are points that are none of P-256, or not of its group.
func offCurve() map[string]map[string]string {
	at := func(x, y *big.Int) map[string]string {
		return map[string]string{"kty": "EC", "crv": "P-256", "x": encoded(x.FillBytes(make([]byte, 32))), "y": encoded(y.FillBytes(make([]byte, 32)))}
	}
	short := at(big.NewInt(1), big.NewInt(1))
	short["x"] = encoded([]byte{1})
	other := at(big.NewInt(1), big.NewInt(1))
	other["crv"] = "P-384"
	return map[string]map[string]string{
		"not on the curve": at(big.NewInt(1), big.NewInt(1)), "infinity": at(new(big.Int), new(big.Int)), "too short": short, "of another curve": other,
	}
}

// SEC-JWT-24: an encrypted token whose ephemeral key is no point of its curve is
// refused wherever a token is taken, as every encrypted one is: nothing is
// decrypted here, so there is no key agreement to attack. A client cannot
// register such a key either.
func TestPointsOffTheCurveAreRefused(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	p := attacked(t, h, nil)
	p.happy(nil)
	for name, epk := range offCurve() {
		header, err := json.Marshal(map[string]any{"alg": "ECDH-ES", "enc": "A128GCM", "epk": epk})
		if err != nil {
			t.Fatal(err)
		}
		jwe := strings.Join([]string{encoded(header), "", encoded(make([]byte, 12)), encoded([]byte("ciphertext")), encoded(make([]byte, 16))}, ".")
		for _, path := range []string{"/api/v1/me", "/oauth2/userinfo"} {
			if r := h.Client().As(jwe).Get(path); r.Status != http.StatusUnauthorized {
				t.Errorf("%s: %s", name, r)
			}
		}
		refused(t, present(h.Client(), jwe), http.StatusUnauthorized, "invalid_client")
		refused(t, p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", jwe), http.StatusBadRequest, "invalid_grant")
		if r := p.post("/oauth2/introspect", "token", jwe).Expect(http.StatusOK); r.Text("active") != "false" {
			t.Errorf("%s: %s", name, r)
		}
		for parameter, want := range map[string]string{"request": "invalid_request_object", "id_token_hint": "invalid_request"} {
			request := p.request(map[string]string{parameter: jwe})
			p.open(request)
			p.silent().failure(request, want)
		}
		p.browser.Open("/oauth2/logout?id_token_hint=" + jwe)
		p.stillSignedIn()
		r := admin.Post("/api/v1/clients", map[string]any{
			"name": "off", "auth_method": "private_key_jwt", "grants": []string{"client_credentials"}, "scopes": []string{"agents:read"},
			"jwks": map[string]any{"keys": []any{epk}},
		})
		if r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s is registered: %s", name, r)
		}
	}
}

// SEC-OAU-43: of two rules that end tokens, each counts, whichever came first
// and whichever is newer: what a client was given ends with the client's
// consent, and with everything else of the user; what came after both lives.
func TestRevocationsOfUserAndClientAddUp(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		p := attacked(t, h, nil)
		other := p.other(nil)
		everywhere := func() {
			h.Client().As(h.Login(p.user).Access).Delete("/api/v1/sessions").Expect(http.StatusOK)
		}
		withdraw := func() {
			h.Client().As(h.Login(p.user).Access).Delete("/api/v1/me/consents/" + p.client.id).Expect(http.StatusNoContent)
		}
		for name, rules := range map[string][]func(){"the user, then the client": {everywhere, withdraw}, "the client, then the user": {withdraw, everywhere}} {
			p.browser = h.Browser()
			mine := p.happy(nil)
			other.browser = p.browser
			theirs := other.happy(nil)
			for _, rule := range rules {
				h.Advance(2 * time.Second)
				rule()
			}
			h.Follow()
			for i := range h.Replicas {
				for whose, token := range map[string]string{"the client's": mine.access, "another client's": theirs.access} {
					if r := h.At(i).As(token).Get("/oauth2/userinfo"); r.Status != http.StatusUnauthorized {
						t.Errorf("%s: %s token lives at replica %d: %s", name, whose, i, r)
					}
				}
			}
			h.Advance(2 * time.Second)
			p.browser = h.Browser()
			p.happy(nil)
		}
	})
}
