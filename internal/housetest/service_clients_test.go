package housetest_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// serviceClient is a registered client with everything it needs to ask.
type serviceClient struct{ id, secret string }

// enrol registers a client by its permissions, with what change says otherwise.
func enrol(c *housetest.Client, scopes []string, change map[string]any) serviceClient {
	body := map[string]any{"name": "robot", "auth_method": "client_secret_basic", "grants": []string{"client_credentials"}, "scopes": scopes}
	for name, v := range change {
		body[name] = v
	}
	r := c.Post("/api/v1/clients", body).Expect(http.StatusCreated)
	return serviceClient{r.Text("client_id"), r.Text("client_secret")}
}

// form sends parameters, given in pairs, as a client of RFC 6749 does.
func form(c *housetest.Client, path string, pairs ...string) housetest.Reply {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return c.With("Content-Type", "application/x-www-form-urlencoded").Post(path, values.Encode())
}

// by authenticates as a client with client_secret_basic.
func (s serviceClient) by(c *housetest.Client) *housetest.Client {
	both := url.QueryEscape(s.id) + ":" + url.QueryEscape(s.secret)
	return c.With("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(both)))
}

// token earns an access token of the client's own.
func (s serviceClient) token(c *housetest.Client) string {
	return form(s.by(c), "/oauth2/token", "grant_type", "client_credentials").Expect(http.StatusOK).Text("access_token")
}

// refused holds a refusal to RFC 6749 §5.2.
func refused(t *testing.T, r housetest.Reply, status int, name string) {
	t.Helper()
	if r.Status != status || r.Text("error") != name || r.Text("error_description") == "" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s, want %d %s", r, status, name)
	}
	if challenged := strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Basic "); challenged != (status == http.StatusUnauthorized) {
		t.Errorf("%s: the challenge is %q", r, r.Header.Get("WWW-Authenticate"))
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s may be kept", r)
	}
}

// SEC-JWT-38: a service client comes by the library that every Go program uses,
// in both ways of showing a secret. Its token names no user, and has no right
// but those the client was registered for, here and at a resource server.
func TestAServiceClientWithAnotherLibrary(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		for name, style := range map[string]oauth2.AuthStyle{"client_secret_basic": oauth2.AuthStyleInHeader, "client_secret_post": oauth2.AuthStyleInParams} {
			robot := enrol(admin, []string{"agents:read", "incidents:read"}, map[string]any{"auth_method": name})
			conf := clientcredentials.Config{
				ClientID: robot.id, ClientSecret: robot.secret, TokenURL: h.Replicas[0].URL + "/oauth2/token", AuthStyle: style, Scopes: []string{"agents:read"},
			}
			got, err := conf.Token(t.Context())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got.TokenType != "Bearer" || got.RefreshToken != "" || got.Extra("expires_in") != float64(3600) || got.Extra("scope") != "agents:read" {
				t.Errorf("%s: %s %v %v", name, got.TokenType, got.Extra("expires_in"), got.Extra("scope"))
			}
			claims := claimsOf(t, got.AccessToken)
			if claims["sub"] != robot.id || claims["client_id"] != robot.id || claims["org_id"] != string(h.Admin.Org) || claims["sid"] != nil || len(claims["roles"].([]any)) != 0 {
				t.Errorf("%s: %v", name, claims)
			}
			c := h.Client().As(got.AccessToken)
			c.Get("/api/v1/agents").Expect(http.StatusOK)
			c.Get("/api/v1/incidents").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS") // not asked for
			c.Get("/api/v1/users").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
			c.Get("/api/v1/api-keys").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
			c.Post("/api/v1/me/password", map[string]string{"current_password": "x", "new_password": "y"}).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
			me := c.Get("/api/v1/me").Expect(http.StatusOK)
			if me.Text("type") != "client" || me.Text("id") != robot.id || me.Text("organization_id") != string(h.Admin.Org) || me.Text("email") != "" {
				t.Errorf("%s", me)
			}
			offline := &verify.Verifier{
				Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Now: h.Clock.Now,
				Keys: &verify.RemoteKeys{URL: h.Replicas[0].URL + "/.well-known/jwks.json", Now: h.Clock.Now},
			}
			if seen, err := offline.Verify(t.Context(), got.AccessToken); err != nil || seen.Subject != seen.ClientID || !strings.HasPrefix(seen.Subject, "cli_") {
				t.Errorf("%s at a resource server: %v %v", name, seen.Subject, err)
			}
		}
	})
}

