package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// connect opens a connection that lives as long as t.
func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// one reads one value.
func one[T any](t *testing.T, c *pgx.Conn, query string, args ...any) T {
	t.Helper()
	var v T
	if err := c.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func run(t *testing.T, c *pgx.Conn, statement string) {
	t.Helper()
	if _, err := c.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func name(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

const exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"

func TestEachCallGivesAnEmptyDatabaseOfItsOwn(t *testing.T) {
	a, b := connect(t, URL(t)), connect(t, URL(t))
	run(t, a, "CREATE TABLE people (id int)")
	const tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
	if got := one[int](t, a, tables); got != 1 {
		t.Errorf("the first database has %d tables, want the one just made", got)
	}
	if got := one[int](t, b, tables); got != 0 {
		t.Errorf("the second database has %d tables, want none", got)
	}
}

func TestTheServerIsARealOneThatSyncs(t *testing.T) {
	c := connect(t, URL(t))
	if got := one[string](t, c, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
	version, err := Version()
	if err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, c, "SHOW server_version"); got != version || version == "" {
		t.Errorf("Version() = %q, the server says %q", version, got)
	}
}

func TestADatabaseIsDroppedWithItsTestEvenIfStillInUse(t *testing.T) {
	var address string
	t.Run("inner", func(t *testing.T) {
		address = URL(t)
		leaked, err := pgx.Connect(context.Background(), address)
		if err != nil {
			t.Fatal(err)
		}
		run(t, leaked, "CREATE TABLE people (id int)")
	})
	if one[bool](t, connect(t, URL(t)), exists, name(t, address)) {
		t.Error("the database is still there")
	}
}

func TestCreatingADatabaseIsQuick(t *testing.T) {
	const bound = 300 * time.Millisecond
	best := time.Hour
	for range 40 { // other processes use the machine too: once unhindered is enough
		start := time.Now()
		URL(t)
		if best = min(best, time.Since(start)); best <= bound {
			return
		}
	}
	t.Errorf("creating a database took %v at best, at most %v is promised", best, bound)
}

func TestParallelTestsGetDifferentDatabases(t *testing.T) {
	var seen sync.Map
	t.Run("group", func(t *testing.T) {
		for i := range 16 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				address := URL(t)
				if _, taken := seen.LoadOrStore(address, true); taken {
					t.Errorf("%s was given twice", address)
				}
				run(t, connect(t, address), "CREATE TABLE mine (id int)")
			})
		}
	})
}

func TestAnAddressOfAnotherKindIsRefused(t *testing.T) {
	for _, address := range []string{"mysql://root@localhost/", "host=localhost", "::"} {
		if _, err := openGiven(address); err == nil || !strings.Contains(err.Error(), "postgres:// URL") {
			t.Errorf("openGiven(%q): %v", address, err)
		}
	}
	_, err := openGiven("postgres://someone:s3cret@127.0.0.1:1/x?connect_timeout=1")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestMissingProgramsAreNamedWithTheirPackage(t *testing.T) {
	_, err := findBinaries([]string{t.TempDir()})
	for _, want := range []string{EnvServer, "initdb", "apt-get install postgresql"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q: %v", want, err)
		}
	}
}
