package sealing_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

var options = gormstore.Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader, MaxConns: 2}

func openSQLite(t *testing.T, path string) *gormstore.DB {
	t.Helper()
	db, err := gormstore.OpenSQLite(path, options)
	return opened(t, db, err)
}

func opened(t *testing.T, db *gormstore.DB, err error) *gormstore.DB {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func secretsOn(store sealing.SecretStore, keeper sealing.Keeper) *sealing.Secrets {
	return &sealing.Secrets{Store: store, Keeper: keeper, Now: func() time.Time { return time.Unix(1_767_323_045, 0) }, Random: rand.Reader}
}

func TestSecretsSurviveARestartAndDifferByPurpose(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t))
	first, second := secretsOn(db.SealedSecrets(), local(t, raw)), secretsOn(db.SealedSecrets(), local(t, raw))
	for _, s := range []*sealing.Secrets{first, second} {
		if err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]sealing.Purpose{}
	for _, p := range sealing.Purposes() {
		id, key := first.Current(p)
		id2, key2 := second.Current(p)
		if id != 1 || id2 != 1 || len(key) != 32 || !bytes.Equal(key, key2) {
			t.Errorf("%s: %d %x after a restart %d %x", p, id, key, id2, key2)
		}
		if other, ok := seen[string(key)]; ok {
			t.Errorf("%s and %s share a secret", p, other)
		}
		seen[string(key)] = p
		if got, ok := second.ByID(p, id); !ok || !bytes.Equal(got, key) {
			t.Errorf("%s: ByID(%d) = %x, %v", p, id, got, ok)
		}
		if _, ok := second.ByID(p, 2); ok {
			t.Errorf("%s: an id that was never given is known", p)
		}
	}
}

// SEC-OBS-15
func TestAWrongMasterKeyCreatesNoSecret(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t))
	// The deployment is of a release that knew one purpose only, so that a
	// start with another master key has something to create.
	keeper := local(t, raw)
	sealed, err := keeper.Seal(bytes.Repeat([]byte{7}, 32), "secret:refresh-mac:1")
	if err != nil {
		t.Fatal(err)
	}
	store := db.SealedSecrets()
	if err := store.AddSealedSecrets(t.Context(), []sealing.Sealed{{Purpose: sealing.RefreshMAC, ID: 1, Sealed: sealed, CreatedAt: time.Unix(1, 0)}}); err != nil {
		t.Fatal(err)
	}
	wrong := secretsOn(store, local(t, []byte("another master key of enough characters")))
	if err := wrong.Load(t.Context()); !errors.Is(err, sealing.ErrWrongMasterKey) {
		t.Errorf("Load = %v; want ErrWrongMasterKey", err)
	}
	if rows, err := store.SealedSecrets(t.Context()); err != nil || len(rows) != 1 {
		t.Errorf("%d secrets, %v; want the one there was", len(rows), err)
	}
	right := secretsOn(store, keeper)
	if err := right.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, key := right.Current(sealing.RefreshMAC); !bytes.Equal(key, bytes.Repeat([]byte{7}, 32)) {
		t.Error("the secret that was there is not used")
	}
	if rows, err := store.SealedSecrets(t.Context()); err != nil || len(rows) != len(sealing.Purposes()) {
		t.Errorf("%d secrets, %v; want one for each purpose", len(rows), err)
	}
}

func TestSecretsMovedBetweenPlacesAreRefused(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, migrated.SQLite(t))
	keeper := local(t, raw)
	sealed, err := keeper.Seal(make([]byte, 32), "secret:cursor-key:1")
	if err != nil {
		t.Fatal(err)
	}
	moved := []sealing.Sealed{{Purpose: sealing.RefreshMAC, ID: 1, Sealed: sealed, CreatedAt: time.Unix(1, 0)}}
	if err := db.SealedSecrets().AddSealedSecrets(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	if err := secretsOn(db.SealedSecrets(), keeper).Load(t.Context()); !errors.Is(err, sealing.ErrDamaged) {
		t.Errorf("Load = %v; want ErrDamaged", err)
	}
}

func TestReplicasThatStartTogetherShareTheirSecrets(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"SQLite", "PostgreSQL"} {
		t.Run(backend, func(t *testing.T) {
			path, url := migrated.SQLite(t), ""
			if backend == "PostgreSQL" {
				url = migrated.Postgres(t)
			}
			replicas := make([]*sealing.Secrets, 8)
			for i := range replicas {
				if url == "" {
					replicas[i] = secretsOn(openSQLite(t, path).SealedSecrets(), local(t, raw))
					continue
				}
				db, err := gormstore.OpenPostgres(t.Context(), url, options)
				replicas[i] = secretsOn(opened(t, db, err).SealedSecrets(), local(t, raw))
			}
			var wg sync.WaitGroup
			errs := make([]error, len(replicas))
			for i, s := range replicas {
				wg.Go(func() { errs[i] = s.Load(context.Background()) })
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			for _, p := range sealing.Purposes() {
				_, want := replicas[0].Current(p)
				for i, s := range replicas {
					if _, got := s.Current(p); !bytes.Equal(got, want) {
						t.Errorf("replica %d has another %s", i, p)
					}
				}
			}
		})
	}
}

// Nothing in the database file helps whoever steals it.
func TestNoSecretIsInTheDatabaseFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openSQLite(t, filepath.Join(dir, "th.db"))
	s := secretsOn(db.SealedSecrets(), local(t, raw))
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range sealing.Purposes() {
			_, key := s.Current(p)
			for _, form := range [][]byte{key, []byte(hex.EncodeToString(key)), []byte(base64.StdEncoding.EncodeToString(key)), raw} {
				if bytes.Contains(content, form) {
					t.Errorf("%s holds the %s", f.Name(), p)
				}
			}
		}
	}
}
