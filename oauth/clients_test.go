package oauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

// registry is one process's registry of clients, on a real database, which
// follows what others change when it is told to.
type registry struct {
	*oauth.Clients
	feed  *changes.Feed
	asked atomic.Int64 // statements and commits so far

	mu        sync.Mutex
	events    []audit.Event
	announced []changes.Change
}

func openRegistry(t *testing.T, o opener, c *clock) *registry {
	t.Helper()
	r := &registry{feed: &changes.Feed{Now: c.now}}
	db, err := o(gormstore.Options{OnCommit: r.committed, Random: rand.Reader, Hooks: gormstore.Hooks{Before: func(string) error {
		r.asked.Add(1)
		return nil
	}}})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	must(t, db.Migrate(t.Context()))
	keeper, err := sealing.NewLocal(bytes.Repeat([]byte{5}, 32))
	must(t, err)
	catalogue, err := accounts.NewCatalogue("agents:read", "agents:delete")
	must(t, err)
	r.Clients = &oauth.Clients{
		Store: db.Clients(), Sealer: keeper, Catalogue: catalogue, TokenTTL: 24 * time.Hour, Fresh: r.feed.Fresh, Now: c.now, Random: rand.Reader,
	}
	r.feed.Log = db.Changes()
	r.feed.Subscribe(r.Clients)
	must(t, r.feed.Start(t.Context()))
	return r
}

func (r *registry) committed(es []audit.Event, cs []changes.Change) {
	r.mu.Lock()
	r.events, r.announced = append(r.events, es...), append(r.announced, cs...)
	r.mu.Unlock()
	r.feed.Publish(cs...)
}

// told returns what was recorded and announced since it was asked last, by name.
func (r *registry) told() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		out = append(out, string(e.Name))
	}
	for _, c := range r.announced {
		out = append(out, "-> "+string(c.Kind))
	}
	r.events, r.announced = nil, nil
	return out
}

// cost is how many statements and commits do takes.
func (r *registry) cost(do func()) int64 {
	before := r.asked.Load()
	do()
	return r.asked.Load() - before
}

// manager is a person who may manage clients, and ps.
func manager(org ident.OrgID, ps ...scope.Permission) ident.Caller {
	return ident.Caller{Kind: ident.Person, Org: org, User: "user_a", Permissions: scope.Of(append(ps, oauth.PermClientsRead, oauth.PermClientsManage)...)}
}

func service(scopes ...string) oauth.Registration {
	return oauth.Registration{Name: "worker", Grants: []string{oauth.GrantClientCredentials}, Scopes: scopes}
}

func to[T any](v T) *T { return &v }

// Nobody makes a client that may do more than its maker; what was refused is
// recorded, and nothing is kept.
func TestAClientMayDoNoMoreThanItsMaker(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		r := openRegistry(t, o, newClock())
		reader, all := manager("org_a", "agents:read"), manager("org_a", "agents:read", "agents:delete")
		if _, _, err := r.Create(t.Context(), ident.Caller{Kind: ident.Person, Org: "org_a"}, service("agents:read")); !errors.Is(err, fault.InsufficientPermissions) {
			t.Errorf("without clients:manage: %v", err)
		}
		_, _, err := r.Create(t.Context(), reader, service("agents:read", "agents:delete"))
		if !errors.Is(err, fault.InsufficientPermissions) || !slices.Equal(fault.Of(err).Required, []string{"agents:delete"}) {
			t.Errorf("%v", err)
		}
		if got := r.told(); !slices.Equal(got, []string{"permission.denied"}) {
			t.Errorf("told %v", got)
		}
		if found, err := r.List(t.Context(), all, ident.Page{Limit: 10}); err != nil || len(found) != 0 {
			t.Errorf("%v, %v", found, err)
		}
		mine, _, err := r.Create(t.Context(), reader, service("agents:read"))
		must(t, err)
		theirs, _, err := r.Create(t.Context(), all, service("agents:delete"))
		must(t, err)
		r.told()

		for name, change := range map[string]oauth.ClientChange{
			"to ask for more":         {Scopes: to([]string{"agents:delete"})},
			"to ask for more as well": {Scopes: to([]string{"agents:read", "agents:delete"})},
		} {
			if _, err := r.Update(t.Context(), reader, mine.ID, change); !errors.Is(err, fault.InsufficientPermissions) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Whoever says where a client is, or holds its secret, can act as it.
		for name, do := range map[string]func() error{
			"its addresses": func() error {
				_, err := r.Update(t.Context(), reader, theirs.ID, oauth.ClientChange{RedirectURIs: to([]string{"https://evil.example/cb"})})
				return err
			},
			"even to take away": func() error {
				_, err := r.Update(t.Context(), reader, theirs.ID, oauth.ClientChange{Scopes: to([]string{"agents:read"})})
				return err
			},
			"its secret": func() error { _, _, err := r.RotateSecret(t.Context(), reader, theirs.ID, 0); return err },
		} {
			if err := do(); !errors.Is(err, fault.InsufficientPermissions) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := r.told(); len(got) != 5 || slices.ContainsFunc(got, func(s string) bool { return s != "permission.denied" }) {
			t.Errorf("told %v", got)
		}
		if got, err := r.Update(t.Context(), reader, theirs.ID, oauth.ClientChange{Name: to("renamed"), Status: to(oauth.ClientDisabled)}); err != nil || got.Name != "renamed" || got.Active() {
			t.Errorf("name and status: %+v, %v", got, err)
		}
	})
}

