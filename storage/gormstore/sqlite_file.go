package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// errMoved refuses every commit from the moment on when the file is not where
// it was: what is written to a deleted file is gone with the process, so nothing
// may be acknowledged.
var errMoved = errors.New("the database file was deleted, moved or replaced while it was open; put it back, or stop the server and restore it")

// sqliteFile is the database file as it was opened.
type sqliteFile struct {
	path   string
	opened os.FileInfo
}

func newSQLiteFile(path string) (sqliteFile, error) {
	info, err := os.Stat(path)
	return sqliteFile{path, info}, err
}

// there answers nil while the path still leads to the file that was opened. It
// costs one system call.
func (f sqliteFile) there() error {
	now, err := os.Stat(f.path)
	if err != nil || !os.SameFile(f.opened, now) {
		return errMoved
	}
	return nil
}

// wholeBelow is how large a file may be to be read whole at each start of a
// server: what takes longer than a fraction of a second is not worth the wait.
const wholeBelow = 32 << 20

// inspect refuses a file that is damaged. SQLite itself finds one that was cut
// off or is none of its own as soon as it is read; the pages of a small one are
// all looked at where whole is asked for.
func (f sqliteFile) inspect(ctx context.Context, db *sql.DB, whole bool) error {
	var found string
	check := "SELECT 'ok' FROM (SELECT count(*) FROM sqlite_master)"
	if whole && f.opened.Size() < wholeBelow {
		check = "PRAGMA quick_check(1)"
	}
	err := db.QueryRowContext(ctx, check).Scan(&found)
	var failed *sqlite.Error
	switch {
	case err == nil && found == "ok":
		return nil
	case err == nil:
	case errors.As(err, &failed) && (failed.Code()&0xff == sqlite3.SQLITE_CORRUPT || failed.Code()&0xff == sqlite3.SQLITE_NOTADB):
		found = failed.Error()
	default:
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	return fmt.Errorf("%s is damaged (%s); nothing was changed in it: restore it, with the files beside it, from a backup", f.path, found)
}
