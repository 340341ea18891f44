// Package pgtest gives tests a real PostgreSQL. It is imported by tests only.
//
// [URL] is what most tests want: a fresh, empty database, dropped when the test ends; a [Template] gives copies of one that was
// filled once. The server that holds it is the one that
// [EnvServer] names, else a throw-away cluster that the first caller of the test process starts from the machine's own binaries.
// [StartCluster] and [Private] give a cluster of one's own, for tests that take the database away.
//
// A throw-away cluster listens on a unix socket in a directory that only its owner may enter, so it needs neither a free port nor
// a password. It is removed when the process ends, however it ends.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvServer is the environment variable that names the server to create databases in, as a postgres:// URL of a role that may.
const EnvServer = "TOKENHOUSE_TEST_POSTGRES_URL"

// prefix starts the name of each database made here.
const prefix = "tokenhouse_test_"

// patience bounds each statement of our own. A machine under load needs seconds; a hung server must not hang the suite.
const patience = time.Minute

// URL gives the URL of a fresh, empty database on a real PostgreSQL. The database is dropped, whoever is still connected, when t
// ends. Without a server and without binaries to start one, t fails and says what to install.
func URL(t testing.TB) string {
	t.Helper()
	d := Later(t)
	d.Empty(t)
	return d.URL
}

// Version gives the server_version of the PostgreSQL behind [URL], such as "15.18".
func Version() (string, error) {
	s, err := shared()
	if err != nil {
		return "", err
	}
	var version string
	err = s.query("SHOW server_version", &version)
	return version, err
}

// shared is the server of this test process.
var shared = sync.OnceValues(func() (*server, error) {
	if given := os.Getenv(EnvServer); given != "" {
		return openGiven(given)
	}
	c, err := StartCluster()
	if err != nil {
		return nil, err
	}
	return openServer(c.URL())
})

// server makes databases in one PostgreSQL server.
type server struct {
	admin url.URL // of a database to be connected to while another one is created
	run   string  // starts the names of this process's databases; no other process has it
	made  atomic.Int64
	alive *pgx.Conn // see openGiven; never queried
}

// openServer looks at the server that address leads to.
func openServer(address string) (*server, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, fmt.Errorf("pgtest: the server is not given as a postgres:// URL")
	}
	s := &server{admin: *u}
	if err := s.query("SELECT replace(gen_random_uuid()::text, '-', '')", &s.run); err != nil {
		return nil, fmt.Errorf("pgtest: PostgreSQL 13 or later is needed: %w", err)
	}
	s.run = prefix + s.run[:16]
	return s, nil
}

// openGiven opens a server that outlives us. There a killed test process leaves databases behind, so each process shows that it
// lives by a connection that carries its name, and drops what processes without one have left.
func openGiven(address string) (*server, error) {
	s, err := openServer(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(s.admin.String())
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	config.RuntimeParams["application_name"] = s.run
	if s.alive, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	var left []string
	err = s.query(`SELECT coalesce(array_agg(d.datname), '{}') FROM pg_database d
		WHERE starts_with(d.datname, '`+prefix+`') AND NOT EXISTS
			(SELECT FROM pg_stat_activity a WHERE a.application_name <> '' AND starts_with(d.datname, a.application_name || '_'))`, &left)
	if err != nil {
		return nil, fmt.Errorf("pgtest: looking for databases left behind: %w", err)
	}
	for _, name := range left {
		// Another process may be sweeping too, and roles differ in what they may drop: litter is no reason to fail.
		_ = s.exec("DROP DATABASE IF EXISTS " + pgx.Identifier{name}.Sanitize() + " WITH (FORCE)")
	}
	return s, nil
}

// create makes a database that lives as long as t.
func (s *server) create(t testing.TB, name, template string) {
	t.Helper()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatalf("pgtest: creating a database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: dropping the database: %v", err)
		}
	})
}

// next names one more database.
func (s *server) next() string { return fmt.Sprintf("%s_%d", s.run, s.made.Add(1)) }

// url leads to the database of that name.
func (s *server) url(name string) string {
	u := s.admin
	u.Path = "/" + name
	return u.String()
}

// exec runs one statement on a connection of its own.
func (s *server) exec(statement string) error {
	return s.with(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, statement)
		return err
	})
}

// query reads one value.
func (s *server) query(statement string, into any) error {
	return s.with(func(ctx context.Context, c *pgx.Conn) error { return c.QueryRow(ctx, statement).Scan(into) })
}

func (s *server) with(do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		// pgx masks the password, but not everything that a URL can hold.
		return fmt.Errorf("connecting to %s: %s", s.admin.Redacted(), strings.TrimSpace(err.Error()))
	}
	defer c.Close(ctx)
	return do(ctx, c)
}
