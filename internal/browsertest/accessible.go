package browsertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/chromedp"
)

// Finding is something that keeps people out of a page, as axe-core sees it.
type Finding struct {
	ID     string `json:"id"` // of the rule
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML string `json:"html"`
	} `json:"nodes"`
}

// String shows the finding in a message.
func (f Finding) String() string {
	var nodes []string
	for _, n := range f.Nodes {
		nodes = append(nodes, n.HTML)
	}
	return fmt.Sprintf("%s (%s): %s: %s", f.ID, f.Impact, f.Help, strings.Join(nodes, " "))
}

// Barriers lists what axe-core finds in the page: WCAG 2.2, levels A and AA,
// and what it takes for good practice.
func (w *Window) Barriers() []Finding {
	w.t.Helper()
	axe, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js")) // the tests run in this folder
	if err != nil {
		w.t.Fatalf("axe-core is missing; run make testenv, or npm ci in internal/browsertest: %v", err)
	}
	w.scripts(true) // axe-core waits for timers; the page's own have had their chance
	defer w.scripts(w.script)
	w.do("load axe-core", chromedp.Evaluate[chromedp.Void](string(axe)+";undefined"))
	return Eval[[]Finding](w, `axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => ({html: n.html}))})))`)
}
