package gormstore_test

import (
	"testing"

	"github.com/tokenhouse/tokenhouse/storage"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
	"github.com/tokenhouse/tokenhouse/storage/storagetest"
)

func TestSQLite(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, opts gormstore.Options) storage.Backend {
		return opened(t)(gormstore.OpenSQLite(migrated.SQLite(t), opts))
	})
}

func TestPostgreSQL(t *testing.T) {
	storagetest.Run(t, func(t *testing.T, opts gormstore.Options) storage.Backend {
		return opened(t)(gormstore.OpenPostgres(t.Context(), migrated.Postgres(t), opts))
	})
}

func opened(t *testing.T) func(*gormstore.DB, error) storage.Backend {
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
