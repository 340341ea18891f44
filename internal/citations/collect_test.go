package main

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestClausesInALine(t *testing.T) {
	for line, want := range map[string][]clause{
		"// RFC 9700 §4.14.2: the family ends.":  {{"RFC 9700", "4.14.2"}},
		"// RFC9068 §2.2, §4 and RFC 7519":       {{"RFC 9068", "2.2"}, {"RFC 9068", "4"}, {"RFC 7519", ""}},
		"// see NIST SP 800-63B §5.1.1.2":        {{"NIST SP 800-63B", "5.1.1.2"}},
		"// OpenID Connect Discovery §3.":        {{"OIDC Discovery", "3"}},
		"// times are RFC 3339 UTC":              {{"RFC 3339", ""}},
		"// RFC 8725 §§3.11-3.12; RFC 7515 §A.5": {{"RFC 8725", "3.11-3.12"}, {"RFC 7515", "A.5"}},
		"// an RFC, somewhere":                   nil,
	} {
		if got := clausesIn(line); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

func TestThePageListsClausesByNumberWithTheirPlaces(t *testing.T) {
	found, err := collect(fstest.MapFS{
		"a/a.go": {Data: []byte(`package a

// A follows RFC 9700 §4.14
// and RFC 9700 §4.9.
func A() {} // RFC 822
var s = "RFC 1"
`)},
		"a/a_test.go": {Data: []byte("package a // RFC 2\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Where each clause of a standard is kept

Written by ` + "`make spec`" + ` from the comments of the code.

## RFC 822

- as a whole: a/a.go:5

## RFC 9700

- §4.9: a/a.go:4
- §4.14: a/a.go:3
`
	if got := string(page(found)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
