package drills_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// FLT-CLU-16: what removes expired rows works without a pause while tokens are
// refreshed. No live head is ever removed, nor what is needed to know a stolen
// token for what it is; what is over goes.
func TestTheCleanerLeavesWhatLives(t *testing.T) {
	options := housetest.Options{Config: func(c *house.Config) { c.Tokens.RefreshCooldown, c.Tokens.RefreshGrace = 0, time.Second }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		const families, rounds = 6, 12
		over := h.Login(h.Admin)
		h.Advance(8 * 24 * time.Hour) // unused for longer than RefreshIdle
		stolen, live := make([]string, families), make([]string, families)
		for i := range families {
			live[i] = h.Login(h.Admin).Refresh
		}
		ctx, stop := context.WithCancel(t.Context())
		var cleaner sync.WaitGroup
		cleaned := 0
		cleaner.Go(func() {
			for ; ctx.Err() == nil; cleaned++ {
				if _, err := h.House().Sessions.Cleanup(context.WithoutCancel(ctx)); err != nil {
					t.Errorf("cleanup: %v", err)
				}
			}
		})
		for round := range rounds {
			if round == rounds-3 { // replaced twice and more, and younger than a week
				copy(stolen, live)
			}
			h.Advance(47 * time.Hour) // beyond every access token; all rounds are less than a login lasts
			for i := range families {
				live[i] = h.Client().Refresh(live[i]).Expect(http.StatusOK).Text("refresh_token")
			}
		}
		for i := range families {
			h.Client().From("203.0.113.5").Refresh(stolen[i]).Expect(http.StatusUnauthorized)
			h.Client().Refresh(live[i]).Expect(http.StatusUnauthorized)
		}
		stop()
		cleaner.Wait()
		db := beside(t, h)
		if n := number(t, db, "SELECT count(*) FROM audit_events WHERE name = 'refresh.reuse_detected'"); n != families {
			t.Errorf("%d thefts were detected, want %d", n, families)
		}
		h.Advance(31 * 24 * time.Hour)
		if err := h.House().Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := number(t, db, "SELECT count(*) FROM sessions"); n != 0 {
			t.Errorf("%d sessions are left that are over", n)
		}
		h.Client().Refresh(over.Refresh).Expect(http.StatusUnauthorized)
		t.Logf("cleaned %d times", cleaned)
	})
}

// FLT-CLU-03: the server's clock is the one authority for what has expired, and
// the database's is never asked: with a database that is years ahead or behind,
// tokens, keys, refreshes, codes of one hour and locks end when the server says.
func TestTheClockOfTheDatabaseIsNotAsked(t *testing.T) {
	for name, start := range map[string]time.Time{
		"behind": housetest.Epoch().AddDate(8, 0, 0), "ahead": housetest.Epoch().AddDate(-8, 0, 0),
	} {
		t.Run("the database is "+name, func(t *testing.T) {
			h := housetest.Start(t, housetest.Options{Postgres: true, Clock: housetest.NewClock(start)})
			s := h.Login(h.Admin)
			c := h.Client().As(s.Access)
			key := c.Post("/api/v1/api-keys", map[string]any{
				"name": "k", "permissions": []string{"agents:read"}, "expires_at": h.Clock.Now().Add(2 * time.Hour).Format(time.RFC3339),
			}).Expect(http.StatusCreated).Text("api_key")
			for range 5 {
				h.Client().From("203.0.113.5").TryLogin(h.Admin.Email, "not the password at all").Expect(http.StatusUnauthorized)
			}
			h.Client().From("203.0.113.5").TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusLocked)
			if err := h.House().Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.Advance(59 * time.Minute)
			h.Client().As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
			h.Client().WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
			h.Client().From("203.0.113.5").TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
			h.Advance(62 * time.Minute)
			h.Client().As(s.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
			h.Client().WithKey(key).Get("/api/v1/me").Expect(http.StatusUnauthorized)
			refreshed := h.Client().Refresh(s.Refresh).Expect(http.StatusOK).Text("refresh_token")
			h.Advance(6 * 24 * time.Hour)
			if err := h.House().Tend(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.Client().Refresh(refreshed).Expect(http.StatusOK)
		})
	}
}

// FLT-DB-12: the database gives up in the middle of ending a login because
// somebody holds one of its rows. Nothing is half done, the caller is told to
// come again, and then all of it is done; the thief gets nothing either way.
func TestARevocationThatTimesOutIsNotHalfDone(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Postgres: true, Config: func(c *house.Config) {
		c.Tokens.RefreshCooldown, c.Tokens.RefreshGrace = 0, time.Second
		c.Database.URL += map[bool]string{true: "&", false: "?"}[strings.Contains(c.Database.URL, "?")] + "statement_timeout=1000"
	}})
	var logins []housetest.Session
	for range 5 {
		logins = append(logins, h.Login(h.Admin))
	}
	h.Advance(time.Second) // so that its row is the newest
	stolen := h.Login(h.Admin)
	h.Advance(time.Minute)
	next := h.Client().Refresh(stolen.Refresh).Expect(http.StatusOK).Text("refresh_token")
	h.Advance(time.Minute)
	h.Client().Refresh(next).Expect(http.StatusOK)
	db := beside(t, h)
	revoked := "SELECT count(*) FROM sessions WHERE revoked_at > 0"
	holder, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	if _, err := holder.ExecContext(t.Context(), "SELECT * FROM sessions WHERE org_id = $1 ORDER BY id DESC LIMIT 2 FOR UPDATE", string(h.Admin.Org)); err != nil {
		t.Fatal(err)
	}
	all := h.Client().As(logins[0].Access)
	all.Delete("/api/v1/sessions").Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
	h.Client().From("203.0.113.5").Refresh(stolen.Refresh).Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
	if n := number(t, db, revoked); n != 0 {
		t.Errorf("%d sessions were ended by what failed", n)
	}
	for i, s := range logins {
		if r := h.Client().As(s.Access).Get("/api/v1/me"); r.Status != http.StatusOK {
			t.Errorf("login %d, after what failed: %s", i, r)
		}
	}
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	h.Client().From("203.0.113.5").Refresh(stolen.Refresh).Expect(http.StatusUnauthorized)
	h.Client().As(stolen.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	all.Delete("/api/v1/sessions").Expect(http.StatusOK)
	for i, s := range logins[1:] {
		if r := h.Client().As(s.Access).Get("/api/v1/me"); r.Status != http.StatusUnauthorized {
			t.Errorf("login %d, after all ended: %s", i, r)
		}
	}
}

