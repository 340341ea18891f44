package signing_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// operator is whoever rotates in these tests.
var operator = ident.OperatorOf("", nil)

// retain is how long keys stay published in these tests.
const retain = 25 * time.Hour

// moving is a ring with a clock that the test moves.
func moving(t *testing.T, store signing.Store, at *atomic.Int64, algorithms ...string) *signing.Ring {
	t.Helper()
	r := ringOn(t, store, algorithms...)
	r.Retain, r.Now = retain, func() time.Time { return start.Add(time.Duration(at.Load())) }
	return loaded(t, r)
}

// kidOf is the key that a token says it is signed with.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Protected.KeyID
}

func signed(t *testing.T, r *signing.Ring, alg string) string {
	t.Helper()
	token, err := r.SignWith(t.Context(), alg, []byte("{}"), "at+jwt")
	if err != nil {
		t.Fatal(err)
	}
	return kidOf(t, token)
}

// SEC-JWT-35: a rotated key signs no more, is trusted until what it signed has
// expired, and then nowhere to be found.
func TestARotatedKeyIsTrustedUntilItsLastTokenHasExpired(t *testing.T) {
	t.Parallel()
	var c commits
	var at atomic.Int64
	db := openSQLite(t, migrated.SQLite(t), &c)
	r := moving(t, db.SigningKeys(), &at, "ES256", "RS256")
	old, other := signed(t, r, "ES256"), signed(t, r, "RS256")
	at.Store(int64(time.Hour))
	fresh, err := r.RotateNow(t.Context(), operator, "ES256")
	if err != nil || len(fresh) != 1 || fresh[0].State != signing.Active || fresh[0].Algorithm != "ES256" {
		t.Fatalf("Rotate = %+v, %v; want one active ES256 key", fresh, err)
	}
	if got := signed(t, r, "ES256"); got != fresh[0].ID || got == old {
		t.Errorf("after the rotation %s signs; want %s", got, fresh[0].ID)
	}
	if got := signed(t, r, "RS256"); got != other {
		t.Error("the key of another algorithm was rotated too")
	}
	e := c.events[len(c.events)-1]
	if e.Name != audit.SigningKeyRotated || e.Targets[0].ID != fresh[0].ID || e.Meta["previous"] != old || e.Actor.Type != "operator" {
		t.Errorf("event %+v", e)
	}
	at.Store(int64(time.Hour + retain - 1))
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, trusted := r.PublicKey(old); !trusted || !bytes.Contains(r.JWKS().Body, []byte(old)) {
		t.Error("the key was removed while its tokens lived")
	}
	at.Store(int64(time.Hour + retain))
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	loaded(t, r)
	if _, trusted := r.PublicKey(old); trusted || bytes.Contains(r.JWKS().Body, []byte(old)) {
		t.Error("the key is still there although all it signed has expired")
	}
	if e := c.events[len(c.events)-1]; e.Name != audit.SigningKeyRemoved || e.Targets[0].ID != old {
		t.Errorf("event %+v", e)
	}
	if keys, err := r.Keys(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v; want 2", len(keys), err)
	}
}

func TestARotationWithoutAnAlgorithmIsOfAll(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := moving(t, db.SigningKeys(), &at, "ES256", "RS256")
	before := map[string]string{"ES256": signed(t, r, "ES256"), "RS256": signed(t, r, "RS256")}
	if fresh, err := r.RotateNow(t.Context(), operator); err != nil || len(fresh) != 2 {
		t.Fatalf("%d keys, %v; want 2", len(fresh), err)
	}
	for alg, old := range before {
		if signed(t, r, alg) == old {
			t.Errorf("%s still has its old key", alg)
		}
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS().Body, &set); err != nil || len(set.Keys) != 4 {
		t.Errorf("%d keys are published, %v; want the new and the old ones", len(set.Keys), err)
	}
	if _, err := r.RotateNow(t.Context(), operator, "EdDSA"); !errors.Is(err, fault.Invalid) {
		t.Errorf("an algorithm that is not configured: %v; want Invalid", err)
	}
}