// SEC-OAU-25, SEC-OAU-60: a change leaves what it does not name, and a client
// that may do less than before loses the access tokens it has.
func TestChangingAClient(t *testing.T) {
	c := newClock()
	r := openRegistry(t, backends["SQLite"](t), c)
	all := manager("org_a", "agents:read", "agents:delete")
	made, _, err := r.Create(t.Context(), all, oauth.Registration{
		Name: " shop ", Grants: []string{oauth.GrantAuthorizationCode, oauth.GrantClientCredentials}, RedirectURIs: []string{"https://a.example/cb", "https://a.example/cb"},
		AuthMethod: oauth.AuthPrivateKeyJWT, JWKSURI: "https://a.example/keys", Scopes: []string{"openid", "agents:read", "agents:delete"}, Logout: oauth.ClientLogout{BackchannelURI: "https://a.example/logout"},
	})
	must(t, err)
	if made.Name != "shop" || len(made.RedirectURIs) != 1 || made.CreatedBy != "user_a" || !made.CreatedAt.Equal(c.now()) || len(made.Secrets) != 0 {
		t.Errorf("%+v", made)
	}
	r.told()
	want := made
	for _, step := range []struct {
		change oauth.ClientChange
		apply  func(*oauth.Registered)
		told   []string
	}{
		{oauth.ClientChange{}, func(*oauth.Registered) {}, nil},
		{oauth.ClientChange{Name: to("shop")}, func(*oauth.Registered) {}, nil},
		{oauth.ClientChange{Name: to("kiosk")}, func(w *oauth.Registered) { w.Name = "kiosk" }, []string{"client.updated", "-> client"}},
		{oauth.ClientChange{RedirectURIs: to([]string{"https://b.example/cb"})}, func(w *oauth.Registered) { w.RedirectURIs = []string{"https://b.example/cb"} }, []string{"client.updated", "-> client"}},
		{oauth.ClientChange{JWKSURI: to("https://b.example/keys")}, func(w *oauth.Registered) { w.JWKSURI = "https://b.example/keys" }, []string{"client.updated", "-> client"}},
		{oauth.ClientChange{Scopes: to([]string{"agents:read"})}, func(w *oauth.Registered) { w.Scopes = []string{"agents:read"} }, []string{"client.updated", "-> subject.cutoff", "-> client"}},
		{oauth.ClientChange{Scopes: to([]string{"agents:read", "openid"})}, func(w *oauth.Registered) { w.Scopes = []string{"agents:read", "openid"} }, []string{"client.updated", "-> client"}},
		{oauth.ClientChange{Status: to(oauth.ClientDisabled)}, func(w *oauth.Registered) { w.Status = oauth.ClientDisabled }, []string{"client.updated", "-> subject.cutoff", "-> client"}},
		{oauth.ClientChange{Status: to(oauth.ClientActive)}, func(w *oauth.Registered) { w.Status = oauth.ClientActive }, []string{"client.updated", "-> client"}},
	} {
		step.apply(&want)
		got, err := r.Update(t.Context(), all, made.ID, step.change)
		must(t, err)
		stored, err := r.Get(t.Context(), all, made.ID)
		must(t, err)
		if !same(got, want) || !same(stored, want) {
			t.Errorf("after %+v:\n got %+v\n and %+v\nwant %+v", step.change, got, stored, want)
		}
		if told := r.told(); !slices.Equal(told, step.told) {
			t.Errorf("after %+v: told %v, want %v", step.change, told, step.told)
		}
	}
	for name, change := range map[string]oauth.ClientChange{
		"no grant": {Grants: to([]string{})}, "no address": {RedirectURIs: to([]string{})}, "no key": {JWKSURI: to("")}, "a status": {Status: to(oauth.ClientStatus("gone"))},
		"a name": {Name: to("a\u202eb")}, "a fragment": {RedirectURIs: to([]string{"https://b.example/cb#"})},
	} {
		if _, err := r.Update(t.Context(), all, made.ID, change); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if told := r.told(); len(told) != 0 {
		t.Errorf("refused changes told %v", told)
	}
	must(t, r.Delete(t.Context(), all, made.ID))
	if told := r.told(); !slices.Equal(told, []string{"client.deleted", "-> subject.cutoff", "-> client"}) {
		t.Errorf("told %v", told)
	}
	if err := r.Delete(t.Context(), all, made.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("deleted again: %v", err)
	}
}

func same(a, b oauth.Registered) bool {
	return a.Name == b.Name && a.Status == b.Status && slices.Equal(a.Scopes, b.Scopes) && slices.Equal(a.Grants, b.Grants) && slices.Equal(a.RedirectURIs, b.RedirectURIs) &&
		a.JWKSURI == b.JWKSURI && a.Logout.BackchannelURI == b.Logout.BackchannelURI && a.AuthMethod == b.AuthMethod && a.Org == b.Org && a.CreatedBy == b.CreatedBy
}

// What one process changes, every other knows as soon as it hears; until then
// and afterwards no database is asked about what is known.
func TestEveryReplicaKnowsTheSameClients(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		c := newClock()
		here, there := openRegistry(t, o, c), openRegistry(t, o, c)
		all := manager("org_a", "agents:read")
		made, _, err := here.Create(t.Context(), all, service("agents:read"))
		must(t, err)
		look := func(want error) (got oauth.Registered) {
			t.Helper()
			must(t, there.feed.Poll(t.Context()))
			for range 2 {
				var err error
				if got, err = there.Lookup(t.Context(), made.ID); !errors.Is(err, want) {
					t.Fatalf("%+v, %v; want %v", got, err, want)
				}
			}
			if n := there.cost(func() { _, _ = there.Lookup(t.Context(), made.ID) }); n != 0 {
				t.Errorf("what is known took %d statements", n)
			}
			return got
		}
		if got := look(nil); got.Name != "worker" || got.Org != "org_a" || len(got.Secrets) != 1 {
			t.Errorf("%+v", got)
		}
		_, err = here.Update(t.Context(), all, made.ID, oauth.ClientChange{Status: to(oauth.ClientDisabled)})
		must(t, err)
		if look(nil).Active() {
			t.Error("a disabled client is taken for an active one")
		}
		must(t, here.Delete(t.Context(), all, made.ID))
		look(fault.NotFound)

		// An id that nobody has, looked for before it is given out.
		made.Name = "reborn"
		must(t, here.Store.InClientTx(t.Context(), func(tx oauth.ClientTx) error {
			return errors.Join(tx.InsertClient(made), tx.Announce(changes.Change{Kind: changes.Client, Key: string(made.ID), At: c.now()}))
		}))
		if look(nil).Name != "reborn" {
			t.Error("an id that had no client still has none")
		}

		// A silent feed is not believed.
		c.advance(time.Minute)
		if n := there.cost(func() { _, _ = there.Lookup(t.Context(), made.ID) }); n == 0 {
			t.Error("the cache was believed while the feed was silent")
		}
	})
}

