package housetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to look into PostgreSQL
	_ "modernc.org/sqlite"             // to look into SQLite

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
)

// operation changes something. Prepare makes what it needs and gives the
// request, to be sent any number of times until it succeeds once.
type operation struct {
	name    string
	prepare func(h *housetest.Harness, who housetest.Person) func(*housetest.Client) housetest.Reply
	success int
}

var operations = []operation{
	{"login", func(_ *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return func(c *housetest.Client) housetest.Reply { return c.TryLogin(p.Email, p.Password) }
	}, http.StatusOK},
	{"login without refresh", func(_ *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/auth/login", "", map[string]string{"email": p.Email, "password": p.Password})
	}, http.StatusOK},
	{"failed login", func(_ *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return func(c *housetest.Client) housetest.Reply { return c.TryLogin(p.Email, "not the password of anyone") }
	}, http.StatusUnauthorized},
	{"register", func(*housetest.Harness, housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/auth/register", "", map[string]string{"email": "new@example.org", "password": "a long enough sentence for one", "name": "New"})
	}, http.StatusCreated},
	{"refresh", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return post("/api/v1/auth/refresh", "", map[string]string{"refresh_token": s.Refresh})
	}, http.StatusOK},
	{"refresh with a stolen token", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		next := h.Client().Refresh(s.Refresh).Expect(http.StatusOK).Text("refresh_token")
		h.Client().Refresh(next).Expect(http.StatusOK)
		thief := map[string]string{"refresh_token": s.Refresh}
		return func(c *housetest.Client) housetest.Reply {
			return c.Agent("thief").From("203.0.113.9").Post("/api/v1/auth/refresh", thief)
		}
	}, http.StatusUnauthorized},
	{"logout", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/auth/logout", h.Login(p).Access, nil)
	}, http.StatusNoContent},
	{"end the other sessions", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		h.Login(p)
		return remove("/api/v1/sessions", h.Login(p).Access)
	}, http.StatusOK},
	{"change the password", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		h.Login(p)
		return post("/api/v1/me/password", h.Login(p).Access, map[string]string{"current_password": p.Password, "new_password": "another sentence, just as long"})
	}, http.StatusNoContent},
	{"create an API key", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/api-keys", h.Login(p).Access, map[string]any{"name": "k", "permissions": []string{"agents:read"}})
	}, http.StatusCreated},
	{"rotate an API key", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		id, _ := h.Client().As(s.Access).CreateKey("k", "agents:read")
		return post("/api/v1/api-keys/"+id+"/rotate", s.Access, map[string]string{"grace": "1h"})
	}, http.StatusOK},
	{"revoke an API key", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		id, _ := h.Client().As(s.Access).CreateKey("k", "agents:read")
		return remove("/api/v1/api-keys/"+id, s.Access)
	}, http.StatusNoContent},
	{"give an API key away", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		c := h.Client().As(s.Access)
		id, _ := c.CreateKey("k", "agents:read")
		return patch("/api/v1/api-keys/"+id, s.Access, map[string]string{"owner": serviceAccount(c, "heir", "viewer")})
	}, http.StatusOK},
	{"revoke a family of API keys", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		id, key := h.Client().As(s.Access).CreateKey("k", "agents:read", "api-keys:create")
		h.Client().WithKey(key).CreateKey("child", "agents:read")
		h.Client().WithKey(key).CreateKey("sibling", "agents:read")
		return remove("/api/v1/api-keys/"+id, s.Access)
	}, http.StatusNoContent},
	{"bound what API keys may be", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return patch("/api/v1/organizations/"+string(p.Org)+"/key-policy", h.Login(p).Access, map[string]any{"permissions": []string{"agents:*"}, "max_lifetime": "720h"})
	}, http.StatusOK},
	{"make a service account", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/service-accounts", h.Login(p).Access, map[string]string{"name": "bot", "role": "viewer"})
	}, http.StatusCreated},
	{"change a service account", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		bot := serviceAccount(h.Client().As(s.Access), "bot", "viewer")
		return patch("/api/v1/service-accounts/"+bot, s.Access, map[string]string{"description": "changed", "role": "engineer", "status": "disabled"})
	}, http.StatusOK},
	{"delete a service account", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return remove("/api/v1/service-accounts/"+serviceAccount(h.Client().As(s.Access), "bot", "viewer"), s.Access)
	}, http.StatusNoContent},
	{"invite somebody", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/invitations", h.Login(p).Access, map[string]string{"email": "guest@example.org", "role": "viewer"})
	}, http.StatusCreated},
	{"take an invitation back", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		id, _ := inviteGuest(h.Client().As(s.Access), "guest@example.org", "viewer")
		return remove("/api/v1/invitations/"+id, s.Access)
	}, http.StatusNoContent},
	{"change a webhook's secret", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return post("/api/v1/webhooks/"+webhook(h.Client().As(s.Access))+"/rotate-secret", s.Access, map[string]string{"grace": "1h"})
	}, http.StatusOK},
	{"change a webhook", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return patch("/api/v1/webhooks/"+webhook(h.Client().As(s.Access)), s.Access, map[string]string{"description": "changed"})
	}, http.StatusOK},
	{"delete a webhook", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return remove("/api/v1/webhooks/"+webhook(h.Client().As(s.Access)), s.Access)
	}, http.StatusNoContent},
	{"publish the next signing keys", func(h *housetest.Harness, _ housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/signing-keys/rotate", h.Login(h.Admin).Access, map[string]string{"algorithm": "ES256"})
	}, http.StatusOK},
	{"rotate a signing key at once", func(h *housetest.Harness, _ housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/signing-keys/rotate", h.Login(h.Admin).Access, map[string]any{"algorithm": "ES256", "immediately": true})
	}, http.StatusOK},
	{"revoke a signing key", func(h *housetest.Harness, _ housetest.Person) func(*housetest.Client) housetest.Reply {
		access := h.Login(h.Admin).Access
		return post("/api/v1/signing-keys/"+activeKey(h.House(), "RS256")+"/revoke", access, nil)
	}, http.StatusNoContent},
	{"register a client", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/clients", h.Login(p).Access, worker)
	}, http.StatusCreated},
	{"disable a client", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return patch("/api/v1/clients/"+register(h, s), s.Access, map[string]string{"status": "disabled"})
	}, http.StatusOK},
	{"rotate a client's secret", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return post("/api/v1/clients/"+register(h, s)+"/rotate-secret", s.Access, map[string]string{"grace": "1h"})
	}, http.StatusOK},
	{"delete a client", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		s := h.Login(p)
		return remove("/api/v1/clients/"+register(h, s), s.Access)
	}, http.StatusNoContent},
	{"a client registers itself", func(*housetest.Harness, housetest.Person) func(*housetest.Client) housetest.Reply {
		return post(registerPath, "", selfDescription(nil))
	}, http.StatusCreated},
	{"a client replaces its metadata", func(h *housetest.Harness, _ housetest.Person) func(*housetest.Client) housetest.Reply {
		r := h.Client().Post(registerPath, selfDescription(nil)).Expect(http.StatusCreated)
		next := selfDescription(map[string]any{"client_id": r.Text("client_id"), "grant_types": []string{"authorization_code", "refresh_token"}})
		return func(c *housetest.Client) housetest.Reply {
			me, path := manage(c, r)
			return me.Put(path, next)
		}
	}, http.StatusOK},
	{"a client removes itself", func(h *housetest.Harness, _ housetest.Person) func(*housetest.Client) housetest.Reply {
		r := h.Client().Post(registerPath, selfDescription(nil)).Expect(http.StatusCreated)
		return func(c *housetest.Client) housetest.Reply {
			me, path := manage(c, r)
			return me.Delete(path)
		}
	}, http.StatusNoContent},
	{"create a user", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/users", h.Login(p).Access, map[string]string{"email": "second@example.org", "name": "Second", "role": "viewer", "password": "a long enough sentence for one"})
	}, http.StatusCreated},
	{"change a role", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		other := h.Person(p.Org, "demoted", "engineer")
		return patch("/api/v1/memberships/"+string(other.ID), h.Login(p).Access, map[string]string{"role": "viewer"})
	}, http.StatusOK},
	{"disable a user", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		other := h.Person(p.Org, "disabled", "engineer")
		h.Login(other)
		return patch("/api/v1/users/"+string(other.ID), h.Login(p).Access, map[string]string{"status": "disabled"})
	}, http.StatusOK},
	{"remove a member", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		other := h.Person(p.Org, "removed", "engineer")
		h.Login(other)
		return remove("/api/v1/memberships/"+string(other.ID), h.Login(p).Access)
	}, http.StatusNoContent},
	{"define a role", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		access := h.Login(p).Access
		return func(c *housetest.Client) housetest.Reply {
			return c.As(access).Put("/api/v1/roles/auditor", map[string]any{"permissions": []string{"audit:read"}})
		}
	}, http.StatusOK},
	{"rename the organisation", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return patch("/api/v1/organizations/"+string(p.Org), h.Login(p).Access, map[string]string{"name": "Renamed"})
	}, http.StatusOK},
	{"make a webhook", func(h *housetest.Harness, p housetest.Person) func(*housetest.Client) housetest.Reply {
		return post("/api/v1/webhooks", h.Login(p).Access, map[string]any{"url": "http://127.0.0.1:9/", "events": []string{"setup.completed"}})
	}, http.StatusCreated}, // and last, as the background follows it from then on
}

