// Package rapidtest is for packages whose properties are checked on real storage.
package rapidtest

import (
	"flag"
	"os"
	"testing"
)

// quickChecks is how many cases each property gets where nobody says -rapid.checks:
// a case is a whole history on real storage, and takes half a second under -race.
const quickChecks = "25"

// Main runs the tests of a package as its TestMain does, and ends the process.
func Main(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "rapid.checks" })
	if !chosen {
		if err := flag.Set("rapid.checks", quickChecks); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