// FLT-CRASH-10: a server on a database full of users and sessions is ready within
// a second, however many there are.
func TestAColdStartOnAFullDatabase(t *testing.T) {
	users, sessions := sized(2_000, 1_000_000), sized(20_000, 10_000_000)
	onOne(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		if whole() {
			t.Parallel() // one process fills each of the two
		}
		h.Login(h.Admin)
		db := beside(t, h)
		fill(t, db, "users", []string{"id", "canonical", "email"}, users)
		fill(t, db, "sessions", []string{"id"}, sessions)
		if err := h.Replicas[0].Stop(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		n := h.AddReplica()
		for h.OpsAt(n).Get("/readyz").Status != http.StatusOK {
			if time.Since(began) > patience {
				t.Fatal("the server does not become ready")
			}
		}
		took := time.Since(began)
		h.At(n).Login(h.Admin.Email, h.Admin.Password)
		t.Logf("ready after %s, with %d users and %d sessions", took, users, sessions)
		if limit := time.Second * slack; took > limit {
			t.Errorf("ready after %s, want %s", took, limit)
		}
	})
}

// slack is for machines that run everything else at the same time, watched by
// the race detector.
const slack = 3

// fillAtOnce is how many rows one statement adds.
const fillAtOnce = 250_000

// fill multiplies the newest row of a table; the unique columns get a number behind,
// of as many digits for each, so that every index grows at its end.
func fill(t *testing.T, db *sql.DB, table string, unique []string, n int) {
	t.Helper()
	isPostgres := isPostgres(db)
	if isPostgres {
		run(t, db, "ALTER TABLE "+table+" SET UNLOGGED") // what a crash of PostgreSQL leaves is not asked here
	}
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err = errors.Join(err, rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	var into, from []string
	for _, c := range columns {
		into = append(into, `"`+c+`"`)
		if slices.Contains(unique, c) {
			from = append(from, `o."`+c+`" || '-' || `+map[bool]string{false: "printf('%08d', s.n)", true: "lpad(s.n::text, 8, '0')"}[isPostgres])
		} else {
			from = append(from, `o."`+c+`"`)
		}
	}
	run(t, db, fmt.Sprintf("CREATE TABLE one_%[1]s AS SELECT * FROM %[1]s ORDER BY id DESC LIMIT 1", table))
	for first := 1; first <= n; first += fillAtOnce {
		run(t, db, fmt.Sprintf(`WITH RECURSIVE s(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM s WHERE n < %d)
			INSERT INTO %s (%s) SELECT %s FROM s, one_%[3]s o`,
			first, min(first+fillAtOnce-1, n), table, strings.Join(into, ", "), strings.Join(from, ", ")))
	}
	run(t, db, "DROP TABLE one_"+table)
}