// webhook makes one that is sent nothing, and returns its id.
func webhook(c *housetest.Client) string {
	id := c.Post("/api/v1/webhooks", map[string]any{"url": "http://127.0.0.1:9/", "events": []string{"setup.completed"}}).Expect(http.StatusCreated).Text("id")
	c.Patch("/api/v1/webhooks/"+id, map[string]string{"status": "disabled"}).Expect(http.StatusOK)
	return id
}

// worker is a client that acts for itself.
var worker = map[string]any{"name": "worker", "grants": []string{"client_credentials"}, "scopes": []string{"agents:read"}}

// register makes a client and returns its id.
func register(h *housetest.Harness, s housetest.Session) string {
	return h.Client().As(s.Access).Post("/api/v1/clients", worker).Expect(http.StatusCreated).Text("client_id")
}

func post(path, access string, body any) func(*housetest.Client) housetest.Reply {
	return func(c *housetest.Client) housetest.Reply { return bearer(c, access).Post(path, body) }
}

func patch(path, access string, body any) func(*housetest.Client) housetest.Reply {
	return func(c *housetest.Client) housetest.Reply { return bearer(c, access).Patch(path, body) }
}

func remove(path, access string) func(*housetest.Client) housetest.Reply {
	return func(c *housetest.Client) housetest.Reply { return bearer(c, access).Delete(path) }
}