// SEC-OAU-61: what is no id of ours costs no statement.
func TestMadeUpClientIDs(t *testing.T) {
	r := openRegistry(t, backends["SQLite"](t), newClock())
	for _, id := range []string{"", "cli_api", "cli_session", "cli_", "user_00000000000000000000000000", "cli_0000000000000000000000000'", "cli_ 🙂", "a:b\x00", "cli_" + strings.Repeat("0", 1<<20)} {
		n := r.cost(func() {
			if _, err := r.Lookup(t.Context(), ident.ClientID(id)); !errors.Is(err, fault.NotFound) {
				t.Errorf("%.40q: %v", id, err)
			}
		})
		if n != 0 {
			t.Errorf("%.40q took %d statements", id, n)
		}
	}
}

// Of rotations that happen together one wins; nobody is told a secret that does
// not count.
func TestRotationsTogether(t *testing.T) {
	onBoth(t, func(t *testing.T, o opener) {
		c := newClock()
		here, there := openRegistry(t, o, c), openRegistry(t, o, c)
		all := manager("org_a", "agents:read")
		made, first, err := here.Create(t.Context(), all, service("agents:read"))
		must(t, err)
		given := make([]string, 8)
		var wg sync.WaitGroup
		for i := range 8 {
			r := []*registry{here, there}[i%2]
			wg.Go(func() {
				_, plain, err := r.RotateSecret(context.Background(), all, made.ID, time.Hour)
				given[i] = plain.Reveal()
				if err != nil && !errors.Is(err, fault.Conflict) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		got, err := here.Get(t.Context(), all, made.ID)
		must(t, err)
		won, count := 0, 0
		for _, plain := range given {
			if plain != "" {
				won++
			}
			if got.SecretMatches(plain, c.now()) {
				count++
			}
		}
		if won < 1 || count != min(won, 2) || len(got.Secrets) != 2 {
			t.Errorf("%d rotations won, %d of their secrets count, and %d are kept", won, count, len(got.Secrets))
		}
		if won == 1 && (!got.SecretMatches(first.Reveal(), c.now()) || got.SecretMatches(first.Reveal(), c.now().Add(time.Hour))) {
			t.Error("the first secret does not count exactly until its grace ends")
		}
	})
}

// SEC-OAU-66: of a secret the digest is kept, and itself only sealed, for the
// client it belongs to.
func TestWhatIsKeptOfASecret(t *testing.T) {
	r := openRegistry(t, backends["SQLite"](t), newClock())
	all := manager("org_a", "agents:read")
	for _, method := range []oauth.AuthMethod{oauth.AuthSecretBasic, oauth.AuthSecretPost, oauth.AuthSecretJWT} {
		n := service("agents:read")
		n.AuthMethod = method
		made, plain, err := r.Create(t.Context(), all, n)
		must(t, err)
		kept := made.Secrets[0]
		if len(kept.Digest) != 32 || bytes.Contains(kept.Digest, []byte(plain.Reveal())) || bytes.Contains(kept.Sealed, []byte(plain.Reveal())) {
			t.Errorf("%s: %+v", method, kept)
		}
		if (kept.Sealed != nil) != (method == oauth.AuthSecretJWT) {
			t.Errorf("%s: sealed %x", method, kept.Sealed)
		}
		if method != oauth.AuthSecretJWT {
			continue
		}
		if got, err := r.OpenSecret(made.ID, kept); err != nil || string(got) != plain.Reveal() {
			t.Errorf("opened: %v", err)
		}
		if _, err := r.OpenSecret("cli_other", kept); !errors.Is(err, sealing.ErrDamaged) {
			t.Errorf("opened as another client's: %v", err)
		}
	}
}

// Another organisation's client does not exist, and asking for it is recorded
// in the organisation of whoever asked.
func TestClientsOfAnotherOrganisation(t *testing.T) {
	r := openRegistry(t, backends["SQLite"](t), newClock())
	made, _, err := r.Create(t.Context(), manager("org_a", "agents:read"), service("agents:read"))
	must(t, err)
	r.told()
	stranger := manager("org_b", "agents:read")
	for name, do := range map[string]func() error{
		"get": func() error { _, err := r.Get(t.Context(), stranger, made.ID); return err },
		"update": func() error {
			_, err := r.Update(t.Context(), stranger, made.ID, oauth.ClientChange{Name: to("x")})
			return err
		},
		"rotate": func() error { _, _, err := r.RotateSecret(t.Context(), stranger, made.ID, 0); return err },
		"delete": func() error { return r.Delete(t.Context(), stranger, made.ID) },
	} {
		if err := do(); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
		r.mu.Lock()
		for _, e := range r.events {
			if e.Org != "org_b" || e.Outcome != audit.Denied {
				t.Errorf("%s: recorded %+v", name, e)
			}
		}
		r.mu.Unlock()
		if told := r.told(); !slices.Equal(told, []string{"tenant.cross_org_denied"}) {
			t.Errorf("%s: told %v", name, told)
		}
	}
	if found, err := r.List(t.Context(), stranger, ident.Page{Limit: 10}); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}
