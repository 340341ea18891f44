package gormstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
)

// onBoth runs a test of the core on a fresh database of each dialect.
func onBoth(t *testing.T, opts Options, run func(*testing.T, *DB)) {
	if opts.OnCommit == nil {
		opts.OnCommit = func([]audit.Event, []changes.Change) {}
	}
	opts.Random = rand.Reader
	for name, open := range map[string]func(*testing.T) (*DB, error){
		"sqlite":     func(t *testing.T) (*DB, error) { return OpenSQLite(filepath.Join(t.TempDir(), "t.db"), opts) },
		"postgresql": func(t *testing.T) (*DB, error) { return OpenPostgres(t.Context(), pgtest.URL(t), opts) },
	} {
		t.Run(name, func(t *testing.T) {
			db, err := open(t)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			run(t, db)
		})
	}
}

func (db *DB) count(t *testing.T) (events, announced int64) {
	t.Helper()
	if err := db.read.Table("audit_events").Count(&events).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.read.Table("changes").Count(&announced).Error; err != nil {
		t.Fatal(err)
	}
	return events, announced
}

// note is a transaction that records one event and announces one change.
func note(key string) func(*tx) error {
	return func(x *tx) error {
		at := time.Unix(1_700_000_000, 0)
		return errors.Join(
			x.Record(audit.Event{Time: at, Name: audit.TokenRevoked}),
			x.Announce(changes.Change{Kind: changes.TokenRevoked, Key: key, At: at, Until: at.Add(time.Hour)}),
		)
	}
}

// INV-06, INV-20: what commits together is there together; a job that fails or
// panics in a shared commit is undone alone.
func TestOneFailingTransactionSparesTheOthers(t *testing.T) {
	var mu sync.Mutex
	var seen int
	opts := Options{OnCommit: func(es []audit.Event, cs []changes.Change) {
		mu.Lock()
		defer mu.Unlock()
		seen += len(es) + len(cs)
	}}
	onBoth(t, opts, func(t *testing.T, db *DB) {
		mu.Lock()
		seen = 0
		mu.Unlock()
		boom := errors.New("boom")
		var wg sync.WaitGroup
		const n = 120
		for i := range n {
			wg.Go(func() {
				err := db.inTx(context.Background(), func(x *tx) error {
					if err := note(fmt.Sprint(i))(x); err != nil {
						return err
					}
					switch i % 4 {
					case 1:
						return boom
					case 2:
						return x.g.Exec("INSERT INTO no_such_table VALUES (1)").Error
					}
					return nil
				})
				if want := i%4 == 1 || i%4 == 2; (err != nil) != want {
					t.Errorf("transaction %d: %v", i, err)
				}
				if i%4 == 1 && !errors.Is(err, boom) {
					t.Errorf("transaction %d lost its own error: %v", i, err)
				}
			})
		}
		wg.Wait()
		events, announced := db.count(t)
		if events != n/2 || announced != n/2 || seen != n {
			t.Errorf("%d events, %d changes stored, %d observed; want %d, %d, %d", events, announced, seen, n/2, n/2, n)
		}
	})
}

// SEC-DOS-17: a panic in a transaction is one of its caller's, as if there were
// no shared commit; nothing of it stays, and others go on.
func TestAPanicInATransactionIsItsCallers(t *testing.T) {
	opts := Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader}
	onBoth(t, opts, func(t *testing.T, db *DB) {
		before, _ := db.count(t)
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "at the disco") {
					t.Errorf("the caller got %v", p)
				}
			}()
			err := db.inTx(t.Context(), func(x *tx) error {
				if err := note("lost")(x); err != nil {
					return err
				}
				panic("at the disco")
			})
			t.Errorf("it ended with %v", err)
		}()
		if err := db.inTx(t.Context(), note("a")); err != nil {
			t.Errorf("the writer died with the panic: %v", err)
		}
		if after, _ := db.count(t); after != before+1 {
			t.Errorf("%d events were stored, want 1", after-before)
		}
	})
}

// SEC-DOS-16: a caller that leaves takes its waiting transaction along, and a
// running one still ends whole.
func TestACallerThatLeavesNeverBreaksTheSharedCommit(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, db *DB) {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if err := db.inTx(gone, note("gone")); err == nil {
			t.Error("a transaction of a caller that had left was committed")
		}
		if err := db.inTx(context.Background(), note("here")); err != nil {
			t.Error(err)
		}
		if events, _ := db.count(t); events != 1 {
			t.Errorf("%d events, want 1", events)
		}
	})
}

// SEC-OBS-04: an event that cannot be written takes the change with it.
func TestEveryFailingStatementLeavesNothing(t *testing.T) {
	plan := &faulty.Plan{}
	onBoth(t, Options{Hooks: Hooks{Before: plan.Before}}, func(t *testing.T, db *DB) {
		for n := 0; ; n++ {
			plan.FailAt(n)
			err := db.inTx(t.Context(), note("x"))
			fired := plan.Heal()
			events, announced := db.count(t)
			if fired == "" {
				if err != nil || n < 3 || events != 1 || announced != 1 {
					t.Errorf("without a failure after %d statements: %v, %d events, %d changes", n, err, events, announced)
				}
				return
			}
			if !errors.Is(err, fault.Unavailable) || !errors.Is(err, faulty.ErrInjected) || events != 0 || announced != 0 {
				t.Errorf("failing %s (%d): %v, %d events, %d changes left behind", fired, n, err, events, announced)
			}
		}
	})
}

