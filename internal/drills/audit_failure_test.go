package drills_test

import (
	"database/sql"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// refuseEvents makes the database itself refuse every audit event, and nothing else.
func refuseEvents(t *testing.T, h *housetest.Harness, db *sql.DB) {
	t.Helper()
	if !postgres(h) {
		run(t, db, "CREATE TRIGGER refuse BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no room'); END")
		return
	}
	run(t, db, "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$",
		"CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()")
}

func takeEvents(t *testing.T, h *housetest.Harness, db *sql.DB) {
	t.Helper()
	run(t, db, map[bool]string{false: "DROP TRIGGER refuse", true: "DROP TRIGGER refuse ON audit_events"}[postgres(h)])
}

// deed is something that is recorded, and what it leaves.
type deed struct {
	name  string
	do    func(*housetest.Client, holdings) housetest.Reply
	table string // where it leaves a row
	event string
}

// holdings are what somebody has before the audit log fails.
type holdings struct {
	admin  housetest.Person
	access string
	viewer string // the access token of somebody who may read little
	key    string
}

// deeds are of every kind: somebody proves who they are and fails to, and
// somebody changes what others may do.
var deeds = []deed{
	{"a login", func(c *housetest.Client, o holdings) housetest.Reply {
		return c.TryLogin(o.admin.Email, o.admin.Password)
	}, "sessions", "login.succeeded"},
	{"a wrong login", func(c *housetest.Client, o holdings) housetest.Reply {
		return c.TryLogin("somebody@example.com", "not the password at all")
	}, "", "login.failed"},
	{"a new key", func(c *housetest.Client, o holdings) housetest.Reply {
		return c.As(o.access).Post("/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}})
	}, "api_keys", "api_key.created"},
	{"a role", func(c *housetest.Client, o holdings) housetest.Reply {
		return c.As(o.access).Put("/api/v1/roles/auditor", map[string]any{"permissions": []string{"audit:read"}})
	}, "roles", "role.set"},
	{"a user", func(c *housetest.Client, o holdings) housetest.Reply {
		return c.As(o.access).Post("/api/v1/users", map[string]string{"email": "new@example.com", "name": "New", "role": "viewer", "password": "a long enough sentence for one"})
	}, "users", "user.created"},
	{"a registration", func(c *housetest.Client, o holdings) housetest.Reply {
		return c.Post("/api/v1/auth/register", map[string]string{"email": "newer@example.com", "name": "Newer", "password": "a long enough sentence for one"})
	}, "users", "user.registered"},
}

// unwritten is the metric of events that could not be written.
func unwritten(t *testing.T, h *housetest.Harness) int {
	t.Helper()
	for line := range strings.Lines(string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "tokenhouse_audit_write_failures_total "); ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("audit write failures are not counted")
	return 0
}

// SEC-OBS-04: the database takes everything but audit events. What would have to
// be recorded is refused with 503 and leaves nothing; what is recorded later,
// and what needs no record, goes on; each failure is counted, an alert says so,
// and all is well again by itself.
func TestWithoutItsAuditLogTheServerDecidesNothing(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		o, db := hold(t, h), beside(t, h)
		w := newWatch(h)
		w.scrape(t)
		refuseEvents(t, h, db)
		failures := unwritten(t, h)
		for _, d := range deeds {
			t.Run(d.name, func(t *testing.T) {
				rows := 0
				if d.table != "" {
					rows = number(t, db, "SELECT count(*) FROM "+d.table)
				}
				d.do(h.Client().For(t), o).Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
				if d.table != "" && number(t, db, "SELECT count(*) FROM "+d.table) != rows {
					t.Errorf("something was left in %s", d.table)
				}
				now := unwritten(t, h)
				if now <= failures {
					t.Errorf("the failure was not counted: %d, before %d", now, failures)
				}
				failures = now
			})
		}
		h.Client().As(o.access).Get("/api/v1/me").Expect(http.StatusOK)
		h.Client().WithKey(o.key).Get("/api/v1/me").Expect(http.StatusOK)
		h.Client().Get("/.well-known/jwks.json").Expect(http.StatusOK)
		h.Client().As(o.viewer).Get("/api/v1/audit-events").Expect(http.StatusForbidden) // refused, recorded or not
		h.Clock.Advance(time.Minute)
		w.scrape(t)
		w.expect("TokenhouseAuditWriteFailures")
		w.replay(t)
		takeEvents(t, h, db)
		for _, d := range deeds {
			if r := d.do(h.Client(), o); r.Status >= 500 {
				t.Errorf("afterwards, %s: %s", d.name, r)
			}
		}
	})
}

func hold(t *testing.T, h *housetest.Harness) holdings {
	t.Helper()
	o := holdings{admin: h.Admin, access: h.Login(h.Admin).Access, viewer: h.Login(h.Person(h.Admin.Org, "viewer", "viewer")).Access}
	_, o.key = h.Client().As(o.access).CreateKey("held", "agents:read")
	h.Follow()
	h.Client().WithKey(o.key).Get("/api/v1/me").Expect(http.StatusOK)
	return o
}
