package housetest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// estate is everything that one organisation has, as its owner sees it.
type estate struct {
	owner   housetest.Person
	session housetest.Session
	key     string
	role    string
	ids     []string // of its things
	secrets []string // what nobody outside the organisation may read, its ids among them
	kid     string   // the deployment's, which is nobody's to revoke
}

// settle gives an organisation one of everything.
func settle(h *housetest.Harness, slug string) estate {
	org := h.Org(slug)
	e := estate{owner: h.Person(org, slug+"-owner", "owner")}
	member := h.Person(org, slug+"-member", "engineer")
	h.Login(member)
	e.session = h.Login(e.owner)
	c := h.Client().As(e.session.Access)
	keyID, key := c.CreateKey(slug+"-key", "agents:read", "incidents:read", "api-keys:read")
	e.key = key
	e.role = slug + "-role"
	c.Put("/api/v1/roles/"+e.role, map[string]any{"permissions": []string{"agents:read"}}).Expect(http.StatusOK)
	agent := c.Post("/api/v1/agents", map[string]string{"name": slug + "-agent"}).Expect(http.StatusCreated).Text("id")
	incident := c.Post("/api/v1/incidents", map[string]string{"title": slug + "-incident"}).Expect(http.StatusCreated).Text("id")
	client := c.Post("/api/v1/clients", map[string]any{
		"name": slug + "-client", "grants": []string{"client_credentials"}, "scopes": []string{"agents:read"},
	}).Expect(http.StatusCreated)
	bot := serviceAccount(c, slug+"-bot", "engineer")
	hook := c.Post("/api/v1/webhooks", map[string]any{"url": "https://hooks.example/" + slug}).Expect(http.StatusCreated)
	c.Patch("/api/v1/webhooks/"+hook.Text("id"), map[string]string{"status": "disabled"}).Expect(http.StatusOK) // it would be told of everything
	invitation, _ := inviteGuest(c, slug+"-guest@example.com", "viewer")
	var sessions []string
	for _, s := range c.Get("/api/v1/sessions").Expect(http.StatusOK).List("data") {
		sessions = append(sessions, s.(map[string]any)["id"].(string))
	}
	e.kid = activeKey(h.House(), "ES256")
	e.ids = append([]string{string(org), string(e.owner.ID), string(member.ID), keyID, agent, incident, client.Text("client_id"), bot, hook.Text("id"), invitation}, sessions...)
	e.secrets = append([]string{e.owner.Email, member.Email, "Organisation " + slug, slug + "-client", slug + "-bot", client.Text("client_secret"), hook.Text("secret"), "hooks.example/" + slug, key, e.session.Access, e.session.Refresh}, e.ids...)
	return e
}

// view is all that the owner sees of the organisation. The audit log is left
// out: it grows whenever somebody looks.
func (e estate) view(c *housetest.Client) string {
	var out []string
	for _, path := range []string{
		"/api/v1/me", "/api/v1/users", "/api/v1/memberships", "/api/v1/organizations", "/api/v1/roles",
		"/api/v1/api-keys", "/api/v1/clients", "/api/v1/service-accounts", "/api/v1/invitations", "/api/v1/agents", "/api/v1/incidents", "/api/v1/metrics",
		"/api/v1/organizations/" + string(e.owner.Org) + "/key-policy",
	} {
		out = append(out, string(c.As(e.session.Access).Get(path).Expect(http.StatusOK).Body))
	}
	// How many events wait for its webhook grows with its log.
	hooks := string(c.As(e.session.Access).Get("/api/v1/webhooks").Expect(http.StatusOK).Body)
	return strings.Join(append(out, waiting.ReplaceAllString(hooks, "")), "\n")
}

var waiting = regexp.MustCompile(`"waiting":\d+`)