func bearer(c *housetest.Client, access string) *housetest.Client {
	if access == "" {
		return c
	}
	return c.As(access)
}

// INV-20, SEC-OBS-04, SEC-OBS-06: whichever write of an operation fails, the
// caller gets a 5xx that tells nothing but the request id, nothing is left
// behind, and the same request succeeds once the database is well again.
func TestEveryFailingWriteLeavesNothingBehind(t *testing.T) {
	plan := &writes{Plan: &faulty.Plan{}}
	options := housetest.Options{
		Still:  true, // the background writes of its own accord
		Env:    func(_ int, env *house.Env) { env.Hooks.Before = plan.Before },
		Config: func(c *house.Config) { c.Tokens.RefreshCooldown, c.Clients.Mode = 0, "open" },
	}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		look := database(t, h.Config.Database.URL)
		h.Advance(time.Second) // organisations of one moment have no first among them
		for i, op := range operations {
			t.Run(op.name, func(t *testing.T) {
				who := h.Person(h.Org(fmt.Sprintf("faults-%d", i)), fmt.Sprintf("faults-%d", i), "owner")
				request := op.prepare(h, who)
				failures := 0
				for n := 0; ; n++ {
					before := dump(t, look)
					plan.FailAt(n)
					reply := request(h.Client().For(t).From(fmt.Sprintf("10.%d.%d.1", i, n)))
					fired := plan.Heal()
					if fired == "" {
						reply.Expect(op.success)
						break
					}
					if reply.Status < 500 {
						t.Fatalf("%s failed (statement %d), and the reply is %s", fired, n, reply)
					}
					failures++
					if strings.HasPrefix(op.name, "a client ") { // as RFC 6749 words it
						if reply.Status != http.StatusServiceUnavailable || reply.Text("error") != "temporarily_unavailable" {
							t.Errorf("%s", reply)
						}
					} else {
						reply.Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
					}
					if body := string(reply.Body); strings.Contains(body, "inject") || strings.Contains(strings.ToLower(body), "sql") || reply.Text("request_id") == "" {
						t.Errorf("the reply tells too much or too little: %s", body)
					}
					if after := dump(t, look); after != before {
						t.Errorf("failing %s (statement %d) left something behind:\n%s", fired, n, difference(before, after))
					}
				}
				if failures < 2 { // at least one write and its commit
					t.Errorf("only %d failures were injected", failures)
				}
			})
		}
	})
}

