package drills_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// beside opens a connection of the administrator's, beside the server.
func beside(t *testing.T, h *housetest.Harness) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", h.Config.Database.URL
	if file, ok := strings.CutPrefix(dsn, "sqlite://"); ok {
		driver, dsn = "sqlite", "file:"+file+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func postgres(h *housetest.Harness) bool { return !strings.HasPrefix(h.Config.Database.URL, "sqlite:") }

func isPostgres(db *sql.DB) bool { return !strings.Contains(fmt.Sprintf("%T", db.Driver()), "sqlite") }

// run executes statements one after another.
func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// number is the one number that a query gives.
func number(t *testing.T, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}
