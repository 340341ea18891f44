package gormstore

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// FLT-DB-23, of the audit log: while a transaction stays open, what others
// commit gets its places; its own events get theirs once, when it commits, after
// events with higher numbers. One that is rolled back leaves no gap. SQLite has
// one transaction at a time.
func TestEventsOfALongTransactionGetTheirPlacesWhenItCommits(t *testing.T) {
	db, err := OpenPostgres(t.Context(), pgtest.URL(t), Options{OnCommit: func([]audit.Event, []changes.Change) {}, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	event := func(reason string) audit.Event {
		return audit.Event{Time: time.Unix(1_700_000_000, 0), Name: audit.LoginFailed, Reason: reason}
	}
	short := func(reason string) {
		t.Helper()
		if err := db.Recorder().RecordAll(t.Context(), event(reason)); err != nil {
			t.Fatal(err)
		}
	}
	// chain seals and returns the events in their places.
	chain := func(sealed int) (out []string) {
		t.Helper()
		if n, err := db.Chain().Seal(t.Context()); n != sealed || err != nil {
			t.Errorf("%d events got places, not %d: %v", n, sealed, err)
		}
		links, err := db.Chain().Linked(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		head := audit.Head{}
		for i, l := range links {
			want := head.Next(l.Event)
			if want.ID = int64(i) + 1; l.Link != want {
				t.Errorf("link %d is %+v, want %+v", i+1, l.Link, want)
			}
			head, out = l.Head(), append(out, l.Event.Reason)
		}
		return out
	}
	undone := errors.New("undone")
	// held opens a transaction, writes its event and ends it as it is told.
	held := func(reason string, end error, meanwhile func()) {
		t.Helper()
		err := db.inTx(t.Context(), func(long *tx) error {
			// The event is in the database before the transaction ends.
			err := errors.Join(long.Record(event(reason)), long.writeEvents())
			long.events = nil
			meanwhile()
			return errors.Join(err, end)
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	short("first")
	held("long", nil, func() {
		chain(1)
		short("second")
		held("rolled back", undone, func() {
			short("third")
			chain(2)
			chain(0)
			if b, err := db.Chain().Backlog(t.Context()); err != nil || !b.Unsealed.IsZero() {
				t.Errorf("what is not committed is waited for: %+v, %v", b, err)
			}
		})
		short("fourth")
	})
	want := []string{"first", "second", "third", "fourth", "long"}
	got := chain(2)
	if len(got) == 5 && got[3] == "long" { // both committed since it was sealed
		want[3], want[4] = want[4], want[3]
	}
	if !slices.Equal(got, want) {
		t.Errorf("the chain has %q, want %q", got, want)
	}
	if chain(0); len(got) != len(want) {
		t.Error("sealing again changed the chain")
	}
}
