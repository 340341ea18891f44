package housetest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

const day = 24 * time.Hour

func TestO9AnExpiredTokenIsAnsweredAsDocumented(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		c := h.Client().As(h.Login(h.Admin).Access)
		h.Advance(time.Hour + leeway - time.Second)
		c.Get("/api/v1/incidents").Expect(http.StatusOK)
		h.Advance(2 * time.Second)
		for _, path := range []string{"/api/v1/incidents", "/api/v1/me"} {
			if r := c.Get(path).Problem(http.StatusUnauthorized, "INVALID_TOKEN"); r.Text("detail") != "JWT token has expired" {
				t.Errorf("%s: detail %q", path, r.Text("detail"))
			}
		}
	})
}

func TestO11ARefreshTokenIsGoodForSevenDays(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		kept, late := h.Login(h.Admin), h.Login(h.Admin)
		h.Advance(7*day - 15*time.Minute)
		h.Client().Refresh(kept.Refresh).Expect(http.StatusOK)
		h.Advance(30 * time.Minute)
		r := h.Client().Refresh(late.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		if r.Text("detail") != "Refresh token has expired" || r.Text("reason") != "expired" {
			t.Errorf("detail %q, reason %q", r.Text("detail"), r.Text("reason"))
		}
	})
}

// O12: the document's own client never stores a new refresh token.
func TestO12AClientThatKeepsItsFirstRefreshTokenWorksForSevenDays(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		for n := range 150 {
			h.Advance(7 * day / 151)
			r := h.At(n % 2).Refresh(s.Refresh).Expect(http.StatusOK)
			if r.Text("token_type") != "bearer" || r.Text("expires_in") != "3600" {
				t.Fatalf("refresh %d: %s", n, r)
			}
			h.At(n % 2).As(r.Text("access_token")).Get("/api/v1/me").Expect(http.StatusOK)
		}
	})
}

func TestO14RefreshingEarlyLeavesTheOldTokenGood(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		h.Advance(55 * time.Minute)
		next := h.Client().Refresh(s.Refresh).Expect(http.StatusOK).Text("access_token")
		old, fresh := h.Client().As(s.Access), h.Client().As(next)
		old.Get("/api/v1/incidents").Expect(http.StatusOK)
		h.Advance(5*time.Minute - time.Second)
		old.Get("/api/v1/incidents").Expect(http.StatusOK)
		h.Advance(leeway + 2*time.Second)
		old.Get("/api/v1/incidents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		fresh.Get("/api/v1/incidents").Expect(http.StatusOK)
	})
}

func TestO15OnlyADeadRefreshTokenSendsToTheLoginPage(t *testing.T) {
	var broken atomic.Bool
	disturb := func(_ int, env *house.Env) {
		env.Hooks.Before = func(string) error {
			if broken.Load() {
				return errors.New("the disk is gone")
			}
			return nil
		}
	}
	housetest.Both(t, housetest.Options{Env: disturb}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		h.Advance(time.Minute) // past the cool-down, so that a refresh writes
		broken.Store(true)
		r := h.Client().Refresh(s.Refresh).Expect(http.StatusServiceUnavailable)
		broken.Store(false)
		if r.Text("code") == "INVALID_TOKEN" || r.Text("reason") != "" || r.Cookie("th_refresh") != nil {
			t.Errorf("a failure of ours looks like the end of the session: %s %v", r, r.Header)
		}
		h.Client().Refresh(s.Refresh).Expect(http.StatusOK)

		h.Client().As(s.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
		revoked := h.Client().Refresh(s.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		old := h.Login(h.Admin)
		h.Advance(8 * day)
		expired := h.Client().Refresh(old.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		for want, r := range map[string]housetest.Reply{"revoked": revoked, "expired": expired} {
			if r.Text("reason") != want {
				t.Errorf("reason %q, want %q", r.Text("reason"), want)
			}
		}
	})
}

func TestO16ALogoutEndsBothTokensOnEveryReplica(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		for i := range h.Replicas {
			h.At(i).As(s.Access).Get("/api/v1/incidents").Expect(http.StatusOK)
		}
		r := h.Client().As(s.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
		for _, name := range []string{"th_access", "th_refresh"} {
			if c := r.Cookie(name); c == nil || c.MaxAge >= 0 || c.Value != "" {
				t.Errorf("the cookie %s is not cleared: %v", name, c)
			}
		}
		h.Follow()
		for i := range h.Replicas {
			for _, path := range []string{"/api/v1/incidents", "/api/v1/me"} {
				if r := h.At(i).As(s.Access).Get(path).Problem(http.StatusUnauthorized, "INVALID_TOKEN"); r.Text("detail") != "Token has been revoked" {
					t.Errorf("replica %d, %s: detail %q", i, path, r.Text("detail"))
				}
			}
			if r := h.At(i).Refresh(s.Refresh).Expect(http.StatusUnauthorized); r.Text("reason") != "revoked" {
				t.Errorf("replica %d: reason %q", i, r.Text("reason"))
			}
		}
		h.Client().As(s.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusUnauthorized)
	})
}

func TestO18AKeyIsNoRefreshToken(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		_, key := h.Client().As(h.Login(h.Admin).Access).CreateKey("ci", "incidents:read")
		h.Client().Refresh(key).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Client().WithKey(key).Post("/api/v1/auth/refresh", nil).Expect(http.StatusUnauthorized)
	})
}

