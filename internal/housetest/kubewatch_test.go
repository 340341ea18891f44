package housetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// leeway is how far the clocks of verifiers may differ: no token is refused
// for its age before.
const leeway = 30 * time.Second

func kubewatch(c *house.Config) { c.APIKeys.Prefix = "kw_live" }

func TestK5ATokenLives24Hours(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		r := h.Client().Post("/auth/login", map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}).Expect(http.StatusOK)
		if got, want := r.Text("expiresAt"), h.Clock.Now().Add(24*time.Hour).Format("2006-01-02T15:04:05Z"); got != want {
			t.Errorf("expiresAt %s, want %s", got, want)
		}
		c := h.Client().As(r.Text("token"))
		h.Advance(24*time.Hour - time.Second)
		c.Get("/api/v1/agents").Expect(http.StatusOK)
	})
}

func TestK9AKeyNeverExpiresUntilItIsRevoked(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		c := h.Client().As(h.Client().SessionLogin(h.Admin.Email, h.Admin.Password).Access)
		r := c.Post("/api/v1/api-keys", map[string]any{"name": "prod-agent", "preset": "admin-agent"}).Expect(http.StatusCreated)
		if !r.Has("expires_at") || r.Text("expires_at") != "" {
			t.Errorf("expires_at is not null: %s", r)
		}
		h.Advance(10 * 365 * 24 * time.Hour)
		h.Client().WithKey(r.Text("api_key")).Get("/api/v1/agents").Expect(http.StatusOK)
	})
}

// K17: who revoked a key, and when, is shown.
func TestK17ARevokedKeyShowsWhenAndByWhom(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		c := h.Client().As(h.Login(h.Admin).Access)
		id, _ := c.CreateKey("prod-agent", "agents:read")
		h.Advance(time.Minute)
		c.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		r := c.Get("/api/v1/api-keys/" + id).Expect(http.StatusOK)
		if r.Text("status") != "revoked" || r.Text("revoked_by") != string(h.Admin.ID) || r.Text("revoked_at") != h.Clock.Now().Format(time.RFC3339) {
			t.Errorf("a revoked key does not say when and by whom: %s", r)
		}
	})
}

// bound is within what time every replica must refuse what was revoked.
const bound = 2 * time.Second

func TestK18ARevokedKeyIsRefusedAtOnceOnEveryReplica(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2, Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		id, key := admin.CreateKey("prod-agent", "agents:read")
		for i := range h.Replicas {
			h.At(i).WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
		}
		admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		returned := time.Now()
		r := h.Client().WithKey(key).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
		if r.Text("error") != "unauthorized" {
			t.Errorf("error %q, want unauthorized", r.Text("error"))
		}
		var last time.Duration
		for i := range 1000 {
			asked := time.Since(returned)
			if h.At(i%2).WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK, http.StatusUnauthorized).Status == http.StatusOK {
				last = asked
			}
		}
		if last > bound {
			t.Errorf("the key was still good %s after its revocation", last)
		}
		t.Logf("the last 200 was asked for %s after the revocation returned", last)
	})
}

// minted signs claims with the house's own key, as only a broken release could.
func minted(t *testing.T, h *housetest.Harness, change func(*tokens.Claims)) string {
	t.Helper()
	now := h.Clock.Now()
	c := tokens.Claims{
		Issuer: h.Config.Issuer, Subject: h.Admin.ID, Audience: tokens.Audience{h.Config.Issuer}, ID: ident.NewTokenID(now, strings.NewReader(strings.Repeat("x", 16))),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), ExpiresAt: now.Add(time.Hour).Unix(), Org: h.Admin.Org, Client: "cli_api",
		Roles: []string{accounts.RoleOwner}, Permissions: []string{"agents:read"}, Scope: "agents:read",
	}
	change(&c)
	payload, err := c.Payload()
	if err != nil {
		t.Fatal(err)
	}
	token, err := h.House().Ring.Sign(t.Context(), payload, tokens.AccessTokenType)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestK21ATokenWithoutOrganisationSaysSo(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		whole := minted(t, h, func(*tokens.Claims) {})
		h.Client().As(whole).Get("/api/v1/agents").Expect(http.StatusOK) // what is missing below is all that is wrong
		homeless := minted(t, h, func(c *tokens.Claims) { c.Org = "" })
		for _, path := range []string{"/api/v1/agents", "/api/v1/me"} {
			if r := h.Client().As(homeless).Get(path).Expect(http.StatusUnauthorized); r.Text("error") != "missing org_id claim" {
				t.Errorf("%s: error %q, want missing org_id claim", path, r.Text("error"))
			}
		}
	})
}