// bodies are plausible requests for every route that takes one: they would
// change something if the route let them.
func bodies(victim estate) map[string]map[string]any {
	return map[string]map[string]any{
		"POST /api/v1/api-keys":                       {"name": "intruder", "permissions": []string{"agents:read"}},
		"POST /api/v1/api-keys/verify":                {"api_key": victim.key},
		"POST /api/v1/api-keys/{id}/rotate":           {"grace": "0s"},
		"PATCH /api/v1/api-keys/{id}":                 {"name": "renamed by an intruder"},
		"POST /api/v1/clients":                        {"name": "intruder", "grants": []string{"client_credentials"}, "scopes": []string{"agents:read"}},
		"POST /api/v1/service-accounts":               {"name": "intruder", "role": "viewer"},
		"PATCH /api/v1/service-accounts/{id}":         {"status": "disabled"},
		"POST /api/v1/invitations":                    {"email": "intruder@example.org", "role": "viewer"},
		"POST /api/v1/webhooks":                       {"url": "http://127.0.0.1:9/intruder"},
		"PATCH /api/v1/webhooks/{id}":                 {"url": "http://127.0.0.1:9/intruder"},
		"POST /api/v1/webhooks/{id}/replay":           {"since": "2020-01-01T00:00:00Z"},
		"PATCH /api/v1/clients/{id}":                  {"name": "renamed by an intruder", "status": "disabled"},
		"POST /api/v1/clients/{id}/rotate-secret":     {"grace": "0s"},
		"POST /api/v1/users":                          {"email": "intruder@example.org", "name": "Intruder", "role": "viewer", "password": "a long enough sentence for one"},
		"PATCH /api/v1/users/{id}":                    {"status": "disabled"},
		"PATCH /api/v1/memberships/{user_id}":         {"role": "viewer"},
		"PATCH /api/v1/organizations/{id}":            {"name": "renamed by an intruder"},
		"PATCH /api/v1/organizations/{id}/key-policy": {"permissions": []string{"metrics:read"}, "max_lifetime": "1h"},
		"PUT /api/v1/roles/{name}":                    {"permissions": []string{"agents:read"}},
		"POST /api/v1/agents":                         {"name": "intruder"},
		"POST /api/v1/incidents":                      {"title": "intruder"},
		"POST /api/v1/me/password":                    {"current_password": "not the password", "new_password": "another sentence, just as long"},
		"POST /api/v1/auth/login":                     {"email": victim.owner.Email, "password": "not the password of anyone"},
		"POST /auth/login":                            {"email": victim.owner.Email, "password": "not the password of anyone"},
		"POST /api/v1/auth/register":                  {"email": victim.owner.Email, "name": "Intruder", "password": "a long enough sentence for one"},
		"POST /api/v1/auth/refresh":                   {"refresh_token": "thr_0"},
		"POST /api/v1/procedures/{id}/execute":        {},
		"POST /api/v1/sessions/revoke-others":         {},
		"POST /api/v1/users/{id}/unlock":              {},
		"POST /api/v1/auth/logout":                    {},
		"POST /api/v1/memberships":                    {"user_id": string(victim.owner.ID), "role": "viewer"},
		"POST /api/v1/organizations":                  {"name": "intruder"},
		"POST /api/v1/organizations/{id}/members":     {},
	}
}

// O28, O29, K15, INV-09, SEC-KEY-04, SEC-KEY-07, SEC-JWT-13: somebody with
// every permission in one organisation asks each route for another's things,
// by path, by query and by body. Nothing is shown, nothing changes.
func TestNoRouteCrossesOrganisations(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		h.Advance(time.Second) // organisations of one moment have no first among them
		victim, intruder := settle(h, "victim"), settle(h, "intruder")
		owner := h.Client().As(intruder.session.Access)
		var everything []string
		for _, p := range owner.Get("/api/v1/me").Expect(http.StatusOK).List("permissions") {
			everything = append(everything, p.(string))
		}
		robot := enrol(owner, everything, nil)
		before := victim.view(h.Client())
		routes := routesOf(h.Client())
		if len(routes) < 45 {
			t.Fatalf("only %d routes are described", len(routes))
		}
		asked := 0
		for _, credential := range []struct {
			name string
			as   func() *housetest.Client
		}{
			{"session", func() *housetest.Client { return h.Client().As(h.Login(intruder.owner).Access) }},
			{"API key", func() *housetest.Client { return h.Client().WithKey(intruder.key) }},
			{"service client", func() *housetest.Client { return h.Client().As(robot.token(h.Client())) }},
		} {
			who := credential.as()
			for _, r := range routes {
				t.Run(credential.name+" "+r.method+" "+r.path, func(t *testing.T) {
					for _, path := range r.aimedAt(victim) {
						if who.For(t).Get("/api/v1/me").Status == http.StatusUnauthorized { // it ended what it asked with
							who = credential.as()
						}
						c := who.For(t)
						body := r.body(victim)
						if strings.HasPrefix(path, "/oauth2/") {
							c, path, body = robot.by(h.Client().For(t)).With("Content-Type", "application/x-www-form-urlencoded"), r.path, r.form(victim)
						}
						reply, err := c.Try(r.method, path, body)
						if err != nil {
							t.Fatal(err)
						}
						asked++
						if reply.Status >= 500 {
							t.Errorf("%s", reply)
						}
						// What the intruder asked with is no secret to the intruder.
						known := path + fmt.Sprint(body)
						for _, s := range victim.secrets {
							if strings.Contains(string(reply.Body), s) && !strings.Contains(known, s) && !r.auditsOwnAttempts() {
								t.Errorf("%s shows %s", reply, s)
							}
						}
						if r.namesAThing() && reply.Status < 300 {
							t.Errorf("another organisation's thing is answered: %s", reply)
						}
					}
				})
			}
		}
		if after := victim.view(h.Client()); after != before {
			t.Errorf("the other organisation's things changed:\n%s", difference(before, after))
		}
		t.Logf("%d routes, %d requests", len(routes), asked)
	})
}

