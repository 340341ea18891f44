// Package housetest runs a whole token server for tests: one replica or
// several, over real HTTP on loopback, on SQLite or a real PostgreSQL, with a
// clock that the test moves.
//
//	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
//		s := h.Client().Login(h.Admin.Email, h.Admin.Password)
//		h.Advance(2 * time.Hour)
//		h.Client().As(s.Access).Get("/api/v1/me").Problem(401, "INVALID_TOKEN")
//	})
package housetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server"
)

// Options say what to start. The zero Options start one replica on SQLite.
type Options struct {
	Postgres bool
	Replicas int    // 1 where zero; they share the database and the clock
	Clock    *Clock // one that shows Epoch where nil
	// Config changes the configuration before anything is opened.
	Config func(*house.Config)
	// Env changes what the replica of that number gets from outside: its hooks
	// or its clock.
	Env func(replica int, env *house.Env)
	// New starts from an empty database, not from a copy of one after the first
	// start: what this server's own first start did is looked at.
	New bool
	// Still does nothing in the background: what is not asked for does not happen.
	Still bool
	// HTTP changes the limits of the public listener.
	HTTP func(*http.Server)
}

// Epoch is what a harness's clock shows at first.
func Epoch() time.Time { return time.Date(2027, time.March, 1, 9, 0, 0, 0, time.UTC) }

// Person is somebody who can log in.
type Person struct {
	ID              ident.UserID
	Org             ident.OrgID
	Email, Password string
}

// Harness is a running token server.
type Harness struct {
	Clock    *Clock
	Replicas []*Replica
	Admin    Person // the owner of the first organisation
	Config   house.Config

	t    testing.TB
	opts Options
	logs logBuffer
}

// Replica is one server of a harness.
type Replica struct {
	House *house.House
	URL   string // where the public routes answer
	Ops   string // where /metrics, /healthz and /readyz answer

	public, ops *http.Server
	stop        context.CancelFunc
	ended       chan struct{}
	once        sync.Once
}

// logBuffer collects the logs of all replicas.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// Logs is everything that was logged so far.
func (h *Harness) Logs() string {
	h.logs.mu.Lock()
	defer h.logs.mu.Unlock()
	return h.logs.b.String()
}

// adminPassword is the first administrator's, unless Options.Config chooses another.
const adminPassword = "four words nobody guesses"

// Start starts a server, which ends with the test.
func Start(t testing.TB, o Options) *Harness {
	t.Helper()
	h := &Harness{t: t, opts: o, Clock: o.Clock}
	if h.Clock == nil {
		h.Clock = NewClock(Epoch())
	}
	at := placeFor(t, o)

	var listeners []net.Listener
	for range max(o.Replicas, 1) {
		listeners = append(listeners, h.listen())
	}
	at.Issuer = "http://" + listeners[0].Addr().String()
	if o.Config != nil {
		o.Config(&at.Config)
	}
	at.begin(t, h.Clock.Now())
	h.Config = at.Config
	for i, l := range listeners {
		h.open(i, l)
	}
	h.findAdmin()
	t.Logf("backend: %s, %d replica(s)", h.Replicas[0].House.Backend(), len(h.Replicas))
	return h
}

// Both runs a test on SQLite and on a real PostgreSQL.
func Both(t *testing.T, o Options, test func(t *testing.T, h *Harness)) {
	for _, postgres := range []bool{false, true} {
		o := o
		o.Postgres = postgres
		name := map[bool]string{false: "sqlite", true: "postgres"}[postgres]
		t.Run(name, func(t *testing.T) { test(t, Start(t, o)) })
	}
}

