package housetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
)

// staleness is how long a replica that cannot hear of changes may believe what
// it knows (changes.DefaultMaxSilence).
const staleness = 10 * time.Second

// holdings are credentials in every state that matters when the database is away.
type holdings struct {
	live, gone, ended    housetest.Session // ended before the cut, gone during it
	liveKey, key, oldKey string
	goneKeyID            string
}

// hold makes the credentials, uses each at every replica, and ends the first of them.
func hold(t *testing.T, h *housetest.Harness) holdings {
	t.Helper()
	out := holdings{live: h.Login(h.Admin), gone: h.Login(h.Admin), ended: h.Login(h.Admin)}
	c := h.Client().As(out.live.Access)
	_, out.liveKey = c.CreateKey("live", "agents:read")
	out.goneKeyID, out.key = c.CreateKey("gone", "agents:read")
	oldID, oldKey := c.CreateKey("old", "agents:read")
	out.oldKey = oldKey
	h.Follow()
	for i := range h.Replicas {
		for _, k := range []string{out.liveKey, out.key, oldKey} {
			h.At(i).WithKey(k).Get("/api/v1/me").Expect(http.StatusOK)
		}
		for _, s := range []housetest.Session{out.live, out.gone, out.ended} {
			h.At(i).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
		}
	}
	h.Client().As(out.ended.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
	c.Delete("/api/v1/api-keys/" + oldID).Expect(http.StatusNoContent)
	h.Follow()
	return out
}

// revoked lists the requests of credentials that must never be accepted.
func (o holdings) revoked() map[string]func(*housetest.Client) housetest.Reply {
	return map[string]func(*housetest.Client) housetest.Reply{
		"access token ended before":  func(c *housetest.Client) housetest.Reply { return c.As(o.ended.Access).Get("/api/v1/me") },
		"refresh token ended before": func(c *housetest.Client) housetest.Reply { return c.Refresh(o.ended.Refresh) },
		"API key revoked before":     func(c *housetest.Client) housetest.Reply { return c.WithKey(o.oldKey).Get("/api/v1/me") },
	}
}

// unheard lists those of credentials that ended while the replica was cut off.
func (o holdings) unheard() map[string]func(*housetest.Client) housetest.Reply {
	return map[string]func(*housetest.Client) housetest.Reply{
		"access token": func(c *housetest.Client) housetest.Reply { return c.As(o.gone.Access).Get("/api/v1/me") },
		"refresh":      func(c *housetest.Client) housetest.Reply { return c.Refresh(o.gone.Refresh) },
		"API key":      func(c *housetest.Client) housetest.Reply { return c.WithKey(o.key).Get("/api/v1/me") },
		"demonstration": func(c *housetest.Client) housetest.Reply {
			return c.WithKey(o.key).Get("/api/v1/agents")
		},
	}
}

// needing lists requests that cannot be answered without the database.
func (o holdings) needing(h *housetest.Harness) map[string]func(*housetest.Client) housetest.Reply {
	return map[string]func(*housetest.Client) housetest.Reply{
		"login":   func(c *housetest.Client) housetest.Reply { return c.TryLogin(h.Admin.Email, h.Admin.Password) },
		"refresh": func(c *housetest.Client) housetest.Reply { return c.Refresh(o.live.Refresh) },
		"register": post("/api/v1/auth/register", "", map[string]string{
			"email": "late@example.com", "name": "Late", "password": "a long enough sentence for one"}),
		"lists":    func(c *housetest.Client) housetest.Reply { return c.As(o.live.Access).Get("/api/v1/api-keys") },
		"new key":  post("/api/v1/api-keys", o.live.Access, map[string]any{"name": "k", "permissions": []string{"agents:read"}}),
		"logout":   post("/api/v1/auth/logout", o.live.Access, nil),
		"sessions": func(c *housetest.Client) housetest.Reply { return c.As(o.live.Access).Get("/api/v1/sessions") },
		"audit":    func(c *housetest.Client) housetest.Reply { return c.As(o.live.Access).Get("/api/v1/audit-events") },
	}
}

// clean fails the test unless a 503 is in the words of every other failure, with
// nothing of the database in it (SEC-OBS-06).
func clean(t *testing.T, what string, r housetest.Reply) {
	t.Helper()
	r.Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
	body := strings.ToLower(string(r.Body))
	for _, tell := range []string{"sql", "inject", "dial", "socket", "/tmp", "127.0.0.1", "tokenhouse_test", "connect", "select", "goroutine", ".go:"} {
		if strings.Contains(body, tell) {
			t.Errorf("%s: the reply tells of %q: %s", what, tell, r.Body)
		}
	}
	if !strings.HasPrefix(r.Text("request_id"), "req_") {
		t.Errorf("%s: no request id to look for in the log: %s", what, r)
	}
}

// eventually repeats ask until it is true. Each asks a server, so that nobody spins.
func eventually(t *testing.T, what string, ask func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ask() {
		if time.Since(began) > patience {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
	return time.Since(began)
}

// FLT-DB-04, SEC-OBS-06, SEC-KEY-09, SEC-OAU-35, INV-21: one of two replicas
// loses the database. What was revoked before is refused throughout; what is
// revoked meanwhile is refused once the declared staleness is over, with all
// else that cannot be known; the keys stay published; the other replica goes
// on; and all is well again by itself.
func TestAReplicaCutOffFromTheDatabase(t *testing.T) {
	var plan *faulty.Plan
	options := housetest.Options{Replicas: 2, Env: func(replica int, env *house.Env) {
		if replica == 1 {
			plan = &faulty.Plan{}
			env.Hooks.Before = plan.Before
		}
	}}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		o := hold(t, h)
		cut := h.At(1)
		plan.FailAll()
		t.Cleanup(func() { plan.Heal() })
		h.Client().As(o.gone.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
		h.Client().As(o.live.Access).Delete("/api/v1/api-keys/" + o.goneKeyID).Expect(http.StatusNoContent)

		h.Clock.Advance(staleness - time.Second)
		never200(t, cut, "within the staleness", o.revoked())
		cut.As(o.live.Access).Get("/api/v1/me").Expect(http.StatusOK) // from memory
		cut.WithKey(o.liveKey).Get("/api/v1/me").Expect(http.StatusOK)
		for what, ask := range o.needing(h) {
			began := time.Now()
			clean(t, what, ask(cut))
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s took %s", what, took)
			}
		}

		h.Clock.Advance(2 * time.Second)
		if err := h.House().Feed.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		never200(t, cut, "after the staleness", o.revoked())
		never200(t, cut, "unheard of, after the staleness", o.unheard())
		clean(t, "a live token", cut.As(o.live.Access).Get("/api/v1/me"))
		clean(t, "a live key", cut.WithKey(o.liveKey).Get("/api/v1/me"))
		if n := len(cut.Get("/.well-known/jwks.json").Expect(http.StatusOK).List("keys")); n == 0 {
			t.Error("the keys are not published")
		}
		h.OpsAt(1).Get("/readyz").Expect(http.StatusServiceUnavailable)
		h.OpsAt(1).Get("/healthz").Expect(http.StatusOK)
		h.Client().As(o.live.Access).Get("/api/v1/api-keys").Expect(http.StatusOK)
		h.OpsClient().Get("/readyz").Expect(http.StatusOK)

		plan.Heal()
		took := eventually(t, "the replica recovers", func() bool { return h.OpsAt(1).Get("/readyz").Status == http.StatusOK })
		recovered(t, cut, o)
		t.Logf("ready %s after the database came back", took)
	})
}

func never200(t *testing.T, c *housetest.Client, when string, asks map[string]func(*housetest.Client) housetest.Reply) {
	t.Helper()
	for what, ask := range asks {
		r := ask(c)
		if r.Status == http.StatusServiceUnavailable {
			clean(t, what, r)
		} else if r.Status != http.StatusUnauthorized {
			t.Errorf("%s, %s: %s", what, when, r)
		}
	}
}

// recovered fails the test unless everything is answered as it is.
func recovered(t *testing.T, c *housetest.Client, o holdings) {
	t.Helper()
	for what, ask := range o.revoked() {
		if r := ask(c); r.Status != http.StatusUnauthorized {
			t.Errorf("%s, after the recovery: %s", what, r)
		}
	}
	for what, ask := range o.unheard() {
		if r := ask(c); r.Status != http.StatusUnauthorized {
			t.Errorf("%s, after the recovery: %s", what, r)
		}
	}
	c.As(o.live.Access).Get("/api/v1/me").Expect(http.StatusOK)
	c.WithKey(o.liveKey).Get("/api/v1/me").Expect(http.StatusOK)
	c.Refresh(o.live.Refresh).Expect(http.StatusOK)
}

// FLT-DB-04, SEC-OBS-06, SEC-OAU-35, FLT-DB-22: a real PostgreSQL is stopped and
// started again, sockets and LISTEN connections and all.
func TestPostgreSQLIsStoppedAndStarted(t *testing.T) {
	cluster := pgtest.Private(t)
	h := housetest.Start(t, housetest.Options{Replicas: 2, Config: func(c *house.Config) {
		c.Database.URL, c.Database.MaxConns = cluster.Database(t), 8
	}})
	o := hold(t, h)
	h.Client().As(o.gone.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
	h.Client().As(o.live.Access).Delete("/api/v1/api-keys/" + o.goneKeyID).Expect(http.StatusNoContent)
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	h.Clock.Advance(staleness + time.Second)
	for i := range h.Replicas {
		c := h.At(i)
		for what, ask := range o.needing(h) {
			clean(t, fmt.Sprintf("%s at %d", what, i), ask(c))
		}
		clean(t, "a live token", c.As(o.live.Access).Get("/api/v1/me"))
		clean(t, "a live key", c.WithKey(o.liveKey).Get("/api/v1/me"))
		never200(t, c, "while the server is stopped", o.revoked())
		never200(t, c, "while the server is stopped", o.unheard())
		c.Get("/.well-known/jwks.json").Expect(http.StatusOK)
		h.OpsAt(i).Get("/readyz").Expect(http.StatusServiceUnavailable)
	}
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range h.Replicas {
		took := eventually(t, "a replica recovers", func() bool { return h.OpsAt(i).Get("/readyz").Status == http.StatusOK })
		t.Logf("replica %d was ready %s after PostgreSQL", i, took)
		recovered(t, h.At(i), o)
	}
}
