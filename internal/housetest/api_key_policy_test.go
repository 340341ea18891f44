package housetest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// keyPolicyOf is where the policy of the caller's organisation is.
func keyPolicyOf(h *housetest.Harness) string {
	return "/api/v1/organizations/" + string(h.Admin.Org) + "/key-policy"
}

// AK-29: an organisation's policy caps its keys at every use, those of people and
// of service accounts, wherever a key is judged: at our own API, for proxies, for
// resource servers, in exchange for a token and as that token. Another replica
// hears of a change through the feed.
func TestTheKeyPolicyOfAnOrganisation(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		policy := keyPolicyOf(h)
		if p := admin.Get(policy).Expect(http.StatusOK); fmt.Sprint(p.List("permissions")) != "[*:*]" || p.Text("max_lifetime") != "" {
			t.Errorf("at first it is %s", p.Body)
		}
		_, person := admin.CreateKey("a person's", "agents:*", "incidents:read")
		_, bot := keyOf(admin, serviceAccount(admin, "bot", "engineer"), "a service account's", "agents:*", "incidents:read")
		_, foreign := h.Client().As(h.Login(h.Person(h.Org("other"), "other", "owner")).Access).CreateKey("another's", "agents:*")
		tokens := []string{exchanged(h.Client(), person), exchanged(h.Client(), bot)}
		reads := func(create, read int) {
			t.Helper()
			h.Follow()
			for i := range h.Replicas {
				c := h.At(i).For(t)
				for n, key := range []string{person, bot} {
					c.WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
					c.WithKey(key).Post("/api/v1/agents", map[string]string{"name": "a"}).Expect(create)
					c.WithKey(key).Get("/api/v1/incidents").Expect(read)
					for _, with := range []*housetest.Client{c.WithKey(key), c.As(tokens[n])} {
						with.Get("/api/v1/auth/verify?permission=agents:read").Expect(http.StatusOK)
						with.Get("/api/v1/auth/verify?permission=incidents:read").Expect(read)
					}
				}
				c.WithKey(foreign).Post("/api/v1/agents", map[string]string{"name": "a"}).Expect(http.StatusCreated)
			}
		}
		reads(http.StatusCreated, http.StatusOK)
		set := admin.Patch(policy, map[string]any{"permissions": []string{"agents:read", "metrics:read"}}).Expect(http.StatusOK)
		if fmt.Sprint(set.List("permissions")) != "[agents:read metrics:read]" || set.Text("max_lifetime") != "" {
			t.Errorf("set to %s", set.Body)
		}
		h.Client().WithKey(person).Get("/api/v1/incidents").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS") // with the reply
		reads(http.StatusForbidden, http.StatusForbidden)
		seen := h.At(1).WithKey(bot).Get("/api/v1/auth/verify").Expect(http.StatusOK).Header.Get("X-Auth-Permissions")
		if strings.Contains(seen, "incidents") || strings.Contains(seen, "create") || !strings.Contains(seen, "agents:read") {
			t.Errorf("a proxy learns %q", seen)
		}
		asked := admin.Post("/api/v1/api-keys/verify", map[string]any{"api_key": person, "permission": "incidents:read"}).Expect(http.StatusOK)
		if asked.Text("code") != "INSUFFICIENT_PERMISSIONS" || fmt.Sprint(asked.List("permissions")) != "[agents:read]" {
			t.Errorf("a resource server learns %s", asked.Body)
		}
		if scope := exchange(h.At(1), person).Expect(http.StatusOK).Text("scope"); scope != "agents:read" {
			t.Errorf("exchanged for %q", scope)
		}
		admin.Patch(policy, map[string]any{"permissions": []string{"*:*"}}).Expect(http.StatusOK)
		reads(http.StatusCreated, http.StatusOK)
	})
}

