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
	c.Database.URL = "sqlite://" + filepath.Join(dir, firstName)
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
	key, special := firstKey(), !alone(t) || o.Env != nil
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
	usual := standard(p.DataDir, firstKey())
	fresh := p.special || !now.Equal(Epoch()) || len(p.Tokens.SigningAlgorithms) > 0 ||
		!reflect.DeepEqual(p.Sealing, usual.Sealing) || !reflect.DeepEqual(p.Admin, usual.Admin)
	switch {
	case p.postgres != nil && fresh:
		p.postgres.Empty(t)
	case p.postgres != nil:
		p.postgres.Copy(t, &firstDatabase)
	case !fresh && p.Database.URL == usual.Database.URL:
		content, err := firstFile()
		if err == nil {
			err = os.WriteFile(filepath.Join(p.DataDir, firstName), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// firstName is the file that SQLite keeps everything in.
const firstName = "tokenhouse.db"

// firstFile is what the database file holds after the first start.
var firstFile = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "tokenhouse-first-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := standard(dir, firstKey())
	if err := firstStart(c); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, firstName))
})

// firstDatabase is a database on PostgreSQL after the first start.
var firstDatabase = pgtest.Template{Fill: func(url string) (err error) {
	dir, err := os.MkdirTemp("", "tokenhouse-first-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := standard(dir, firstKey())
	c.Database.URL = url
	return firstStart(c)
}}

// firstStart starts a server on an empty database, and stops it.
func firstStart(c house.Config) error {
	h, err := house.Open(context.Background(), c, house.Env{Now: Epoch, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = h.FirstRun(context.Background())
	return errors.Join(err, h.Close())
}
