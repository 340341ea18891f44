// Command testreport reads `go test -json` from standard input, prints what `go test` would have, and then which storage backends
// were really tested. It fails where a test failed, where one was skipped, or where a backend had no test: nothing is left out in
// silence.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	postgres, err := pgtest.Version()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !r.close(sqliteDriver(), postgres) {
		os.Exit(1)
	}
}

// sqliteDriver gives the pinned version of the library that SQLite is compiled into.
func sqliteDriver() string {
	f, err := os.Open("go.mod")
	if err != nil {
		return "of unknown version"
	}
	defer f.Close()
	return driverIn(f)
}

func driverIn(mod io.Reader) string {
	for lines := bufio.NewScanner(mod); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "modernc.org/sqlite" {
			return f[0] + " " + f[1]
		}
	}
	return "of unknown version"
}
