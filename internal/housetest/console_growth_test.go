package housetest_test

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// grown is how much a database holds that has been in use for years. Each page
// of the console may take grownTimes what it takes on a new one, and
// grownAllowance more, which nobody notices.
var grown = contents{users: 100_000, keys: 10_000, events: 10_000_000}

const (
	grownTimes     = 5
	grownAllowance = 5 * time.Millisecond
)

type contents struct{ users, keys, events int }

// Every page of the console that a link leads to is as quick among many users,
// keys and events as on a new database. TOKENHOUSE_TEST_CONSOLE=full fills it as
// grown says and compares times, which takes a quarter of an hour and 10 GB;
// ordinarily there is a thousandth, and what is shown is that no page fails.
func TestPagesOfTheConsoleDoNotGrow(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Postgres: true, Still: true})
	size, full := grown, os.Getenv("TOKENHOUSE_TEST_CONSOLE") == "full"
	if !full {
		size = contents{users: size.users / 1000, keys: size.keys / 100, events: size.events / 1000}
	}
	b := h.Browser()
	b.SignIn("/login", h.Admin)
	seed(t, h, contents{users: 1, keys: 1, events: 30})
	before := visitAll(t, h, b, full)
	began := time.Now()
	seed(t, h, size)
	t.Logf("%d users, %d keys and %d events stored in %s", size.users, size.keys, size.events, time.Since(began).Round(time.Second))
	after := visitAll(t, h, b, full)
	if len(before) < 10 {
		t.Fatalf("only %d pages were found: %v", len(before), before)
	}
	for _, page := range slices.Sorted(keysOf(before)) {
		was, is := before[page], after[page]
		if is == 0 {
			t.Errorf("%s is gone", page)
		}
		if full {
			t.Logf("%-60s %8s %8s", page, was.Round(10*time.Microsecond), is.Round(10*time.Microsecond))
			if is > grownTimes*was+grownAllowance {
				t.Errorf("%s took %s, and %s among many", page, was, is)
			}
		}
	}
}

func keysOf(m map[string]time.Duration) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// identifier is what one page of a kind has and another has not.
var identifier = regexp.MustCompile(`\b(user|org|key|sess|cli|evt|req|wh|sa|svc|inv|hook)_[0-9a-z]+|[A-Za-z0-9_-]{40,}`)

