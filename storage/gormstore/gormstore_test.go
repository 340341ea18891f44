package gormstore_test

import (
	"path/filepath"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/storage"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/storagetest"
)

func TestSQLite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, opts gormstore.Options) storage.Backend {
		return migrated(t)(gormstore.OpenSQLite(filepath.Join(t.TempDir(), "tokenhouse.db"), opts))
	})
}

func TestPostgreSQL(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, opts gormstore.Options) storage.Backend {
		return migrated(t)(gormstore.OpenPostgres(t.Context(), pgtest.URL(t), opts))
	})
}

func migrated(t *testing.T) func(*gormstore.DB, error) storage.Backend {
	return func(db *gormstore.DB, err error) storage.Backend {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		return db
	}
}
