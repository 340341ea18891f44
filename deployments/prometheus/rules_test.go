// Package prometheus_test runs the shipped rules and the dashboard in the tools that they are for: promtool, and a Prometheus that
// scrapes a server.
package prometheus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tokenhouse/tokenhouse/audit"
)

// rule is a recording or an alert.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// shipped reads every rule.
func shipped(t *testing.T) (rules []rule) {
	t.Helper()
	for _, file := range files(t, "rules/*.yml") {
		var f struct {
			Groups []struct{ Rules []rule }
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &f); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, g := range f.Groups {
			rules = append(rules, g.Rules...)
		}
	}
	return rules
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing is like %s: %v", pattern, err)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatal("promtool is missing; install Debian's package prometheus:", err)
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolAcceptsTheRulesAndTheConfiguration(t *testing.T) {
	promtool(t, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, files(t, "rules/*.yml")...)...)
	promtool(t, "check", "config", "prometheus.yml")
}

// Each alert fires when it should, says what it should, and nothing else
// fires at the same time: tests/*.yml tell when.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	for _, file := range files(t, "tests/*.yml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", file)
		})
	}
}

// Whoever is woken finds what happened, how bad it is, and what to do.
func TestEveryAlertIsTestedAndSaysWhatToDo(t *testing.T) {
	page := read(t, "../../docs/monitoring.md")
	var tests strings.Builder
	for _, file := range files(t, "tests/*.yml") {
		tests.WriteString(read(t, file))
	}
	alerts := map[string]bool{}
	for _, r := range shipped(t) {
		if r.Alert == "" {
			continue
		}
		alerts[r.Alert] = true
		severity := r.Labels["severity"]
		if severity != "critical" && severity != "warning" && severity != "info" {
			t.Errorf("%s has the severity %q", r.Alert, severity)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s does not say what happened", r.Alert)
		}
		anchor := strings.ToLower(r.Alert)
		if r.Annotations["runbook"] != "docs/monitoring.md#"+anchor {
			t.Errorf("%s sends people to %q", r.Alert, r.Annotations["runbook"])
		}
		row := regexp.MustCompile(`(?m)^\| <a id="` + anchor + `"></a>` + "`" + r.Alert + "`" + ` \| ` + severity + ` \| [^|]{10,} \| [^|]{10,} \|$`)
		if !row.MatchString(page) {
			t.Errorf("docs/monitoring.md has no row that tells what to do about %s (%s)", r.Alert, severity)
		}
		if !strings.Contains(tests.String(), "alertname: "+r.Alert+"\n") {
			t.Errorf("no test makes %s fire", r.Alert)
		}
	}
	if len(alerts) < 20 {
		t.Errorf("only %d alerts were found", len(alerts))
	}
	for _, m := range regexp.MustCompile("(?m)^\\|.*`(Tokenhouse[A-Za-z]+)` \\|").FindAllStringSubmatch(page, -1) {
		if !alerts[m[1]] {
			t.Errorf("docs/monitoring.md tells of %s, which is no alert", m[1])
		}
	}
}

// What the runbook has people look for in the audit log is there to be found.
func TestTheRunbookNamesEventsThatThereAre(t *testing.T) {
	for _, m := range regexp.MustCompile("`([a-z_]+\\.[a-z_]+)`").FindAllStringSubmatch(read(t, "../../docs/monitoring.md"), -1) {
		if !slices.Contains(audit.Names(), audit.Name(m[1])) {
			t.Errorf("%s is no event", m[1])
		}
	}
}

// metric finds the names of our metrics in an expression; recorded ones have a
// colon before or after.
var metric = regexp.MustCompile(`(?:^|[^:a-z_])(tokenhouse_[a-z_]+)(?:[^:a-z_]|$)`)

// Rules and dashboard ask for metrics that there are, and nothing that we
// export is left unused by accident: docs/metrics.md has them all.
func TestRulesAndDashboardNameMetricsThatThereAre(t *testing.T) {
	kinds := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(tokenhouse_[a-z_]+)` \\| (\\w+) \\|").FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		kinds[m[1]] = m[2]
	}
	used := map[string]bool{}
	var asked []string
	for _, r := range shipped(t) {
		asked = append(asked, r.Expr)
	}
	for _, p := range dashboard(t).Panels {
		for _, q := range p.Targets {
			asked = append(asked, q.Expr)
		}
	}
	for _, expr := range asked {
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			name := m[1]
			if kinds[name] == "" {
				for _, suffix := range []string{"_bucket", "_count", "_sum"} {
					if base, ok := strings.CutSuffix(name, suffix); ok && kinds[base] == "histogram" {
						name = base
					}
				}
			}
			if kinds[name] == "" {
				t.Errorf("%s is asked for by %s and not documented", m[1], expr)
			}
			used[name] = true
		}
	}
	for name := range kinds {
		if !used[name] {
			t.Errorf("%s is exported, and neither an alert nor the dashboard looks at it", name)
		}
	}
}