func (h *Harness) listen() net.Listener {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// AddReplica starts one more and returns its number.
func (h *Harness) AddReplica() int {
	h.t.Helper()
	h.open(len(h.Replicas), h.listen())
	return len(h.Replicas) - 1
}

func (h *Harness) open(n int, l net.Listener) {
	h.t.Helper()
	env := house.Env{
		Now: h.Clock.Now, Random: rand.Reader, Serving: true,
		Logger: slog.New(slog.NewJSONHandler(&h.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if h.opts.Env != nil {
		h.opts.Env(n, &env)
	}
	ctx, cancel := context.WithCancel(context.Background())
	built, err := house.Open(ctx, h.Config, env)
	if err != nil {
		cancel()
		h.t.Fatalf("open the house: %v", err)
	}
	if _, err := built.FirstRun(ctx); err != nil {
		cancel()
		h.t.Fatalf("first run: %v", errors.Join(err, built.Close()))
	}
	ops := h.listen()
	r := &Replica{
		House: built, URL: "http://" + l.Addr().String(), Ops: "http://" + ops.Addr().String(),
		public: server.HTTPServer(built.Handler, env.Logger), ops: server.HTTPServer(built.Ops, env.Logger),
		stop: cancel, ended: make(chan struct{}),
	}
	if h.opts.HTTP != nil {
		h.opts.HTTP(r.public)
	}
	running := make(chan struct{})
	go func() {
		defer close(r.ended)
		close(running)
		if !h.opts.Still {
			built.Run(ctx)
		}
	}()
	<-running
	go func() { _ = r.public.Serve(l) }()
	go func() { _ = r.ops.Serve(ops) }()
	h.Replicas = append(h.Replicas, r)
	h.t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			h.t.Errorf("stop replica %d: %v", n, err)
		}
	})
}

// stopTimeout bounds the end of a replica.
const stopTimeout = 10 * time.Second

// Stop ends the replica as SIGTERM would. It may be called twice.
func (r *Replica) Stop() (err error) {
	r.once.Do(func() {
		r.House.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		err = r.public.Shutdown(ctx)
		r.stop()
		<-r.ended
		err = errors.Join(err, r.House.Close(), r.ops.Close())
	})
	return err
}

func (h *Harness) findAdmin() {
	h.t.Helper()
	people := h.Replicas[0].House.People
	u, err := people.UserByEmail(context.Background(), h.Operator(""), h.Config.Admin.Email)
	if err != nil {
		h.t.Fatalf("find the administrator: %v", err)
	}
	org, err := h.Replicas[0].House.Directory.Home(context.Background(), u.ID)
	if err != nil {
		h.t.Fatalf("find the administrator's organisation: %v", err)
	}
	h.Admin = Person{ID: u.ID, Org: org, Email: h.Config.Admin.Email, Password: h.Config.Admin.Password.Reveal()}
}

// House is the first replica's.
func (h *Harness) House() *house.House { return h.Replicas[0].House }

// Operator is the command line acting in an organisation.
func (h *Harness) Operator(org ident.OrgID) ident.Caller { return h.House().Operator(org) }

// Client speaks to the first replica.
func (h *Harness) Client() *Client { return h.At(0) }

// At speaks to the replica of that number.
func (h *Harness) At(replica int) *Client { return newClient(h.t, h.Replicas[replica].URL) }

// OpsClient speaks to the operations listener of the first replica.
func (h *Harness) OpsClient() *Client { return h.OpsAt(0) }

// OpsAt speaks to the operations listener of the replica of that number.
func (h *Harness) OpsAt(replica int) *Client { return newClient(h.t, h.Replicas[replica].Ops) }

// Advance moves the clock and lets every replica hear of what happened.
func (h *Harness) Advance(d time.Duration) {
	h.t.Helper()
	h.Clock.Advance(d)
	h.Follow()
}

// Follow returns when every replica has heard of every change so far.
func (h *Harness) Follow() {
	h.t.Helper()
	for i, r := range h.Replicas {
		if err := r.House.Feed.Poll(context.Background()); err != nil {
			h.t.Fatalf("replica %d cannot follow: %v", i, err)
		}
		r.House.Ring.Settle() // keys are loaded in the background
	}
}

// Org makes an organisation.
func (h *Harness) Org(slug string) ident.OrgID {
	h.t.Helper()
	o, err := h.House().People.CreateOrg(context.Background(), h.Operator(""), "Organisation "+slug, slug)
	if err != nil {
		h.t.Fatalf("make the organisation %s: %v", slug, err)
	}
	return o.ID
}

// Person makes a member of an organisation with that role.
func (h *Harness) Person(org ident.OrgID, name, role string) Person {
	h.t.Helper()
	p := Person{Org: org, Email: name + "@example.com", Password: "a long enough sentence for one"}
	m, err := h.House().People.CreateUser(context.Background(), h.Operator(org), accounts.NewUser{
		Email: p.Email, Name: fmt.Sprintf("Person %d", len(name)), Role: role, Password: secret.Of(p.Password),
	})
	if err != nil {
		h.t.Fatalf("make the user %s: %v", p.Email, err)
	}
	p.ID = m.ID
	return p
}

// Login logs somebody in at the first replica, in the dialect of /api/v1/auth/login.
func (h *Harness) Login(p Person) Session {
	h.t.Helper()
	return h.Client().Login(p.Email, p.Password)
}
