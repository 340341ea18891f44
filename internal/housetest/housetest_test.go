package housetest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

func TestTheHarnessServesAndMovesTime(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		for i := range h.Replicas {
			h.At(i).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
		}
		h.Advance(2 * time.Hour)
		for i := range h.Replicas {
			h.At(i).As(s.Access).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		}
		h.OpsClient().Get("/readyz").Expect(http.StatusOK)
	})
}
