package housetest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// sqlInjections would end a string, add a clause, wait or fail, each on SQLite,
// PostgreSQL or both, were they ever part of a statement.
var sqlInjections = []string{
	`' OR '1'='1`, `' OR 1=1--`, `x'; DROP TABLE users;--`, `1; SELECT pg_sleep(5)--`, `' AND 1=CAST((SELECT version()) AS int)--`,
	`' UNION SELECT password_hash FROM users--`, `$1`, `$$;SELECT 1;$$`, `?`, `-1`, `%`, `_`, `\`, `"`, "`", `' || (SELECT randomblob(100000000)) || '`, `{"$gt":""}`, `') OR (1=1`, `@p1`, `:name`,
}

// expensive are the fields whose every value costs a password hash.
var expensive = []string{"/auth/login", "/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/me/password", "/api/v1/users"}

// taken numbers the users that are made.
var taken atomic.Int64

// shot is one value of one parameter of one route.
type shot struct {
	route     described
	parameter string
	send      func(c *housetest.Client, value string) housetest.Reply
}

// shots are all string parameters of the routes: path, query and body.
func shots(t *testing.T, e estate, c *housetest.Client) (out []shot) {
	t.Helper()
	queries := queryParameters(t, c)
	for _, r := range routesOf(c) {
		path, body := r.own(e), r.body(e)
		if at := strings.Index(r.path, "{"); at >= 0 {
			out = append(out, shot{r, "path", func(c *housetest.Client, v string) housetest.Reply {
				return c.Do(r.method, r.path[:at]+url.PathEscape(v)+r.path[strings.Index(r.path, "}")+1:], body)
			}})
		}
		for _, q := range queries[r.method+" "+r.path] {
			out = append(out, shot{r, "query " + q, func(c *housetest.Client, v string) housetest.Reply {
				return c.Do(r.method, path+"?"+url.Values{q: {v}}.Encode(), body)
			}})
		}
		fields, _ := body.(map[string]any)
		for _, f := range slices.Sorted(maps.Keys(fields)) {
			out = append(out, shot{r, "body " + f, func(c *housetest.Client, v string) housetest.Reply {
				changed := maps.Clone(fields)
				if r.path == "/api/v1/users" { // an address can be taken once
					changed["email"] = fmt.Sprintf("number%d@example.org", taken.Add(1))
				}
				if changed[f] = any(v); f == "permissions" {
					changed[f] = []string{v}
				}
				return c.Do(r.method, path, changed)
			}})
		}
	}
	return append(out, headerShots(e)...)
}

// headerShots are the headers and cookies that reach a service.
func headerShots(e estate) (out []shot) {
	header := func(method, path, name, before string, body any) {
		out = append(out, shot{described{method, path}, "header " + name, func(c *housetest.Client, v string) housetest.Reply {
			return c.With(name, before+v).Do(method, path, body)
		}})
	}
	header("GET", "/api/v1/me", "User-Agent", "", nil)
	header("GET", "/api/v1/me", "X-Forwarded-For", "", nil)
	header("GET", "/api/v1/auth/verify", "Authorization", "Bearer ", nil)
	header("GET", "/api/v1/auth/verify", "X-Api-Key", "", nil)
	header("GET", "/setup", "Cookie", "th_access=", nil)
	header("POST", "/api/v1/auth/refresh", "Cookie", "th_refresh=", nil)
	header("POST", "/api/v1/auth/refresh", "Idempotency-Key", "", map[string]string{"refresh_token": e.session.Refresh})
	header("POST", "/api/v1/auth/login", "Cookie", "th_device=", map[string]string{"email": e.owner.Email, "password": e.owner.Password})
	return append(out, shot{described{"GET", "/setup"}, "query token", func(c *housetest.Client, v string) housetest.Reply {
		return c.Get("/setup?" + url.Values{"token": {v}}.Encode())
	}})
}

