package drills_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// rules are what a deployment is watched with, as it is shipped.
const rules = "../../deployments/prometheus/rules/*.yml"

// watch is a Prometheus that scrapes a harness once a minute of its clock and
// then asks promtool which alerts fired, by the shipped rules.
type watch struct {
	h      *housetest.Harness
	names  []string            // of the series, as they first came
	values map[string][]string // one for each scrape; "_" where the series was not there yet
	fired  map[int][]string    // alerts that must be firing at a scrape, and no others
}

func newWatch(h *housetest.Harness) *watch {
	return &watch{h: h, values: map[string][]string{}, fired: map[int][]string{}}
}

// minute lets a minute pass and scrapes.
func (w *watch) minute(t *testing.T) {
	t.Helper()
	w.h.Advance(time.Minute)
	if err := w.h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.scrape(t)
}

func (w *watch) scrape(t *testing.T) {
	t.Helper()
	n := w.scrapes()
	for line := range strings.Lines(string(w.h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body)) {
		if !strings.HasPrefix(line, "tokenhouse_") {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(name, "_bucket{") || strings.Contains(name, "http_request") && strings.Contains(name, "_sum") {
			continue // nothing about attacks reads these
		}
		name = labelled(name)
		if w.values[name] == nil {
			w.names = append(w.names, name)
			w.values[name] = slices.Repeat([]string{"_"}, n)
		}
		w.values[name] = append(w.values[name], value)
	}
	for _, name := range w.names { // what is not there any more
		if len(w.values[name]) == n {
			w.values[name] = append(w.values[name], "stale")
		}
	}
}

func (w *watch) scrapes() int {
	if len(w.names) == 0 {
		return 0
	}
	return len(w.values[w.names[0]])
}

// labelled adds what Prometheus itself says of a target.
func labelled(series string) string {
	const target = `job="tokenhouse",instance="drill"`
	if name, labels, ok := strings.Cut(series, "{"); ok {
		return name + "{" + target + "," + labels
	}
	return series + "{" + target + "}"
}

// expect says which alerts of attacks are firing at the last scrape.
func (w *watch) expect(alerts ...string) {
	slices.Sort(alerts)
	w.fired[w.scrapes()-1] = alerts
}

// value is what the last scrape showed.
func (w *watch) value(t *testing.T, series string) string {
	t.Helper()
	values := w.values[labelled(series)]
	if len(values) == 0 {
		t.Fatalf("the metrics have no %s", series)
	}
	return values[len(values)-1]
}

// replay gives the scrapes to `promtool test rules`.
func (w *watch) replay(t *testing.T) {
	t.Helper()
	shipped, err := filepath.Glob(rules)
	if err != nil || len(shipped) == 0 {
		t.Fatalf("no rules at %s: %v", rules, err)
	}
	var b strings.Builder
	b.WriteString("rule_files:\n")
	for _, file := range shipped {
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  - %q\n", path)
	}
	b.WriteString("evaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n")
	fmt.Fprintf(&b, "      - {series: 'up{job=\"tokenhouse\",instance=\"drill\"}', values: '1x%d'}\n", w.scrapes())
	for _, name := range w.names {
		fmt.Fprintf(&b, "      - {series: '%s', values: '%s'}\n", name, strings.Join(w.values[name], " "))
	}
	b.WriteString("    promql_expr_test:\n")
	for at, alerts := range w.fired {
		fmt.Fprintf(&b, "      - expr: 'count by (alertname) (ALERTS{alertstate=\"firing\"})'\n        eval_time: %dm\n        exp_samples:\n", at)
		for _, a := range alerts {
			fmt.Fprintf(&b, "          - {labels: '{alertname=\"%s\"}', value: 1}\n", a)
		}
		if len(alerts) == 0 {
			b.WriteString("          []\n")
		}
	}
	file := filepath.Join(t.TempDir(), "drill.yml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}
