package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// crashes is how often the server is killed on each database.
func crashes() int {
	if os.Getenv("TOKENHOUSE_TEST_DRILLS") == "full" {
		return 50
	}
	return 10
}

const (
	crashWorkers = 6
	crashSecret  = "correct horse battery staple"
)

// FLT-CRASH-01, FLT-CRASH-02, INV-02, INV-06, INV-07, SEC-OAU-35: the server is
// killed again and again under load. Whatever it acknowledged is true afterwards
// and in the audit log, whatever the audit log says was issued is there, and a
// client whose reply was lost goes on with what it has.
func TestAKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	binary := shipped(t)
	for name, url := range map[string]func(*testing.T) string{
		"SQLite":     func(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "crash.db") },
		"PostgreSQL": func(t *testing.T) string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &victim{t: t, binary: binary, database: url(t), dir: t.TempDir(), listen: vacant(t), ops: vacant(t)}
			v.enlist()
			acknowledged := &ledger{}
			for round := range crashes() {
				acknowledged.add(v.round(round))
				if t.Failed() {
					return
				}
			}
			v.kill()
			v.auditTrail(acknowledged)
			t.Logf("%d crashes: %d logins, %d refusals, %d keys, %d refreshes and %d revocations acknowledged, none lost",
				crashes(), len(acknowledged.logins), len(acknowledged.refusals), len(acknowledged.keys), acknowledged.refreshes, len(acknowledged.revoked))
			if n := crashes(); acknowledged.refreshes < n || len(acknowledged.revoked) < n/2 || len(acknowledged.refusals) < n {
				t.Error("too little was acknowledged to prove anything")
			}
		})
	}
}

// victim is a server that is killed and started again on the same database.
type victim struct {
	t                             *testing.T
	binary, database, dir, listen string
	ops                           string
	demo                          bool // with the demonstration resource server
	users                         []string
	server                        *exec.Cmd
}

// ledger is what the server acknowledged.
type ledger struct {
	mu        sync.Mutex
	logins    []signedIn // each a session
	revoked   []signedIn
	live      []signedIn // with the newest tokens that were acknowledged
	refreshes int
	refusals  []string // requests that were answered 401
	keys      []string // the identifiers of API keys that were made
	usable    []string // the keys themselves, of this round

	acknowledged chan struct{} // one for each reply of this round
	killed       chan struct{}
}

// note writes down, under the lock, what was acknowledged.
func (l *ledger) note(change func()) {
	l.mu.Lock()
	change()
	l.mu.Unlock()
	select {
	case l.acknowledged <- struct{}{}:
	case <-l.killed:
	}
}

type signedIn struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	from    string // the client's address
	session string
}

func (l *ledger) add(o *ledger) {
	l.logins = append(l.logins, o.logins...)
	l.revoked = append(l.revoked, o.revoked...)
	l.refreshes += o.refreshes
	l.refusals = append(l.refusals, o.refusals...)
	l.keys = append(l.keys, o.keys...)
}

func (v *victim) start() {
	v.t.Helper()
	v.server = exec.Command(v.binary, "serve")
	v.server.Dir = v.dir
	v.server.Env = append(os.Environ(),
		"TOKENHOUSE_DATABASE_URL="+v.database, "TOKENHOUSE_DATA_DIR="+v.dir, "TOKENHOUSE_LISTEN="+v.listen, "TOKENHOUSE_OPS_LISTEN="+v.ops,
		"TOKENHOUSE_ISSUER=http://"+v.listen, "TOKENHOUSE_TRUSTED_PROXIES=127.0.0.0/8", "TOKENHOUSE_REFRESH_COOLDOWN=0s",
		"TOKENHOUSE_ADMIN_EMAIL=admin@crash.localhost", "TOKENHOUSE_ADMIN_PASSWORD="+crashSecret, "TOKENHOUSE_LOG_FORMAT=json")
	if v.demo {
		v.server.Env = append(v.server.Env, "TOKENHOUSE_DEMO=true")
	}
	var log bytes.Buffer
	v.server.Stdout, v.server.Stderr = &log, &log
	if err := v.server.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = v.server.Process.Kill() })
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get("http://" + v.ops + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("the server did not come back: %v\n%s", err, log.String())
		}
	}
}

func (v *victim) kill() {
	_ = v.server.Process.Signal(syscall.SIGKILL)
	_ = v.server.Wait()
}

