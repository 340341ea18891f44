// Package migrated gives tests databases that have the present schema and nothing else in it. The migrations run once in each test
// process, on either backend; every test gets a copy. It is imported by tests only.
package migrated

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
)

// SQLite gives the path of a fresh database file, in a directory of its own that is removed when t ends.
func SQLite(t testing.TB) string {
	t.Helper()
	content, err := file()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokenhouse.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Postgres gives the URL of a fresh database on a real PostgreSQL, dropped when t ends.
func Postgres(t testing.TB) string {
	t.Helper()
	return template.URL(t)
}

// file is what a migrated database file holds.
var file = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "tokenhouse-migrated-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "tokenhouse.db")
	if err := migrate(gormstore.OpenSQLite(path, gormstore.Options{})); err != nil { // all is in the file once it is closed
		return nil, err
	}
	return os.ReadFile(path)
})

var template = pgtest.Template{Fill: func(url string) error {
	return migrate(gormstore.OpenPostgres(context.Background(), url, gormstore.Options{}))
}}

func migrate(db *gormstore.DB, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(context.Background()), db.Close())
}
