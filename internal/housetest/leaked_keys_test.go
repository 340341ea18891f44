package housetest_test

import (
	"bytes"
	"net/http"
	"slices"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// Whoever reports keys learns nothing of them, and real ones are refused at once
// where it was answered, with the tokens they were exchanged for, and at the
// other replica when it has heard.
// AK-70, AK-71.
func TestReportedKeysAreRefused(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		_, key := admin.CreateKey("leaked", "agents:read")
		token := exchanged(h.Client(), key)
		h.Follow()
		h.At(1).WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
		h.At(1).As(token).Get("/api/v1/me").Expect(http.StatusOK)
		report := func(keys ...string) housetest.Reply {
			return h.Client().Post("/api/v1/leaked-keys", map[string]any{"keys": keys, "source": "a crawler", "url": "https://paste.example/1"})
		}
		made := report(key[:len(key)-1] + "_").Expect(http.StatusAccepted)
		real := report(key).Expect(http.StatusAccepted)
		if !bytes.Equal(made.Body, real.Body) || real.Text("received") == "" && !bytes.Contains(real.Body, []byte(`"received":1`)) {
			t.Errorf("a real key is answered %s, another %s", real.Body, made.Body)
		}
		h.Client().WithKey(key).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
		h.Client().As(token).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		h.Follow()
		h.At(1).WithKey(key).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
		h.At(1).As(token).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		report().Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
		report(slices.Repeat([]string{"x"}, 501)...).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
	})
}

// A quarantined key is listed as such and works again once it is released.
func TestAQuarantinedKeyIsReleased(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) { c.APIKeys.Leaked = "quarantine" }})
	admin := h.Client().As(h.Login(h.Admin).Access)
	id, key := admin.CreateKey("leaked", "agents:read")
	h.Client().Post("/api/v1/leaked-keys", map[string]any{"keys": []string{key}}).Expect(http.StatusAccepted)
	h.Client().WithKey(key).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
	if got := admin.Get("/api/v1/api-keys/" + id).Expect(http.StatusOK).Text("status"); got != "quarantined" {
		t.Errorf("status %q", got)
	}
	if got := admin.Post("/api/v1/api-keys/"+id+"/release", nil).Expect(http.StatusOK).Text("status"); got != "active" {
		t.Errorf("released: status %q", got)
	}
	h.Client().WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
	admin.Post("/api/v1/api-keys/"+id+"/release", nil).Problem(http.StatusConflict, "CONFLICT")
}