// writes injects failures into writes and commits only: the background reads.
type writes struct{ *faulty.Plan }

func (w *writes) Before(statement string) error {
	if statement == "query" || statement == "row" {
		return nil
	}
	return w.Plan.Before(statement)
}

// database opens a second connection, to look at what is committed.
func database(t *testing.T, url string) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", url
	if file, ok := strings.CutPrefix(url, "sqlite://"); ok {
		driver, dsn = "sqlite", "file:"+file+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// dump is every row of every table, but for the places that logins under way
// take in the counters (they end by themselves), the places in status lists
// that are set aside by the hundred for whatever token comes next, and what is
// counted of use, which the background stores.
func dump(t *testing.T, db *sql.DB) string {
	t.Helper()
	tables := texts(t, db, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", "SELECT name FROM sqlite_master WHERE type = 'table'")
	var out []string
	for _, table := range tables {
		if slices.ContainsFunc([]string{"login_*", "status_lists", "status_leases", "api_key_usage", "goose_*", "sqlite_*"}, func(p string) bool { ok, _ := path.Match(p, table); return ok }) {
			continue
		}
		out = append(out, rows(t, db, table)...)
	}
	out = slices.DeleteFunc(out, func(row string) bool { return strings.Contains(row, string(" "+audit.APIKeyUsed+" ")) })
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// texts runs the query of the dialect that understands it.
func texts(t *testing.T, db *sql.DB, queries ...string) (out []string) {
	t.Helper()
	var last error
	for _, q := range queries {
		rs, err := db.QueryContext(context.Background(), q)
		if err != nil {
			last = err
			continue
		}
		defer rs.Close()
		for rs.Next() {
			var s string
			if err := rs.Scan(&s); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		if err := rs.Err(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Fatal(last)
	return nil
}

func rows(t *testing.T, db *sql.DB, table string) (out []string) {
	t.Helper()
	rs, err := db.QueryContext(context.Background(), "SELECT * FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	names, err := rs.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rs.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rs.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			if strings.HasPrefix(table, "api_key") && strings.HasPrefix(name, "used") {
				values[i] = "any"
			}
		}
		out = append(out, fmt.Sprintf("%s %v", table, values))
	}
	if err := rs.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func difference(before, after string) string {
	b, a := strings.Split(before, "\n"), strings.Split(after, "\n")
	var out []string
	for _, l := range a {
		if !slices.Contains(b, l) {
			out = append(out, "+ "+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out = append(out, "- "+l)
		}
	}
	return strings.Join(out, "\n")
}
