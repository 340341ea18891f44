package accounts_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
	"github.com/tokenhouse/tokenhouse/tokens"
)

const password = "correct horse battery"

// world is the real services on a real database, with a clock that a test moves.
type world struct {
	*accounts.People
	t        *testing.T
	db       *gormstore.DB
	dir      *accounts.Directory
	plan     *faulty.Plan
	inflight func() int // hashes so far

	mu      sync.Mutex
	now     time.Time
	events  []audit.Event
	changes []changes.Change
}

// onBoth runs fn on SQLite and on PostgreSQL.
func onBoth(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Run("SQLite", func(t *testing.T) { fn(t, newWorld(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		fn(t, worldOn(t, func(o gormstore.Options) (*gormstore.DB, error) {
			return gormstore.OpenPostgres(t.Context(), migrated.Postgres(t), o)
		}))
	})
}

func newWorld(t *testing.T) *world {
	return worldOn(t, func(o gormstore.Options) (*gormstore.DB, error) {
		return gormstore.OpenSQLite(migrated.SQLite(t), o)
	})
}

func worldOn(t *testing.T, open func(gormstore.Options) (*gormstore.DB, error)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), plan: &faulty.Plan{}}
	db, err := open(gormstore.Options{OnCommit: w.committed, Random: rand.Reader, Hooks: gormstore.Hooks{Before: w.plan.Before}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	keeper, err := sealing.NewLocal(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	secrets := &sealing.Secrets{Store: db.SealedSecrets(), Keeper: keeper, Now: w.clock, Random: rand.Reader}
	if err := errors.Join(db.Migrate(t.Context()), secrets.Load(t.Context())); err != nil {
		t.Fatal(err)
	}
	c, err := accounts.NewCatalogue("agents:read", "agents:create", "incidents:read", "metrics:read", "procedures:execute")
	if err != nil {
		t.Fatal(err)
	}
	w.db, w.dir = db, accounts.NewDirectory(db.Accounts(), c, 1000, func() bool { return true })
	hashes := 0
	hasher := &accounts.Hasher{Random: rand.Reader, Now: w.clock, Queue: 64, Waited: func(time.Duration) {
		w.mu.Lock()
		defer w.mu.Unlock()
		hashes++
	}}
	w.inflight = func() int { w.mu.Lock(); defer w.mu.Unlock(); return hashes }
	w.People = &accounts.People{
		Store: db.Accounts(), Recorder: db.Recorder(), Hasher: hasher, Catalogue: c, Now: w.clock, Random: rand.Reader,
		Prover: &accounts.Authenticator{Store: db.Logins(), Users: db.Accounts(), Hasher: hasher, Secrets: secrets, Now: w.clock, Random: rand.Reader},
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// committed is what the feed does in a running server.
func (w *world) committed(es []audit.Event, cs []changes.Change) {
	w.mu.Lock()
	w.events = append(w.events, es...)
	w.changes = append(w.changes, cs...)
	w.mu.Unlock()
	if w.dir != nil {
		w.dir.Hear(cs)
	}
}

// recorded returns the names of the events since the last call.
func (w *world) recorded() []audit.Name {
	var out []audit.Name
	for _, e := range w.told() {
		out = append(out, e.Name)
	}
	return out
}

// told returns the events since the last call.
func (w *world) told() []audit.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	es := w.events
	w.events = nil
	return es
}

// announced returns the changes since the last call.
func (w *world) announced() []changes.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	cs := w.changes
	w.changes = nil
	return cs
}

func (w *world) wantEvents(want ...audit.Name) {
	w.t.Helper()
	if got := w.recorded(); !slices.Equal(got, want) {
		w.t.Errorf("events %v, want %v", got, want)
	}
}

func wantCode(t *testing.T, err error, want fault.Code) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// org makes an organisation.
func (w *world) org(slug string) accounts.Org {
	w.t.Helper()
	o, err := w.CreateOrg(w.t.Context(), w.operator(""), "The "+slug, slug)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// operator is the command line, in an organisation or in none.
func (w *world) operator(org ident.OrgID) ident.Caller {
	return ident.OperatorOf(org, w.Catalogue.All())
}

// hashed is the hash of password, computed once.
var hashed = sync.OnceValues(func() (string, error) {
	h := accounts.Hasher{Random: rand.Reader, Now: func() time.Time { return time.Time{} }}
	return h.Hash(context.Background(), password)
})

// user makes a member of org.
func (w *world) user(org accounts.Org, email, role string) accounts.Member {
	w.t.Helper()
	hash, err := hashed()
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := w.CreateUser(w.t.Context(), w.operator(org.ID), accounts.NewUser{Email: email, Role: role, PasswordHash: hash})
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// as is the caller that a member's credential establishes now.
func (w *world) as(m accounts.Member) ident.Caller {
	w.t.Helper()
	s, err := w.dir.Standing(w.t.Context(), m.ID, m.Org)
	if err != nil {
		w.t.Fatal(err)
	}
	return ident.Caller{Kind: ident.Person, Org: m.Org, User: m.ID, Email: m.Email, Permissions: s.Permissions}
}

// role is the member's role now; empty for none.
func (w *world) role(m accounts.Member) string {
	w.t.Helper()
	got, err := w.db.Accounts().Member(w.t.Context(), ident.Caller{Org: m.Org}.Tenant(), m.ID)
	if err != nil && !errors.Is(err, fault.NotFound) {
		w.t.Fatal(err)
	}
	return got.Role
}

// session opens a session of m in its organisation.
func (w *world) session(m accounts.Member) ident.SessionID {
	w.t.Helper()
	f := tokens.Family{
		ID: ident.NewSessionID(w.clock(), rand.Reader), User: m.ID, Org: m.Org, Client: "cli_test", Method: "password",
		CreatedAt: w.clock(), ExpiresAt: w.clock().Add(720 * time.Hour), Refreshable: true,
	}
	if err := w.db.Sessions().InTx(w.t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(f, time.Time{}) }); err != nil {
		w.t.Fatal(err)
	}
	return f.ID
}

// ended is why a session ended; empty while it lives.
func (w *world) ended(id ident.SessionID) string {
	w.t.Helper()
	f, err := w.db.Sessions().Family(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return f.Ended.Reason
}

// together runs fn n times at the same time.
func together(n int, fn func(i int)) {
	var start, end sync.WaitGroup
	start.Add(1)
	for i := range n {
		end.Go(func() {
			start.Wait()
			fn(i)
		})
	}
	start.Done()
	end.Wait()
}
