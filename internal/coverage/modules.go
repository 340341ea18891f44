package main

import (
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// plan is a certification plan of docs/certification.md: its heading, and a row for each module.
type plan struct {
	name string
	want int // how many modules the heading speaks of
	rows []row
}

// row says what holds a module: a test, or the reason why nothing does.
type row struct{ module, held string }

var (
	planHeading = regexp.MustCompile(`^## (.+?) \((\d+) modules?\)`)
	moduleRow   = regexp.MustCompile("^\\| `([a-z][A-Za-z0-9_-]+)` \\|.*\\| ?(.*?) ?\\|$")
	testNamed   = regexp.MustCompile("`Test[A-Za-z0-9]+`")
)

// plans reads the tables. Text between them is for people.
func plans(text string) []plan {
	var out []plan
	for line := range strings.SplitSeq(text, "\n") {
		if m := planHeading.FindStringSubmatch(line); m != nil {
			want, _ := strconv.Atoi(m[2]) // digits, or we would not be here
			out = append(out, plan{name: m[1], want: want})
		} else if strings.HasPrefix(line, "## ") {
			out = append(out, plan{})
		} else if m := moduleRow.FindStringSubmatch(line); m != nil && len(out) > 0 {
			last := &out[len(out)-1]
			last.rows = append(last.rows, row{m[1], m[2]})
		}
	}
	return slices.DeleteFunc(out, func(p plan) bool { return p.name == "" })
}

// reportModules says of each plan how many of its modules a test names, and lists the others: those with a reason, and those without.
func reportModules(module fs.FS, out io.Writer) error {
	text, err := fs.ReadFile(module, "docs/certification.md")
	if err != nil {
		return err
	}
	all := plans(string(text))
	var names []string
	for _, p := range all {
		for _, r := range p.rows {
			names = append(names, r.module)
		}
	}
	named, err := search(module, names)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "\ncertification modules")
	var open []string
	for _, p := range all {
		held := 0
		for _, r := range p.rows {
			switch reason := !testNamed.MatchString(r.held) && r.held != ""; {
			case len(named[r.module]) > 0 && !reason:
				held++
			case reason:
				fmt.Fprintf(out, "  %s: %s\n", r.module, r.held)
			default:
				open = append(open, r.module)
			}
		}
		fmt.Fprintf(out, "%-40s %3d of %3d\n", p.name, held, p.want)
		if len(p.rows) != p.want {
			fmt.Fprintf(out, "  %d are listed\n", len(p.rows))
		}
	}
	fmt.Fprintf(out, "modules without a test and without a reason: %s\n", strings.Join(open, " "))
	return nil
}
