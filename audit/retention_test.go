package audit_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

const day = 24 * time.Hour

func (w *world) prune(t testing.TB, keep audit.Keep) {
	t.Helper()
	r := audit.Retainer{Store: w.AuditRetention(), Signer: w.pen, Issuer: issuer, Keep: keep, Now: func() time.Time { return w.now }}
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var shortly = audit.Keep{audit.Routine: 10 * day, audit.Security: 20 * day, audit.Administration: 20 * day}

func TestWhatRetentionRemovesLeavesTheRestProvable(t *testing.T) {
	w := newWorld(t)
	for _, org := range w.orgs {
		w.record(t, org, audit.LoginFailed, 4)
		w.record(t, org, audit.APIKeyUsed, 5)
	}
	w.prune(t, shortly) // nothing is sealed yet, or old
	w.seal(t)
	before := w.export(t, audit.Extent{})
	w.now = w.now.Add(15 * day)
	w.prune(t, shortly)
	w.prune(t, shortly)
	after := w.export(t, audit.Extent{})
	r, err := w.verify(after)
	if err != nil || r.Pruned != 15 || r.Events != 12+3 {
		t.Fatalf("after the routine ones are gone: %+v, %v", r, err)
	}
	if bytes.Contains(after, []byte(`"api_key.used"`)) || bytes.Count(after, []byte(`"audit.pruned"`)) != 3 {
		t.Error("removed events are there, or the log tells of it more or less than once for each organisation")
	}
	if r, err := w.verify(before); err != nil || r.Pruned != 0 {
		t.Errorf("an export of before: %+v, %v", r, err)
	}
	if r, err := w.verify(w.export(t, audit.Extent{Org: &w.orgs[2]})); err != nil || r.Pruned != 5 {
		t.Errorf("one organisation: %+v, %v", r, err)
	}
	if events, err := w.Audit().Export(t.Context(), 0, 100); err != nil || len(events) != 15 {
		t.Errorf("%d events are left, %v", len(events), err)
	}
}

// Who removes events as retention does, without its leave, is found: by their
// number, by their age, and where retention's own event is removed. What is
// gone with its place is not exported as if it had never been.
func TestWhatOthersRemoveIsFound(t *testing.T) {
	const (
		event  = "DELETE FROM audit_events WHERE seq = (SELECT seq FROM audit_links WHERE shard <> '' AND position = %d)"
		mark   = "UPDATE audit_links SET pruned = 1 WHERE shard <> '' AND position = %d"
		link   = "DELETE FROM audit_links WHERE shard <> '' AND position = %d"
		tail   = "DELETE FROM audit_links WHERE shard = '' AND position = %d"
		unmark = "UPDATE audit_links SET pruned = 0 WHERE shard <> '' AND position = %d"
		back   = "INSERT INTO audit_events SELECT * FROM kept WHERE seq = (SELECT seq FROM audit_links WHERE shard <> '' AND position = %d)"
	)
	type step struct {
		sql      string
		position int
	}
	// Of the organisation: 1 to 4 security, 5 to 8 routine and old, 9 and 10 routine
	// and young, 11 what retention tells of 5 to 8. Of the deployment: two.
	for what, c := range map[string]struct {
		steps   []step
		refused string // by the export
		line    string // what verify finds
	}{
		"nothing":                     {},
		"an event":                    {[]step{{event, 2}, {mark, 2}}, "", `lacks 1 events of class "security" that retention did not remove`},
		"an event, and no mark":       {[]step{{event, 2}}, "", `lacks 1 events of class "security" that retention did not remove`},
		"one more of the class":       {[]step{{event, 9}, {mark, 9}}, "", `lacks 1 events of class "routine" that retention did not remove`},
		"a young one for an old one":  {[]step{{back, 5}, {unmark, 5}, {event, 9}, {mark, 9}}, "", "retention did not remove events of this age"},
		"what retention tells":        {[]step{{event, 11}, {mark, 11}}, "", "that retention did not remove"},
		"an event and its place":      {[]step{{event, 2}, {link, 2}}, "has no position 2", ""},
		"the newest and its place":    {[]step{{event, 11}, {link, 11}}, "has no place 13", ""},
		"the end of another chain":    {[]step{{tail, 2}}, "lacks 1 places", ""},
		"one that is, and one before": {[]step{{event, 2}, {mark, 2}, {event, 3}}, "", `lacks 2 events of class "security"`},
	} {
		w := newWorld(t)
		w.record(t, w.orgs[1], audit.LoginFailed, 4)
		w.record(t, w.orgs[1], audit.APIKeyUsed, 4)
		w.record(t, "", audit.LoginFailed, 2)
		w.now = w.now.Add(10 * day)
		w.record(t, w.orgs[1], audit.APIKeyUsed, 2)
		w.seal(t)
		w.now = w.now.Add(5 * day)
		w.manipulate(t, "CREATE TABLE kept AS SELECT * FROM audit_events")
		w.prune(t, shortly)
		w.seal(t)
		for _, s := range c.steps {
			w.manipulate(t, fmt.Sprintf(s.sql, s.position))
		}
		var out bytes.Buffer
		_, err := w.sealer.Export(t.Context(), &out, audit.Extent{}, nil)
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: exported with %v; want %q", what, err, c.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case c.line != "":
			wrong(t, w, what, out.Bytes(), 0, c.line)
		default:
			if r, err := w.verify(out.Bytes()); err != nil || r.Pruned != 4 {
				t.Errorf("%s: %+v, %v", what, r, err)
			}
		}
	}
}

