package gormstore

import (
	"context"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
)

// refuseEvents makes the database refuse every audit event, as a table without
// room would.
func (db *DB) refuseEvents(t *testing.T) {
	t.Helper()
	statements := []string{"CREATE TRIGGER refuse BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no room'); END"}
	if db.read.Name() == "postgres" {
		statements = []string{
			"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$",
			"CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()",
		}
	}
	for _, s := range statements {
		if err := db.inTx(t.Context(), func(x *tx) error { return x.g.Exec(s).Error }); err != nil {
			t.Fatal(err)
		}
	}
}

// SEC-OBS-04: where an audit event cannot be written, nothing is done either;
// unless the operator chose to go on, and then the event is handed over and what
// it tells of is done whole. Both are counted.
func TestWhatCannotBeRecordedIsRefusedOrHandedOver(t *testing.T) {
	var unwritten int
	var handed, seen []audit.Event
	var announced []changes.Change
	opts := Options{
		Hooks: Hooks{Unwritten: func(n int) { unwritten += n }},
		OnCommit: func(es []audit.Event, cs []changes.Change) {
			seen, announced = append(seen, es...), append(announced, cs...)
		},
	}
	onBoth(t, opts, func(t *testing.T, db *DB) {
		unwritten, seen, announced = 0, nil, nil
		db.refuseEvents(t)
		err := db.inTx(t.Context(), note("a"))
		events, stored := db.count(t)
		if err == nil || events+stored > 0 || unwritten != 1 || len(seen)+len(announced) > 0 {
			t.Errorf("%v: %d events, %d changes, %d counted, %v %v observed", err, events, stored, unwritten, seen, announced)
		}
	})
	opts.Unrecorded = func(_ context.Context, es []audit.Event, why error) {
		if handed = append(handed, es...); why == nil {
			t.Error("why is not told")
		}
	}
	onBoth(t, opts, func(t *testing.T, db *DB) {
		unwritten, seen, announced, handed = 0, nil, nil, nil
		if err := db.inTx(t.Context(), note("a")); err != nil || len(handed) > 0 {
			t.Fatalf("%v, handed over %v", err, handed)
		}
		db.refuseEvents(t)
		err := db.inTx(t.Context(), note("b"))
		events, stored := db.count(t)
		if err != nil || events != 1 || stored != 2 || unwritten != 1 || len(handed) != 1 || handed[0].ID == "" || len(seen) != 2 || len(announced) != 2 {
			t.Errorf("%v: %d events, %d changes, %d counted, %v handed over, %v %v observed", err, events, stored, unwritten, handed, seen, announced)
		}
		if err := db.inTx(t.Context(), func(x *tx) error {
			if err := note("c")(x); err != nil {
				return err
			}
			return x.g.Exec("INSERT INTO no_such_table VALUES (1)").Error
		}); err == nil || len(handed) != 1 {
			t.Errorf("what failed for another reason was done: %v, %v", err, handed)
		}
	})
}