func TestO28EveryOrganisationSeesItsOwnRowsOnly(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		one := h.Client().As(h.Login(h.Admin).Access)
		two := h.Client().As(h.Login(h.Person(h.Org("second"), "jane", "owner")).Access)
		for _, what := range []string{"agents", "incidents"} {
			mine, theirs := one.Get("/api/v1/"+what).Expect(http.StatusOK), two.Get("/api/v1/"+what).Expect(http.StatusOK)
			if len(mine.List("data")) != 10 || len(theirs.List("data")) != 10 {
				t.Fatalf("%s: %d and %d rows, want 10 each", what, len(mine.List("data")), len(theirs.List("data")))
			}
			foreign := "/api/v1/" + what + "/" + theirs.Text("data.0.id")
			two.Get(foreign).Expect(http.StatusOK)
			one.Get(foreign).Problem(http.StatusNotFound, "NOT_FOUND")
			one.Delete(foreign).Problem(http.StatusNotFound, "NOT_FOUND")
			two.Get(foreign).Expect(http.StatusOK)
		}
	})
}

const extension = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"

func TestO30OnlyListedOriginsMayReadOurAnswers(t *testing.T) {
	listed := func(c *house.Config) { c.HTTP.CORSOrigins = []string{extension, "https://dash.example.com"} }
	housetest.Both(t, housetest.Options{Config: listed}, func(t *testing.T, h *housetest.Harness) {
		c := h.Client().As(h.Login(h.Admin).Access)
		for origin, allowed := range map[string]bool{
			extension: true, "https://dash.example.com": true,
			"chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba": false, "https://dash.example.com.evil.example": false, "null": false,
		} {
			want, credentials := "", ""
			if allowed {
				want, credentials = origin, "true"
			}
			for _, r := range []housetest.Reply{
				c.With("Origin", origin).Get("/api/v1/incidents").Expect(http.StatusOK),
				h.Client().With("Origin", origin).With("Access-Control-Request-Method", "GET").Do(http.MethodOptions, "/api/v1/incidents", nil),
			} {
				if got := r.Header.Get("Access-Control-Allow-Origin"); got != want {
					t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", origin, got, want)
				}
				if got := r.Header.Get("Access-Control-Allow-Credentials"); got != credentials {
					t.Errorf("%s: Access-Control-Allow-Credentials %q, want %q", origin, got, credentials)
				}
			}
		}
	})
}

// O31: why a key is refused is in the audit log only; the reply never tells.
func TestO31AKeyEndsWithItsExpiry(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		r := h.Client().As(s.Access).Post("/api/v1/api-keys", map[string]any{
			"name": "ci", "permissions": []string{"incidents:read"}, "expires_at": h.Clock.Now().Add(time.Hour).Format(time.RFC3339),
		}).Expect(http.StatusCreated)
		c := h.Client().WithKey(r.Text("api_key"))
		h.Advance(time.Hour - time.Second)
		c.Get("/api/v1/incidents").Expect(http.StatusOK)
		h.Advance(time.Second)
		c.Get("/api/v1/incidents").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
		tend(t, h)
		admin := h.Client().As(h.Login(h.Admin).Access)
		if got := admin.Get("/api/v1/api-keys/" + r.Text("id")).Expect(http.StatusOK).Text("status"); got != "expired" {
			t.Errorf("status %q, want expired", got)
		}
		refused := admin.Get("/api/v1/audit?name=api_key.refused&key_id=" + r.Text("id")).Expect(http.StatusOK)
		if len(refused.List("data")) == 0 || refused.Text("data.0.reason") != "expired" {
			t.Errorf("the audit log does not say why: %s", refused)
		}
	})
}

