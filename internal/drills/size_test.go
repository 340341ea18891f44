package drills_test

import (
	"os"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// whole tells whether the drills are to be as large as the promises.
func whole() bool { return os.Getenv("TOKENHOUSE_TEST_DRILLS") == "full" }

// sized is the small number, or the promised one where the whole drill is asked for.
func sized(small, full int) int {
	if whole() {
		return full
	}
	return small
}

// onOne runs a test on SQLite, and on PostgreSQL too where the whole drill is asked
// for: it is about what does not depend on the database.
func onOne(t *testing.T, o housetest.Options, test func(*testing.T, *housetest.Harness)) {
	if whole() {
		housetest.Both(t, o, test)
		return
	}
	test(t, housetest.Start(t, o))
}
