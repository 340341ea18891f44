package housetest_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
)

// canaries are the secrets of a scenario, by what they are.
type canaries map[string]string

// plant remembers a secret, its tail, which alone would tell enough of a token, and gives it back.
func (c canaries) plant(t *testing.T, what, secret string) string {
	t.Helper()
	if len(secret) < 16 {
		t.Fatalf("%s: %d characters are too few to look for", what, len(secret))
	}
	what = fmt.Sprintf("%s %d", what, len(c))
	c[what] = secret
	if len(secret) > 40 {
		c[what+" (its tail)"] = secret[len(secret)-24:]
	}
	return secret
}

// check fails the test where text holds a canary, in clear or in a common spelling.
func (c canaries) check(t *testing.T, where, text string) {
	t.Helper()
	for what, s := range c {
		for how, spelling := range map[string]string{
			"clear": s, "hexadecimal": hex.EncodeToString([]byte(s)), "base64": base64.RawStdEncoding.EncodeToString([]byte(s)),
			"base64url": base64.RawURLEncoding.EncodeToString([]byte(s)), "bytes": strings.Trim(fmt.Sprint([]byte(s)), "[]"),
		} {
			if i := strings.Index(text, spelling); i >= 0 {
				t.Errorf("%s holds the %s in %s: …%s…", where, what, how, text[max(0, i-80):i])
			}
		}
	}
}

// trap disturbs the database as a plan says, or panics at the next write.
type trap struct {
	faulty.Plan
	panics atomic.Bool
}

func (tr *trap) Before(statement string) error {
	if statement != "query" && statement != "row" && tr.panics.CompareAndSwap(true, false) {
		panic("a defect, provoked by a test")
	}
	return tr.Plan.Before(statement)
}

// arm lets the next write panic: that of a request, for what writes in the background has nothing left to do.
func (tr *trap) arm(t *testing.T, h *housetest.Harness) {
	t.Helper()
	if err := h.House().SealAudit(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.panics.Store(true)
}

// SEC-OBS-01, SEC-OAU-66, SEC-KEY-13, K23: what was secret is nowhere afterwards
// but with whom it was given to: not in the log at debug level, any table or
// file of the database, the metrics, the traces, an error, a list or the audit log, though
// requests failed, the database failed and the server panicked.
// AK-18, AK-20.
func TestSecretsLeaveNoTrace(t *testing.T) {
	var snare *trap
	var spans *traces
	options := housetest.Options{
		Config: func(c *house.Config) { c.Tokens.RefreshCooldown = 0 },
		Env: func(_ int, env *house.Env) {
			snare, spans = &trap{}, collect(t)
			env.Hooks.Before, env.Tracer = snare.Before, spans.tracer
		},
	}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		c := canaries{}
		c.plant(t, "master key", h.Config.Sealing.MasterKey.Reveal())
		c.plant(t, "password", h.Admin.Password)
		s := scenario(t, h, c)
		plantKeys(t, h, c)
		failures(t, h, c, snare, s)
		afterwards(t, h, c, s)
		for _, f := range []func(context.Context) error{h.House().Tend, h.House().Ring.Load} {
			if err := f(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		c.check(t, "the database", everything(t, database(t, h.Config.Database.URL)))
		c.check(t, "a dump of the database", dumped(t, h.Config.Database.URL))
		c.check(t, "a file of the data directory", files(t, h.Config.DataDir))
		c.check(t, "/metrics", string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body))
		c.check(t, "the audit log", exported(t, h))
		if !strings.Contains(h.Logs(), "provoked by a test") || !strings.Contains(h.Logs(), `"msg":"request"`) {
			t.Error("the log shows neither the panic nor the requests")
		}
		c.check(t, "the log", h.Logs())
		if n := len(spans.all(t)); n < 500 {
			t.Errorf("only %d spans were traced", n)
		}
		c.check(t, "the traces", spans.text(t))
		t.Logf("%d canaries", len(c))
	})
}

// holder is who went through the scenario.
type holder struct {
	person housetest.Person
	admin  housetest.Session
	key    string
	keyID  string
}

