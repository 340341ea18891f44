package webhooks_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// attemptTime is how long a receiver may take in these tests.
const attemptTime = 300 * time.Millisecond

// patience bounds what should take no time.
const patience = 30 * time.Second

// world is a deployment with a real database, and receivers on this machine.
type world struct {
	*webhooks.Service
	t       *testing.T
	at      atomic.Int64
	url     string // of the database
	db      *gormstore.DB
	keeper  sealing.Keeper
	deliver *webhooks.Deliverer
	org     ident.OrgID
	failing atomic.Bool // what is written next fails

	mu      sync.Mutex
	results map[webhooks.Result]int
}

// onBoth runs a test on a fresh database of each dialect.
func onBoth(t *testing.T, run func(*testing.T, *world)) {
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); run(t, newWorld(t, "")) })
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); run(t, newWorld(t, migrated.Postgres(t))) })
}

func newWorld(t *testing.T, url string) *world {
	w := &world{t: t, url: url, results: map[webhooks.Result]int{}}
	if w.url == "" {
		w.url = migrated.SQLite(t)
	}
	w.at.Store(time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC).UnixMicro())
	var err error
	w.keeper, err = sealing.NewLocal([]byte("the master key of these tests, long enough"))
	w.must(err)
	w.db = w.open(t, url != "")
	w.must(w.db.Migrate(t.Context()))
	client := &outbound.Client{Networks: outbound.Loopback(), Timeout: attemptTime}
	w.Service = &webhooks.Service{Store: w.db.Webhooks(), Sealer: w.keeper, Targets: client, Now: w.now, Random: rand.Reader}
	w.deliver = w.deliverer(w.db)
	w.org = w.organisation("acme")
	return w
}

func (w *world) open(t *testing.T, postgres bool) (db *gormstore.DB) {
	opts := gormstore.Options{Random: rand.Reader, MaxConns: 8, OnCommit: func([]audit.Event, []changes.Change) {}}
	opts.Hooks.Before = func(statement string) error {
		if w.failing.Load() && statement != "query" && statement != "row" {
			return fmt.Errorf("injected into %s", statement)
		}
		return nil
	}
	var err error
	if postgres {
		db, err = gormstore.OpenPostgres(context.Background(), w.url, opts)
	} else {
		db, err = gormstore.OpenSQLite(w.url, opts)
	}
	w.must(err)
	t.Cleanup(func() { w.must(db.Close()) })
	return db
}

// deliverer is a replica's.
func (w *world) deliverer(db *gormstore.DB) *webhooks.Deliverer {
	return &webhooks.Deliverer{
		Queue: db.WebhookQueue(), Chain: db.Chain(), Sealer: w.keeper, Asker: &outbound.Client{Networks: outbound.Loopback(), Timeout: attemptTime}, Now: w.now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Observe: func(r webhooks.Result) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.results[r]++
		},
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) now() time.Time           { return time.UnixMicro(w.at.Load()).UTC() }
func (w *world) advance(by time.Duration) { w.at.Add(by.Microseconds()) }

func (w *world) organisation(slug string) ident.OrgID {
	o := accounts.Org{ID: ident.NewOrgID(w.now(), rand.Reader), Name: slug, Slug: slug, Status: accounts.Active, CreatedAt: w.now()}
	w.must(w.db.Accounts().InTx(w.t.Context(), func(tx accounts.Tx) error { _, err := tx.InsertOrg(o); return err }))
	return o.ID
}

// admin may do everything with the webhooks of an organisation.
func admin(org ident.OrgID) ident.Caller {
	return ident.Caller{Kind: ident.Person, Org: org, User: "user_admin", Permissions: scope.Of(webhooks.PermRead, webhooks.PermWrite, webhooks.PermAudit)}
}

// happen records events in one organisation and returns their identifiers.
func (w *world) happen(org ident.OrgID, names ...audit.Name) []string {
	w.t.Helper()
	events, out := make([]audit.Event, len(names)), make([]string, len(names))
	for i, n := range names {
		events[i] = audit.Event{ID: ident.NewEventID(w.now(), rand.Reader), Time: w.now(), Name: n, Outcome: audit.Success, Org: org, Actor: audit.Actor{Type: "system"}}
		out[i] = string(events[i].ID)
	}
	w.must(w.db.Recorder().RecordAll(w.t.Context(), events...))
	w.seal()
	return out
}

// seal gives what happened its places in the chain.
func (w *world) seal() {
	w.t.Helper()
	_, err := w.db.Chain().Seal(w.t.Context())
	w.must(err)
}

// turns delivers all that is due now.
func (w *world) turns() time.Time {
	w.t.Helper()
	w.seal()
	next, err := w.deliver.Deliver(w.t.Context())
	w.must(err)
	return next
}

