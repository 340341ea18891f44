package gormstore

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
)

// growing is a database whose schema is brought up one migration at a time.
type growing struct {
	t        *testing.T
	db       *sql.DB
	postgres bool
	made     int               // rows, which also makes their values differ
	rows     map[string]string // what was written: "table.column" and row, and the value
	refused  map[string]bool   // tables that take no made-up row
}

// INV-17: every migration leaves every row that was there before as it was, in
// every column. There are no migrations down: going back is a restore.
func TestMigrationsKeepEveryRow(t *testing.T) {
	for name, open := range map[string]func() (*DB, error){
		"sqlite": func() (*DB, error) {
			return OpenSQLite(filepath.Join(t.TempDir(), "t.db"), Options{Random: rand.Reader})
		},
		"postgresql": func() (*DB, error) { return OpenPostgres(t.Context(), pgtest.URL(t), Options{Random: rand.Reader}) },
	} {
		t.Run(name, func(t *testing.T) {
			db, err := open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			p, err := db.target.provider()
			if err != nil {
				t.Fatal(err)
			}
			g := &growing{t: t, db: db.target.db, postgres: name == "postgresql", rows: map[string]string{}, refused: map[string]bool{}}
			steps := 0
			for {
				step, err := p.UpByOne(t.Context())
				if errors.Is(err, goose.ErrNoNextVersion) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				steps++
				g.compare(step.Source.Path)
				g.grow()
			}
			if steps < 15 || g.made < 250 || len(g.refused) > 2 {
				t.Errorf("only %d rows in %d steps; refused by %v", g.made, steps, g.refused)
			}
			t.Logf("%d rows, %d values, %d steps; no rows in %v", g.made, len(g.rows), steps, g.refused)
		})
	}
}

// column is one of a table, as far as rows are made up.
type column struct{ name, kind string }

// tables lists the columns of each table that we made.
func (g *growing) tables() map[string][]column {
	g.t.Helper()
	query := `SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE 'goose_%' ORDER BY 1, c.cid`
	if g.postgres {
		query = `SELECT table_name, column_name, data_type FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name NOT LIKE 'goose_%' AND is_identity = 'NO' AND coalesce(column_default, '') NOT LIKE 'nextval%' AND data_type <> 'xid8'
			ORDER BY 1, ordinal_position`
	}
	rows, err := g.db.QueryContext(g.t.Context(), query)
	if err != nil {
		g.t.Fatal(err)
	}
	defer rows.Close()
	out := map[string][]column{}
	for rows.Next() {
		var table string
		var c column
		if err := rows.Scan(&table, &c.name, &c.kind); err != nil {
			g.t.Fatal(err)
		}
		out[table] = append(out[table], c)
	}
	if err := rows.Err(); err != nil {
		g.t.Fatal(err)
	}
	return out
}

// grow makes up one row in every table, without regard to references.
func (g *growing) grow() {
	g.t.Helper()
	tables := g.tables()
	conn, err := g.db.Conn(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	loose, strict := "PRAGMA foreign_keys = 0", "PRAGMA foreign_keys = 1"
	if g.postgres {
		loose, strict = "SET session_replication_role = replica", "SET session_replication_role = DEFAULT"
	}
	if _, err := conn.ExecContext(g.t.Context(), loose); err != nil {
		g.t.Fatal(err)
	}
	defer func() { _, _ = conn.ExecContext(g.t.Context(), strict) }()
	for table, columns := range tables {
		g.made++
		var names, marks []string
		var values []any
		for i, c := range columns {
			names = append(names, `"`+c.name+`"`)
			marks = append(marks, fmt.Sprintf("$%d", i+1))
			values = append(values, g.value(c, i))
		}
		_, err := conn.ExecContext(g.t.Context(), fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(names, ", "), strings.Join(marks, ", ")), values...)
		if err != nil {
			g.made--
			g.refused[table+": "+err.Error()] = true
			continue
		}
		for i, c := range columns {
			g.rows[fmt.Sprintf("%s.%s %d", table, c.name, g.made)] = shown(values[i])
		}
	}
}

// value differs from row to row, and in every column.
func (g *growing) value(c column, i int) any {
	n := g.made*100 + i
	switch kind := strings.ToLower(c.kind); {
	case strings.Contains(kind, "bool"):
		return n%2 == 0
	case strings.Contains(kind, "int"):
		return int64(n)
	case strings.Contains(kind, "blob"), kind == "bytea":
		return []byte(fmt.Sprintf("%032d", n))
	default:
		return fmt.Sprintf("t%d", n)
	}
}

func shown(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// compare fails the test unless every value that was written is still there, in
// the rows of its table that have it in that column.
func (g *growing) compare(step string) {
	g.t.Helper()
	found := map[string][]string{} // by table and column
	for table, columns := range g.tables() {
		g.read(table, columns, found)
	}
	lost := 0
	for what, value := range g.rows {
		where, _, _ := strings.Cut(what, " ")
		if !slices.Contains(found[where], value) {
			if lost++; lost < 4 {
				g.t.Errorf("%s lost %s of %s", step, value, what)
			}
		}
	}
}

// read adds what every column of a table holds to found.
func (g *growing) read(table string, columns []column, found map[string][]string) {
	g.t.Helper()
	var names []string
	for _, c := range columns {
		names = append(names, `"`+c.name+`"`)
	}
	rows, err := g.db.QueryContext(g.t.Context(), "SELECT "+strings.Join(names, ", ")+" FROM "+table)
	if err != nil {
		g.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			g.t.Fatal(err)
		}
		for i, c := range columns {
			found[table+"."+c.name] = append(found[table+"."+c.name], shown(values[i]))
		}
	}
	if err := rows.Err(); err != nil {
		g.t.Fatal(err)
	}
}