// own is the path with an identifier of the caller's.
func (d described) own(e estate) string {
	at := strings.Index(d.path, "{")
	if at < 0 {
		return d.path
	}
	return d.path[:at] + e.ids[0] + d.path[strings.Index(d.path, "}")+1:]
}

// queryParameters are those that the description names, by operation.
func queryParameters(t *testing.T, c *housetest.Client) map[string][]string {
	t.Helper()
	type parameter struct {
		In, Name string
		Ref      string `json:"$ref"`
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage
		Parts struct{ Parameters map[string]parameter } `json:"components"`
	}
	c.Get("/openapi.json").Expect(http.StatusOK).Decode(&doc)
	out := map[string][]string{}
	total := 0
	for path, item := range doc.Paths {
		for method, raw := range item {
			var op struct{ Parameters []parameter }
			if method == "parameters" || json.Unmarshal(raw, &op) != nil {
				continue
			}
			for _, p := range op.Parameters {
				if p.Ref != "" {
					p = doc.Parts.Parameters[p.Ref[strings.LastIndex(p.Ref, "/")+1:]]
				}
				if p.In == "query" {
					out[strings.ToUpper(method)+" "+path] = append(out[strings.ToUpper(method)+" "+path], p.Name)
					total++
				}
			}
		}
	}
	if total < 20 {
		t.Fatalf("only %d query parameters are described", total)
	}
	return out
}

// SEC-INJ-01: SQL in any string parameter of any route is
// a value like any other: answered as other nonsense is, without a delay and
// never with a 5xx; and it changes nothing.
func TestSQLInAnyParameterIsAValue(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		e := settle(h, "target")
		look := database(t, h.Config.Database.URL)
		tables := func() int {
			return len(texts(t, look, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", "SELECT name FROM sqlite_master WHERE type = 'table'"))
		}
		before, sent := tables(), 0
		for _, s := range shots(t, e, h.Client()) {
			if s.route.path == "/api/v1/auth/logout" || s.route.method == "DELETE" && s.route.path == "/api/v1/sessions" {
				continue // they end what the others need, whatever they are sent
			}
			values := sqlInjections
			if slices.Contains(expensive, s.route.path) && s.route.method != "GET" {
				values = values[:2]
			}
			c := h.Client().As(e.session.Access).From(fmt.Sprintf("10.1.%d.%d", sent/250%250, sent%250))
			nonsense := s.send(c, "nonsense")
			for i, v := range values {
				began := time.Now()
				r := s.send(c.From(fmt.Sprintf("10.2.%d.%d", sent/250%250, sent%250)), v)
				sent++
				if took := time.Since(began); took > 4*time.Second {
					t.Errorf("%s %q took %s", s.parameter, v, took)
				}
				if r.Status >= 500 {
					t.Errorf("%s %q: %s", s.parameter, v, r)
				}
				if !alike(s, nonsense, r) {
					t.Errorf("%s %q (%d): %s\nwhere other nonsense is answered %d", s.parameter, v, i, r, nonsense.Status)
				}
			}
		}
		if after := tables(); after != before {
			t.Errorf("there were %d tables, and there are %d", before, after)
		}
		h.Client().As(e.session.Access).Get("/api/v1/me").Expect(http.StatusOK)
		if sent < 1000 {
			t.Errorf("only %d requests were sent", sent)
		}
		t.Logf("%d requests", sent)
	})
}

// alike reports whether a value was answered as other nonsense: with the same
// status, or by a refusal of its characters. Names of things may be anything;
// so may passwords, whose length decides.
func alike(s shot, nonsense, r housetest.Reply) bool {
	if r.Status == nonsense.Status || strings.HasSuffix(s.parameter, "password") {
		return true
	}
	if s.parameter == "path" && r.Status == http.StatusNotFound {
		return true // characters that no path of ours has
	}
	refused := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}
	return slices.Contains(refused, r.Status) && (nonsense.Status < 300 || slices.Contains(refused, nonsense.Status) || strings.Contains(s.route.path, "login"))
}