// hook makes an endpoint of the receiver's.
func (w *world) hook(r *receiver, org ident.OrgID, patterns ...string) webhooks.Overview {
	w.t.Helper()
	w.seal()
	o, secret, err := w.Create(w.t.Context(), admin(org), webhooks.New{URL: r.url, Patterns: patterns})
	w.must(err)
	r.knows(w.t, secret.Reveal())
	return o
}

func (w *world) look(o webhooks.Overview) webhooks.Overview {
	w.t.Helper()
	got, err := w.Get(w.t.Context(), admin(o.Org), o.ID)
	w.must(err)
	return got
}

// recorded lists the events of that name, oldest first.
func (w *world) recorded(name audit.Name) (out []audit.Event) {
	w.t.Helper()
	all, err := w.db.Audit().Export(w.t.Context(), 0, 100_000)
	w.must(err)
	return slices.DeleteFunc(all, func(e audit.Event) bool { return e.Name != name })
}

func (w *world) count(r webhooks.Result) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.results[r]
}

// told is one message as it was taken.
type told struct {
	id    string
	name  audit.Name
	line  audit.Line
	stamp string
}

// receiver verifies as the standard's own library does. It answers 204 until
// another status is chosen; 0 breaks the connection.
type receiver struct {
	url        string
	status     atomic.Int64
	retryAfter atomic.Pointer[string]
	during     atomic.Pointer[func(id string)] // where set, runs before each answer
	inside     atomic.Int64
	most       atomic.Int64  // at once
	conns      atomic.Int64  // connections that were opened
	changed    chan struct{} // holds one after something was answered

	mu     sync.Mutex
	wh     []*standardwebhooks.Webhook
	asked  []told // in the order of the attempts
	taken  []told // which were answered 2xx
	broken []string
}

func receives(t *testing.T) *receiver {
	r := &receiver{changed: make(chan struct{}, 1)}
	r.status.Store(http.StatusNoContent)
	site := httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	site.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			r.conns.Add(1)
		}
	}
	site.Start()
	t.Cleanup(func() {
		site.Close()
		for _, b := range r.broken {
			t.Error(b)
		}
	})
	r.url = site.URL + "/hook"
	return r
}

// knows is the secrets of the receiver from now on.
func (r *receiver) knows(t *testing.T, secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wh = nil
	for _, s := range secrets {
		wh, err := standardwebhooks.NewWebhook(s)
		if err != nil {
			t.Fatal(err)
		}
		r.wh = append(r.wh, wh)
	}
}

func (r *receiver) serve(w http.ResponseWriter, q *http.Request) {
	for n := r.inside.Add(1); n > r.most.Load(); {
		r.most.Store(n)
	}
	defer func() {
		r.inside.Add(-1)
		select {
		case r.changed <- struct{}{}:
		default: // somebody is about to look
		}
	}()
	body, err := io.ReadAll(q.Body)
	m := struct {
		Type audit.Name `json:"type"`
		Data audit.Line `json:"data"`
	}{}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	r.mu.Lock()
	for _, wh := range r.wh {
		if e := wh.VerifyIgnoringTimestamp(body, q.Header); e != nil {
			err = e
		}
	}
	got := told{id: q.Header.Get("webhook-id"), name: m.Type, line: m.Data, stamp: q.Header.Get("webhook-timestamp")}
	if err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" || got.id != string(m.Data.ID) || m.Type != m.Data.Event {
		r.broken = append(r.broken, fmt.Sprintf("sent %s %v %s: %v", q.Method, q.Header, body, err))
	}
	r.asked = append(r.asked, got)
	r.mu.Unlock()
	if during := r.during.Load(); during != nil {
		(*during)(got.id)
	}
	s := int(r.status.Load())
	if s == 0 {
		panic(http.ErrAbortHandler)
	}
	if after := r.retryAfter.Load(); after != nil {
		w.Header().Set("Retry-After", *after)
	}
	if s >= 200 && s < 300 {
		r.mu.Lock()
		r.taken = append(r.taken, got)
		r.mu.Unlock()
	}
	w.WriteHeader(s)
}

// until returns when holds does, which depends on what was answered.
func (r *receiver) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.After(patience); !holds(); {
		select {
		case <-r.changed:
		case <-late:
			t.Fatal("not so: " + what)
		}
	}
}

// ids is what was taken so far, in order.
func (r *receiver) ids() []string { return idsOf(r, &r.taken) }

// attempts is what was sent so far, in order.
func (r *receiver) attempts() []string { return idsOf(r, &r.asked) }

func idsOf(r *receiver, of *[]told) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, m := range *of {
		out = append(out, m.id)
	}
	return out
}

// forget begins anew.
func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.taken = nil, nil
}