// described is one operation of the OpenAPI description.
type described struct{ method, path string }

func routesOf(c *housetest.Client) []described {
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	c.Get("/openapi.json").Expect(http.StatusOK).Decode(&doc)
	out := []described{ // of the demonstration resource server, which is no part of the description
		{"GET", "/api/v1/agents"}, {"POST", "/api/v1/agents"}, {"GET", "/api/v1/agents/{id}"}, {"DELETE", "/api/v1/agents/{id}"},
		{"GET", "/api/v1/incidents"}, {"POST", "/api/v1/incidents"}, {"GET", "/api/v1/incidents/{id}"}, {"DELETE", "/api/v1/incidents/{id}"},
		{"GET", "/api/v1/metrics"}, {"POST", "/api/v1/procedures/{id}/execute"},
	}
	for path, item := range doc.Paths {
		for method := range item {
			if m := strings.ToUpper(method); slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, m) {
				out = append(out, described{m, path})
			}
		}
	}
	slices.SortFunc(out, func(a, b described) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return out
}

// namesAThing reports whether the path takes an identifier that belongs to one
// organisation. A role's name and a procedure belong to whoever asks.
func (d described) namesAThing() bool {
	return strings.Contains(d.path, "{") && !strings.Contains(d.path, "/roles/") && !strings.Contains(d.path, "/procedures/")
}

// auditsOwnAttempts: an organisation's audit log holds what its own people
// asked for, identifiers of others included.
func (d described) auditsOwnAttempts() bool { return strings.HasPrefix(d.path, "/api/v1/audit") }

// aimedAt gives the paths that ask for the victim's things.
func (d described) aimedAt(victim estate) []string {
	query := "?organization_id=" + victim.ids[0] + "&org_id=" + victim.ids[0]
	start, end := strings.Index(d.path, "{"), strings.Index(d.path, "}")
	if start < 0 {
		return []string{d.path + query}
	}
	names := victim.ids
	if strings.Contains(d.path, "/roles/") {
		names = []string{victim.role} // the intruder's own role may have the same name
	}
	if strings.Contains(d.path, "/signing-keys/") {
		names = []string{victim.kid}
	}
	var out []string
	for _, id := range names {
		out = append(out, d.path[:start]+id+d.path[end+1:]+query)
	}
	return out
}

// form asks an OAuth endpoint for the other organisation's tokens: a confidential
// client of the intruder's sends it.
func (d described) form(victim estate) string {
	return url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {victim.session.Refresh}, "token": {victim.session.Access},
		"organization_id": {victim.ids[0]}, "org_id": {victim.ids[0]},
	}.Encode()
}

func (d described) body(victim estate) any {
	if d.method == "GET" || d.method == "DELETE" {
		return nil
	}
	if b, ok := bodies(victim)[d.method+" "+d.path]; ok {
		return b
	}
	return map[string]any{}
}
