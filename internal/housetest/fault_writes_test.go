package housetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// conflict makes PostgreSQL choose a transaction as the victim: at the statement
// of that number, once or for ever.
type conflict struct {
	mu      sync.Mutex
	code    string // "40001" or "40P01"; empty: nothing happens
	left    int
	always  bool
	victims int
}

func (c *conflict) Before(statement string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.code == "" || statement == "query" || statement == "row" {
		return nil
	}
	if c.left--; c.left >= 0 {
		return nil
	}
	c.victims++
	err := &pgconn.PgError{Severity: "ERROR", Code: c.code, Message: "could not serialize access"}
	if !c.always {
		c.code = ""
	}
	return err
}

func (c *conflict) arm(code string, at int, always bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code, c.left, c.always, c.victims = code, at, always, 0
}

func (c *conflict) end() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code = ""
	return c.victims
}

// FLT-DB-07: a transaction that PostgreSQL gave up for another is done again, as
// if nothing had been: one effect, one audit event. One that is given up again
// and again ends in a 503, after few attempts, and leaves nothing.
func TestConflictsAreRetriedToOneEffect(t *testing.T) {
	var c *conflict
	h := housetest.Start(t, housetest.Options{
		Postgres: true,
		Config:   func(conf *house.Config) { conf.Tokens.RefreshCooldown = 0 },
		Env:      func(_ int, env *house.Env) { c = &conflict{}; env.Hooks.Before = c.Before },
	})
	s := h.Login(h.Admin)
	admin := h.Client().As(s.Access)
	p := h.Person(h.Admin.Org, "victim", "viewer")
	id, _ := admin.CreateKey("k", "agents:read")
	refresh, roles := s.Refresh, 0
	for _, op := range []struct {
		ask  func() housetest.Reply
		name audit.Name
	}{
		{func() housetest.Reply { return h.Client().TryLogin(h.Admin.Email, h.Admin.Password) }, audit.LoginSucceeded},
		{func() housetest.Reply {
			r := h.Client().Refresh(refresh)
			if r.Status == http.StatusOK {
				refresh = r.Text("refresh_token")
			}
			return r
		}, ""},
		{func() housetest.Reply {
			return admin.Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}})
		}, audit.APIKeyCreated},
		{func() housetest.Reply {
			return admin.Post("/api/v1/api-keys/"+id+"/rotate", map[string]string{"grace": "0s"})
		}, audit.APIKeyRotated},
		{func() housetest.Reply {
			roles++
			return admin.Patch("/api/v1/memberships/"+string(p.ID), map[string]string{"role": []string{"viewer", "engineer"}[roles%2]})
		}, audit.MemberRoleSet},
	} {
		for _, code := range []string{"40001", "40P01"} {
			for _, at := range []int{0, 1, 2} {
				began := newest(t, h.House())
				c.arm(code, at, false)
				r := op.ask()
				if victims := c.end(); r.Status >= 300 {
					t.Errorf("%s at write %d (%d victims): %s", code, at, victims, r)
				}
				if got := count(t, h, began, op.name); op.name != "" && got != 1 {
					t.Errorf("%s at write %d made %d events %s", code, at, got, op.name)
				}
			}
		}
		began := newest(t, h.House())
		c.arm("40001", 0, true)
		clean(t, "a conflict without end", op.ask())
		if victims := c.end(); victims < 2 || victims > 12 {
			t.Errorf("%d attempts were made", victims)
		}
		if n := count(t, h, began, op.name); op.name != "" && n != 0 {
			t.Errorf("%d events of what did not happen", n)
		}
	}
}

// count counts the events of that name after a number.
func count(t *testing.T, h *housetest.Harness, after int64, name audit.Name) (n int) {
	t.Helper()
	events, err := h.House().DB.Audit().Export(t.Context(), after, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Name == name {
			n++
		}
	}
	return n
}