// scenario uses every kind of secret once, as it should be used.
func scenario(t *testing.T, h *housetest.Harness, c canaries) holder {
	t.Helper()
	client := h.Client()
	login := func(p housetest.Person) housetest.Session {
		s := client.Login(p.Email, p.Password)
		c.plant(t, "access token", s.Access)
		c.plant(t, "refresh token", s.Refresh)
		if s.Device == nil {
			t.Fatal("a login set no device cookie")
		}
		c.plant(t, "device cookie", s.Device.Value)
		return s
	}
	out := holder{admin: login(h.Admin)}
	admin := client.As(out.admin.Access)
	out.person = housetest.Person{Org: h.Admin.Org, Email: "somebody@example.com", Password: c.plant(t, "password", "a first sentence of the holder")}
	admin.Post("/api/v1/users", map[string]string{"email": out.person.Email, "name": "Somebody", "role": "engineer", "password": out.person.Password}).Expect(http.StatusCreated)
	first := login(out.person)
	changed := c.plant(t, "password", "a second sentence of the holder")
	client.As(first.Access).Post("/api/v1/me/password", map[string]string{"current_password": out.person.Password, "new_password": changed}).Expect(http.StatusNoContent)
	out.person.Password = changed
	second := login(out.person)
	r := client.With("Idempotency-Key", c.plant(t, "retry key", "a retry key nobody else has")).Refresh(second.Refresh).Expect(http.StatusOK)
	c.plant(t, "access token", r.Text("access_token"))
	c.plant(t, "refresh token", r.Text("refresh_token"))
	out.keyID, out.key = admin.CreateKey("canary", "agents:read")
	c.plant(t, "API key", out.key)
	client.WithKey(out.key).Get("/api/v1/agents").Expect(http.StatusOK)
	out.key = c.plant(t, "API key", admin.Post("/api/v1/api-keys/"+out.keyID+"/rotate", map[string]string{"grace": "1h"}).Expect(http.StatusOK).Text("api_key"))
	admin.Post("/api/v1/api-keys/verify", map[string]string{"api_key": out.key}).Expect(http.StatusOK)
	client.Post("/api/v1/auth/register", map[string]string{
		"email": "stranger@example.com", "name": "Stranger", "password": c.plant(t, "password", "a sentence chosen by a visitor"),
	}).Expect(http.StatusCreated)
	link, _, err := h.House().People.IssueSetupLink(t.Context(), h.Operator(""), h.Admin.ID)
	if err != nil {
		t.Fatal(err)
	}
	client.Get("/setup?token=" + c.plant(t, "set-up token", link.Reveal())).Expect(http.StatusOK)
	client.With("Cookie", "th_access="+out.admin.Access).Get("/api/v1/me").Expect(http.StatusOK)
	delegate(t, h, c, out.person)
	return out
}

// delegate signs the person in to an application in a browser.
func delegate(t *testing.T, h *housetest.Harness, c canaries, p housetest.Person) {
	t.Helper()
	g := invite(h, "https://canary.example/cb", nil)
	b := h.Browser().For(t)
	b.Open(g.asks("scope", "openid offline_access"))
	c.plant(t, "form token", b.Page.Forms[0].Fields.Get("form_token"))
	c.plant(t, "request put aside", b.Page.Forms[0].Fields.Get("pending"))
	b.Submit(map[string]string{"email": p.Email, "password": c.plant(t, "wrong password", "a sentence typed in vain")}).Shows("Sign in")
	b.Submit(map[string]string{"email": p.Email, "password": p.Password})
	c.plant(t, "browser session", b.Cookie("th_session"))
	b.Submit(map[string]string{"decision": "allow"})
	code := c.plant(t, "authorization code", b.FollowsTo(g.redirect).Get("code"))
	redeem := func() housetest.Reply {
		return form(h.Client(), "/oauth2/token", "grant_type", "authorization_code", "code", code, "redirect_uri", g.redirect, "client_id", g.id, "code_verifier", c.plant(t, "code verifier", verifier))
	}
	r := redeem().Expect(http.StatusOK)
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		c.plant(t, name+" of a client", r.Text(name))
	}
	redeem().Expect(http.StatusBadRequest) // a second time it is reported, and not repeated
}

