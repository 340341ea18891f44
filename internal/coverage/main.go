// Command coverage says which test names each promise (K, O), security case (SEC), fault (FLT) and invariant (INV) of
// docs/spec-ids.txt and each fact about API keys (AK) of docs/api-keys-facts.txt, why the others wait (docs/spec-open.txt), and
// which certification modules of docs/certification.md. A test names one in its name, or in a comment or a string within it; a
// script (.txtar) anywhere in it.
package main

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := run(".", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

// run reports on the module in dir.
func run(dir string, out io.Writer) error {
	ids, err := listed(os.DirFS(dir))
	if err != nil {
		return err
	}
	named, err := search(os.DirFS(dir), ids)
	if err != nil {
		return err
	}
	total, covered := map[string]int{}, map[string]int{}
	var classes, open []string
	for _, id := range ids {
		class := classOf(id)
		if total[class] == 0 {
			classes = append(classes, class)
		}
		total[class]++
		if len(named[id]) == 0 {
			open = append(open, id)
			continue
		}
		covered[class]++
		fmt.Fprintf(out, "%-12s %s\n", id, strings.Join(slices.Compact(slices.Sorted(slices.Values(named[id]))), ", "))
	}
	reasons, err := openReasons(os.DirFS(dir))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nnamed by no test\n")
	for _, id := range open {
		fmt.Fprintf(out, "%-12s %s\n", id, cmp.Or(reasons[id], noReason))
	}
	fmt.Fprintln(out)
	for _, id := range slices.Sorted(maps.Keys(reasons)) {
		if !slices.Contains(open, id) {
			fmt.Fprintf(out, "%s is called open by docs/spec-open.txt, and is not\n", id)
		}
	}
	for _, class := range classes {
		fmt.Fprintf(out, "%-8s %3d of %3d\n", class, covered[class], total[class])
	}
	fmt.Fprintf(out, "%-8s %3d of %3d\n", "all", len(ids)-len(open), len(ids))
	return reportModules(os.DirFS(dir), out)
}

// listed gives every id that a test should name: those of docs/spec-ids.txt, then those that begin the lines of
// docs/api-keys-facts.txt.
func listed(module fs.FS) ([]string, error) {
	list, err := fs.ReadFile(module, "docs/spec-ids.txt")
	if err != nil {
		return nil, err
	}
	facts, err := begun(module, "docs/api-keys-facts.txt")
	if err != nil {
		return nil, err
	}
	return append(strings.Fields(string(list)), slices.Sorted(maps.Keys(facts))...), nil
}

// classOf gives the K of K12 and the SEC-KEY of SEC-KEY-15.
func classOf(id string) string { return strings.TrimRight(id, "-0123456789") }

// noReason stands where docs/spec-open.txt is silent.
const noReason = "NO REASON"

// openReasons reads docs/spec-open.txt: of each id that no test names, why.
func openReasons(module fs.FS) (map[string]string, error) {
	return begun(module, "docs/spec-open.txt")
}

// begun reads lines that begin with an id: what follows each. A line that begins with # is for people.
func begun(module fs.FS, name string) (map[string]string, error) {
	text, err := fs.ReadFile(module, name)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if id, rest, ok := strings.Cut(line, " "); ok && id != "#" {
			out[id] = strings.TrimSpace(rest)
		}
	}
	return out, nil
}
