package housetest_test

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// limits are the RateLimit fields of a reply.
func limits(r housetest.Reply) [4]string {
	return [4]string{r.Header.Get("RateLimit-Limit"), r.Header.Get("RateLimit-Remaining"), r.Header.Get("RateLimit-Reset"), r.Header.Get("RateLimit-Policy")}
}

// Every reply to a limited key says what is left, wherever the key is taken: our
// own API, forward-auth, and the body of the verification for others. What is
// too much is 429, everywhere alike.
// AK-36.
func TestALimitedKeyIsToldWhatIsLeft(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		body := map[string]any{
			"name": "limited", "permissions": []string{"agents:read"}, "quota": map[string]any{"requests": 100, "per": "day"},
			"limits": []any{map[string]any{"requests": 5, "per": "1m"}, map[string]any{"requests": 50, "per": "1h"}},
		}
		made := admin.Post("/api/v1/api-keys", body).Expect(http.StatusCreated)
		key, id := made.Text("api_key"), made.Text("id")
		if made.Text("limits.0.per") != "1m" || made.Text("quota.requests") != "100" {
			t.Errorf("made %s", made)
		}
		const policy = "5;w=60, 50;w=3600, 100;w=86400"
		c := h.Client().WithKey(key)
		for _, use := range []struct {
			path   string
			status int
			left   int
		}{
			{"/api/v1/me", 200, 4}, {"/api/v1/auth/verify?permission=agents:read", 200, 3}, {"/api/v1/agents", 200, 2},
			{"/api/v1/auth/verify?permission=agents:delete", 403, -1}, {"/api/v1/api-keys", 403, -1}, // before the limits, and not told of them
			{"/api/v1/agents/no-such-agent", 404, 1},
		} {
			r := c.Get(use.path).Expect(use.status)
			want := [4]string{"5", strconv.Itoa(use.left), "60", policy}
			if use.left < 0 {
				want = [4]string{}
			}
			if got := limits(r); got != want {
				t.Errorf("%s: %v; want %v", use.path, got, want)
			}
		}
		ask := func() housetest.Reply {
			return admin.Post("/api/v1/api-keys/verify", map[string]any{"api_key": key}).Expect(http.StatusOK)
		}
		if r := ask(); r.Text("code") != "VALID" || r.Text("rate_limit.remaining") != "0" || r.Text("rate_limit.limit") != "5" || r.Text("rate_limit.policy") != policy {
			t.Errorf("the last: %s", r)
		}
		for _, path := range []string{"/api/v1/me", "/api/v1/auth/verify", "/api/v1/agents", "/api/v1/agents/no-such-agent"} {
			r := c.Get(path).Problem(http.StatusTooManyRequests, "RATE_LIMITED")
			if got := limits(r); got != [4]string{"5", "0", "60", policy} || r.Header.Get("Retry-After") != "60" {
				t.Errorf("%s: %v, Retry-After %s", path, got, r.Header.Get("Retry-After"))
			}
		}
		if r := ask(); r.Text("valid") != "false" || r.Text("code") != "RATE_LIMITED" || r.Text("retry_after") != "60" || r.Text("rate_limit.remaining") != "0" || r.Has("key_id") {
			t.Errorf("one too many: %s", r)
		}
		h.Advance(time.Minute)
		c.Get("/api/v1/me").Expect(http.StatusOK)
		admin = h.Client().As(h.Login(h.Admin).Access)
		if err := h.House().Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		used := admin.Get("/api/v1/api-keys/" + id + "/usage?by=day").Expect(http.StatusOK)
		if used.Text("data.0.ok") != "8" || used.Text("data.0.rate_limited") != "5" || used.Text("by") != "day" {
			t.Errorf("counted %s", used)
		}
		shown := admin.Get("/api/v1/api-keys/" + id).Expect(http.StatusOK)
		if shown.Text("current_secret.last_used_ip") != "127.0.0.1" || shown.Text("current_secret.last_used_user_agent") == "" || shown.Text("current_secret.last_used_at") == "" {
			t.Errorf("last used: %s", shown)
		}
		admin.Patch("/api/v1/api-keys/"+id, `{"limits":[],"quota":{}}`).Expect(http.StatusOK)
		if r := c.Get("/api/v1/me").Expect(http.StatusOK); limits(r) != [4]string{} {
			t.Errorf("without limits: %v", limits(r))
		}
		for _, bad := range []string{
			`{"limits":[{"requests":1.5,"per":"1m"}]}`, `{"limits":[{"requests":1,"per":"1x"}]}`, `{"quota":{"requests":1,"per":"year"}}`, `{"networks":["192.0.2.0/40"]}`, `{"networks":"192.0.2.1"}`, `{}`,
		} {
			admin.Patch("/api/v1/api-keys/"+id, bad).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
		}
	})
}

