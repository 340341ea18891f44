// Package gormstore keeps tokenhouse in a SQL database: SQLite or PostgreSQL.
// It is the only package that may import gorm. Times are stored as whole
// microseconds since 1970 in UTC, so that both dialects compare them alike.
package gormstore

import (
	"context"
	"errors"
	"io"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Options are what a database needs from outside. OnCommit and Random are required.
type Options struct {
	// OnCommit sees the events and changes of every transaction, once, after it
	// committed and before the caller is answered.
	OnCommit func([]audit.Event, []changes.Change)
	// Random makes event identifiers.
	Random io.Reader
	// MaxConns bounds the PostgreSQL pool; 16 where zero.
	MaxConns int32
	// Whole has a SQLite file of up to 32 MB read whole before it is used, and
	// refused where it is damaged. A server asks for it; a command need not wait.
	Whole bool
	// Hooks watch or disturb the database.
	Hooks Hooks
	// Unrecorded, where set, is given the events that could not be written: what
	// they tell of is then done without them, and it is called afterwards. Where it
	// is nil nothing is done that cannot be recorded.
	Unrecorded func(ctx context.Context, events []audit.Event, why error)
}

// DB is a SQL backend.
type DB struct {
	read   *gorm.DB // for single statements outside a transaction
	begin  func(context.Context, func(*gorm.DB) error) error
	wait   func(context.Context) error
	close  func() error
	there  func() error // whether the database is what was opened; nil where that is certain
	target migrationTarget
	opts   Options
}

// tx is one open transaction. It remembers the events and changes made through
// it and writes them just before the commit.
type tx struct {
	g       *gorm.DB
	opts    *Options
	events  []audit.Event
	changes []changes.Change
}

// inTx runs fn in a transaction, together with the events and changes it makes.
// fn may run again after a deadlock, so it must set what it returns anew.
func (db *DB) inTx(ctx context.Context, fn func(*tx) error) error {
	done, lost, err := db.attempt(ctx, fn, true)
	if lost != nil && db.opts.Unrecorded != nil {
		done, _, err = db.attempt(ctx, fn, false)
		if err == nil && len(done.events) > 0 {
			db.opts.Hooks.failed(len(done.events))
			db.opts.Unrecorded(ctx, done.events, lost)
		}
	}
	if err != nil {
		db.opts.Hooks.failed(len(done.events))
		return unavailable(err)
	}
	if len(done.events)+len(done.changes) > 0 {
		db.opts.OnCommit(done.events, done.changes)
	}
	return nil
}

// attempt runs fn in a transaction once. With an error, done has only the events
// of a transaction that wanted to commit; lost is the error where writing them
// was what failed.
func (db *DB) attempt(ctx context.Context, fn func(*tx) error, record bool) (done tx, lost, err error) {
	ended := db.opts.Hooks.begun(ctx)
	err = db.begin(ctx, func(g *gorm.DB) error {
		t := tx{g: g, opts: &db.opts}
		done, lost = tx{}, nil
		if err := fn(&t); err != nil {
			return err
		}
		done = t
		if record {
			if lost = t.writeEvents(); lost != nil {
				return lost
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
		done = t // with the changes that followed from others
		return db.opts.Hooks.commit()
	})
	ended(err)
	return done, lost, err
}

// Ping answers nil when the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if db.there != nil {
		if err := db.there(); err != nil {
			return err
		}
	}
	return db.read.WithContext(ctx).Exec("SELECT 1").Error
}

// Close stops the writer and closes every connection.
func (db *DB) Close() error { return db.close() }

// config is shared by both dialects.
func config(prepare bool) *gorm.Config {
	return &gorm.Config{
		DisableAutomaticPing:   true, // whoever opens decides whether to wait for the database
		Logger:                 logger.Discard,
		SkipDefaultTransaction: true,
		PrepareStmt:            prepare,
		TranslateError:         true,
		NowFunc:                func() time.Time { return time.Time{} }, // stopped: time comes from the domain
	}
}

// notFound turns gorm's missing row into the domain's.
func notFound(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return fault.NotFound
	}
	return unavailable(err)
}

// conflict turns a broken unique constraint into the domain's.
func conflict(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return fault.Conflict
	}
	return unavailable(err)
}

// unavailable passes domain failures on and makes everything else of the
// database's a failure that may go away by itself.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	var c fault.Code
	if errors.As(err, &f) || errors.As(err, &c) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "The database did not complete the operation.")
}

// micros stores a time; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf is the inverse of micros.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
