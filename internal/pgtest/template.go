package pgtest

import (
	"fmt"
	"sync"
	"testing"
)

// Template is a database that tests start from as copies: what each of them would do first to an empty one is done once in a
// process. It goes with the server, or with the next process that finds it left behind.
type Template struct {
	// Fill is given the URL of an empty database, and leaves no connection to it behind.
	Fill func(url string) error

	once sync.Once
	name string
	err  error
}

// URL gives the URL of a fresh copy, which is dropped, whoever is still connected, when t ends.
func (p *Template) URL(t testing.TB) string {
	t.Helper()
	d := Later(t)
	d.Copy(t, p)
	return d.URL
}

// Database is a database that is not there yet.
type Database struct {
	URL string

	server *server
	name   string
}

// Later names a database that is made when it is known what it starts as.
func Later(t testing.TB) *Database {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := s.next()
	return &Database{s.url(name), s, name}
}

// Empty makes it empty. It is dropped, whoever is still connected, when t ends.
func (d *Database) Empty(t testing.TB) {
	t.Helper()
	d.server.create(t, d.name, "template0") // which admits no connections, so parallel copies of it never get in each other's way
}

// Copy makes it a copy of the template. It is dropped as Empty says.
func (d *Database) Copy(t testing.TB, p *Template) {
	t.Helper()
	p.once.Do(func() { p.name, p.err = d.server.template(p.Fill) })
	if p.err != nil {
		t.Fatal(p.err)
	}
	d.server.create(t, d.name, p.name)
}

// template makes a database that is only copied from then on.
func (s *server) template(fill func(url string) error) (string, error) {
	name := s.next()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		return "", fmt.Errorf("pgtest: creating a template: %w", err)
	}
	if err := fill(s.url(name)); err != nil {
		return "", fmt.Errorf("pgtest: filling a template: %w", err)
	}
	// Whoever is connected to a database hinders those who copy it.
	if err := s.exec("ALTER DATABASE " + name + " ALLOW_CONNECTIONS false"); err != nil {
		return "", fmt.Errorf("pgtest: closing a template: %w", err)
	}
	return name, nil
}
