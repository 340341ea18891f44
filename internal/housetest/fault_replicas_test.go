package housetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// lags are how long revocations took to reach the other replica.
type lags []time.Duration

func (l lags) at(p int) time.Duration {
	slices.Sort(l)
	return l[min(len(l)-1, len(l)*p/100)]
}

func (l lags) judge(t *testing.T) {
	t.Helper()
	t.Logf("%d revocations reached the other replica within p50 %s, p99 %s, max %s", len(l), l.at(50), l.at(99), l.at(100))
	if l.at(100) > bound {
		t.Errorf("a revoked credential was still good after %s; the bound is %s", l.at(100), bound)
	}
}

// chase uses a credential, revoked just now, at the other replica until it is
// refused, and says how long after the acknowledgement the last accepted request
// began. After the first refusal none may be accepted.
func chase(t *testing.T, use func(replica int) housetest.Reply) time.Duration {
	t.Helper()
	acknowledged := time.Now()
	if r := use(0); r.Status != http.StatusUnauthorized { // INV-02: where it was revoked, at once
		t.Errorf("accepted after its revocation was acknowledged: %s", r)
	}
	var last time.Duration
	for refusals := 0; refusals < 5; {
		asked := time.Since(acknowledged)
		switch r := use(1); r.Status {
		case http.StatusOK:
			if last = asked; refusals > 0 {
				t.Errorf("accepted after it had been refused: %s", r)
			}
		case http.StatusUnauthorized:
			refusals++
		default:
			t.Fatalf("neither accepted nor refused: %s", r)
		}
		if asked > patience {
			t.Fatal("the revocation never arrived")
		}
	}
	return last
}

// FLT-CLU-13, FLT-CLU-17, SEC-KEY-09, INV-02, K18: a credential revoked at one
// replica is used at the other without a pause. Nothing but the database is
// between them.
// AK-40.
func TestARevocationReachesTheOtherReplica(t *testing.T) {
	for _, backend := range []bool{true, false} {
		t.Run(fmt.Sprintf("postgres=%t", backend), func(t *testing.T) {
			h := housetest.Start(t, housetest.Options{Postgres: backend, Replicas: 2})
			var took lags
			admin := h.Client().As(h.Login(h.Admin).Access)
			for i := range 25 {
				id, key := admin.CreateKey(fmt.Sprintf("k%d", i), "agents:read")
				use := func(replica int) housetest.Reply { return h.At(replica).WithKey(key).Get("/api/v1/agents") }
				use(1).Expect(http.StatusOK)
				admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
				took = append(took, chase(t, use))
			}
			for range 4 {
				s := h.Login(h.Admin)
				use := func(replica int) housetest.Reply { return h.At(replica).As(s.Access).Get("/api/v1/agents") }
				use(1).Expect(http.StatusOK)
				h.Client().As(s.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
				took = append(took, chase(t, use))
				h.At(1).Refresh(s.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN") // asks the database
			}
			took.judge(t)
		})
	}
}

// FLT-DB-22: the connections that wake the followers are killed again and again.
// Polling keeps the bound.
// AK-39.
func TestRevocationsArriveWithoutWakeUps(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Postgres: true, Replicas: 2})
	db := database(t, h.Config.Database.URL)
	if listeners(t, db) < 2 {
		eventually(t, "both replicas listen", func() bool { return listeners(t, db) == 2 })
	}
	admin := h.Client().As(h.Login(h.Admin).Access)
	var took lags
	for i := range 6 {
		id, key := admin.CreateKey(fmt.Sprintf("k%d", i), "agents:read")
		use := func(replica int) housetest.Reply { return h.At(replica).WithKey(key).Get("/api/v1/me") }
		use(1).Expect(http.StatusOK)
		texts(t, db, "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
		admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		took = append(took, chase(t, use))
	}
	took.judge(t)
	eventually(t, "both replicas listen again", func() bool { return listeners(t, db) == 2 })
}

// listeners counts the connections that LISTEN.
func listeners(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	err := db.QueryRowContext(context.Background(),
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// FLT-CLU-14, SEC-LOG-09: what one replica locked is locked at the other, at the
// very next attempt, and outlives a replica that is started afterwards.
func TestALockHoldsAtEveryReplica(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		p := h.Person(h.Admin.Org, "lockable", "viewer")
		for range 5 {
			h.At(0).TryLogin(p.Email, wrong).Problem(http.StatusUnauthorized, "INVALID_CREDENTIALS")
		}
		h.AddReplica()
		for i := range h.Replicas {
			r := h.At(i).TryLogin(p.Email, p.Password).Problem(http.StatusLocked, "ACCOUNT_LOCKED")
			if r.Header.Get("Retry-After") != "60" {
				t.Errorf("replica %d: Retry-After %q", i, r.Header.Get("Retry-After"))
			}
		}
		h.Advance(time.Minute)
		h.At(1).Login(p.Email, p.Password)
	})
}

// SEC-LOG-06, INV-10: two hundred guesses at the same moment, at two replicas,
// cost no more looks at the password than the limit.
func TestGuessesAtTheSameMomentAtTwoReplicas(t *testing.T) {
	const guesses, limit = 200, 5
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		p := h.Person(h.Admin.Org, "guessed", "viewer")
		began := newest(t, h.House())
		var barrier, all sync.WaitGroup
		barrier.Add(guesses)
		var mu sync.Mutex
		statuses := map[int]int{}
		for i := range guesses {
			c := h.At(i % 2).For(t)
			all.Go(func() {
				barrier.Done()
				barrier.Wait()
				r, err := c.Try("POST", "/api/v1/auth/login", map[string]string{"email": p.Email, "password": fmt.Sprintf("guess number %d of many", i)})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[r.Status]++
			})
		}
		all.Wait()
		looks := 0
		events, err := h.House().DB.Audit().Export(t.Context(), began, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Name == audit.LoginFailed {
				looks++
			}
		}
		if looks > limit || statuses[http.StatusUnauthorized] != looks {
			t.Errorf("%d passwords were looked at, and the replies were %v; the limit is %d", looks, statuses, limit)
		}
		rest := statuses[http.StatusLocked] + statuses[http.StatusTooManyRequests] + statuses[http.StatusServiceUnavailable]
		if rest+looks != guesses {
			t.Errorf("the replies were %v", statuses)
		}
		t.Logf("replies: %v", statuses)
	})
}

// newest is the number of the newest audit event.
func newest(t *testing.T, h *house.House) int64 {
	t.Helper()
	events, err := h.DB.Audit().Export(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return events[len(events)-1].Seq
}