// enlist starts the server and makes a user for each worker.
func (v *victim) enlist() {
	v.start()
	for w := range crashWorkers {
		email := fmt.Sprintf("worker-%d@crash.localhost", w)
		status, err := v.call("127.0.0.1", "POST", "/api/v1/auth/register", "", map[string]string{"email": email, "password": crashSecret, "name": "Worker"}, nil)
		if err != nil || status != http.StatusCreated {
			v.t.Fatalf("register: %d, %v", status, err)
		}
		v.users = append(v.users, email)
	}
}

// round puts the server under load, kills it, starts it again and asks it about
// everything it had acknowledged.
func (v *victim) round(n int) *ledger {
	l := &ledger{acknowledged: make(chan struct{}), killed: make(chan struct{})}
	var wg sync.WaitGroup
	for w := range crashWorkers {
		wg.Go(func() { v.work(l, w, fmt.Sprintf("10.%d.%d.1", n, w)) })
	}
	for range 20 + rand.IntN(60) { // at a random moment of the load
		select {
		case <-l.acknowledged:
		case <-time.After(10 * time.Second):
			v.t.Error("the server acknowledges nothing")
		}
	}
	v.kill()
	close(l.killed)
	wg.Wait()
	v.start()
	for _, s := range l.revoked {
		v.expect(s, "GET", "/api/v1/me", http.StatusUnauthorized, "the access token of a revoked session")
		v.expectRefresh(s, http.StatusUnauthorized, "the refresh token of a revoked session")
	}
	for _, key := range l.usable {
		v.expect(signedIn{Access: key, from: "127.0.0.1"}, "GET", "/api/v1/me", http.StatusOK, "an acknowledged API key")
	}
	for _, s := range l.live {
		v.expect(s, "GET", "/api/v1/me", http.StatusOK, "an acknowledged access token")
		v.expectRefresh(s, http.StatusOK, "an acknowledged refresh token")
	}
	return l
}

// work logs in, refreshes and logs out until the server is gone.
func (v *victim) work(l *ledger, w int, from string) {
	for {
		s := signedIn{from: from}
		status, err := v.call(from, "POST", "/api/v1/auth/login", "", map[string]string{"email": v.users[w], "password": crashSecret}, &s)
		if err != nil {
			return
		}
		if status != http.StatusOK {
			v.t.Errorf("login: %d", status)
			return
		}
		s.session = sessionOf(s.Access)
		l.note(func() { l.logins = append(l.logins, s) })
		if !v.make(l, s) || !v.fail(l) {
			return
		}
		for range 1 + rand.IntN(12) {
			before := s.Refresh
			status, err := v.call(from, "POST", "/api/v1/auth/refresh", "", map[string]string{"refresh_token": before}, &s)
			if err != nil { // no reply: the client still has what it had
				s.Refresh = before
				l.keep(s)
				return
			}
			if status != http.StatusOK {
				v.t.Errorf("refresh: %d", status)
				return
			}
			l.note(func() { l.refreshes++ })
		}
		if rand.IntN(2) == 0 {
			l.keep(s)
			continue
		}
		status, err = v.call(from, "POST", "/api/v1/auth/logout", s.Access, nil, nil)
		if err != nil {
			return // unknown: it may or may not have happened
		}
		if status != http.StatusNoContent {
			v.t.Errorf("logout: %d", status)
			return
		}
		l.note(func() { l.revoked = append(l.revoked, s) })
	}
}

// make makes an API key. It reports false where the server is gone.
func (v *victim) make(l *ledger, s signedIn) bool {
	var made struct {
		ID  string `json:"id"`
		Key string `json:"api_key"`
	}
	status, err := v.call(s.from, "POST", "/api/v1/api-keys", s.Access, map[string]any{"name": "k", "permissions": []string{"agents:read"}}, &made)
	if err != nil {
		return false
	}
	if status != http.StatusCreated || made.ID == "" {
		v.t.Errorf("a new key: %d", status)
		return false
	}
	l.note(func() { l.keys = append(l.keys, made.ID); l.usable = append(l.usable, made.Key) })
	return true
}

// fail logs in as somebody who does not exist, each time from elsewhere.
func (v *victim) fail(l *ledger) bool {
	from := fmt.Sprintf("172.16.%d.%d", rand.IntN(256), rand.IntN(256))
	in, err := json.Marshal(map[string]string{"email": fmt.Sprintf("nobody-%d@crash.localhost", rand.Int()), "password": crashSecret})
	if err != nil {
		v.t.Error(err)
		return false
	}
	status, header, _, err := v.send(from, "POST", "/api/v1/auth/login", http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(in))
	if err != nil {
		return false
	}
	switch status {
	case http.StatusUnauthorized:
		l.note(func() { l.refusals = append(l.refusals, header.Get("X-Request-Id")) })
	case http.StatusTooManyRequests: // the same address twice
	default:
		v.t.Errorf("a wrong login: %d", status)
		return false
	}
	return true
}

