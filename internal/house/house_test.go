package house

import (
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/pgtest"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

func environment() Env {
	return Env{
		Now:    func() time.Time { return time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC) },
		Random: rand.Reader, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func onBoth(t *testing.T, test func(t *testing.T, c Config)) {
	t.Helper()
	for _, backend := range []string{"sqlite", "postgres"} {
		t.Run(backend, func(t *testing.T) {
			c := Defaults()
			c.DataDir = t.TempDir()
			c.Database.URL = "sqlite://" + filepath.Join(c.DataDir, "house.db")
			if backend == "postgres" {
				c.Database.URL = pgtest.URL(t)
			}
			test(t, c)
		})
	}
}

func TestTheFirstStartMakesOneAdministrator(t *testing.T) {
	onBoth(t, func(t *testing.T, c Config) {
		var told []First
		for range 2 {
			h, err := Open(t.Context(), c, environment())
			if err != nil {
				t.Fatal(err)
			}
			f, err := h.FirstRun(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			told = append(told, f)
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if f := told[0]; !f.Created || !f.Generated || len(f.Password.Reveal()) != passwordLength || f.Link.IsZero() {
			t.Errorf("the first start tells too little: %+v", f)
		}
		if f := told[1]; f.Created || !f.Password.IsZero() || !f.Link.IsZero() || f.Email != "" {
			t.Errorf("the second start tells credentials again: %+v", f)
		}
	})
}

func TestADatabaseOfAnotherMasterKeyIsNotOpened(t *testing.T) {
	onBoth(t, func(t *testing.T, c Config) {
		c.Sealing.MasterKey = secret.Of("the first master key, of 32 bytes and more")
		h, err := Open(t.Context(), c, environment())
		if err != nil {
			t.Fatal(err)
		}
		before := h.Ring.JWKS()
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		other := c
		other.Sealing.MasterKey = secret.Of("another master key, of 32 bytes and more")
		if _, err := Open(t.Context(), other, environment()); !errors.Is(err, sealing.ErrWrongMasterKey) {
			t.Fatalf("opened with another key: %v", err)
		}
		h, err = Open(t.Context(), c, environment())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if after := h.Ring.JWKS(); len(h.Ring.Loaded()) != 2 || after.ETag != before.ETag {
			t.Errorf("the failed start changed the keys:\n%s\n%s", before.Body, after.Body)
		}
	})
}
