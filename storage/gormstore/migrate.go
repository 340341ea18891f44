package gormstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

type migrationTarget struct {
	dialect string
	db      *sql.DB
}

// Migration is one numbered change of the schema.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// ErrNewerSchema is a database that a later release has migrated.
var ErrNewerSchema = errors.New("the database was migrated by a newer release of tokenhouse; run that release or a later one")

// Migrate applies the migrations that are missing, one replica at a time; on
// SQLite, where a command may open the database beside a server that starts, one
// migration at a time. Files are never edited once released and never go down:
// recovery is a restore.
func (db *DB) Migrate(ctx context.Context) error {
	p, err := db.target.provider()
	if err != nil {
		return err
	}
	last := int64(-1)
	for {
		current, err := versionOf(ctx, p)
		if err == nil {
			_, err = p.Up(ctx)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrNewerSchema):
			return err
		case db.target.dialect != "sqlite" || current <= last:
			return fmt.Errorf("migrate: %w", err)
		}
		last = current // somebody else was faster; whatever is wrong with a migration itself shows at the next try
	}
}

// Migrations lists every migration this release knows and whether it is applied.
func (db *DB) Migrations(ctx context.Context) ([]Migration, error) {
	p, err := db.target.provider()
	if err != nil {
		return nil, err
	}
	st, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	out := make([]Migration, len(st))
	for i, s := range st {
		out[i] = Migration{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied}
	}
	return out, nil
}

func (t migrationTarget) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+t.dialect)
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	dialect := goose.DialectSQLite3
	if t.dialect == "postgres" {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(dialect, t.db, files, options...)
}

// versionOf is the version of the schema.
func versionOf(ctx context.Context, p *goose.Provider) (int64, error) {
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return current, fmt.Errorf("read schema version: %w", err)
	}
	if current > target {
		return current, ErrNewerSchema
	}
	return current, nil
}