// kindOf is the address without what tells one page of a kind from another.
func kindOf(address string) string {
	path, query, _ := strings.Cut(address, "?")
	kind := identifier.ReplaceAllString(path, "…")
	var names []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "name" || name == "outcome" {
			name += "=" + value
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return kind + "?" + strings.Join(names, "&")
}

// visitAll follows every link from the console's first pages, one of each kind,
// and returns how long each kind takes: the median of several visits.
func visitAll(t *testing.T, h *housetest.Harness, b *housetest.Browser, full bool) map[string]time.Duration {
	t.Helper()
	took := map[string]time.Duration{}
	next := []string{"/console", "/settings", "/console/audit?name=role.changed", "/console/audit?outcome=denied", "/console/audit?ip=203.0.113.9"}
	times := 1
	if full {
		times = 7
	}
	for len(next) > 0 {
		address := next[0]
		next = next[1:]
		kind := kindOf(address)
		if _, known := took[kind]; known {
			continue
		}
		var all []time.Duration
		var page housetest.Page
		for range times {
			began := time.Now()
			page = b.Open(address)
			all = append(all, time.Since(began))
			if page.Status != 200 || page.URL.Path != strings.SplitN(address, "?", 2)[0] {
				break
			}
		}
		if page.Status >= 500 {
			t.Errorf("%s: %s", address, page)
		}
		slices.Sort(all)
		took[kind] = all[len(all)/2]
		for _, to := range page.Links {
			if own(h, to) {
				next = append(next, to.RequestURI())
			}
		}
	}
	return took
}

// own reports whether the console answers there, and does no more than show.
func own(h *housetest.Harness, to *url.URL) bool {
	return (to.Host == "" || "http://"+to.Host == h.Config.Issuer) && to.Path != "/logout" &&
		(strings.HasPrefix(to.Path, "/console") || strings.HasPrefix(to.Path, "/settings"))
}

// seed stores so much more in the first organisation, past the server.
func seed(t *testing.T, h *housetest.Harness, size contents) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, h.Config.Database.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }() // nothing waits for it
	now := h.Clock.Now().Add(-time.Hour)
	args := pgx.NamedArgs{"org": string(h.Admin.Org), "admin": string(h.Admin.ID), "now": now.UnixMicro(),
		"users": size.users, "keys": size.keys, "events": size.events}
	// Identifiers begin with the time, as ours do, so that what is seeded stands
	// where a list begins.
	args["at"] = strings.TrimPrefix(string(ident.NewUserID(now, zeros{})), "user_")[:10]
	for _, statement := range seeding {
		if _, err := conn.Exec(ctx, statement, args); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// zeros is a source without randomness.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// numbered is an identifier of that kind for row number i of a table which has so
// many rows already.
func numbered(kind, i string) string {
	return fmt.Sprintf("'%s_' || @at::text || lpad((%s)::text, 16, '0')", kind, i)
}

var seeding = []string{
	`CREATE TEMPORARY TABLE had AS SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM api_keys) AS keys,
		(SELECT coalesce(max(seq), 0) FROM audit_events) AS events, (SELECT links FROM audit_sealer) AS links`,
	`INSERT INTO users SELECT ` + numbered("user", "had.users + i") + `, 'person' || had.users + i || '@example.com', 'person' || had.users + i || '@example.com',
		'Person ' || i, 'active', '', @now, @now FROM had, generate_series(1, @users::int) i`,
	`INSERT INTO memberships (user_id, org_id, role, created_at) SELECT id, @org, 'viewer', @now FROM users
		WHERE NOT EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = users.id)`,
	`INSERT INTO sessions (id, user_id, org_id, client_id, method, created_at, expires_at, refreshable, version, generation, last_used, previous_at, retry_key,
		contested_from, contested_to, contested_at, contested_agent, network, agent, proof, proven, seen_at, ip, user_agent, revoked_at, revoked_reason, authenticated_at)
		SELECT ` + numbered("sess", "had.users + i") + `, CASE WHEN i % 1000 = 0 THEN @admin ELSE ` + numbered("user", "had.users + i") + ` END, @org, 'cli_browser', 'password',
		@now, @now + 864000000000, false, 1, 1, @now, 0, '', 0, 0, 0, '', '', '', '', false, @now, '203.0.113.9', 'Mozilla/5.0', 0, '', @now
		FROM had, generate_series(1, @users::int) i`,
	`INSERT INTO api_keys (id, lookup, prefix, name, org_id, owner_id, created_by_user, created_by_key, permissions, created_at, expires_at, revoked_at, revoked_by, generation, used_at, used_ip, used_agent)
		SELECT ` + numbered("key", "had.keys + i") + `, lpad((had.keys + i)::text, 8, '0'), 'th_live', 'key ' || i, @org, CASE WHEN i % 10 = 0 THEN @admin ELSE ` + numbered("user", "had.users + i") + ` END,
		@admin, '', 'incidents:read', @now, 0, 0, '', 1, @now, '203.0.113.9', 'curl/8' FROM had, generate_series(1, @keys::int) i`,
	`INSERT INTO api_key_secrets SELECT k.id, 1, '\x00', 1, 'abcd', @now, 0, 0, @now, '203.0.113.9', 'curl/8' FROM api_keys k
		WHERE NOT EXISTS (SELECT 1 FROM api_key_secrets s WHERE s.key_id = k.id)`,
	`INSERT INTO api_key_usage (key_id, hour, ok, refused) SELECT k.id, @now / 3600000000 * 3600000000 - 3600000000::bigint * h, 100, 3
		FROM api_keys k, generate_series(1, 48) h ON CONFLICT DO NOTHING`,
	`INSERT INTO audit_events (id, at, name, outcome, reason, org_id, user_id, actor_type, actor_id, actor_name, actor_org, actor_via, targets, meta, ip, user_agent, request_id, session_id, key_id)
		SELECT ` + numbered("evt", "had.events + i") + `, @now - 3000 * (@events::bigint - i), (ARRAY['login.succeeded','login.failed','api_key.created','permission.denied','session.ended'])[1 + i % 5],
		CASE WHEN i % 5 IN (1, 3) THEN 'denied' ELSE 'success' END, '', @org, who, 'user', who, 'person@example.com', @org, '', '[{"type":"user","id":"' || who || '"}]', '{}',
		'198.51.100.' || i % 250, 'Mozilla/5.0', ` + numbered("req", "had.events + i") + `, '', CASE WHEN i % 5 = 2 THEN ` + numbered("key", "had.keys + 1 + i % @keys::int") + ` ELSE '' END
		FROM had, generate_series(1, @events::int) i, LATERAL (SELECT CASE WHEN i % 1000 = 0 THEN @admin ELSE ` + numbered("user", "had.users + 1 + i % @users::int") + ` END AS who) w`,
	`INSERT INTO audit_shards SELECT @org, 0, '', 0, 0, '', 0, '', '' ON CONFLICT DO NOTHING`,
	`INSERT INTO audit_links SELECT had.links + row_number() OVER (ORDER BY e.seq), @org, s.position + row_number() OVER (ORDER BY e.seq), e.seq, e.at, 'security', sha256(e.id::bytea), sha256(e.id::bytea), 0
		FROM had, audit_events e, audit_shards s WHERE e.seq > had.events AND s.shard = @org`,
	`UPDATE audit_shards SET position = (SELECT max(position) FROM audit_links WHERE shard = @org), hash = sha256('') WHERE shard = @org`,
	`UPDATE audit_sealer SET links = (SELECT max(id) FROM audit_links), seq = (SELECT max(seq) FROM audit_events), snapshot = pg_current_snapshot()::text`,
	`INSERT INTO activity_hours SELECT @org, @now / 3600000000 * 3600000000 - 3600000000::bigint * h, k, l, 100 FROM generate_series(1, 24 * 400) h,
		(VALUES ('logins', ''), ('failures', 'wrong_password'), ('key_use', 'ok'), ('tokens', 'password')) v (k, l) ON CONFLICT DO NOTHING`,
	`DROP TABLE had`,
	`ANALYZE`,
}