// SEC-KEY-11: an expiry beyond the organisation's lifetime, in the past, or none,
// is refused with the last moment there is; keys that are too old are refused
// everywhere, with every token they were exchanged for.
func TestTheKeyPolicyBoundsLives(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		_, old := admin.CreateKey("without an end", "agents:read")
		h.Advance(50 * time.Minute)
		admin = h.Client().As(h.Login(h.Admin).Access)
		if life := admin.Patch(keyPolicyOf(h), map[string]any{"max_lifetime": "1h"}).Expect(http.StatusOK).Text("max_lifetime"); life != "1h" {
			t.Errorf("a life of %q", life)
		}
		latest := h.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)
		create := func(ends any) housetest.Reply {
			return admin.Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}, "expires_at": ends})
		}
		for _, ends := range []any{nil, latest.Add(time.Second).Format(time.RFC3339)} {
			r := create(ends).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
			if r.Text("errors.0.field") != "expires_at" && !strings.Contains(string(r.Body), "expires_at") || !strings.Contains(string(r.Body), latest.Format(time.RFC3339)) {
				t.Errorf("to end %v: %s", ends, r)
			}
		}
		create(h.Clock.Now().Add(-time.Minute).Format(time.RFC3339)).Expect(http.StatusUnprocessableEntity)
		create(latest.Format(time.RFC3339)).Expect(http.StatusCreated)
		exchange(h.Client(), old).Expect(http.StatusOK)
		r := exchange(h.At(1), old)
		if left := expiresIn(r.Expect(http.StatusOK)); left > 600 {
			t.Errorf("a token of %d s for a key that has 600", left)
		}
		token := r.Text("access_token")
		h.Follow()
		h.At(1).As(token).Get("/api/v1/agents").Expect(http.StatusOK)
		h.Advance(10 * time.Minute)
		h.Follow()
		for i := range h.Replicas {
			h.At(i).For(t).WithKey(old).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
			h.At(i).For(t).As(token).Get("/api/v1/auth/verify").Expect(http.StatusUnauthorized)
			exchange(h.At(i).For(t), old).Expect(http.StatusBadRequest)
		}
		admin = h.Client().As(h.Login(h.Admin).Access)
		if got := admin.Get("/api/v1/api-keys?status=expired").Expect(http.StatusOK).Text("data.0.name"); got != "without an end" {
			t.Errorf("expired: %q", got)
		}
	})
}

// A key, and a member, who may not set the policy cannot widen it; one who may
// and is a key cannot either; no other organisation's is seen or set.
func TestNobodyWidensTheKeyPolicyWhoMayNot(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	policy, wide := keyPolicyOf(h), map[string]any{"permissions": []string{"*:*"}, "max_lifetime": "0s"}
	admin.Patch(policy, map[string]any{"permissions": []string{"api-keys:*", "organizations:*", "agents:read"}, "max_lifetime": "720h"}).Expect(http.StatusOK)
	end := h.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	key := func(permissions ...string) string {
		return admin.Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": permissions, "expires_at": end}).Expect(http.StatusCreated).Text("api_key")
	}
	governor := key("api-keys:*")
	for name, c := range map[string]*housetest.Client{
		"an engineer":                  h.Client().As(h.Login(h.Person(h.Admin.Org, "engineer", "engineer")).Access),
		"a key for all but the policy": h.Client().WithKey(key("api-keys:manage", "api-keys:create", "organizations:*")),
		"a key that may set it":        h.Client().WithKey(governor),
		"its token":                    h.Client().As(exchanged(h.Client(), governor)),
	} {
		t.Run(name, func(t *testing.T) {
			c.For(t).Patch(policy, wide).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
		})
	}
	stranger := h.Client().As(h.Login(h.Person(h.Org("other"), "owner", "owner")).Access)
	stranger.Get(policy).Problem(http.StatusNotFound, "NOT_FOUND")
	stranger.Patch(policy, wide).Problem(http.StatusNotFound, "NOT_FOUND")
	if now := admin.Get(policy); now.Text("max_lifetime") != "720h" || slices.Contains(now.List("permissions"), any("*:*")) {
		t.Errorf("it became %s", now.Body)
	}
	h.Client().WithKey(governor).Patch(policy, map[string]any{"max_lifetime": "48h"}).Expect(http.StatusOK)
	for _, body := range []map[string]any{{}, {"permissions": []string{}}, {"permissions": []string{"planes:fly"}}, {"max_lifetime": "59m"}, {"max_lifetime": "87601h"}, {"permissions": nil, "max_lifetime": nil}} {
		admin.Patch(policy, body).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
	}
	admin.Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:*"}, "expires_at": end}).Expect(http.StatusUnprocessableEntity)
}
