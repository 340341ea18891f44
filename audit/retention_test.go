package audit_test

import (
	"bytes"
	"database/sql"
	"slices"
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
// number, by their age, and where retention's own event is removed.
func TestWhatOthersRemoveIsFound(t *testing.T) {
	for what, remove := range map[string]struct{ sql, reason string }{
		"an event":              {"UPDATE audit_links SET pruned = 1 WHERE position = 2", "that retention did not remove"},
		"an event and its link": {"DELETE FROM audit_links WHERE position = 2", ""},
	} {
		w := newWorld(t)
		w.record(t, w.orgs[1], audit.LoginFailed, 4)
		w.record(t, w.orgs[1], audit.APIKeyUsed, 4)
		w.seal(t)
		w.now = w.now.Add(15 * day)
		w.prune(t, shortly)
		w.seal(t)
		db, err := sql.Open("sqlite", "file:"+w.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{"DELETE FROM audit_events WHERE seq = (SELECT seq FROM audit_links WHERE position = 2)", remove.sql} {
			if _, err := db.ExecContext(t.Context(), step); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := w.sealer.Export(t.Context(), &out, audit.Extent{}, nil); err != nil {
			continue // what is not there cannot be exported
		}
		wrong(t, w, what, out.Bytes(), 0, remove.reason)
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
