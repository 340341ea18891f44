package housetest

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// The first start of a server takes most of a second of computing: the schema is made, keys are, and the first administrator's
// password is hashed. A test process does that once on each backend, and its harnesses begin with copies of the outcome. Whoever
// changes something that matters for it starts from nothing instead.

// standard is the configuration of a harness before anybody changed it.
func standard(dir string, masterKey secret.Plain) house.Config {
	c := house.Defaults()
	c.DataDir = dir
	c.Database.URL = "sqlite://" + filepath.Join(dir, file)
	c.Sealing.MasterKey = masterKey
	c.Accounts.LoginFailureDelay = 0
	c.HTTP.Demo = true
	c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c.Admin = house.Admin{Email: "admin@example.com", Password: secret.Of(adminPassword)}
	return c
}

// firstKey is the master key of all that begin with a copy.
var firstKey = sync.OnceValue(newMasterKey)

func newMasterKey() secret.Plain { return secret.Of(rand.Text() + rand.Text()) }

// deployments counts the harnesses that run, by test: another one of the same test is another deployment and shares nothing.
var deployments struct {
	sync.Mutex
	of map[string]int
}

// alone says whether t has no other harness; subtests count as their test.
func alone(t testing.TB) bool {
	test, _, _ := strings.Cut(t.Name(), "/")
	count := func(by int) int {
		deployments.Lock()
		defer deployments.Unlock()
		if deployments.of == nil {
			deployments.of = map[string]int{}
		}
		deployments.of[test] += by
		return deployments.of[test]
	}
	t.Cleanup(func() { count(-1) })
	return count(+1) == 1
}

// place says where a harness keeps everything, and with what it begins there.
type place struct {
	house.Config
	postgres *pgtest.Database
	special  bool // it begins with nothing
}

// placeFor gives a place that is still empty.
func placeFor(t testing.TB, o Options) place {
	t.Helper()
	key, special := firstKey(), !alone(t) || o.New || o.Env != nil
	if special {
		key = newMasterKey()
	}
	p := place{Config: standard(t.TempDir(), key), special: special}
	if o.Postgres {
		p.postgres = pgtest.Later(t)
		p.Database.URL, p.Database.MaxConns = p.postgres.URL, 8
	}
	return p
}

// begin fills it, now that its configuration is as it stays.
func (p place) begin(t testing.TB, now time.Time) {
	t.Helper()
	fresh := p.special || !now.Equal(Epoch()) || !usual.Fits(p.Config)
	switch {
	case p.postgres != nil && fresh:
		p.postgres.Empty(t)
	case p.postgres != nil:
		usual.Database(t, p.postgres)
	case !fresh && p.Database.URL == standard(p.DataDir, firstKey()).Database.URL:
		usual.File(t, p.DataDir)
	}
}

// file is where SQLite keeps everything in the data directory.
const file = "tokenhouse.db"

// usual is the first start of a harness.
var usual = FirstStart{Config: func(dir string) house.Config { return standard(dir, firstKey()) }, Now: Epoch}

// FirstStart is what the first start of a server with a configuration makes: once in a test process, and then copied.
type FirstStart struct {
	Config func(dir string) house.Config // with that data directory, and its database on SQLite
	Now    func() time.Time

	once     sync.Once
	content  []byte
	err      error
	onceSQL  sync.Once
	template pgtest.Template
}

// Fits says whether a server with this configuration would make the same.
func (f *FirstStart) Fits(c house.Config) bool {
	ours := f.Config(c.DataDir)
	return len(c.Tokens.SigningAlgorithms) == 0 && reflect.DeepEqual(c.Sealing, ours.Sealing) && reflect.DeepEqual(c.Admin, ours.Admin)
}

// File writes a copy of the database file into the data directory.
func (f *FirstStart) File(t testing.TB, dir string) {
	t.Helper()
	f.once.Do(func() {
		f.err = f.in(func(c house.Config) error {
			if err := f.run(c); err != nil {
				return err
			}
			var err error
			f.content, err = os.ReadFile(filepath.Join(c.DataDir, file))
			return err
		})
	})
	err := f.err
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), f.content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Database makes a database on PostgreSQL a copy.
func (f *FirstStart) Database(t testing.TB, d *pgtest.Database) {
	t.Helper()
	f.onceSQL.Do(func() {
		f.template.Fill = func(url string) error {
			return f.in(func(c house.Config) error { c.Database.URL = url; return f.run(c) })
		}
	})
	d.Copy(t, &f.template)
}

// in works with the configuration in a directory that does not stay.
func (f *FirstStart) in(work func(house.Config) error) error {
	dir, err := os.MkdirTemp("", "tokenhouse-first-")
	if err != nil {
		return err
	}
	return errors.Join(work(f.Config(dir)), os.RemoveAll(dir))
}

// run starts a server on an empty database, and stops it.
func (f *FirstStart) run(c house.Config) error {
	h, err := house.Open(context.Background(), c, house.Env{Now: f.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = h.FirstRun(context.Background())
	return errors.Join(err, h.Close())
}
