package housetest_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/server"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// keyIn is the key of an algorithm in a state, as a house knows it; empty where
// there is none.
func keyIn(h *house.House, alg string, state signing.State) string {
	for _, k := range h.Ring.Loaded() {
		if k.Algorithm == alg && k.State == state {
			return k.ID
		}
	}
	return ""
}

func activeKey(h *house.House, alg string) string { return keyIn(h, alg, signing.Active) }

// tendAll does on every replica what it does in the background.
func tendAll(t *testing.T, h *housetest.Harness) {
	t.Helper()
	for _, r := range h.Replicas {
		if err := r.House.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.Follow()
}

// FLT-CLU-04, INV-12: a resource server that keeps the key set for as long as
// it may, and never fetches it before, verifies everything through a rotation:
// the one that an administrator asks for, and the one that the key's age does.
func TestAPatientResourceServerMissesNoRotation(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		for name, begin := range map[string]func(){
			"asked for": func() {
				h.Client().As(h.Login(h.Admin).Access).Post("/api/v1/signing-keys/rotate", nil).Expect(http.StatusOK)
			},
			"by age": func() { h.Advance(h.Config.Tokens.SigningKeyLife) },
		} {
			set := cleanKeys(t, h.Replicas[1].URL+"/.well-known/jwks.json")
			old := activeKey(h.House(), "ES256")
			begin()
			fetched, changed := h.Clock.Now(), false
			for range 15 {
				tendAll(t, h)
				if h.Clock.Now().Sub(fetched) >= server.JWKSAge {
					set, fetched = cleanKeys(t, h.Replicas[1].URL+"/.well-known/jwks.json"), h.Clock.Now()
				}
				for i := range h.Replicas {
					kid := activeKey(h.Replicas[i].House, "ES256")
					if len(set.Key(kid)) != 1 {
						t.Fatalf("%s: replica %d signs with a key that the set of %s ago lacks", name, i, h.Clock.Now().Sub(fetched))
					}
					changed = changed || kid != old
				}
				h.Advance(time.Minute)
			}
			if !changed {
				t.Errorf("%s: the key was not replaced", name)
			}
		}
	})
}

// FLT-CLU-06, SEC-JWT-35: what a revoked key signed is refused at once where it
// was revoked and by the other replica when it follows, the key set lacks the
// key, and another signs: nobody who logs in or refreshes notices.
func TestARevokedSigningKeyIsRefusedEverywhere(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		old := activeKey(h.House(), "ES256")
		s := h.Login(h.Admin)
		h.At(1).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
		h.Client().As(s.Access).Post("/api/v1/signing-keys/"+old+"/revoke", nil).Expect(http.StatusNoContent)
		h.Client().As(s.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		fresh := h.Login(h.Admin).Access
		h.Follow()
		h.At(1).As(s.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		again := h.At(1).Refresh(s.Refresh).Expect(http.StatusOK).Text("access_token")
		for i, r := range h.Replicas {
			set := cleanKeys(t, r.URL+"/.well-known/jwks.json")
			if len(set.Keys) != 2 || len(set.Key(old)) != 0 {
				t.Errorf("replica %d publishes %d keys, the revoked one %d times", i, len(set.Keys), len(set.Key(old)))
			}
			for _, token := range []string{fresh, again} {
				h.At(i).As(token).Get("/api/v1/me").Expect(http.StatusOK)
			}
		}
		watcher := &verify.Verifier{
			Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Now: h.Clock.Now,
			Keys: &verify.RemoteKeys{URL: h.Replicas[1].URL + "/.well-known/jwks.json", Now: h.Clock.Now},
		}
		if _, err := watcher.Verify(t.Context(), fresh); err != nil {
			t.Error(err)
		}
		if _, err := watcher.Verify(t.Context(), s.Access); err == nil {
			t.Error("a resource server accepts what the revoked key signed")
		}
		c := h.Client().As(fresh)
		c.Post("/api/v1/signing-keys/"+old+"/revoke", nil).Expect(http.StatusNoContent)
		c.Post("/api/v1/signing-keys/made-up/revoke", nil).Expect(http.StatusNotFound)
		if r := h.OpsClient().Get("/metrics").Expect(http.StatusOK); !bytes.Contains(r.Body, []byte("signing_key.revoked")) {
			t.Error("no metric tells of the revocation")
		}
		h.Advance(26 * time.Hour)
		tendAll(t, h)
		for i, r := range h.Replicas {
			if keyIn(r.House, "ES256", signing.Revoked) != "" {
				t.Errorf("replica %d still knows the key although all it signed has expired", i)
			}
		}
	})
}