// failures presents secrets wrongly, in wrong places, to a database that fails
// and to a server that panics. No reply repeats one.
func failures(t *testing.T, h *housetest.Harness, c canaries, snare *trap, s holder) {
	t.Helper()
	client := h.Client()
	wrong := c.plant(t, "wrong password", "nearly the sentence of the holder")
	stray := c.plant(t, "password in the wrong field", "typed-into-the-wrong-field")
	requests := []func(*housetest.Client) housetest.Reply{
		func(q *housetest.Client) housetest.Reply { return q.TryLogin(s.person.Email, wrong) },
		func(q *housetest.Client) housetest.Reply { return q.TryLogin(stray, stray) },
		func(q *housetest.Client) housetest.Reply { return q.TryLogin(stray+"@example.com", stray) },
		post("/auth/login", "", map[string]string{"email": s.person.Email, "password": wrong}),
		post("/api/v1/auth/login", "", `{"email":"`+s.person.Email+`","password":"`+wrong+`"`),
		post("/api/v1/auth/login", "", map[string]any{"email": 1, "password": []string{wrong}}),
		post("/api/v1/auth/register", "", map[string]string{"email": stray, "name": "x", "password": wrong}),
		post("/api/v1/auth/refresh", "", map[string]string{"refresh_token": s.key}),
		post("/api/v1/auth/refresh", "", map[string]string{"refresh_token": s.admin.Access}),
		func(q *housetest.Client) housetest.Reply {
			return q.As(s.admin.Access).WithKey(s.key).Get("/api/v1/me")
		},
		func(q *housetest.Client) housetest.Reply { return q.WithKey(s.key + "0").Get("/api/v1/me") },
		func(q *housetest.Client) housetest.Reply { return q.As(s.admin.Access + "A").Get("/api/v1/me") },
		func(q *housetest.Client) housetest.Reply { return q.As(s.admin.Refresh).Get("/api/v1/me") },
		func(q *housetest.Client) housetest.Reply {
			return q.Get("/api/v1/me?access_token=" + s.admin.Access + "&key=" + s.key)
		},
		func(q *housetest.Client) housetest.Reply { return q.Get("/" + s.key) },
		func(q *housetest.Client) housetest.Reply {
			return q.As(s.admin.Access).Get("/api/v1/api-keys/" + s.key)
		},
		func(q *housetest.Client) housetest.Reply {
			return q.As(s.admin.Access).Get("/api/v1/audit-events?key_id=" + s.key)
		},
		func(q *housetest.Client) housetest.Reply {
			return q.As(s.admin.Access).Get("/api/v1/api-keys?cursor=" + s.key)
		},
		post("/api/v1/api-keys", s.admin.Access, map[string]any{"name": "k", "permissions": []string{s.key}}),
	}
	for i, request := range requests {
		r := request(client.From(fmt.Sprintf("198.51.100.%d", i)))
		if r.Status < 400 {
			t.Errorf("not refused: %s", r)
		}
		c.check(t, "a refusal", r.String()[strings.Index(r.String(), ": "):]+fmt.Sprint(r.Header))
	}
	working := []func(*housetest.Client) housetest.Reply{
		func(q *housetest.Client) housetest.Reply { return q.TryLogin(s.person.Email, s.person.Password) },
		func(q *housetest.Client) housetest.Reply { return q.Refresh(s.admin.Refresh) },
		post("/api/v1/api-keys", s.admin.Access, map[string]any{"name": "k", "permissions": []string{"agents:read"}}),
		post("/api/v1/auth/register", "", map[string]string{"email": "again@example.com", "name": "x", "password": s.person.Password}),
		post("/setup", "", "token="+c.plant(t, "set-up token", "th_setup_of_nobody_at_all")+"&email=x&password="+s.person.Password),
	}
	for i, request := range working {
		from := client.From(fmt.Sprintf("198.51.100.%d", 100+i))
		snare.FailAll()
		broken := request(from)
		snare.Heal()
		c.check(t, "the reply while the database fails", string(broken.Body))
		if broken.Status < 400 {
			t.Errorf("the database failed, and the reply is %s", broken)
		}
		if i == len(working)-1 {
			break // its own token is refused before anything is written
		}
		snare.arm(t, h)
		panicked := request(from)
		if snare.panics.Swap(false) || panicked.Status != http.StatusInternalServerError {
			t.Errorf("no panic became a 500: %s", panicked)
		}
		c.check(t, "the reply to a request that panicked", panicked.String())
	}
}

// afterwards crawls every route that lists or shows: no secret is shown again.
func afterwards(t *testing.T, h *housetest.Harness, c canaries, s holder) {
	t.Helper()
	asked := 0
	for _, r := range routesOf(h.Client()) {
		if r.method != "GET" {
			continue
		}
		for _, id := range []string{string(h.Admin.Org), string(h.Admin.ID), s.keyID} {
			for _, q := range []*housetest.Client{h.Client().As(s.admin.Access), h.Client().WithKey(s.key)} {
				path := r.path
				if at := strings.Index(path, "{"); at >= 0 {
					path = path[:at] + id + path[strings.Index(path, "}")+1:]
				}
				reply := q.Get(path)
				asked++
				c.check(t, reply.String()[:min(80, len(reply.String()))], string(reply.Body)+fmt.Sprint(reply.Header))
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d replies were looked at", asked)
	}
}

// everything is the content of every table, whole.
func everything(t *testing.T, db *sql.DB) string {
	t.Helper()
	tables := texts(t, db, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", "SELECT name FROM sqlite_master WHERE type = 'table'")
	if len(tables) < 14 {
		t.Fatalf("only %d tables were found: %v", len(tables), tables)
	}
	var out strings.Builder
	for _, table := range tables {
		cells(t, db, table, &out)
	}
	return out.String()
}

// cells writes every value of a table as text.
func cells(t *testing.T, db *sql.DB, table string, out io.Writer) {
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
		values, into := make([]sql.RawBytes, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rs.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			fmt.Fprintf(out, "%s.%s=%s\n", table, names[i], v)
		}
	}
	if err := rs.Err(); err != nil {
		t.Fatal(err)
	}
}

// files is what lies in a directory: the database with its journal, pages that
// were freed among them.
func files(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	return out.String()
}

// exported is the whole audit log, as the operator exports it.
func exported(t *testing.T, h *housetest.Harness) string {
	t.Helper()
	events, err := h.House().DB.Audit().Export(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) < 20 {
		t.Fatalf("only %d events were recorded", len(events))
	}
	b, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// patience bounds what a test waits for. It is never reached where things work.
const patience = 20 * time.Second
