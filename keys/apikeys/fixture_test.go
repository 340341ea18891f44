package apikeys_test

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// catalogue is every permission there is in these tests.
var catalogue = func() scope.Catalogue {
	c, err := scope.NewCatalogue(
		"agents:read", "agents:create", "agents:delete", "incidents:read", "incidents:create", "metrics:read", "procedures:execute", "users:create",
		"api-keys:read", "api-keys:create", "api-keys:revoke", "api-keys:rotate", "api-keys:manage", "api-keys:policy", "service-accounts:manage",
	)
	if err != nil {
		panic(err)
	}
	return c
}()

// engineer is what most people of these tests may do: all but users:create,
// procedures:execute and api-keys:manage.
var engineer = scope.Of("agents:read", "agents:create", "agents:delete", "incidents:read", "incidents:create", "metrics:read",
	"api-keys:read", "api-keys:create", "api-keys:revoke", "api-keys:rotate")

var origin = ident.Origin{IP: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8", Request: "req_1"}

// clock stands still until it is moved.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time           { return time.UnixMicro(c.at.Load()).UTC() }
func (c *clock) advance(by time.Duration) { c.at.Add(by.Microseconds()) }

// people is the directory: who may do what where.
type people struct {
	mu       sync.Mutex
	standing map[ident.UserID]map[ident.OrgID]apikeys.Standing
}

func (p *people) Standing(_ context.Context, user ident.UserID, org ident.OrgID) (apikeys.Standing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing[user][org], nil
}

func (p *people) set(user ident.UserID, org ident.OrgID, may scope.Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.standing == nil {
		p.standing = map[ident.UserID]map[ident.OrgID]apikeys.Standing{}
	}
	if p.standing[user] == nil {
		p.standing[user] = map[ident.OrgID]apikeys.Standing{}
	}
	p.standing[user][org] = apikeys.Standing{Active: may != nil, Email: string(user) + "@example.com", Permissions: may}
}

// gate counts the statements that reach the store and can shut it.
type gate struct {
	apikeys.Store
	shut    atomic.Bool
	calls   atomic.Int64
	imports atomic.Int64 // questions for imports
	// policies: whether those alone cannot be read.
	policies atomic.Bool
	leases
}

// leases counts and disturbs the questions for allowances.
type leases struct {
	asked  atomic.Int64
	lost   atomic.Bool // what was taken is not told
	silent atomic.Bool // no answer at all
}

func (g *gate) TakeAPIKeyAllowance(ctx context.Context, key ident.APIKeyID, asks []apikeys.Ask) ([]apikeys.Taken, error) {
	g.asked.Add(1)
	if err := g.pass(); err != nil {
		return nil, err
	}
	if g.silent.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	taken, err := g.Store.TakeAPIKeyAllowance(ctx, key, asks)
	if g.lost.Load() {
		return nil, fault.New(fault.Unavailable, "The connection broke.")
	}
	return taken, err
}

func (g *gate) pass() error {
	g.calls.Add(1)
	if g.shut.Load() {
		return fault.New(fault.Unavailable, "The database is away.")
	}
	return nil
}

func (g *gate) APIKeyByLookup(ctx context.Context, lookup string) (apikeys.Key, error) {
	if err := g.pass(); err != nil {
		return apikeys.Key{}, err
	}
	return g.Store.APIKeyByLookup(ctx, lookup)
}

func (g *gate) ImportedAPIKey(ctx context.Context, lookups []string) (string, error) {
	g.imports.Add(1)
	if err := g.pass(); err != nil {
		return "", err
	}
	return g.Store.ImportedAPIKey(ctx, lookups)
}

func (g *gate) APIKeyPolicy(ctx context.Context, t ident.Tenant) (apikeys.Policy, error) {
	if g.policies.Load() {
		return apikeys.Policy{}, fault.New(fault.Unavailable, "The database is away.")
	}
	if err := g.pass(); err != nil {
		return apikeys.Policy{}, err
	}
	return g.Store.APIKeyPolicy(ctx, t)
}

func (g *gate) InTx(ctx context.Context, fn func(apikeys.Tx) error) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.Store.InTx(ctx, fn)
}