func TestO33ATokenInheritsTheRoleAndAKeyIsCappedByIt(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		jane := h.Person(h.Admin.Org, "jane", "engineer")
		s := h.Login(jane)
		id, key := h.Client().As(s.Access).CreateKey("ci", "incidents:read", "procedures:execute")
		before := permissionsIn(t, s.Access)
		h.Advance(time.Minute)
		h.Client().As(h.Login(h.Admin).Access).Patch("/api/v1/memberships/"+string(jane.ID), `{"role":"viewer"}`).Expect(http.StatusOK)
		h.Advance(time.Second)
		after := permissionsIn(t, h.Client().Refresh(s.Refresh).Expect(http.StatusOK).Text("access_token"))
		if !slices.Contains(before, "procedures:execute") || slices.Contains(after, "procedures:execute") || !slices.Contains(after, "incidents:read") {
			t.Errorf("permissions of the token before %v, after %v", before, after)
		}
		stored := h.Client().As(h.Login(h.Admin).Access).Get("/api/v1/api-keys/" + id).Expect(http.StatusOK)
		if got := stored.Text("permissions"); got != `["incidents:read","procedures:execute"]` {
			t.Errorf("permissions of the key: %s", got)
		}
		h.Client().WithKey(key).Get("/api/v1/incidents").Expect(http.StatusOK)
		h.Client().WithKey(key).Post("/api/v1/procedures/x/execute", nil).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	})
}

func permissionsIn(t *testing.T, token string) []string {
	t.Helper()
	var c struct {
		Permissions []string `json:"permissions"`
	}
	if err := json.Unmarshal(decodedPart(t, token, 1), &c); err != nil {
		t.Fatal(err)
	}
	return c.Permissions
}

func TestO36AKeyOlderThan90DaysIsDueForRotation(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		id, key := h.Client().As(h.Login(h.Admin).Access).CreateKey("ci", "incidents:read")
		state := func() string {
			return h.Client().As(h.Login(h.Admin).Access).Get("/api/v1/api-keys/" + id).Expect(http.StatusOK).Text("status")
		}
		h.Advance(90*day - time.Minute)
		if got := state(); got != "active" {
			t.Errorf("before 90 days the key is %s", got)
		}
		h.Advance(2 * time.Minute)
		tend(t, h)
		if got := state(); got != "rotation_due" {
			t.Errorf("after 90 days the key is %s", got)
		}
		h.Client().WithKey(key).Get("/api/v1/incidents").Expect(http.StatusOK)
		if metrics := string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body); !strings.Contains(metrics, "\ntokenhouse_api_keys_rotation_due 1\n") {
			t.Error("the metric does not count the key")
		}
		tend(t, h)
		due := h.Client().As(h.Login(h.Admin).Access).Get("/api/v1/audit?name=api_key.rotation_due&key_id=" + id).Expect(http.StatusOK)
		if n := len(due.List("data")); n != 1 {
			t.Errorf("there are %d events, want one: %s", n, due)
		}
	})
}