// FLT-DB-15, INV-06: 64 clients write at the same time, at two processes on one
// SQLite file, while a reader keeps the journal from being folded back. Nobody
// hears of a locked database, and no write is lost.
func TestSixtyFourWritersOnSQLite(t *testing.T) {
	const writers, each = 64, 5
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		reader := reading(t, h)
		began := newest(t, h.House())
		var made atomic.Int64
		var all sync.WaitGroup
		for i := range writers {
			c := h.At(i % 2).For(t).As(s.Access)
			all.Go(func() {
				for n := range each {
					r, err := c.Try("POST", "/api/v1/api-keys", map[string]any{"name": fmt.Sprintf("k%d-%d", i, n), "permissions": []string{"agents:read"}})
					if err != nil || r.Status != http.StatusCreated {
						t.Errorf("writer %d: %v %s", i, err, r)
						return
					}
					made.Add(1)
				}
			})
		}
		all.Wait()
		if err := reader.Rollback(); err != nil {
			t.Fatal(err)
		}
		if got := count(t, h, began, audit.APIKeyCreated); got != int(made.Load()) || got != writers*each {
			t.Errorf("%d keys were acknowledged and %d recorded, of %d", made.Load(), got, writers*each)
		}
		if strings.Contains(h.Logs(), "database is locked") || strings.Contains(h.Logs(), "SQLITE_BUSY") {
			t.Error("the log tells of a locked database")
		}
	})
}

// reading begins a read that stays open.
func reading(t *testing.T, h *housetest.Harness) *sql.Tx {
	t.Helper()
	tx, err := database(t, h.Config.Database.URL).BeginTx(context.Background(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	var n int
	if err := tx.QueryRowContext(context.Background(), "SELECT count(*) FROM users").Scan(&n); err != nil || n != 1 {
		t.Fatalf("%d users, %v", n, err)
	}
	return tx
}

// gate lets statements wait, so that requests stay in flight.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil: open
}

func (g *gate) Before(statement string) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil && statement == "create" {
		<-shut
	}
	return nil
}

// close shuts the gate; what it returns opens it.
func (g *gate) close() (open func()) {
	shut := make(chan struct{})
	set := func(c chan struct{}) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = c
	}
	set(shut)
	return sync.OnceFunc(func() { set(nil); close(shut) })
}

// FLT-CRASH-06: a server that is told to stop says so first, takes nobody new,
// then finishes every request in flight; nothing it acknowledged is missing.
func TestAStoppedServerFinishesWhatItBegan(t *testing.T) {
	const flying = 16
	var held gate
	arrived := make(chan struct{}, flying)
	options := housetest.Options{
		Replicas: 2,
		Env: func(replica int, env *house.Env) {
			if replica == 1 {
				env.Hooks.Before = held.Before
			}
		},
		HTTP: func(s *http.Server) {
			handler := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Flying") != "" {
					arrived <- struct{}{}
				}
				handler.ServeHTTP(w, r)
			})
		},
	}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		stopping, began := h.Replicas[1], newest(t, h.House())
		open := held.close()
		t.Cleanup(open)
		var all sync.WaitGroup
		for i := range flying {
			c := h.At(1).For(t).As(s.Access).With("X-Flying", "yes")
			all.Go(func() {
				r, err := c.Try("POST", "/api/v1/api-keys", map[string]any{"name": fmt.Sprintf("k%d", i), "permissions": []string{"agents:read"}})
				if err != nil || r.Status != http.StatusCreated {
					t.Errorf("a request in flight failed: %v %s", err, r)
				}
			})
		}
		for range flying {
			<-arrived
		}
		stopping.House.Drain()
		h.OpsAt(1).Get("/readyz").Expect(http.StatusServiceUnavailable)
		h.OpsAt(1).Get("/healthz").Expect(http.StatusOK)
		stopped := make(chan error, 1)
		asked := time.Now()
		go func() { stopped <- stopping.Stop() }()
		eventually(t, "nobody new is taken", func() bool {
			conn, err := net.Dial("tcp", strings.TrimPrefix(stopping.URL, "http://"))
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		})
		open()
		all.Wait()
		if err := <-stopped; err != nil || time.Since(asked) > 10*time.Second {
			t.Errorf("stopping took %s: %v", time.Since(asked), err)
		}
		if got := count(t, h, began, audit.APIKeyCreated); got != flying {
			t.Errorf("%d keys were acknowledged and %d recorded", flying, got)
		}
		h.Client().As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
	})
}