// A deployment of an earlier release, or another configuration, gets the keys it
// lacks at the start, and keeps the one it has.
func TestALaterStartAddsTheKeysThatAreMissing(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	before := signed(t, moving(t, db.SigningKeys(), &at, "ES256"), "ES256")
	r := moving(t, db.SigningKeys(), &at, "ES256", "RS256")
	if after := signed(t, r, "ES256"); after != before {
		t.Errorf("%s signs, which was %s", after, before)
	}
	if kid := signed(t, r, "RS256"); kid == before {
		t.Error("one key signs with two algorithms")
	}
	// SEC-JWT-42: kids are thumbprints, and each is there once.
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS().Body, &set); err != nil || len(set.Keys) != 2 || set.Keys[0].Algorithm != "ES256" {
		t.Errorf("%s, %v; want the default algorithm's first", r.JWKS().Body, err)
	}
}

func TestRotationsAreBounded(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	db := openSQLite(t, migrated.SQLite(t), &commits{})
	r := moving(t, db.SigningKeys(), &at)
	for range 9 {
		if _, err := r.RotateNow(t.Context(), operator); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.RotateNow(t.Context(), operator); !errors.Is(err, fault.Conflict) {
		t.Errorf("the eleventh key: %v; want Conflict", err)
	}
	at.Store(int64(retain))
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fresh, err := r.RotateNow(t.Context(), operator); err != nil || len(fresh) != 1 {
		t.Errorf("once the old ones are gone: %v", err)
	}
}

// SEC-JWT-42: rotations at the same time leave one active key of each algorithm.
func TestRotationsOfReplicasLeaveOneActiveKey(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"SQLite", "PostgreSQL"} {
		t.Run(backend, func(t *testing.T) {
			var at atomic.Int64
			path, url := migrated.SQLite(t), ""
			if backend == "PostgreSQL" {
				url = migrated.Postgres(t)
			}
			rings := make([]*signing.Ring, 4)
			for i := range rings {
				if url == "" {
					rings[i] = moving(t, openSQLite(t, path, &commits{}).SigningKeys(), &at)
					continue
				}
				db, err := gormstore.OpenPostgres(t.Context(), url, gormstore.Options{OnCommit: (&commits{}).observe, Random: rand.Reader, MaxConns: 2})
				rings[i] = moving(t, opened(t, db, err).SigningKeys(), &at)
			}
			var wg sync.WaitGroup
			var done atomic.Int32
			for _, r := range rings {
				wg.Go(func() {
					switch _, err := r.RotateNow(context.Background(), operator); {
					case err == nil:
						done.Add(1)
					case !errors.Is(err, fault.Conflict):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			keys, err := rings[0].Keys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			active := 0
			for _, k := range keys {
				if k.State == signing.Active {
					active++
				}
			}
			if active != 1 || done.Load() == 0 || len(keys) != 1+int(done.Load()) {
				t.Errorf("%d rotations succeeded and left %d keys, %d of them active", done.Load(), len(keys), active)
			}
		})
	}
}

// A replica that has not heard of a rotation yet looks for the key it does not
// know, and is not made to look again and again.
func TestAnUnknownKeyIsLookedForOnceASecond(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	path := migrated.SQLite(t)
	here := moving(t, openSQLite(t, path, &commits{}).SigningKeys(), &at)
	store := &counted{Store: openSQLite(t, path, &commits{}).SigningKeys()}
	there := moving(t, store, &at)
	fresh, err := here.RotateNow(t.Context(), operator)
	if err != nil {
		t.Fatal(err)
	}
	if _, known := there.PublicKey(fresh[0].ID); known {
		t.Fatal("the other replica knows the key already: the test shows nothing")
	}
	if k, ok, err := there.Find(t.Context(), fresh[0].ID); !ok || err != nil || k.KeyID != fresh[0].ID {
		t.Errorf("Find = %v, %v, %v; want the new key", k.KeyID, ok, err)
	}
	before := store.reads.Load()
	for range 100 {
		if _, ok, err := there.Find(t.Context(), "made-up"); ok || err != nil {
			t.Fatalf("Find = %v, %v", ok, err)
		}
	}
	if n := store.reads.Load() - before; n != 0 {
		t.Errorf("made-up key ids caused %d reads within a second", n)
	}
	at.Add(int64(time.Second))
	if _, ok, err := there.Find(t.Context(), "made-up"); ok || err != nil || store.reads.Load() != before+1 {
		t.Errorf("a second later: %v, %v and %d reads; want one", ok, err, store.reads.Load()-before)
	}
}

// counted counts how often the keys are read.
type counted struct {
	signing.Store
	reads atomic.Int64
}

func (c *counted) SigningKeys(ctx context.Context) ([]signing.Key, error) {
	c.reads.Add(1)
	return c.Store.SigningKeys(ctx)
}