// SEC-INJ-08: what is written into names, paths, queries and headers cannot
// begin a line of the log or hide one: each line is a JSON object, and there is
// one for each request.
func TestNothingBreaksALineOfTheLog(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		evil := "x\u2028\u2029\u0085{{.}}\x1b[31m%0d%0a\t\"}{\"level\":\"ERROR\",\"msg\":\"forged\"}"
		lines := func() int { return strings.Count(h.Logs(), `"msg":"request"`) }
		before, asked := lines(), 0
		for _, ask := range []func(c *housetest.Client) housetest.Reply{
			func(c *housetest.Client) housetest.Reply { return c.TryLogin(evil+"\r\n{\"msg\":\"request\"}\n", evil) },
			func(c *housetest.Client) housetest.Reply {
				return c.Agent(strings.ReplaceAll(evil, "\x1b", "")).Get("/api/v1/me")
			},
			func(c *housetest.Client) housetest.Reply { return c.Get("/" + url.PathEscape(evil+"\r\nforged")) },
			func(c *housetest.Client) housetest.Reply {
				return c.Get("/api/v1/me?" + url.QueryEscape(evil+"\r\nforged"))
			},
			func(c *housetest.Client) housetest.Reply {
				return c.With("X-Request-Id", "forged").From("forged, " + strings.ReplaceAll(evil, "\x1b", "")).Get("/nothing")
			},
			func(c *housetest.Client) housetest.Reply { return c.As("e30.e30.e30").Get("/api/v1/me") },
			post("/api/v1/api-keys", s.Access, map[string]any{"name": evil + "\r\nforged", "permissions": []string{"agents:read"}}),
			post("/api/v1/users", s.Access, map[string]any{"name": evil, "email": evil, "role": evil + "\n", "password": evil}),
		} {
			if r := ask(h.Client()); r.Status >= 500 {
				t.Errorf("%s", r)
			}
			asked++
		}
		if got := lines() - before; got != asked {
			t.Errorf("%d requests made %d lines", asked, got)
		}
		for line := range bytes.Lines([]byte(h.Logs())) {
			var entry struct{ Level, Msg string }
			if err := json.Unmarshal(line, &entry); err != nil || entry.Msg == "forged" || entry.Level == "" {
				t.Errorf("a broken line (%v): %q", err, line)
			}
			if bytes.ContainsAny(line, "\x1b\r\u2028\u2029") {
				t.Errorf("a line with characters that move a terminal: %q", line)
			}
		}
	})
}

// SEC-OAU-62: what a request says of its host changes nothing that is built from
// the issuer: documents, tokens, cookies, links.
func TestHostHeadersChangeNothing(t *testing.T) {
	options := housetest.Options{Config: func(c *house.Config) { c.HTTP.TrustedProxies = nil }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		forged := h.Client().With("X-Forwarded-Host", "evil.example").With("X-Forwarded-Proto", "https").With("X-Forwarded-Port", "444").
			With("X-Forwarded-Prefix", "/evil").With("Forwarded", "host=evil.example;proto=https").With("X-Original-Host", "evil.example").With("X-Host", "evil.example")
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/openapi.json", "/.well-known/jwks.json"} {
			plain, seen := h.Client().Get(path).Expect(http.StatusOK), forged.Get(path).Expect(http.StatusOK)
			if !bytes.Equal(plain.Body, seen.Body) || strings.Contains(string(seen.Body), "evil") {
				t.Errorf("%s changes: %s", path, seen.Body)
			}
		}
		r := forged.TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
		claims := claimsOf(t, r.Text("access_token"))
		if claims["iss"] != h.Config.Issuer || claims["aud"] != h.Config.Issuer {
			t.Errorf("a token of %v for %v", claims["iss"], claims["aud"])
		}
		for _, c := range (&http.Response{Header: r.Header}).Cookies() {
			if c.Domain != "" || c.Secure || strings.Contains(c.Raw, "evil") {
				t.Errorf("the cookie follows the request: %s", c.Raw)
			}
		}
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: %s", name, values)
			}
		}
	})
}