// A key is good from its networks only, as the trusted proxy tells the client's
// address; what the client itself claims is not believed.
// AK-27.
func TestTheNetworksOfAKeyFollowTheTrustedProxy(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	body := map[string]any{"name": "office", "permissions": []string{"agents:read"}, "networks": []string{"192.0.2.0/24", "2001:db8::7"}}
	made := admin.Post("/api/v1/api-keys", body).Expect(http.StatusCreated)
	key := made.Text("api_key")
	for hops, good := range map[string]bool{
		"192.0.2.9": true, "2001:db8::7": true, "2001:db8::8": false, "203.0.113.5": false, "192.0.2.9, 203.0.113.5": false, "203.0.113.5, 192.0.2.9": true, "": false,
	} {
		c := h.Client().WithKey(key)
		if hops != "" {
			c = c.From(hops)
		}
		for _, path := range []string{"/api/v1/auth/verify", "/api/v1/agents"} {
			if good {
				c.Get(path).Expect(http.StatusOK)
			} else {
				c.Get(path).Problem(http.StatusUnauthorized, "INVALID_API_KEY")
			}
		}
	}
	for ip, code := range map[string]string{"192.0.2.1": "VALID", "203.0.113.5": "INVALID_API_KEY", "": "INVALID_API_KEY"} {
		r := admin.Post("/api/v1/api-keys/verify", map[string]any{"api_key": key, "ip": ip}).Expect(http.StatusOK)
		if r.Text("code") != code {
			t.Errorf("from %q: %s; want %s", ip, r, code)
		}
	}
	admin.Post("/api/v1/api-keys/verify", map[string]any{"api_key": key, "ip": "nowhere"}).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
}