// manipulate changes one row or more of the database, past everything.
func (w *world) manipulate(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.path)
	if err != nil {
		t.Fatal(err)
	}
	done, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 && !strings.HasPrefix(statement, "CREATE") {
		t.Fatalf("%s: %d rows, %v", statement, n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A beginning without events is removed with its links, and what is left begins
// at a signed base.
func TestABeginningWithoutEventsIsCompacted(t *testing.T) {
	w := newWorld(t)
	w.record(t, w.orgs[1], audit.LoginFailed, 1500)
	w.record(t, w.orgs[1], audit.APIKeyUsed, 700)
	w.seal(t)
	w.now = w.now.Add(15 * day)
	w.prune(t, shortly)
	w.record(t, w.orgs[1], audit.LoginFailed, 3)
	w.seal(t)
	early := w.export(t, audit.Extent{})
	w.now = w.now.Add(10 * day)
	w.prune(t, shortly)
	w.seal(t)
	export := w.export(t, audit.Extent{})
	r, err := w.verify(export)
	if err != nil || r.Pruned != 0 || bytes.Count(export, []byte(`{"base":`)) != 1 {
		t.Fatalf("after the beginning is gone: %+v, %v\n%s", r, err, export[:min(len(export), 2000)])
	}
	links, err := w.Chain().LinkedOf(t.Context(), w.orgs[1], 0, 10)
	if err != nil || len(links) == 0 || links[0].Position != 2201 {
		t.Errorf("the chain begins with %+v, %v", links, err)
	}
	all := lines(export)
	wrong(t, w, "without the base", bytes.Join(all[1:], nil), 0, "")
	through, err := w.verify(early)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := w.verify(slices.Concat(early, w.export(t, audit.Extent{After: through.Through}))); err != nil {
		t.Errorf("an export of before and what came since: %+v, %v", r, err)
	}
	// And once more, on from the base.
	w.record(t, w.orgs[1], audit.LoginFailed, 1200)
	w.seal(t)
	w.now = w.now.Add(40 * day)
	w.prune(t, shortly)
	w.seal(t)
	if r, err := w.verify(w.export(t, audit.Extent{})); err != nil || r.Events > 20 {
		t.Errorf("compacted twice: %+v, %v", r, err)
	}
}
