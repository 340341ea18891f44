package oauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// clock is a clock that moves only when told.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(d.Microseconds()) }

// world is one process of a deployment: real parts on a real database.
type world struct {
	*oauth.Provider
	t      *testing.T
	clock  *clock
	db     *gormstore.DB
	people *accounts.People
	hashes atomic.Int64 // computed so far
	asked  atomic.Int64 // statements and commits so far
	trail  []string     // what they were
	plan   faulty.Plan

	authorizer *oauth.Authorizer
	registry   *oauth.Clients
	objects    published // request objects that clients publish
	warm       bool      // the authorizer's directory believes what it remembers

	mu      sync.Mutex
	events  []audit.Event
	commits int
	issued  []string
}

// backends are where every test runs that says so.
var backends = map[string]func(t *testing.T) opener{
	"SQLite": func(t *testing.T) opener {
		path := migrated.SQLite(t)
		return func(o gormstore.Options) (*gormstore.DB, error) { return gormstore.OpenSQLite(path, o) }
	},
	"PostgreSQL": func(t *testing.T) opener {
		url := migrated.Postgres(t)
		return func(o gormstore.Options) (*gormstore.DB, error) {
			return gormstore.OpenPostgres(context.Background(), url, o)
		}
	},
}

type opener func(gormstore.Options) (*gormstore.DB, error)

func onBoth(t *testing.T, test func(*testing.T, opener)) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) { test(t, backend(t)) })
	}
}

// open starts a process of the deployment that keeps everything where o opens.
func open(t *testing.T, o opener, c *clock) *world {
	t.Helper()
	w := &world{t: t, clock: c}
	db, err := o(gormstore.Options{OnCommit: w.committed, Random: rand.Reader, Hooks: gormstore.Hooks{Before: w.before}})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	must(t, db.Migrate(t.Context()))
	w.db = db

	keeper, err := sealing.NewLocal(bytes.Repeat([]byte{5}, 32))
	must(t, err)
	secrets := &sealing.Secrets{Store: db.SealedSecrets(), Keeper: keeper, Now: c.now, Random: rand.Reader}
	must(t, secrets.Load(t.Context()))
	ring := &signing.Ring{Store: db.SigningKeys(), Keeper: keeper, Now: c.now, Random: rand.Reader}
	must(t, ring.Load(t.Context()))
	catalogue, err := accounts.NewCatalogue("agents:read", "agents:delete")
	must(t, err)
	places := &tokens.PlaceBlocks{Store: db.StatusPlaces(), Now: c.now, Random: rand.Reader}
	t.Cleanup(func() { must(t, places.Close(context.Background())) })
	_, err = places.Next(t.Context(), tokens.LeaseHolder{}) // the first block is leased before anything is counted
	must(t, err)
	_, statusKey := secrets.Current(sealing.StatusIndex)
	hasher := &accounts.Hasher{Random: rand.Reader, Now: c.now, Queue: 1000, Inflight: func(d int) { w.hashes.Add(int64(max(d, 0))) }}
	w.Provider = &oauth.Provider{
		Store: db.Exchanges(),
		Logins: &accounts.Authenticator{
			Store: db.Logins(), Users: db.Accounts(), Hasher: hasher, Secrets: secrets, Now: c.now, Random: rand.Reader,
		},
		Sessions: &tokens.Service{
			Store: db.Sessions(), MACs: macs{secrets, sealing.RefreshMAC}, BrowserMACs: macs{secrets, sealing.BrowserSession},
			Places: places, StatusKey: statusKey, Now: c.now, Random: rand.Reader,
		},
		// Never believed: another process may have changed what is cached.
		Directory: accounts.NewDirectory(db.Accounts(), catalogue, 100, func() bool { return false }),
		Minter:    &tokens.Minter{Signer: ring, Issuer: issuer, Audience: issuer, Places: places, StatusKey: statusKey, Now: c.now, Random: rand.Reader},
		Now:       c.now, Random: rand.Reader,
		Observe: func(grant, kind string) { w.issued = append(w.issued, grant+" "+kind) },
	}
	subjects := &oauth.Subjects{Key: bytes.Repeat([]byte{6}, 32)}
	w.registry = &oauth.Clients{
		Store: db.Clients(), Sealer: keeper, Catalogue: catalogue, TokenTTL: 24 * time.Hour, Fresh: func() bool { return true }, Now: c.now, Random: rand.Reader,
	}
	w.Provider.Clients, w.Provider.Codes = w.registry, db.Authorizations()
	w.Provider.IDs = &oauth.IDTokens{Signer: ring, Subjects: subjects, Issuer: issuer}
	w.authorizer = &oauth.Authorizer{
		Clients: w.registry, Store: db.Authorizations(), Sealer: keeper, IDKeys: ring, Subjects: subjects, Issuer: issuer, Audience: issuer,
		Directory: accounts.NewDirectory(db.Accounts(), catalogue, 100, func() bool { return w.warm }),
		Keys:      &oauth.ClientAuthenticator{Clients: w.registry, Assertions: db.ClientAssertions(), Issuer: issuer, Now: c.now},
		Objects:   &w.objects, Now: c.now, Random: rand.Reader,
	}
	w.people = &accounts.People{
		Store: db.Accounts(), Recorder: db.Recorder(), Hasher: hasher, Prover: w.Logins, Catalogue: catalogue, Now: c.now, Random: rand.Reader,
	}
	return w
}