// A client that may do everything still owns no key: keys belong to people.
func TestAServiceClientMakesNoKeys(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	robot := enrol(h.Client().As(h.Login(h.Admin).Access), []string{"api-keys:create", "agents:read", "users:read"}, nil)
	c := h.Client().As(robot.token(h.Client()))
	c.Get("/api/v1/users").Expect(http.StatusOK)
	c.Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}}).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
}

// INV-02: whoever disables or deletes a client, or takes a scope from it, makes
// its tokens worthless at once on this replica, and within two seconds on
// others; a client that may again gets a good token in the same second.
func TestADisabledClientIsOut(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		robot, doomed := enrol(admin, []string{"agents:read"}, nil), enrol(admin, []string{"agents:read"}, nil)
		token, last := robot.token(h.Client()), doomed.token(h.At(1))
		h.At(1).As(token).Get("/api/v1/agents").Expect(http.StatusOK)
		admin.Patch("/api/v1/clients/"+robot.id, map[string]any{"status": "disabled"}).Expect(http.StatusOK)
		admin.Delete("/api/v1/clients/" + doomed.id).Expect(http.StatusNoContent)
		h.Client().As(token).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Client().As(last).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Follow()
		for replica := range 2 {
			for c, token := range map[serviceClient]string{robot: token, doomed: last} {
				h.At(replica).As(token).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
				refused(t, form(c.by(h.At(replica)), "/oauth2/token", "grant_type", "client_credentials"), 401, "invalid_client")
				refused(t, form(c.by(h.At(replica)), "/oauth2/introspect", "token", token), 401, "invalid_client")
				refused(t, form(c.by(h.At(replica)), "/oauth2/revoke", "token", token), 401, "invalid_client")
			}
		}
		admin.Patch("/api/v1/clients/"+robot.id, map[string]any{"status": "active"}).Expect(http.StatusOK)
		h.Client().As(token).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Client().As(robot.token(h.Client())).Get("/api/v1/agents").Expect(http.StatusOK)
	})
}

// Tokens and introspections cost no write, and the audit log tells of the first
// token in an hour.
func TestServiceClientsWriteNothing(t *testing.T) {
	var writes atomic.Int64
	count := func(_ int, env *house.Env) {
		env.Hooks.Before = func(kind string) error {
			if kind != "query" && kind != "row" {
				writes.Add(1)
			}
			return nil
		}
	}
	h := housetest.Start(t, housetest.Options{Env: count})
	robot := enrol(h.Client().As(h.Login(h.Admin).Access), []string{"agents:read"}, nil)
	robot.token(h.Client())
	if err := h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := writes.Load()
	for range 20 {
		token := robot.token(h.Client())
		if r := form(robot.by(h.Client()), "/oauth2/introspect", "token", token); r.Text("active") != "true" {
			t.Fatalf("%s", r)
		}
	}
	const lease = 3 // a block of places in a status list: two rows and the commit
	if n := writes.Load() - before; n > lease {
		t.Errorf("20 tokens and introspections cost %d writes", n)
	}
	h.Advance(time.Hour)
	robot.token(h.Client())
	refused(t, form(serviceClient{robot.id, "ths_wrong"}.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials"), 401, "invalid_client")
	if err := h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := eventsOf(t, h, audit.ClientTokenIssued); len(got) != 2 || got[0].Actor.ID != robot.id || got[0].Org != h.Admin.Org {
		t.Errorf("%d events: %+v", len(got), got)
	}
	got := eventsOf(t, h, audit.ClientRefused)
	if len(got) != 1 || got[0].Reason != "wrong_secret" || got[0].Actor.Type != string(ident.Anonymous) || got[0].Targets[0].ID != robot.id {
		t.Errorf("%+v", got)
	}
}

func eventsOf(t *testing.T, h *housetest.Harness, name audit.Name) []audit.Event {
	t.Helper()
	all, err := h.House().DB.Audit().Export(context.Background(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(e audit.Event) bool { return e.Name != name })
}
