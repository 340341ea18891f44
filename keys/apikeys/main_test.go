package apikeys_test

import (
	"flag"
	"os"
	"testing"
)

// quickChecks is how many cases each property gets where nobody says -rapid.checks:
// a case is a whole history on real storage here, and takes half a second under -race.
const quickChecks = "25"

func TestMain(m *testing.M) {
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