func TestK22ChecksAreMadeInTheOrderSignatureExpiryOrganisation(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		token := h.Client().SessionLogin(h.Admin.Email, h.Admin.Password).Access
		homeless := minted(t, h, func(c *tokens.Claims) { c.Org = "" })
		h.Advance(24*time.Hour + leeway)
		payload := strings.Split(token, ".")[1]
		tampered := strings.Replace(token, payload, strings.ToUpper(payload[:8])+payload[8:], 1)
		for token, want := range map[string]string{token: "token expired", homeless: "token expired", tampered: "invalid token"} {
			for _, path := range []string{"/api/v1/agents", "/api/v1/me"} {
				if r := h.Client().As(token).Get(path).Problem(http.StatusUnauthorized, "INVALID_TOKEN"); r.Text("error") != want {
					t.Errorf("%s: error %q, want %q", path, r.Text("error"), want)
				}
			}
		}
	})
}

// AK-45, AK-46, AK-47.
func TestK24ARotatedKeyKeepsItsOldSecretForTheGrace(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2, Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		admin := func() *housetest.Client { return h.Client().As(h.Login(h.Admin).Access) }
		good := func(key string, want int) {
			t.Helper()
			for i := range h.Replicas {
				h.At(i).WithKey(key).Get("/api/v1/agents").Expect(want)
			}
		}
		id, first := admin().CreateKey("prod-agent", "agents:read")
		good(first, http.StatusOK)
		r := admin().Post("/api/v1/api-keys/"+id+"/rotate", `{"grace":"24h"}`).Expect(http.StatusOK)
		second := r.Text("api_key")
		if r.Text("id") != id || second == first {
			t.Fatalf("not the same key with another secret: %s", r)
		}
		h.Follow()
		good(first, http.StatusOK)
		good(second, http.StatusOK)
		h.Advance(24*time.Hour - time.Second)
		good(first, http.StatusOK)
		h.Advance(2 * time.Second)
		good(first, http.StatusUnauthorized)
		good(second, http.StatusOK)
		third := admin().Post("/api/v1/api-keys/"+id+"/rotate", `{"grace":"0s"}`).Expect(http.StatusOK).Text("api_key")
		h.Follow()
		good(second, http.StatusUnauthorized)
		good(third, http.StatusOK)
	})
}

// K23: a panic, too, shows no credential.
// AK-18.
func TestK23NoLogLineHoldsACredential(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		_, key := h.Client().As(s.Access).CreateKey("prod-agent", "agents:read")
		h.Client().WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
		h.Client().WithKey(key + "x").Get("/api/v1/agents").Expect(http.StatusUnauthorized)
		h.Client().Get("/api/v1/agents/"+key).Expect(http.StatusUnauthorized, http.StatusNotFound)
		h.Client().Get("/api/v1/agents?key=" + key + "&token=" + s.Access).Expect(http.StatusUnauthorized)
		h.Client().Refresh(s.Refresh).Expect(http.StatusOK)
		h.Client().TryLogin(h.Admin.Email, "a wrong but secret sentence").Expect(http.StatusUnauthorized)
		logs := h.Logs()
		if !strings.Contains(logs, `"route":"/api/v1/agents"`) {
			t.Fatal("there is no access log to look at")
		}
		for name, secret := range map[string]string{
			"API key": key, "access token": s.Access, "refresh token": s.Refresh, "password": h.Admin.Password, "wrong password": "a wrong but secret sentence",
		} {
			if strings.Contains(logs, secret) {
				t.Errorf("the log holds the %s", name)
			}
		}
	})
}

// K25, O25: one of several keys of one name is revoked and the others are not.
func TestK25RevokingOneKeyLeavesTheOthers(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2, Config: kubewatch}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		var ids, keys []string
		for range 3 {
			id, key := admin.CreateKey("agent", "agents:read")
			ids, keys = append(ids, id), append(keys, key)
		}
		admin.Delete("/api/v1/api-keys/" + ids[1]).Expect(http.StatusNoContent)
		h.Follow()
		for i, key := range keys {
			want := http.StatusOK
			if i == 1 {
				want = http.StatusUnauthorized
			}
			for r := range h.Replicas {
				h.At(r).WithKey(key).Get("/api/v1/agents").Expect(want)
			}
		}
		list := admin.Get("/api/v1/api-keys").Expect(http.StatusOK)
		if n := len(list.List("data")); n != 3 {
			t.Fatalf("the list has %d keys, want 3", n)
		}
		for i := range 3 {
			want := map[bool]string{true: "revoked", false: "active"}[list.Text(fmt.Sprintf("data.%d.id", i)) == ids[1]]
			if got := list.Text(fmt.Sprintf("data.%d.status", i)); got != want {
				t.Errorf("key %d is %s, want %s", i, got, want)
			}
		}
	})
}