func (l *ledger) keep(s signedIn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = append(l.live, s)
}

func (v *victim) expect(s signedIn, method, path string, want int, what string) {
	v.t.Helper()
	status, err := v.call(s.from, method, path, s.Access, nil, nil)
	if err != nil || status != want {
		v.t.Errorf("%s is answered %d (%v), want %d", what, status, err, want)
	}
}

func (v *victim) expectRefresh(s signedIn, want int, what string) {
	v.t.Helper()
	status, err := v.call(s.from, "POST", "/api/v1/auth/refresh", "", map[string]string{"refresh_token": s.Refresh}, nil)
	if err != nil || status != want {
		v.t.Errorf("%s is answered %d (%v), want %d", what, status, err, want)
	}
}

// call sends one request as a proxy would for a client at address from.
func (v *victim) call(from, method, path, token string, body, reply any) (int, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(b)
	}
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	status, _, b, err := v.send(from, method, path, header, in)
	if err == nil && reply != nil && status < 300 {
		err = json.Unmarshal(b, reply)
	}
	return status, err
}

func (v *victim) send(from, method, path string, header http.Header, in io.Reader) (int, http.Header, []byte, error) {
	req, err := http.NewRequest(method, "http://"+v.listen+path, in)
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header = header
	req.Header.Set("User-Agent", "crash-test")
	req.Header.Set("X-Forwarded-For", from)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, b, err
}

// sessionOf reads the sid of an access token.
func sessionOf(token string) string {
	var c struct {
		Session string `json:"sid"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &c)
	}
	return c.Session
}

// auditTrail finds the event of everything that was acknowledged, and compares
// what the log says was issued with what there is.
func (v *victim) auditTrail(l *ledger) {
	export := exec.Command(v.binary, "audit", "export", "--database-url", v.database, "--data-dir", v.dir)
	export.Dir = v.dir
	out, err := export.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		v.t.Fatalf("audit export: %v\n%s", err, exit.Stderr)
	}
	trail := map[string]map[string]bool{} // what, by the name of the event
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Event   string `json:"event"`
			Session string `json:"session_id"`
			Request string `json:"request_id"`
			Targets []struct {
				ID string `json:"id"`
			} `json:"targets"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			v.t.Fatal(err)
		}
		what := e.Session
		switch {
		case e.Event == "login.failed":
			what = e.Request
		case e.Event == "api_key.created" && len(e.Targets) > 0:
			what = e.Targets[0].ID
		}
		if trail[e.Event] == nil {
			trail[e.Event] = map[string]bool{}
		}
		trail[e.Event][what] = true
	}
	sessions := func(ss []signedIn) (out []string) {
		for _, s := range ss {
			out = append(out, s.session)
		}
		return out
	}
	v.within("acknowledged logins", sessions(l.logins), trail["login.succeeded"])
	v.within("acknowledged revocations", sessions(l.revoked), trail["session.revoked"])
	v.within("acknowledged refusals", l.refusals, trail["login.failed"])
	v.within("acknowledged keys", l.keys, trail["api_key.created"])
	for event, table := range map[string]string{"login.succeeded": "sessions", "api_key.created": "api_keys"} {
		there := v.identifiers(table)
		v.within("rows of "+table, slices.Collect(maps.Keys(there)), trail[event]) // INV-06
		v.within("events "+event, slices.Collect(maps.Keys(trail[event])), there)  // INV-07
	}
}

// within fails the test where some of what is not in the set.
func (v *victim) within(what string, some []string, set map[string]bool) {
	v.t.Helper()
	missing := slices.DeleteFunc(slices.Clone(some), func(s string) bool { return set[s] })
	if len(missing) > 0 || len(some) == 0 {
		v.t.Errorf("%d of %d %s have no counterpart: %s", len(missing), len(some), what, strings.Join(missing[:min(3, len(missing))], " "))
	}
}

// identifiers are those of all rows of a table.
func (v *victim) identifiers(table string) map[string]bool {
	v.t.Helper()
	driver, dsn := "pgx", v.database
	if file, ok := strings.CutPrefix(v.database, "sqlite://"); ok {
		driver, dsn = "sqlite", "file:"+file
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		v.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT id FROM " + table)
	if err != nil {
		v.t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			v.t.Fatal(err)
		}
		out[id] = true
	}
	if err := rows.Err(); err != nil {
		v.t.Fatal(err)
	}
	return out
}
