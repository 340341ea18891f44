package housetest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// FLT-DB-06, INV-21: every connection of the pool is held by statements that do
// not end. Who needs one is told so in time; who needs none notices nothing; and
// afterwards all is as before.
func TestAnExhaustedPoolIsSaidSo(t *testing.T) {
	const limit = 9 * time.Second // of patience, where each statement is given half a second
	h := housetest.Start(t, housetest.Options{Postgres: true, Config: func(c *house.Config) {
		c.Database.MaxConns = 4
		c.Database.URL += map[bool]string{true: "&", false: "?"}[strings.Contains(c.Database.URL, "?")] + "lock_timeout=500"
	}})
	s := h.Login(h.Admin)
	c := h.Client().As(s.Access)
	_, key := c.CreateKey("warm", "agents:read")
	h.Follow() // the key's own creation makes replicas forget what they know of it
	h.Client().WithKey(key).Get("/api/v1/auth/verify").Expect(http.StatusOK)

	// Somebody holds a lock on a table that all of them want.
	holder, err := database(t, h.Config.Database.URL).BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Rollback() })
	if _, err := holder.ExecContext(context.Background(), "LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	const asked = 16
	began := time.Now()
	replies := make(chan housetest.Reply, asked)
	for range asked {
		q := c.For(t)
		go func() {
			r, err := q.Try("GET", "/api/v1/api-keys", nil)
			if err != nil {
				t.Error(err)
			}
			replies <- r
		}()
	}
	unaffected := 0
	for n := 0; n < asked; {
		h.Client().WithKey(key).Get("/api/v1/auth/verify").Expect(http.StatusOK)
		h.Client().As(s.Access).Get("/api/v1/auth/verify").Expect(http.StatusOK)
		h.Client().Get("/.well-known/jwks.json").Expect(http.StatusOK)
		unaffected++
		select {
		case r := <-replies:
			clean(t, "a list while the pool is exhausted", r)
			n++
		default:
		}
	}
	if took := time.Since(began); took > limit {
		t.Errorf("the last one was told after %s", took)
	}
	if unaffected < asked {
		t.Errorf("only %d others were served meanwhile", unaffected)
	}
	t.Logf("all %d were told within %s; %d rounds of others were served meanwhile", asked, time.Since(began), unaffected)
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	c.Get("/api/v1/api-keys").Expect(http.StatusOK)
}