func TestO37TheAuditLogTellsWhatWasDoneWithAKey(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		id, key := h.Client().As(h.Login(h.Admin).Access).CreateKey("ci", "incidents:read")
		for range 3 {
			h.Client().From("198.51.100.7").WithKey(key).Get("/api/v1/incidents").Expect(http.StatusOK)
		}
		h.Client().From("198.51.100.8").WithKey(key).Get("/api/v1/users").Expect(http.StatusForbidden)
		h.Advance(time.Hour)
		h.Client().From("198.51.100.9").WithKey(key).Get("/api/v1/incidents").Expect(http.StatusOK)
		h.Client().As(h.Login(h.Admin).Access).Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		h.Client().From("198.51.100.10").WithKey(key).Get("/api/v1/incidents").Expect(http.StatusUnauthorized)
		h.Advance(time.Minute)
		tend(t, h)
		events := h.Client().As(h.Login(h.Admin).Access).Get("/api/v1/audit?limit=200&key_id=" + id).Expect(http.StatusOK)
		var list struct {
			Data []struct{ Event, Reason, IP string }
		}
		events.Decode(&list)
		seen := map[string][]string{}
		for _, e := range list.Data {
			seen[e.Event] = append(seen[e.Event], e.IP)
		}
		slices.Reverse(seen["api_key.used"])
		for event, want := range map[string][]string{
			"api_key.created": {"127.0.0.1"}, "api_key.used": {"198.51.100.7", "198.51.100.9"}, "permission.denied": {"198.51.100.8"},
			"api_key.revoked": {"127.0.0.1"}, "api_key.refused": {"198.51.100.10"},
		} {
			if !slices.Equal(seen[event], want) {
				t.Errorf("%s from %v, want %v", event, seen[event], want)
			}
		}
	})
}

func TestO38ProductionSpeaksHTTPSOnly(t *testing.T) {
	production := func(c *house.Config) { c.Issuer = "https://auth.example.com" }
	housetest.Both(t, housetest.Options{Config: production}, func(t *testing.T, h *housetest.Harness) {
		body := map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}
		for _, c := range []*housetest.Client{h.Client(), h.Client().With("X-Forwarded-Proto", "http"), h.Client().With("Forwarded", "proto=https")} {
			for _, path := range []string{"/auth/login", "/api/v1/auth/login"} {
				r := c.Post(path, body).Expect(http.StatusForbidden, http.StatusPermanentRedirect)
				if r.Cookie("th_access") != nil || strings.Contains(string(r.Body), "eyJ") {
					t.Errorf("a token went over clear HTTP: %s", r)
				}
			}
		}
		secure := h.Client().With("X-Forwarded-Proto", "https")
		r := secure.Post("/api/v1/auth/login", body).Expect(http.StatusOK)
		if r.Header.Get("Strict-Transport-Security") == "" {
			t.Error("there is no Strict-Transport-Security")
		}
		for name, path := range map[string]string{"__Host-th_access": "/", "__Secure-th_refresh": "/api/v1/auth"} { // O5
			c := r.Cookie(name)
			if c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != path {
				t.Errorf("cookie %s: %+v", name, c)
			}
		}
		h.Client().As(r.Text("access_token")).Get("/api/v1/me").Expect(http.StatusForbidden, http.StatusPermanentRedirect)
		secure.As(r.Text("access_token")).Get("/api/v1/incidents").Expect(http.StatusOK)
	})
}

func TestO42TooManyFailuresLockTheSourceAndNotTheOwner(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		device := h.Client().From("203.0.113.50").Login(h.Admin.Email, h.Admin.Password).Device
		if device == nil {
			t.Fatal("a login sets no device cookie")
		}
		answers := map[string][]string{}
		for _, who := range []string{h.Admin.Email, "nobody@example.com"} {
			for n := range 6 {
				r := h.At(n%2).From("198.51.100.66").TryLogin(who, "a guess that is wrong")
				if want := map[bool]int{false: http.StatusUnauthorized, true: http.StatusLocked}[n == 5]; r.Status != want {
					t.Fatalf("%s, guess %d: %s", who, n+1, r)
				}
				if n == 5 && (r.Text("code") != "ACCOUNT_LOCKED" || r.Header.Get("Retry-After") != "60") {
					t.Errorf("%s: code %q, Retry-After %q", who, r.Text("code"), r.Header.Get("Retry-After"))
				}
				answers[who] = append(answers[who], strings.ReplaceAll(string(r.Body), r.Text("request_id"), ""))
			}
		}
		if !slices.Equal(answers[h.Admin.Email], answers["nobody@example.com"]) {
			t.Errorf("an unknown address is answered in another way:\n%q\n%q", answers[h.Admin.Email], answers["nobody@example.com"])
		}
		source := h.Client().From("198.51.100.66")
		source.TryLogin(h.Admin.Email, h.Admin.Password).Problem(http.StatusLocked, "ACCOUNT_LOCKED")
		source.With("Cookie", device.Name+"="+device.Value).TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
		h.Client().From("203.0.113.50").TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
		h.Advance(time.Minute + time.Second)
		source.TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
	})
}
