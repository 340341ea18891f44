package housetest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// taker is somebody's receiver of webhooks.
type taker struct {
	url     string
	mu      sync.Mutex
	secrets []string // each of which must verify
	got     []string // the types, in order
	wrong   []string
}

func takes(t *testing.T) *taker {
	r := &taker{}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range r.secrets {
			wh, e := standardwebhooks.NewWebhook(s)
			if e == nil {
				e = wh.VerifyIgnoringTimestamp(body, q.Header)
			}
			if e != nil || err != nil {
				r.wrong = append(r.wrong, fmt.Sprintf("%v %v: %s", e, err, body))
			}
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(string(body), `{"type":"`), `"`)
		r.got = append(r.got, name)
	}))
	t.Cleanup(site.Close)
	r.url = site.URL
	return r
}

func (r *taker) knows(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets = secrets
}

// took returns the types of what was taken so far.
func (r *taker) took(t *testing.T) []string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wrong {
		t.Error(w)
	}
	return slices.Clone(r.got)
}

// tended does the work of the background, which goes on besides.
func tended(t *testing.T, h *housetest.Harness) {
	t.Helper()
	if err := h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Somebody makes a webhook over HTTP, is sent what happens, changes its secret and
// its events, and removes it. Each step is in the audit log.
func TestTheLifeOfAWebhook(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		r := takes(t)
		c := h.Client().As(h.Login(h.Admin).Access)
		made := c.Post("/api/v1/webhooks", map[string]any{"url": r.url, "events": []string{"role.*", "webhook.created"}}).Expect(http.StatusCreated)
		id, first := made.Text("id"), made.Text("secret")
		path := "/api/v1/webhooks/" + id
		r.knows(first)
		arrives := func(want ...string) {
			t.Helper()
			eventually(t, fmt.Sprint("told of ", want), func() bool {
				tended(t, h)
				return slices.Equal(r.took(t), want)
			})
		}
		arrives("webhook.created")
		c.Put("/api/v1/roles/auditor", map[string]any{"permissions": []string{"audit:read"}}).Expect(http.StatusOK)
		c.Patch("/api/v1/organizations/"+string(h.Admin.Org), map[string]string{"name": "Renamed"}).Expect(http.StatusOK)
		arrives("webhook.created", "role.set")

		second := c.Post(path+"/rotate-secret", map[string]string{"grace": "1h"}).Expect(http.StatusOK).Text("secret")
		r.knows(first, second)
		c.Delete("/api/v1/roles/auditor").Expect(http.StatusNoContent)
		arrives("webhook.created", "role.set", "role.deleted")
		h.Advance(time.Hour)
		r.knows(second)
		c = h.Client().As(h.Login(h.Admin).Access)
		c.Patch(path, map[string]any{"events": []string{"user.*"}}).Expect(http.StatusOK)
		c.Put("/api/v1/roles/auditor", map[string]any{"permissions": []string{"audit:read"}}).Expect(http.StatusOK)
		c.Post(path+"/test", nil).Expect(http.StatusAccepted)
		arrives("webhook.created", "role.set", "role.deleted", "webhook.tested")
		seen := c.Get(path).Expect(http.StatusOK)
		if body := string(seen.Body); strings.Contains(body, second) || strings.Contains(body, "whsec_") || len(seen.List("secrets")) != 2 {
			t.Errorf("%s", seen)
		}
		if list := c.Get("/api/v1/webhooks").Expect(http.StatusOK).List("data"); len(list) != 1 {
			t.Errorf("listed: %v", list)
		}
		c.Get(path + "/dead-letters").Expect(http.StatusOK)
		c.Post(path+"/replay", nil).Expect(http.StatusAccepted)
		c.Delete(path).Expect(http.StatusNoContent)
		c.Get(path).Problem(http.StatusNotFound, "NOT_FOUND")
		for _, name := range []audit.Name{audit.WebhookCreated, audit.WebhookSecretRotated, audit.WebhookUpdated, audit.WebhookTested, audit.WebhookReplayed, audit.WebhookDeleted} {
			if said := eventsOf(t, h, name); len(said) != 1 || said[0].Actor.ID != string(h.Admin.ID) || said[0].Targets[0].ID != id {
				t.Errorf("%s: %+v", name, said)
			}
		}
		if logs := h.Logs(); strings.Contains(logs, strings.TrimPrefix(second, "whsec_")) {
			t.Error("a secret is in the log")
		}
	})
}

// Who may not read the audit log may not have it sent somewhere either, and what
// is wrong is said.
func TestWebhooksThatAreRefused(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	admin.Put("/api/v1/roles/plumber", map[string]any{"permissions": []string{"webhooks:*"}}).Expect(http.StatusOK)
	plumber := h.Client().As(h.Login(h.Person(h.Admin.Org, "plumber", "plumber")).Access)
	r := takes(t)
	plumber.Post("/api/v1/webhooks", map[string]any{"url": r.url}).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	if said := eventsOf(t, h, audit.PermissionDenied); len(said) != 1 || said[0].Meta["required"] != "audit:read" {
		t.Errorf("the audit log says %+v", said)
	}
	for field, body := range map[string]map[string]any{
		"url":         {"url": "ftp://files.example.com/"},
		"events":      {"url": r.url, "events": []string{"login.fail"}},
		"description": {"url": r.url, "description": strings.Repeat("x", 501)},
	} {
		if reply := admin.Post("/api/v1/webhooks", body).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED"); !strings.Contains(string(reply.Body), field) {
			t.Errorf("%s: %s", field, reply)
		}
	}
}

// SEC-INJ-13: outside development no webhook makes us speak to our own network.
func TestNoWebhookLeadsIntoOurNetwork(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) { c.Issuer = "https://id.example.com" }})
	for _, at := range []string{"http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://10.0.0.1/", "https://user@example.com/", "https://example.com:8443/", "https://0177.0.0.1/"} {
		admin := h.Operator(h.Admin.Org)
		if _, _, err := h.House().Webhooks().Create(t.Context(), admin, webhooks.New{URL: at}); err == nil {
			t.Errorf("%s is accepted", at)
		}
	}
}
