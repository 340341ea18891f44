package signing_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const master = "correct horse battery staple, and then some"

// commits are what a database told of its commits.
type commits struct {
	mu      sync.Mutex
	events  []audit.Event
	changes []changes.Change
}

func (c *commits) observe(es []audit.Event, cs []changes.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events, c.changes = append(c.events, es...), append(c.changes, cs...)
}

func openSQLite(t testing.TB, path string, c *commits) *gormstore.DB {
	t.Helper()
	db, err := gormstore.OpenSQLite(path, gormstore.Options{OnCommit: c.observe, Random: rand.Reader})
	return opened(t, db, err)
}

func opened(t testing.TB, db *gormstore.DB, err error) *gormstore.DB {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func ringOn(t testing.TB, store signing.Store, algorithms ...string) *signing.Ring {
	t.Helper()
	keeper, err := sealing.NewLocal([]byte(master))
	if err != nil {
		t.Fatal(err)
	}
	return &signing.Ring{Store: store, Keeper: keeper, Now: func() time.Time { return start }, Random: rand.Reader, Algorithms: algorithms}
}

func loaded(t testing.TB, r *signing.Ring) *signing.Ring {
	t.Helper()
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheFirstLoadMakesAKeyAndSaysSo(t *testing.T) {
	t.Parallel()
	var c commits
	path := migrated.SQLite(t)
	db := openSQLite(t, path, &c)
	r := loaded(t, ringOn(t, db.SigningKeys()))
	keys, err := r.Keys(t.Context())
	if err != nil || len(keys) != 1 || keys[0].State != signing.Active || keys[0].Algorithm != "ES256" || !keys[0].CreatedAt.Equal(start) {
		t.Fatalf("keys = %+v, %v; want one active ES256 key", keys, err)
	}
	if len(c.events) != 1 || c.events[0].Name != audit.SigningKeyAdded || c.events[0].Actor.Type != "system" || c.events[0].Targets[0].ID != keys[0].ID {
		t.Errorf("events = %+v", c.events)
	}
	if len(c.changes) != 1 || c.changes[0].Kind != changes.SigningKeys {
		t.Errorf("changes = %+v", c.changes)
	}
	sum, err := keys[0].Public.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil || keys[0].ID != base64.RawURLEncoding.EncodeToString(sum) {
		t.Errorf("kid %s is not the thumbprint %x", keys[0].ID, sum)
	}
	before := r.JWKS()
	again := loaded(t, ringOn(t, db.SigningKeys()))
	if got := again.JWKS(); got.ETag != before.ETag || !bytes.Equal(got.Body, before.Body) {
		t.Errorf("a second start serves another document:\n%s\n%s", before.Body, got.Body)
	}
}

func TestSignaturesVerifyAgainstTheJWKS(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "ES384", "RS256", "PS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			db := openSQLite(t, migrated.SQLite(t), &commits{})
			r := loaded(t, ringOn(t, db.SigningKeys(), alg))
			token, err := r.Sign(t.Context(), []byte(`{"sub":"user_1"}`), "at+jwt")
			if err != nil {
				t.Fatal(err)
			}
			jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			h := jws.Signatures[0].Protected
			if h.Algorithm != alg || h.ExtraHeaders["typ"] != "at+jwt" || len(h.ExtraHeaders) != 1 || h.JSONWebKey != nil {
				t.Errorf("header = %+v", h)
			}
			var set jose.JSONWebKeySet
			if err := json.Unmarshal(r.JWKS().Body, &set); err != nil {
				t.Fatal(err)
			}
			found := set.Key(h.KeyID)
			if len(found) != 1 || found[0].Use != "sig" || found[0].Algorithm != alg {
				t.Fatalf("JWKS has %+v for kid %s", found, h.KeyID)
			}
			if payload, err := jws.Verify(found[0]); err != nil || string(payload) != `{"sub":"user_1"}` {
				t.Errorf("Verify = %s, %v", payload, err)
			}
			if public, ok := r.PublicKey(h.KeyID); !ok || public.KeyID != h.KeyID {
				t.Errorf("PublicKey(%s) = %v, %v", h.KeyID, public, ok)
			}
		})
	}
	if err := signing.CheckAlgorithm("HS256"); err == nil {
		t.Error("HS256 is accepted")
	}
}

func TestASignatureIsWholeForEveryToken(t *testing.T) {
	t.Parallel()
	// About every 128th ECDSA signature has a half with a leading zero byte.
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := loaded(t, ringOn(t, db.SigningKeys()))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS().Body, &set); err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		token, err := r.Sign(t.Context(), []byte(strings.Repeat("x", i)), "at+jwt")
		if err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(set.Keys[0]); err != nil || len(jws.Signatures[0].Signature) != 64 {
			t.Fatalf("token %d: %v, %d bytes", i, err, len(jws.Signatures[0].Signature))
		}
	}
}

