package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"gorm.io/gorm"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// readers is how many connections serve reads beside the one writer.
const readers = 4

// OpenSQLite opens, or creates with mode 0600, the database file at path.
// Reads run beside one writer, which commits concurrent transactions together
// with synchronous=FULL: a reply waits for its commit to be on disk.
func OpenSQLite(path string, opts Options) (*DB, error) {
	if err := createPrivate(path); err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	file, err := newSQLiteFile(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	wdb, err := sql.Open("sqlite", sqliteDSN(path, false))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	wdb.SetMaxOpenConns(1)
	if err := file.inspect(context.Background(), wdb, opts.Whole); err != nil {
		return nil, errors.Join(err, wdb.Close())
	}
	rdb, err := sql.Open("sqlite", sqliteDSN(path, true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), wdb.Close())
	}
	rdb.SetMaxOpenConns(readers)
	rdb.SetMaxIdleConns(readers)
	write, err := gorm.Open(dialector{wdb}, config(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), wdb.Close(), rdb.Close())
	}
	read, err := gorm.Open(dialector{rdb}, config(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), wdb.Close(), rdb.Close())
	}
	if err := errors.Join(opts.Hooks.install(write, false), opts.Hooks.install(read, true), strict(write), strict(read)); err != nil {
		return nil, errors.Join(err, wdb.Close(), rdb.Close())
	}
	w := newWriter(write, file.there)
	return &DB{
		read:   read,
		begin:  w.do,
		wait:   func(ctx context.Context) error { <-ctx.Done(); return nil }, // the follower polls
		close:  func() error { w.stop(); return errors.Join(rdb.Close(), wdb.Close()) },
		target: migrationTarget{dialect: "sqlite", db: wdb},
		there:  file.there,
		opts:   opts,
	}, nil
}

func sqliteDSN(path string, readOnly bool) string {
	q := url.Values{"_txlock": {"immediate"}}
	q["_pragma"] = []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}
	if readOnly {
		q["_pragma"] = append(q["_pragma"], "query_only(1)")
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// createPrivate makes the file before SQLite does, so that neither it nor the
// journals that copy its mode are readable by others, whatever the umask.
func createPrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteDuplicate reports whether err is a broken unique constraint.
func sqliteDuplicate(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) &&
		(e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}