// FLT-DB-23: whatever order transactions begin and commit in, a follower hears
// of each change.
func TestAFollowerMissesNoChangeUnderConcurrency(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, db *DB) {
		_, cursor, err := db.Changes().Start(t.Context(), time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		const writers, each = 12, 25
		done := make(chan struct{})
		go func() {
			defer close(done)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						if err := db.inTx(context.Background(), note(fmt.Sprintf("%d-%d", w, i))); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}()
		heard := map[string]bool{}
		for last := false; ; {
			cs, next, err := db.Changes().Since(t.Context(), cursor)
			if err != nil {
				t.Fatal(err)
			}
			cursor = next
			for _, c := range cs {
				if heard[c.Key] {
					t.Errorf("change %s was told twice", c.Key)
				}
				heard[c.Key] = true
			}
			if last {
				break
			}
			select {
			case <-done:
				last = true
			default:
			}
		}
		if len(heard) != writers*each {
			t.Errorf("heard %d changes of %d", len(heard), writers*each)
		}
		past, _, err := db.Changes().Start(t.Context(), time.Unix(1_700_000_000, 0))
		if err != nil || len(past) != writers*each {
			t.Errorf("a replica that starts now loads %d revocations (%v), want %d", len(past), err, writers*each)
		}
		past, _, err = db.Changes().Start(t.Context(), time.Unix(1_700_000_000, 0).Add(time.Hour))
		if err != nil || len(past) != 0 {
			t.Errorf("revocations that no longer matter are loaded: %d (%v)", len(past), err)
		}
	})
}

// FLT-DB-23: while a transaction stays open, as a long backup of another
// database of the server does, changes are told once; its own when it commits.
func TestALongTransactionNeitherHidesNorRepeatsChanges(t *testing.T) {
	db, err := OpenPostgres(t.Context(), pgtest.URL(t), Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, cursor, err := db.Changes().Start(t.Context(), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want ...string) {
		t.Helper()
		cs, next, err := db.Changes().Since(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range cs {
			got = append(got, c.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		cursor = next
	}
	err = db.inTx(t.Context(), func(long *tx) error {
		// The announcement is in the database before the transaction commits.
		err := errors.Join(note("long")(long), long.flushChanges())
		long.changes = nil
		expect()
		err = errors.Join(err, db.inTx(t.Context(), note("short")))
		expect("short")
		expect()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	expect("long")
	expect()
}

// A change wakes the followers of other replicas at once on PostgreSQL.
// AK-38.
func TestAChangeWakesOtherReplicas(t *testing.T) {
	url := pgtest.URL(t)
	open := func() *DB {
		db, err := OpenPostgres(t.Context(), url, Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	a, b := open(), open()
	if err := a.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	woken := make(chan error, 1)
	go func() { woken <- b.Changes().Wait(ctx) }()
	for i := 0; ; i++ { // until the LISTEN of b is in place
		if err := a.inTx(ctx, note(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-woken:
			if err != nil || ctx.Err() != nil {
				t.Errorf("Wait = %v, %v", err, ctx.Err())
			}
			return
		default:
		}
	}
}

// SEC-OBS-13: nobody but the owner reads the database or its journals.
func TestSQLiteFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db, err := OpenSQLite(filepath.Join(dir, "t.db"), Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 2 {
		t.Fatalf("%v, %v; want the database and its journal", entries, err)
	}
	for _, e := range append(entries, nil) {
		path, want := dir, os.FileMode(0o700)
		if e != nil {
			path, want = filepath.Join(dir, e.Name()), 0o600
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

// FLT-CLU-11: a database of a later release is refused, not damaged.
func TestANewerSchemaIsRefused(t *testing.T) {
	onBoth(t, Options{}, func(t *testing.T, db *DB) {
		insert := "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, ?)"
		err := db.begin(t.Context(), func(g *gorm.DB) error { return g.Exec(insert, true).Error })
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context()); !errors.Is(err, ErrNewerSchema) {
			t.Errorf("err = %v, want ErrNewerSchema", err)
		}
	})
}

// FLT-CRASH-04, FLT-CLU-05: replicas that start together migrate once.
func TestReplicasMigrateTogether(t *testing.T) {
	url := pgtest.URL(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := OpenPostgres(context.Background(), url, Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if err := db.Migrate(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A command that is run while a server starts for the first time finds a
// database that is half there.
func TestProcessesMigrateAFileTogether(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "together.db")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				db, err := OpenSQLite(path, Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
				if err != nil {
					t.Error(err)
					return
				}
				defer db.Close()
				if err := db.Migrate(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestMigrationsHaveTwins(t *testing.T) {
	names := func(dialect string) string {
		t.Helper()
		entries, err := migrations.ReadDir("migrations/" + dialect)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return strings.Join(out, "\n")
	}
	if a, b := names("sqlite"), names("postgres"); a == "" || a != b {
		t.Errorf("sqlite has\n%s\npostgres has\n%s", a, b)
	}
}
