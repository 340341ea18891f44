package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// clause is a part of a standard, such as {"RFC 9700", "4.14.2"}; the section is empty where the whole is cited.
type clause struct{ standard, section string }

// A comment cites like "RFC 9700 §4.14.2", "NIST SP 800-63B §5.1.1", "OIDC Core §3.1.2.1" or "OpenID Connect Discovery §3".
var (
	standards = regexp.MustCompile(`\b(RFC ?\d{3,5}|NIST SP ?800-\d+[A-Z]?|(?:OIDC|OpenID Connect) (?:Core|Discovery|RP-Initiated Logout|Back-Channel Logout|Dynamic Client Registration|Registration)|OWASP ASVS|ASVS|FIPS \d+(?:-\d)?)\b`)
	sections  = regexp.MustCompile(`^(?:[,;]?(?: and)? ?§§? ?([0-9A-Z][0-9A-Za-z]*(?:\.[0-9]+)*(?:[-–][0-9.]+)?))`)
)

// collect gives the places ("tokens/refresh.go:41") that cite each clause, in the order of the tree.
func collect(module fs.FS) (map[clause][]string, error) {
	found := map[clause][]string{}
	err := fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := path.Base(name); d.IsDir() && name != "." && (strings.HasPrefix(base, ".") || base == "node_modules") || name == "internal/citations" {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				first := files.Position(c.Pos()).Line
				for i, line := range strings.Split(c.Text, "\n") {
					place := fmt.Sprintf("%s:%d", name, first+i)
					for _, cited := range clausesIn(line) {
						found[cited] = append(found[cited], place)
					}
				}
			}
		}
		return nil
	})
	return found, err
}

// clausesIn reads the citations of one line.
func clausesIn(line string) []clause {
	var cited []clause
	for _, at := range standards.FindAllStringIndex(line, -1) {
		standard := strings.Replace(line[at[0]:at[1]], "RFC", "RFC ", 1)
		standard = strings.Join(strings.Fields(strings.ReplaceAll(standard, "OpenID Connect", "OIDC")), " ")
		rest, precise := line[at[1]:], false
		for m := sections.FindStringSubmatch(rest); m != nil; m = sections.FindStringSubmatch(rest) {
			cited = append(cited, clause{standard, m[1]})
			rest, precise = rest[len(m[0]):], true
		}
		if !precise {
			cited = append(cited, clause{standard, ""})
		}
	}
	return cited
}

// page renders what was found, by standard and section, both in the order of their numbers.
func page(found map[clause][]string) []byte {
	var b bytes.Buffer
	b.WriteString("# Where each clause of a standard is kept\n\nWritten by `make spec` from the comments of the code.\n")
	standard := ""
	for _, c := range slices.SortedFunc(maps.Keys(found), byNumber) {
		if c.standard != standard {
			standard = c.standard
			fmt.Fprintf(&b, "\n## %s\n\n", standard)
		}
		section := "as a whole"
		if c.section != "" {
			section = "§" + c.section
		}
		fmt.Fprintf(&b, "- %s: %s\n", section, strings.Join(slices.Compact(found[c]), ", "))
	}
	return b.Bytes()
}

var number = regexp.MustCompile(`\d+|\D+`)

// byNumber orders RFC 822 before RFC 6749, and §4.9 before §4.14.
func byNumber(a, b clause) int {
	return cmp.Or(natural(a.standard, b.standard), natural(a.section, b.section))
}

func natural(a, b string) int {
	return slices.CompareFunc(number.FindAllString(a, -1), number.FindAllString(b, -1), func(x, y string) int {
		n, errX := strconv.Atoi(x)
		m, errY := strconv.Atoi(y)
		if errX == nil && errY == nil {
			return cmp.Compare(n, m)
		}
		return cmp.Compare(x, y)
	})
}
