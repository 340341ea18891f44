package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const (
	adminEmail    = "admin@example.com"
	adminPassword = "correct horse battery staple"
	userPassword  = "another long passphrase"
)

// loopback is where the tests' requests come from.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// rig is a whole house behind a real listener, on SQLite, with a clock that the
// test moves.
type rig struct {
	t     testing.TB
	house *house.House
	url   string
	log   *lockedBuffer
	lost  bool // the database is gone, with what was to be written to it at the end

	mu  sync.Mutex
	now time.Time
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (g *rig) Now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

// advance moves the clock; the change feed is polled, so that it is not silent.
func (g *rig) advance(d time.Duration) {
	g.t.Helper()
	g.mu.Lock()
	g.now = g.now.Add(d)
	g.mu.Unlock()
	if err := g.house.Feed.Poll(context.Background()); err != nil {
		g.t.Fatal(err)
	}
}

// epoch is what the clock shows at first.
func epoch() time.Time { return time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC) }

// standard is the configuration that tests change.
func standard(dir string) house.Config {
	conf := house.Defaults()
	conf.DataDir = dir
	conf.Accounts.LoginFailureDelay = 0
	conf.HTTP.Demo = true
	conf.Sealing.MasterKey = secret.Of(strings.Repeat("ab", 32))
	conf.Admin = house.Admin{Email: adminEmail, Password: secret.Of(adminPassword)}
	return conf
}

// begun is the first start of such a house, which most tests begin with a copy of.
var begun = housetest.FirstStart{Config: standard, Now: epoch}

// start opens a house with its administrator. change may alter the configuration.
func start(t testing.TB, change ...func(*house.Config)) *rig {
	t.Helper()
	return startWith(t, nil, change...)
}

// startWith is start with another environment.
func startWith(t testing.TB, alter func(*house.Env), change ...func(*house.Config)) *rig {
	t.Helper()
	g := &rig{t: t, now: epoch(), log: &lockedBuffer{}}
	conf := standard(t.TempDir())
	for _, c := range change {
		c(&conf)
	}
	env := house.Env{Now: g.Now, Random: rand.Reader, Logger: slog.New(slog.NewJSONHandler(g.log, nil))}
	if alter != nil {
		alter(&env)
	}
	if alter == nil && conf.Database.URL == "" && begun.Fits(conf) {
		begun.File(t, conf.DataDir)
	}
	h, err := house.Open(context.Background(), conf, env)
	if err != nil {
		t.Fatal(err)
	}
	g.house = h
	if _, err := h.FirstRun(context.Background()); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(h.Handler)
	t.Cleanup(func() {
		web.Close()
		if err := h.Close(); err != nil && !g.lost {
			t.Error(err)
		}
	})
	g.url = web.URL
	return g
}

// answer is a reply, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any // where the body is a JSON object
}

func (a answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}

// cookie returns the first Set-Cookie of that name; nil where there is none.
func (a answer) cookie(name string) *http.Cookie {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// do sends one request; see conforms. headers are pairs; a body is sent as JSON unless they
// say otherwise.
func (g *rig) do(method, path, body string, headers ...string) answer {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			req.Header.Del("Content-Type")
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	return g.send(req)
}

func (g *rig) send(req *http.Request) answer {
	g.t.Helper()
	var sent []byte
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			g.t.Fatal(err)
		}
		if sent, err = io.ReadAll(body); err != nil {
			g.t.Fatal(err)
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		g.t.Fatal(err)
	}
	_ = json.Unmarshal(a.body, &a.json)
	conforms(g.t, req, sent, a)
	return a
}

// want fails the test unless the status is as wanted.
func (g *rig) want(a answer, status int) answer {
	g.t.Helper()
	if a.status != status {
		g.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

func credentials(email, password string) string {
	b, _ := json.Marshal(map[string]string{"email": email, "password": password})
	return string(b)
}

// login logs in in the Overwatch dialect.
func (g *rig) login(email, password string) answer {
	g.t.Helper()
	return g.want(g.do("POST", "/api/v1/auth/login", credentials(email, password)), 200)
}

// admin returns an access token of the first organisation's owner.
func (g *rig) admin() string {
	g.t.Helper()
	return g.login(adminEmail, adminPassword).text("access_token")
}

// stranger registers somebody in an organisation of their own and returns an
// access token of theirs.
func (g *rig) stranger(email string) string {
	g.t.Helper()
	body, _ := json.Marshal(map[string]string{"email": email, "password": userPassword, "name": "Somebody", "organization_name": "Org of " + email})
	g.want(g.do("POST", "/api/v1/auth/register", string(body)), 201)
	return g.login(email, userPassword).text("access_token")
}

// member makes a member of the administrator's organisation and logs them in.
func (g *rig) member(admin, email, role string) string {
	g.t.Helper()
	body, _ := json.Marshal(map[string]string{"email": email, "password": userPassword, "name": "Member", "role": role})
	g.want(g.do("POST", "/api/v1/users", string(body), bearer(admin)...), 201)
	return g.login(email, userPassword).text("access_token")
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// adminID is the identifier of the first organisation's owner.
func (g *rig) adminID() ident.UserID {
	g.t.Helper()
	return ident.UserID(g.want(g.do("GET", "/api/v1/me", "", bearer(g.admin())...), 200).text("id"))
}