// SEC-JWT-40
func TestTheJWKSHasNoPrivateMember(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := loaded(t, ringOn(t, db.SigningKeys(), "ES256", "RS256", "EdDSA"))
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(r.JWKS().Body, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 3 {
		t.Fatalf("%d keys, want 3", len(set.Keys))
	}
	allowed := []string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"}
	for _, k := range set.Keys {
		for member := range k {
			if !slices.Contains(allowed, member) {
				t.Errorf("the JWK of %v has the member %s", k["alg"], member)
			}
		}
		if k["kty"] == "oct" {
			t.Error("a symmetric key is published")
		}
	}
}

func TestPublishedAndRetiringKeysAreInTheJWKSAndRevokedOnesAreNot(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := loaded(t, ringOn(t, db.SigningKeys()))
	ids := map[signing.State]string{}
	for _, state := range []signing.State{signing.Published, signing.Retiring, signing.Revoked} {
		// Another deployment's fresh key, under the same master key.
		other := openSQLite(t, migrated.SQLite(t), &commits{})
		keys, err := loaded(t, ringOn(t, other.SigningKeys())).Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k := keys[0]
		k.State, ids[state] = state, k.ID
		if err := db.SigningKeys().InTx(t.Context(), func(tx signing.Tx) error { return tx.AddSigningKey(k) }); err != nil {
			t.Fatal(err)
		}
	}
	before := r.JWKS().ETag
	r.Hear([]changes.Change{{Kind: changes.User, Key: "user_1"}})
	r.Settle()
	if r.JWKS().ETag != before {
		t.Error("a change of a user reloaded the ring")
	}
	r.Hear([]changes.Change{{Kind: changes.SigningKeys}})
	r.Settle()
	if r.JWKS().ETag == before {
		t.Error("the ETag did not change with the document")
	}
	// SEC-JWT-35: a key is known before it signs, and trusted only after.
	for state, want := range map[signing.State]struct{ listed, trusted bool }{
		signing.Published: {true, false}, signing.Retiring: {true, true}, signing.Revoked: {false, false},
	} {
		_, trusted := r.PublicKey(ids[state])
		if listed := bytes.Contains(r.JWKS().Body, []byte(ids[state])); listed != want.listed || trusted != want.trusted {
			t.Errorf("%s key: in the JWKS %v, trusted %v; want %+v", state, listed, trusted, want)
		}
	}
}

// SEC-JWT-42: replicas that start together agree on one key.
func TestReplicasThatStartTogetherMakeOneKey(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"SQLite", "PostgreSQL"} {
		t.Run(backend, func(t *testing.T) {
			path, replicas := migrated.SQLite(t), 8
			url := ""
			if backend == "PostgreSQL" {
				url = migrated.Postgres(t)
			}
			rings := make([]*signing.Ring, replicas)
			for i := range rings {
				if url == "" {
					rings[i] = ringOn(t, openSQLite(t, path, &commits{}).SigningKeys(), "ES256", "ES384")
					continue
				}
				db, err := gormstore.OpenPostgres(t.Context(), url, gormstore.Options{OnCommit: (&commits{}).observe, Random: rand.Reader, MaxConns: 2})
				rings[i] = ringOn(t, opened(t, db, err).SigningKeys(), "ES256", "ES384")
			}
			var wg sync.WaitGroup
			errs := make([]error, replicas)
			for i, r := range rings {
				wg.Go(func() { errs[i] = r.Load(context.Background()) })
			}
			wg.Wait()
			for i, r := range rings {
				if errs[i] != nil {
					t.Fatal(errs[i])
				}
				if r.JWKS().ETag != rings[0].JWKS().ETag {
					t.Errorf("replica %d serves %s, replica 0 %s", i, r.JWKS().Body, rings[0].JWKS().Body)
				}
			}
			if keys, err := rings[0].Keys(t.Context()); err != nil || len(keys) != 2 {
				t.Errorf("%d keys, %v; want 2", len(keys), err)
			}
		})
	}
}

// SEC-JWT-42
func TestTheSameKeyTwiceIsRefused(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := loaded(t, ringOn(t, db.SigningKeys()))
	keys, err := r.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	twin := keys[0]
	twin.State = signing.Published
	err = db.SigningKeys().InTx(t.Context(), func(tx signing.Tx) error { return tx.AddSigningKey(twin) })
	if !errors.Is(err, fault.Conflict) {
		t.Errorf("storing it again = %v; want Conflict", err)
	}
	doubled := ringOn(t, fixed{append(keys, twin)})
	if err := doubled.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("loading it twice = %v", err)
	}
}

// fixed is a store that holds what no database of ours accepts.
type fixed struct{ keys []signing.Key }

func (f fixed) SigningKeys(context.Context) ([]signing.Key, error) { return f.keys, nil }
func (f fixed) InTx(context.Context, func(signing.Tx) error) error { return fault.Unavailable }

func TestSigningGoesOnWhileTheRingReloads(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := loaded(t, ringOn(t, db.SigningKeys()))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := r.Sign(context.Background(), []byte("{}"), "at+jwt"); err != nil {
					t.Error(err)
				}
				r.Forget()
			}
		})
	}
	wg.Wait()
	r.Settle()
}
