package metrics_test

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// number returns the value of a series as a running house exports it.
func number(t *testing.T, h *housetest.Harness, series string) float64 {
	t.Helper()
	res, err := http.Get(h.Replicas[0].Ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("no series %s in\n%s", series, text)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What a whole house counts is what happened, and no more: an attempt whose
// commit failed is no login.
func TestAHouseCountsWhatHappened(t *testing.T) {
	var broken atomic.Bool
	h := housetest.Start(t, housetest.Options{Env: func(_ int, env *house.Env) {
		env.Hooks.Before = func(statement string) error {
			if statement == "commit" && broken.Load() {
				return errors.New("the disk is full")
			}
			return nil
		}
	}})
	expect := func(series string, want float64) {
		t.Helper()
		if got := number(t, h, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	c := h.Client()
	s := c.Login(h.Admin.Email, h.Admin.Password)
	c.TryLogin(h.Admin.Email, "wrong").Expect(http.StatusUnauthorized)
	c.Refresh(s.Refresh).Expect(http.StatusOK)
	_, key := c.As(s.Access).CreateKey("agent", "agents:read")
	c.WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
	c.WithKey(key + "x").Get("/api/v1/me").Expect(http.StatusUnauthorized)

	expect(`tokenhouse_login_attempts_total{method="password",result="success"}`, 1)
	expect(`tokenhouse_login_attempts_total{method="password",result="failure"}`, 1)
	expect(`tokenhouse_tokens_issued_total{grant="password",kind="access_token"}`, 1)
	expect(`tokenhouse_tokens_issued_total{grant="refresh_token",kind="access_token"}`, 1)
	expect(`tokenhouse_api_key_verifications_total{result="ok"}`, 1)
	expect(`tokenhouse_api_key_verifications_total{result="malformed"}`, 1)
	expect(`tokenhouse_audit_events_total{event="api_key.created",outcome="success"}`, 1)
	expect(`tokenhouse_audit_write_failures_total`, 0)
	expect(`tokenhouse_password_hash_inflight`, 0)
	expect(`tokenhouse_http_request_duration_seconds_count{method="POST",route="/api/v1/auth/refresh",status="200"}`, 1)

	for range 5 {
		c.TryLogin("nobody@example.com", "wrong").Expect(http.StatusUnauthorized)
	}
	c.TryLogin("nobody@example.com", "wrong").Expect(http.StatusLocked)
	expect(`tokenhouse_lockouts_total{scope="pair"}`, 1)
	if err := h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(`tokenhouse_lockouts_active{scope="pair"}`, 1)
	expect(`tokenhouse_lockouts_active{scope="pool"}`, 0)
	promtool(t, string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body))
	expect(`tokenhouse_login_attempts_total{method="password",result="failure"}`, 6)
	expect(`tokenhouse_login_attempts_total{method="password",result="refused"}`, 1)

	broken.Store(true)
	c.TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusServiceUnavailable)
	broken.Store(false)
	expect(`tokenhouse_login_attempts_total{method="password",result="success"}`, 1)
	if number(t, h, `tokenhouse_storage_operation_seconds_count{operation="transaction",result="error"}`) == 0 {
		t.Error("a transaction that failed was not counted as one")
	}
	broken.Store(true)
	c.As(s.Access).Post("/api/v1/api-keys", `{"name":"b","permissions":["agents:read"]}`).Expect(http.StatusServiceUnavailable)
	broken.Store(false)
	if number(t, h, `tokenhouse_audit_write_failures_total`) == 0 {
		t.Error("an event that was lost was not counted")
	}
	expect(`tokenhouse_audit_events_total{event="api_key.created",outcome="success"}`, 1)
}

// What a house exports names nobody and nothing of a request (SEC-OBS-08).
func TestSEC_OBS_08AHouseExportsNoNames(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	c := h.Client()
	s := c.Login(h.Admin.Email, h.Admin.Password)
	_, key := c.As(s.Access).CreateKey("canary-name", "agents:read")
	c.WithKey(key).Get("/api/v1/agents/agt_canary?x=canary").Expect(http.StatusNotFound)
	c.Do("CANARY", "/canary", nil)
	c.TryLogin("canary@example.com", "canary").Expect(http.StatusUnauthorized)
	res, err := http.Get(h.Replicas[0].Ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{"canary", "CANARY", h.Admin.Email, string(h.Admin.Org), string(h.Admin.ID), s.Access, s.Refresh, key} {
		if strings.Contains(string(text), canary) {
			t.Errorf("%.40q is in the metrics", canary)
		}
	}
}
