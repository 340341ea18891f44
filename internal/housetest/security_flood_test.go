package housetest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// replyTo sends text as it is and reads the first reply.
func replyTo(t *testing.T, h *housetest.Harness, text string) int {
	t.Helper()
	conn := h.Dial(t)
	go func() { _, _ = io.WriteString(conn, text) }() // it may be cut off
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no reply to %.60q: %v", text, err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// hasty shortens the limits of the listener, each of which must be set.
func hasty(t *testing.T) func(*http.Server) {
	return func(s *http.Server) {
		for name, d := range map[string]*time.Duration{
			"header": &s.ReadHeaderTimeout, "read": &s.ReadTimeout, "write": &s.WriteTimeout, "idle": &s.IdleTimeout,
		} {
			if *d <= 0 || *d > 2*time.Minute {
				t.Errorf("the %s timeout of the listener is %s", name, *d)
			}
			*d = time.Second
		}
		if s.MaxHeaderBytes != server.MaxHeaderBytes || s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
			t.Errorf("a header may have %d bytes", s.MaxHeaderBytes)
		}
	}
}

// SEC-DOS-01: whoever sends slowly, in the header or in the body, whoever reads
// slowly and whoever says nothing is hung up on, and others are served meanwhile.
func TestSlowClientsAreHungUpOn(t *testing.T) {
	h := housetest.Start(t, housetest.Options{HTTP: hasty(t)})
	login := "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
	slow := map[string]func(net.Conn) error{
		"header":  func(c net.Conn) error { return drip(c, "GET / HTTP/1.1\r\nX: ") },
		"body":    func(c net.Conn) error { return drip(c, login) },
		"nothing": func(c net.Conn) error { _, err := io.Copy(io.Discard, c); return errors.Join(err, io.EOF) },
		"idle": func(c net.Conn) error {
			if _, err := io.WriteString(c, "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, c)
			return errors.Join(err, io.EOF)
		},
		"reader": func(c net.Conn) error {
			for { // never reads: the replies fill every buffer on the way
				if _, err := io.WriteString(c, strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 50)); err != nil {
					return err
				}
			}
		},
	}
	var all sync.WaitGroup
	for name, attack := range slow {
		for range 20 {
			conn := h.Dial(t)
			all.Go(func() {
				if err := attack(conn); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
					t.Errorf("a slow %s was never hung up on: %v", name, err)
				}
			})
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); all.Wait() }()
	access, served := minted(t, h, func(*tokens.Claims) {}), 0 // a login takes long while others hash
	for {
		h.Client().As(access).Get("/api/v1/me").Expect(http.StatusOK)
		served++
		select {
		case <-ended:
			t.Logf("%d requests were served meanwhile", served)
			return
		default:
		}
	}
}

// drip sends text and then one byte after another, as slowly as the reader of
// the reply allows, until the connection is closed.
func drip(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	go func() { _, _ = io.Copy(io.Discard, c) }()
	for range tick.C {
		if _, err := c.Write([]byte("a")); err != nil {
			return err
		}
	}
	return nil
}

