package drills_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// SEC-OBS-04, the other choice: what cannot be recorded is done all the same
// and whole, is counted, and the log of the process has the event instead.
func TestAnOperatorMayChooseToGoOnWithoutTheAuditLog(t *testing.T) {
	degrade := func(c *house.Config) { c.Audit.OnFailure = house.OnFailureDegrade }
	housetest.Both(t, housetest.Options{Config: degrade}, func(t *testing.T, h *housetest.Harness) {
		o, db := hold(t, h), beside(t, h)
		refuseEvents(t, h, db)
		failures := unwritten(t, h)
		for _, d := range deeds {
			rows, began := 0, len(h.Logs())
			if d.table != "" {
				rows = number(t, db, "SELECT count(*) FROM "+d.table)
			}
			if r := d.do(h.Client(), o); r.Status >= 500 {
				t.Errorf("%s: %s", d.name, r)
			}
			if d.table != "" && number(t, db, "SELECT count(*) FROM "+d.table) <= rows {
				t.Errorf("%s left nothing in %s", d.name, d.table)
			}
			now := unwritten(t, h)
			if now <= failures {
				t.Errorf("%s: the event was not counted: %d, before %d", d.name, now, failures)
			}
			failures = now
			if said := h.Logs()[began:]; !strings.Contains(said, "an audit event could not be recorded") || !strings.Contains(said, d.event) {
				t.Errorf("%s: the log of the process does not have the event: %s", d.name, said)
			}
		}
		if strings.Contains(h.Logs(), o.admin.Password) || strings.Contains(h.Logs(), o.key) {
			t.Error("a credential is in the log")
		}
	})
}

// Whichever of several replicas recorded it, each event is sent once and in the
// order of the log.
func TestReplicasSendTheAuditLogOnce(t *testing.T) {
	for _, postgres := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "audit.ndjson")
		options := housetest.Options{Postgres: postgres, Replicas: 2, Still: true, Config: func(c *house.Config) {
			c.Audit.Outputs = []string{"file://" + path + "?from=start"}
		}}
		h := housetest.Start(t, options)
		for round := range 3 {
			for n := range h.Replicas {
				h.At(n).TryLogin(fmt.Sprintf("nobody%d%d@example.com", round, n), "not the password at all").Expect(http.StatusUnauthorized)
			}
			for n := range h.Replicas {
				own := h.Replicas[n].House
				if err := own.SealAudit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := own.SendAudit(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		events, err := h.House().DB.Audit().Export(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []ident.EventID
		for _, e := range events {
			want = append(want, e.ID)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var l audit.Line
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			got = append(got, l.ID)
		}
		if len(want) < 6 || !slices.Equal(got, want) {
			t.Errorf("sent %d events of %d, or in another order", len(got), len(want))
		}
	}
}
