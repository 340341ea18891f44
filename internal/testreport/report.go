package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// report gathers what a run of the tests showed.
type report struct {
	out      io.Writer
	pending  map[string]map[string]*bytes.Buffer // output by package and test ("": the package's own), until it is known how they end
	passed   int
	failed   int
	broken   map[string]bool // packages that had a failed test
	skipped  []string
	backends map[string]int // passed tests by the backend in their name
}

// backends are the words that a test's name carries for the backend it ran on.
const sqlite, postgres = "sqlite", "postgres"

func newReport(out io.Writer) *report {
	return &report{out: out, pending: map[string]map[string]*bytes.Buffer{}, broken: map[string]bool{}, backends: map[string]int{}}
}

// read follows a whole run.
func (r *report) read(in io.Reader) error {
	for d := json.NewDecoder(in); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("this is not the output of go test -json: %w", err)
		}
		r.add(e)
	}
}

func (r *report) add(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output(e.Package, e.Test).WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
	}
}

func (r *report) output(pkg, test string) *bytes.Buffer {
	if r.pending[pkg] == nil {
		r.pending[pkg] = map[string]*bytes.Buffer{}
	}
	if r.pending[pkg][test] == nil {
		r.pending[pkg][test] = &bytes.Buffer{}
	}
	return r.pending[pkg][test]
}

func (r *report) endTest(e event) {
	switch e.Action {
	case "pass":
		r.passed++
		for _, backend := range []string{sqlite, postgres} {
			if strings.Contains(strings.ToLower(e.Test), backend) {
				r.backends[backend]++
			}
		}
	case "fail":
		r.fail(e.Package, r.output(e.Package, e.Test))
	case "skip":
		r.skipped = append(r.skipped, e.Package+" "+e.Test)
		r.output(e.Package, e.Test).WriteTo(r.out)
	}
	delete(r.pending[e.Package], e.Test)
}

func (r *report) fail(pkg string, output *bytes.Buffer) {
	r.failed++
	r.broken[pkg] = true
	output.WriteTo(r.out)
}

// endPackage prints the closing line of a package, and all that is left of a failed one: a panic shows in tests that never ended.
func (r *report) endPackage(e event) {
	own := r.output(e.Package, "")
	if e.Action == "fail" {
		delete(r.pending[e.Package], "")
		for _, test := range slices.Sorted(maps.Keys(r.pending[e.Package])) {
			r.fail(e.Package, r.pending[e.Package][test])
		}
		if !r.broken[e.Package] { // it did not compile, or ended badly after its tests
			r.failed++
		}
		own.WriteTo(r.out)
	}
	for line := range strings.Lines(own.String()) {
		if strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") {
			fmt.Fprint(r.out, line)
		}
	}
	delete(r.pending, e.Package)
}

// close prints the verdict and says whether it is a good one.
func (r *report) close(sqliteDriver, postgresVersion string) bool {
	good := r.failed == 0 && r.passed > 0
	for _, name := range r.skipped {
		fmt.Fprintln(r.out, "skipped, which no test may be:", name)
		good = false
	}
	fmt.Fprintf(r.out, "backends: SQLite (%s) in %d tests, PostgreSQL %s in %d tests\n",
		sqliteDriver, r.backends[sqlite], postgresVersion, r.backends[postgres])
	for _, backend := range []string{sqlite, postgres} {
		if r.backends[backend] == 0 {
			fmt.Fprintf(r.out, "no test with %q in its name passed: that backend was not tested\n", backend)
			good = false
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	return good
}
