package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/metrics"
)

func newSet() *metrics.Set {
	return metrics.New(metrics.Config{
		Version: "v1.2.3", Revision: "abc", Routes: []string{"/api/v1/api-keys/:id"},
		SigningKeys: func() []metrics.SigningKey {
			return []metrics.SigningKey{
				{Algorithm: "ES256", State: "active", Age: time.Hour}, {Algorithm: "ES256", State: "retiring", Age: 2 * time.Hour},
				{Algorithm: "ES256", State: "retiring", Age: 3 * time.Hour}, {Algorithm: "evil", State: "evil", Age: -time.Second},
			}
		},
		StatusLists: func() metrics.StatusCount { return metrics.StatusCount{Lists: 10, Revoked: 1234} },
		Moment: func() metrics.Moment {
			return metrics.Moment{FeedSilence: time.Second / 4, SinceCleanup: time.Minute, SigningKeyLifetime: time.Hour, HashSlots: 2}
		},
	})
}

// scrape returns the exposition as Prometheus gets it.
func scrape(t *testing.T, s *metrics.Set) string {
	t.Helper()
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %v %s", res.StatusCode, err, b)
	}
	return string(b)
}

// has demands a line of the exposition.
func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+text, "\n"+l+"\n") {
			name, _, _ := strings.Cut(l, "{")
			t.Errorf("no line %q; there are\n%s", l, strings.Join(regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`[{ ].*$`).FindAllString(text, -1), "\n"))
		}
	}
}

// everything calls each hook once.
func everything(s *metrics.Set) {
	s.Observe([]audit.Event{{Name: audit.LoginSucceeded, Outcome: audit.Success, Actor: audit.Actor{Via: "password"}}})
	s.TokenIssued("password", "access_token")
	s.Verified("access_token", "ok")
	s.Refreshed("rotated")
	s.APIKeyVerified("ok")
	s.RotationDue(3)
	s.Expiring(2)
	s.LockedNow(map[string]int{"pool": 9})
	s.LockedNow(map[string]int{"pair": 2})
	s.Hashing(1)
	s.HashWaited(20 * time.Millisecond)
	s.Propagated(30 * time.Millisecond)
	s.Confirmed(10*time.Millisecond, true)
	s.APIKeyLeaked("revoked")
	s.AuditWriteFailed(1)
	s.HashRefused()
	s.AuditUnsealed(time.Second)
	s.AuditUncheckpointed(time.Minute)
	s.AuditOutputBehind("syslog", 2*time.Second)
	s.WebhookTold("retried")
	s.DeadLetters(4)
	s.WebhookBehind(time.Hour)
	s.Mailed("failed")
	s.MailBehind(3 * time.Second)
	s.StatusListBuilt(9 * time.Millisecond)
	s.StorageOperation("transaction", nil, time.Millisecond)
	s.Request("/api/v1/api-keys/:id", http.MethodGet, 200, time.Millisecond)
}

// The names and labels that dashboards and alerts are written against.
func TestEveryMetricIsExported(t *testing.T) {
	s := newSet()
	everything(s)
	has(t, scrape(t, s),
		`tokenhouse_login_attempts_total{method="password",result="success"} 1`,
		`tokenhouse_login_attempts_total{method="password",result="failure"} 0`,
		`tokenhouse_lockouts_total{scope="pair"} 0`,
		`tokenhouse_lockouts_active{scope="pair"} 2`,
		`tokenhouse_lockouts_active{scope="pool"} 0`,
		`tokenhouse_tokens_issued_total{grant="password",kind="access_token"} 1`,
		`tokenhouse_token_verifications_total{kind="access_token",result="ok"} 1`,
		`tokenhouse_refreshes_total{result="rotated"} 1`,
		`tokenhouse_refreshes_total{result="reuse_detected"} 0`,
		`tokenhouse_api_key_verifications_total{result="ok"} 1`,
		`tokenhouse_api_keys_rotation_due 3`,
		`tokenhouse_api_keys_expiring 2`,
		`tokenhouse_audit_events_total{event="login.succeeded",outcome="success"} 1`,
		`tokenhouse_audit_write_failures_total 1`,
		`tokenhouse_signing_key_age_seconds{alg="ES256",state="active"} 3600`,
		`tokenhouse_signing_key_age_seconds{alg="ES256",state="retiring"} 10800`,
		`tokenhouse_signing_key_age_seconds{alg="other",state="other"} 0`,
		`tokenhouse_revocation_propagation_seconds_count 1`,
		`tokenhouse_password_hash_inflight 1`,
		`tokenhouse_password_hash_wait_seconds_count 1`,
		`tokenhouse_cleanup_lag_seconds 60`,
		`tokenhouse_storage_operation_seconds_count{operation="transaction",result="ok"} 1`,
		`tokenhouse_http_request_duration_seconds_count{method="GET",route="/api/v1/api-keys/:id",status="200"} 1`,
		`tokenhouse_build_info{revision="abc",version="v1.2.3"} 1`,
	)
	if text := scrape(t, s); !strings.Contains(text, "\ngo_goroutines ") || !strings.Contains(text, "\nprocess_open_fds ") {
		t.Error("the runtime's own metrics are missing")
	}
}

