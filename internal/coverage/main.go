// Command coverage says which test names each promise (K, O), security case (SEC), fault (FLT) and invariant (INV) of
// docs/spec-ids.txt, and which certification modules of docs/certification.md. A test names one in its name, or in a comment or a
// string within it; a script (.txtar) anywhere in it.
package main

import (
	"fmt"
	"io"
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
	list, err := os.ReadFile(dir + "/docs/spec-ids.txt")
	if err != nil {
		return err
	}
	ids := strings.Fields(string(list))
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
	fmt.Fprintf(out, "\nnamed by no test: %s\n\n", strings.Join(open, " "))
	for _, class := range classes {
		fmt.Fprintf(out, "%-8s %3d of %3d\n", class, covered[class], total[class])
	}
	fmt.Fprintf(out, "%-8s %3d of %3d\n", "all", len(ids)-len(open), len(ids))
	return reportModules(os.DirFS(dir), out)
}

// classOf gives the K of K12 and the SEC-KEY of SEC-KEY-15.
func classOf(id string) string { return strings.TrimRight(id, "-0123456789") }