// issuer is where every world is.
const issuer = "https://id.example"

type macs struct {
	*sealing.Secrets
	purpose sealing.Purpose
}

func (m macs) Current() (uint8, []byte)            { return m.Secrets.Current(m.purpose) }
func (m macs) ByID(id uint8) (key []byte, ok bool) { return m.Secrets.ByID(m.purpose, id) }

func (w *world) before(statement string) error {
	w.asked.Add(1)
	w.mu.Lock()
	w.trail = append(w.trail, statement)
	w.mu.Unlock()
	return w.plan.Before(statement)
}

func (w *world) committed(es []audit.Event, _ []changes.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events, w.commits = append(w.events, es...), w.commits+1
}

// heard returns the events committed since it was asked last.
func (w *world) heard() []audit.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	es := w.events
	w.events = nil
	return es
}

// told returns them as "name reason".
func (w *world) told() []string {
	var out []string
	for _, e := range w.heard() {
		out = append(out, strings.TrimSpace(string(e.Name)+" "+e.Reason))
	}
	return out
}

const rightPassword = "correct horse battery staple"

// person registers somebody, with an organisation of their own.
func (w *world) person(email string) accounts.User {
	w.t.Helper()
	must(w.t, w.people.Register(w.t.Context(), accounts.Registration{Email: email, Password: secret.Of(rightPassword), Name: "Ada"}, ident.Origin{}))
	u, err := w.db.Accounts().UserByCanonical(w.t.Context(), accounts.Identifier(email))
	must(w.t, err)
	w.heard()
	return u
}

// caller is the user as a signed-in person of their own organisation.
func (w *world) caller(u accounts.User) ident.Caller {
	w.t.Helper()
	home, err := w.db.Accounts().Home(w.t.Context(), u.ID)
	must(w.t, err)
	s, err := w.Directory.Standing(w.t.Context(), u.ID, home)
	must(w.t, err)
	return ident.Caller{Kind: ident.Person, Org: home, User: u.ID, Email: u.Email, Permissions: s.Permissions}
}

var (
	sessionClient = oauth.SessionClient(24 * time.Hour)
	apiClient     = oauth.APIClient(time.Hour)
)

// attempt is one login from somewhere.
type attempt struct {
	email, password, ip, device string
}

func (w *world) login(c oauth.Client, a attempt) (oauth.Response, error) {
	ip := netip.MustParseAddr("198.51.100.7")
	if a.ip != "" {
		ip = netip.MustParseAddr(a.ip)
	}
	return w.Exchange(w.t.Context(), oauth.GrantPassword, c, oauth.Request{
		Params: oauth.Params{"username": a.email, "password": a.password},
		Origin: ident.Origin{IP: ip, UserAgent: "test", Request: "req_1"}, Device: a.device,
	})
}

func (w *world) refresh(token secret.Plain) (oauth.Response, error) {
	return w.Exchange(w.t.Context(), oauth.GrantRefreshToken, apiClient, oauth.Request{
		Params: oauth.Params{"refresh_token": token.Reveal()}, Origin: ident.Origin{IP: netip.MustParseAddr("198.51.100.7"), UserAgent: "test"},
	})
}

func claims(t *testing.T, token secret.Plain) (c tokens.Claims) {
	t.Helper()
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts in an access token", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	must(t, json.Unmarshal(b, &c))
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
