package drills_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// SEC-OBS-03: no request changes or removes an event. A server whose role of
// PostgreSQL may only read and add events does everything but remove old ones, and
// that role can change none; whoever can, the owner of the database, is found out.
func TestEventsAreAddedAndNeverChanged(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Postgres: true})
	db := beside(t, h)
	role := "th_app_" + strings.ToLower(string(h.Admin.Org[len(h.Admin.Org)-8:]))
	run(t, db, "CREATE ROLE "+role+" LOGIN", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role,
		"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "+role, "REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM "+role)
	t.Cleanup(func() { run(t, db, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	u, err := url.Parse(h.Config.Database.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	h.Config.Database.URL = u.String()
	app := beside(t, h)
	restricted := h.At(h.AddReplica())

	s := restricted.Login(h.Admin.Email, h.Admin.Password)
	c := restricted.As(s.Access)
	id, key := c.CreateKey("k", "agents:read")
	restricted.WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
	restricted.TryLogin(h.Admin.Email, "not the password at all").Expect(http.StatusUnauthorized)
	restricted.Refresh(s.Refresh).Expect(http.StatusOK)
	c.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
	own := h.Replicas[1].House
	if err := own.Tend(t.Context()); err != nil {
		t.Errorf("the work in the background, by a role that may not change events: %v", err)
	}
	events := c.Get("/api/v1/audit-events").Expect(http.StatusOK).List("data")
	if len(events) < 5 {
		t.Fatalf("only %d events were recorded", len(events))
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE", "POST"} {
		for _, path := range []string{"", "/1", "/export"} {
			if r, err := c.Try(method, "/api/v1/audit-events"+path, map[string]string{}); err != nil || r.Status != http.StatusMethodNotAllowed && r.Status != http.StatusNotFound {
				t.Errorf("%s %s: %v %s", method, path, err, r)
			}
		}
	}
	for _, change := range []string{"UPDATE audit_events SET reason = 'x'", "DELETE FROM audit_events", "TRUNCATE audit_events", "ALTER TABLE audit_events ADD x int", "DROP TABLE audit_events"} {
		if _, err := app.ExecContext(t.Context(), change); err == nil || !strings.Contains(err.Error(), "SQLSTATE 42501") { // insufficient_privilege
			t.Errorf("%s: %v", change, err)
		}
	}

	if err := proven(t, h); err != nil {
		t.Fatalf("untouched: %v", err)
	}
	tamper := "seq = (SELECT seq FROM audit_events WHERE name = 'login.failed' LIMIT 1)"
	run(t, db, "CREATE TABLE kept AS SELECT * FROM audit_events WHERE "+tamper)
	run(t, db, "UPDATE audit_events SET reason = 'unknown_user' WHERE "+tamper)
	if err := proven(t, h); err == nil {
		t.Error("a changed event is not found")
	}
	run(t, db, "DELETE FROM audit_events WHERE seq = (SELECT seq FROM kept)")
	if err := proven(t, h); err == nil {
		t.Error("a removed event is not found")
	}
	run(t, db, "INSERT INTO audit_events OVERRIDING SYSTEM VALUE SELECT * FROM kept", "DROP TABLE kept")
	if err := proven(t, h); err != nil {
		t.Errorf("as it was: %v", err)
	}
}

// proven exports the log and verifies the export, as `audit verify` does.
func proven(t *testing.T, h *housetest.Harness) error {
	t.Helper()
	var out bytes.Buffer
	if err := h.House().SealAudit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.House().AuditSealer().Export(t.Context(), &out, audit.Extent{}, nil); err != nil {
		return err
	}
	v := audit.Verifier{Issuer: h.Config.Issuer}
	if err := v.Trust(h.Client().Get("/.well-known/jwks.json").Expect(http.StatusOK).Body); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(&out)
	return err
}