// Logins are counted from what was committed, and only from that.
func TestLoginsAreCountedFromCommittedEvents(t *testing.T) {
	s := newSet()
	by := audit.Actor{Type: "anonymous", Via: "password"}
	s.Observe([]audit.Event{
		{Name: audit.LoginFailed, Outcome: audit.Failure, Actor: by, Reason: "wrong_password"},
		{Name: audit.LoginFailed, Outcome: audit.Failure, Actor: by, Reason: "wrong_password"},
		{Name: audit.LoginLocked, Outcome: audit.Denied, Actor: by, Reason: "pair"},
		{Name: audit.LoginRefused, Outcome: audit.Denied, Actor: by, Reason: "locked"},
		{Name: audit.SessionRevoked, Outcome: audit.Success},
	})
	s.Observe(nil)
	has(t, scrape(t, s),
		`tokenhouse_login_attempts_total{method="password",result="failure"} 2`,
		`tokenhouse_login_attempts_total{method="password",result="refused"} 1`,
		`tokenhouse_login_attempts_total{method="password",result="success"} 0`,
		`tokenhouse_lockouts_total{scope="pair"} 1`,
		`tokenhouse_audit_events_total{event="login.failed",outcome="failure"} 2`,
		`tokenhouse_audit_events_total{event="session.revoked",outcome="success"} 1`,
	)
}

// SEC-OBS-08: nothing from a request becomes a label, so nobody can make the
// number of series grow.
func TestUnknownLabelValuesBecomeOther(t *testing.T) {
	s := newSet()
	evil := []string{"user@example.com", "th_live_abc", "", "\xff", strings.Repeat("x", 10_000)}
	for _, v := range evil {
		s.Observe([]audit.Event{
			{Name: audit.Name(v), Outcome: audit.Outcome(v)},
			{Name: audit.LoginFailed, Outcome: audit.Failure, Actor: audit.Actor{Via: v}},
			{Name: audit.LoginLocked, Outcome: audit.Denied, Reason: v, Actor: audit.Actor{ID: v, Org: ident.OrgID(v)}},
		})
		s.TokenIssued(v, v)
		s.Verified(v, v)
		s.Refreshed(v)
		s.APIKeyVerified(v)
		s.StorageOperation(v, errors.New(v), -time.Second)
		s.Request("/"+v, v, 4711, -time.Second)
	}
	text := scrape(t, s)
	has(t, text,
		`tokenhouse_audit_events_total{event="other",outcome="other"} 5`,
		`tokenhouse_login_attempts_total{method="other",result="failure"} 5`,
		`tokenhouse_lockouts_total{scope="other"} 5`,
		`tokenhouse_tokens_issued_total{grant="other",kind="other"} 5`,
		`tokenhouse_token_verifications_total{kind="other",result="other"} 5`,
		`tokenhouse_refreshes_total{result="other"} 5`,
		`tokenhouse_api_key_verifications_total{result="other"} 5`,
		`tokenhouse_storage_operation_seconds_count{operation="other",result="error"} 5`,
		`tokenhouse_storage_operation_seconds_sum{operation="other",result="error"} 0`,
		`tokenhouse_http_request_duration_seconds_count{method="other",route="other",status="other"} 5`,
	)
	for _, v := range evil {
		if v != "" && strings.Contains(text, v) {
			t.Errorf("%.20q is in the metrics", v)
		}
	}
	before := len(strings.Split(text, "\n"))
	for range 100 {
		s.Request("/"+evil[0], evil[1], 4711, 0)
	}
	if after := len(strings.Split(scrape(t, s), "\n")); after != before {
		t.Errorf("%d lines became %d", before, after)
	}
}

func TestARequestWithoutARouteIsUnmatched(t *testing.T) {
	s := newSet()
	s.Request("", http.MethodGet, 404, time.Millisecond)
	has(t, scrape(t, s), `tokenhouse_http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1`)
}

// Clocks of two replicas differ: a revocation cannot arrive before it was made.
func TestDurationsAreNeverNegative(t *testing.T) {
	s := newSet()
	s.Propagated(-time.Second)
	s.HashWaited(-time.Second)
	s.AuditUnsealed(-time.Second)
	has(t, scrape(t, s), `tokenhouse_revocation_propagation_seconds_sum 0`, `tokenhouse_password_hash_wait_seconds_sum 0`, `tokenhouse_audit_unsealed_seconds 0`)
}

func TestTwoSetsShareNothing(t *testing.T) {
	a, b := newSet(), newSet()
	a.RotationDue(1)
	has(t, scrape(t, b), `tokenhouse_api_keys_rotation_due 0`)
}

// docs/metrics.md has a row for each metric of ours, with its type and labels,
// and no other row.
func TestTheDocumentationListsEveryMetric(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(tokenhouse_[a-z_]+)` \\| (\\w+) \\| ([^|]*) ?\\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2] + " " + strings.NewReplacer("`", "", " ", "").Replace(row[3])
	}
	s := newSet()
	everything(s)
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "tokenhouse_") {
			continue
		}
		labels := []string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		documentedLabels := strings.Split(documented[f.GetName()], " ")
		got := strings.ToLower(f.GetType().String())
		want := strings.FieldsFunc(documentedLabels[len(documentedLabels)-1], func(r rune) bool { return r == ',' })
		slices.Sort(want)
		if documentedLabels[0] != got || !slices.Equal(want, labels) {
			t.Errorf("%s is a %s with %v; documented as %q", f.GetName(), got, labels, documented[f.GetName()])
		}
		delete(documented, f.GetName())
	}
	if len(documented) > 0 {
		t.Errorf("documented and not exported: %v", documented)
	}
}

// Prometheus's own linter accepts what we export.
func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	s := newSet()
	everything(s)
	promtool(t, scrape(t, s))
}

// promtool asks the real promtool about a page of metrics.
func promtool(t *testing.T, page string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing; install Debian's package prometheus:", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(page)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || out.Len() > 0 {
		t.Errorf("promtool: %v\n%s", err, &out)
	}
}

func BenchmarkRequest(b *testing.B) {
	s := newSet()
	b.ReportAllocs()
	for b.Loop() {
		s.Request("/api/v1/api-keys/:id", http.MethodGet, 200, time.Millisecond)
	}
}