// SEC-DOS-02, SEC-DOS-03, SEC-DOS-06, SEC-INJ-17: what is too large, compressed,
// endless or ambiguous is refused before it is read.
func TestAbsurdRequestsAreRefusedUnread(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	head := "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	chunk := "8000\r\n" + strings.Repeat("[", 0x8000) + "\r\n"
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"a large body announced":         {head + "Content-Length: 104857600\r\n\r\n", 413},
		"a large body, asked for":        {head + "Content-Length: 104857600\r\nExpect: 100-continue\r\n\r\n", 413},
		"endless chunks":                 {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 64), 413},
		"a compressed body":              {head + "Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + strings.Repeat("\x1f", 20), 415},
		"many parts":                     {strings.Replace(head, "application/json", "multipart/form-data; boundary=x", 1) + "Content-Length: 4\r\n\r\n--x\n", 415},
		"a header line of 64 kB":         {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"a path of 64 kB":                {"GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		"ten thousand cookies":           {"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("a=b; ", 10_000) + "\r\n\r\n", 431},
		"a thousand headers":             {"GET /api/v1/me HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: b\r\n", 1000) + "\r\n", 431},
		"a length and chunks":            {head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"two lengths":                    {head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ", 400},
		"chunks in chunks":               {head + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501},
		"another coding":                 {head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		"a chunk ended by bare newlines": {head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400},
		"a blank before the colon":       {"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nX-Api-Key : k\r\n\r\n", 400},
		"two hosts":                      {"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			if got := replyTo(t, h, c.text); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// SEC-DOS-06: ten thousand requests in one go are answered one by one, in order.
func TestTenThousandPipelinedRequests(t *testing.T) {
	const requests = 10_000
	h := housetest.Start(t, housetest.Options{})
	conn := h.Dial(t)
	go func() {
		_, _ = io.WriteString(conn, strings.Repeat("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", requests))
	}()
	before, r := runtime.NumGoroutine(), bufio.NewReader(conn)
	for n := range requests {
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusNotFound {
			t.Fatalf("reply %d: %v, %v", n, res, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		if n == requests/2 && runtime.NumGoroutine() > before+20 {
			t.Errorf("there were %d goroutines, and there are %d", before, runtime.NumGoroutine())
		}
	}
}

// bombAnswers are what a bomb may be answered: pages take no JSON at all, and
// two routes judge the credential before they read a body.
var bombAnswers = map[string][]int{
	"":                             {http.StatusBadRequest, http.StatusNotFound, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity},
	"/oauth2/userinfo":             {http.StatusForbidden},
	"/oauth2/register/{client_id}": {http.StatusUnauthorized},
}

// SEC-DOS-04: JSON that is deep, wide or long is refused on every route that
// takes a body, at once.
func TestJSONBombsOnEveryRoute(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: openRegistration})
	s := h.Login(h.Admin)
	bombs := map[string]string{
		"deep":   strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000),
		"lists":  strings.Repeat("[", 60_000),
		"wide":   `{"a":1` + strings.Repeat(`,"k":1`, 10_000) + "}",
		"number": `{"email":` + strings.Repeat("9", 60_000) + "}",
	}
	asked := 0
	for _, r := range routesOf(h.Client()) {
		if r.method == "GET" || r.method == "DELETE" || strings.HasSuffix(r.path, "/unlock") || strings.HasSuffix(r.path, "/execute") {
			continue // no body is read there
		}
		path := strings.NewReplacer("{id}", string(h.Admin.Org), "{user_id}", string(h.Admin.ID), "{name}", "bomb").Replace(r.path)
		for name, bomb := range bombs {
			began := time.Now()
			reply := h.Client().As(s.Access).Do(r.method, path, bomb)
			asked++
			if !slices.Contains(bombAnswers[r.path], reply.Status) && !slices.Contains(bombAnswers[""], reply.Status) {
				t.Errorf("%s %s, %s: %.300s", r.method, r.path, name, reply)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%s %s, %s took %s", r.method, r.path, name, took)
			}
		}
	}
	if asked < 50 {
		t.Errorf("only %d requests were sent", asked)
	}
}

// SEC-DOS-16: clients that hang up in the middle leave nothing behind: no
// goroutine, no connection of the database, no open transaction.
func TestClientsThatHangUpLeaveNothing(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		look := database(t, h.Config.Database.URL)
		idle := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		began := runtime.NumGoroutine()
		var all sync.WaitGroup
		for i := range 400 {
			all.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.Replicas[0].URL+"/api/v1/api-keys",
					strings.NewReader(fmt.Sprintf(`{"name":"k%d","permissions":["agents:read"]}`, i)))
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				req.Header.Set("Authorization", "Bearer "+s.Access)
				req.Header.Set("Content-Type", "application/json")
				hangUp := time.AfterFunc(time.Duration(i%40)*time.Millisecond, cancel)
				defer hangUp.Stop()
				if res, err := idle.Do(req); err == nil {
					_ = res.Body.Close()
				}
				cancel()
			})
		}
		all.Wait()
		idle.CloseIdleConnections()
		eventually(t, "the goroutines end", func() bool {
			h.Client().As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
			return runtime.NumGoroutine() <= began+10
		})
		if h.Config.Database.MaxConns == 8 { // PostgreSQL
			// What runs in the background opens one now and then, and ends it.
			const open = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
			eventually(t, "no transaction is open", func() bool { return len(texts(t, look, open)) == 0 })
		}
		h.Client().As(s.Access).CreateKey("afterwards", "agents:read")
	})
}

// SEC-DOS-17: a defect that panics costs one request, in the words of every other
// failure; it is counted, and its stack is in the log only.
func TestAPanicCostsOneRequest(t *testing.T) {
	var snare *trap
	options := housetest.Options{Env: func(_ int, env *house.Env) { snare = &trap{}; env.Hooks.Before = snare.Before }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		c := h.Client().As(h.Login(h.Admin).Access)
		snare.arm(t, h)
		r := c.Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}}).Problem(http.StatusInternalServerError, "INTERNAL")
		if strings.Contains(string(r.Body), "provoked") || strings.Contains(string(r.Body), "goroutine") {
			t.Errorf("the reply tells of the panic: %s", r.Body)
		}
		c.CreateKey("afterwards", "agents:read")
		if list := c.Get("/api/v1/api-keys").Expect(http.StatusOK).List("data"); len(list) != 1 {
			t.Errorf("%d keys, want the one of afterwards", len(list))
		}
		if logs := h.Logs(); !strings.Contains(logs, "a defect, provoked by a test") || !strings.Contains(logs, ".go:") {
			t.Error("the log does not tell where")
		}
		metrics := string(h.OpsClient().Get("/metrics").Body)
		if !strings.Contains(metrics, `route="/api/v1/api-keys",status="500"`) {
			t.Error("the metrics do not count the failure")
		}
	})
}