// SEC-KEY-20: over HTTP, at two replicas on PostgreSQL, a limit holds: never more,
// and no less than 98 %.
func TestALimitHoldsAcrossReplicas(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Postgres: true, Replicas: 2})
	admin := h.Client().As(h.Login(h.Admin).Access)
	const limit, calls = 1000, 2000
	made := admin.Post("/api/v1/api-keys", map[string]any{
		"name": "shared", "permissions": []string{"agents:read"}, "limits": []any{map[string]any{"requests": limit, "per": "1h"}},
	}).Expect(http.StatusCreated)
	c := []*housetest.Client{h.At(0).WithKey(made.Text("api_key")), h.At(1).WithKey(made.Text("api_key"))}
	var admitted, refused, next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range 16 {
		all.Go(func() {
			for n := next.Add(1); n <= calls; n = next.Add(1) {
				r, err := c[n%2].Try(http.MethodGet, "/api/v1/auth/verify", nil)
				switch {
				case err != nil:
					t.Error(err)
				case r.Status == http.StatusOK:
					admitted.Add(1)
				case r.Status == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("call %d: %s", n, r)
				}
				if left, err := strconv.Atoi(r.Header.Get("RateLimit-Remaining")); err != nil || left < 0 {
					t.Errorf("call %d: %q remain", n, r.Header.Get("RateLimit-Remaining"))
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d admitted, %d refused, at %.0f requests/s", admitted.Load(), refused.Load(), calls/time.Since(began).Seconds())
	if n := admitted.Load(); n > limit || n < limit*98/100 {
		t.Errorf("%d of %d were admitted", n, limit)
	}
}

// guesser presents wrong keys from one address, as fast as 10 000 in a second.
type guesser struct {
	handler   http.Handler
	guesses   func(int) string
	sent      int
	throttled int
}

func (g *guesser) run(t *testing.T, total int, perTick int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for g.sent < total {
		for range perTick {
			w := tryKey(g.handler, g.guesses(g.sent), "198.51.100.66")
			if g.sent++; w.Code == http.StatusTooManyRequests {
				g.throttled++
			} else if w.Code != http.StatusUnauthorized {
				t.Errorf("guess %d: %d %s", g.sent, w.Code, w.Body)
				return
			}
		}
		<-tick.C
	}
}

// tryKey asks whether a key is good, without the cost of a connection.
func tryKey(h http.Handler, key, from string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/api/v1/auth/verify", nil)
	r.RemoteAddr = from + ":4000"
	r.Header.Set("X-API-Key", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// p99 presents a good key again and again until stop, and returns how long the
// slowest hundredth took.
func p99(t *testing.T, h http.Handler, key string, stop <-chan struct{}) time.Duration {
	var took []time.Duration
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		began := time.Now()
		if w := tryKey(h, key, "203.0.113.5"); w.Code != http.StatusOK {
			t.Errorf("a good key, from elsewhere: %d %s", w.Code, w.Body)
		}
		took = append(took, time.Since(began))
		select {
		case <-stop:
			slices.Sort(took)
			return took[len(took)*99/100]
		case <-tick.C:
		}
	}
}

// SEC-KEY-19: ten thousand wrong keys in a second from one address are throttled
// before they reach the database; good keys from elsewhere, and the key that is
// guessed at, are answered as before.
func TestTenThousandGuessesInASecond(t *testing.T) {
	var asked atomic.Int64
	h := housetest.Start(t, housetest.Options{Env: func(_ int, env *house.Env) {
		env.Hooks.Before = func(statement string) error {
			if statement == "query" {
				asked.Add(1)
			}
			return nil
		}
	}})
	handler := h.House().Handler
	_, key := h.Client().As(h.Login(h.Admin).Access).CreateKey("real", "agents:read")
	tryKey(handler, key, "203.0.113.5")
	g := &guesser{handler: handler, guesses: func(n int) string {
		text := key[:len(key)-46] + fmt.Sprintf("%08d", n) + strings.Repeat("Z", 32)
		if n%2 == 1 {
			text = key[:len(key)-16] + strings.Repeat("Z", 10) // the real one's id
		}
		return text + checksum(text)
	}}
	quiet := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(quiet) })
	before := p99(t, handler, key, quiet)
	asked.Store(0)
	loud := make(chan struct{})
	began := time.Now()
	const guesses = 20_000
	go func() { defer close(loud); g.run(t, guesses, 100) }()
	during := p99(t, handler, key, loud)
	rate := guesses / time.Since(began).Seconds()
	t.Logf("%.0f guesses/s, %d of %d throttled, %d reads of the database; p99 of the good key %s, before %s", rate, g.throttled, guesses, asked.Load(), during, before)
	if g.throttled < guesses-400 || asked.Load() > 1000 {
		t.Errorf("%d of %d were throttled, with %d reads", g.throttled, guesses, asked.Load())
	}
	if during > before+50*time.Millisecond {
		t.Errorf("p99 %s, before %s", during, before)
	}
	if w := tryKey(handler, key, "198.51.100.66"); w.Code != http.StatusOK {
		t.Errorf("the real key, from where the guesses come: %d %s", w.Code, w.Body)
	}
}

// checksum ends an API key.
func checksum(s string) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n, out := crc32.ChecksumIEEE([]byte(s)), [6]byte{}
	for i := 5; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}