// replica is one process of a deployment.
type replica struct {
	*apikeys.Service
	db    *gormstore.DB
	gate  *gate
	feed  *changes.Feed
	clock *clock
	dir   string // of the database file, where it is one

	mu      sync.Mutex
	events  []audit.Event
	results []string
}

// deployment is what replicas share.
type deployment struct {
	clock *clock
	owner *people
	path  string
	url   string // of PostgreSQL, where not empty
}

func onSQLite(t testing.TB) *deployment {
	return &deployment{clock: newClock(), owner: &people{}, path: migrated.SQLite(t)}
}

func onPostgreSQL(t testing.TB) *deployment {
	d := onSQLite(t)
	d.url = migrated.Postgres(t)
	return d
}

// replica starts a process.
func (d *deployment) replica(t testing.TB) *replica {
	t.Helper()
	r := &replica{clock: d.clock, dir: filepath.Dir(d.path)}
	opts := gormstore.Options{Random: rand.Reader, MaxConns: 4, OnCommit: func(es []audit.Event, cs []changes.Change) {
		r.mu.Lock()
		r.events = append(r.events, es...)
		r.mu.Unlock()
		r.feed.Publish(cs...)
	}}
	var err error
	if d.url == "" {
		r.db, err = gormstore.OpenSQLite(d.path, opts)
	} else {
		r.db, err = gormstore.OpenPostgres(context.Background(), d.url, opts)
	}
	must(t, err)
	t.Cleanup(func() { must(t, r.db.Close()) })
	must(t, r.db.Migrate(context.Background()))
	r.feed = &changes.Feed{Log: r.db.Changes(), Now: d.clock.now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	keeper, err := sealing.NewLocal([]byte("the master key of these tests, long enough"))
	must(t, err)
	secrets := &sealing.Secrets{Store: r.db.SealedSecrets(), Keeper: keeper, Now: d.clock.now, Random: rand.Reader}
	must(t, secrets.Load(context.Background()))
	r.gate = &gate{Store: r.db.APIKeys()}
	r.Service = &apikeys.Service{
		Store: r.gate, Peppers: secrets, Owners: d.owner, Catalogue: catalogue, Settings: apikeys.Settings{Prefix: "kw_live", Throttle: apikeys.Throttle{Burst: 1 << 30}}, Fresh: r.feed.Fresh, Now: d.clock.now, Random: rand.Reader,
		Observe: func(result string) { r.mu.Lock(); r.results = append(r.results, result); r.mu.Unlock() },
	}
	r.feed.Subscribe(r.Service)
	must(t, r.feed.Start(context.Background()))
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// person is a caller who logged in, and what they may do.
func (d *deployment) person(user ident.UserID, org ident.OrgID, may scope.Set) ident.Caller {
	d.owner.set(user, org, may)
	return ident.Caller{Kind: ident.Person, Org: org, User: user, Session: "sess_1", Permissions: may, Origin: origin}
}

// make makes a key that must succeed.
func (r *replica) make(t testing.TB, caller ident.Caller, permissions ...string) (apikeys.Key, string) {
	t.Helper()
	k, plain, err := r.Create(context.Background(), caller, apikeys.New{Name: "prod-agent", Permissions: permissions})
	must(t, err)
	return k, plain.Reveal()
}

// as is the caller that a credential makes.
func (r *replica) as(t testing.TB, credential string) ident.Caller {
	t.Helper()
	c, err := r.Verify(context.Background(), credential, origin)
	must(t, err)
	return c
}

// named returns the committed events of that name.
func (r *replica) named(name audit.Name) []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e audit.Event) bool { return e.Name != name })
}

func (r *replica) lastResult() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.results) == 0 {
		return ""
	}
	return r.results[len(r.results)-1]
}
