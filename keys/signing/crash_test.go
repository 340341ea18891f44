package signing_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

var errCrash = errors.New("the process is gone")

// crashing is a store whose process dies at a statement of a transaction, or
// after its commit, when nobody learns of it any more.
type crashing struct {
	signing.Store
	left  int  // statements that still work; never dies where negative
	after bool // it dies after the commit
}

func (c *crashing) InTx(ctx context.Context, fn func(signing.Tx) error) error {
	err := c.Store.InTx(ctx, func(tx signing.Tx) error { return fn(&dying{tx, c}) })
	if err == nil && c.after {
		return errCrash
	}
	return err
}

func (c *crashing) step() error {
	if c.left == 0 {
		return errCrash
	}
	c.left--
	return nil
}

// dying is a transaction that does what it can until it dies.
type dying struct {
	signing.Tx
	c *crashing
}

func (d *dying) LockSigningKeys() ([]signing.Key, error) {
	if err := d.c.step(); err != nil {
		return nil, err
	}
	return d.Tx.LockSigningKeys()
}

func (d *dying) AddSigningKey(k signing.Key) error {
	return errors.Join(d.Tx.AddSigningKey(k), d.c.step())
}

func (d *dying) MoveSigningKey(id string, from, to signing.State, at time.Time) error {
	return errors.Join(d.Tx.MoveSigningKey(id, from, to, at), d.c.step())
}

func (d *dying) Record(e audit.Event) error { return errors.Join(d.Tx.Record(e), d.c.step()) }

func (d *dying) Announce(c changes.Change) error { return errors.Join(d.Tx.Announce(c), d.c.step()) }

// FLT-CRASH-03: a process that dies at any statement of a rotation, or just
// after its commit, leaves the old key or the new one active, both never and
// neither never, and what the next process signs is in its key set.
func TestADeathDuringARotationLeavesOneActiveKey(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(*signing.Ring) error{
		"announce": func(r *signing.Ring) error { _, err := r.Rotate(context.Background(), operator); return err },
		"at once":  func(r *signing.Ring) error { _, err := r.RotateNow(context.Background(), operator); return err },
		"by age":   func(r *signing.Ring) error { return r.Tend(context.Background()) },
		"revoke": func(r *signing.Ring) error {
			for _, k := range r.Loaded() {
				if k.State == signing.Active {
					return r.Revoke(context.Background(), operator, k.ID)
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var at atomic.Int64
			db := openSQLite(t, migrated.SQLite(t), &commits{}).SigningKeys()
			first := moving(t, db, &at)
			if name == "by age" {
				if _, err := first.Rotate(t.Context(), operator); err != nil {
					t.Fatal(err)
				}
				at.Store(int64(time.Hour))
			}
			died := 0
			for at := 0; ; at++ {
				before := signed(t, loadedAgain(t, first, db), "ES256")
				victim := loadedAgain(t, first, &crashing{Store: db, left: at})
				err := act(victim)
				after := oneActive(t, loadedAgain(t, first, db))
				if err == nil {
					break
				}
				if died++; !errors.Is(err, errCrash) || after != before {
					t.Errorf("dead at statement %d: %v, and %s signs, which was %s", at, err, after, before)
				}
				if got := signed(t, victim, "ES256"); got != before {
					t.Errorf("dead at statement %d: the ring signs with %s, which is not stored", at, got)
				}
			}
			if died < 3 {
				t.Errorf("it died %d times: the test shows nothing", died)
			}
			if err := act(loadedAgain(t, first, &crashing{Store: db, left: -1, after: true})); err != nil && !errors.Is(err, errCrash) {
				t.Error(err)
			}
			oneActive(t, loadedAgain(t, first, db))
		})
	}
}

// loadedAgain is the ring of a process that starts.
func loadedAgain(t *testing.T, like *signing.Ring, store signing.Store) *signing.Ring {
	t.Helper()
	r := ringOn(t, store)
	r.Now, r.Retain, r.Announce, r.Lifetime = like.Now, like.Retain, like.Announce, like.Lifetime
	return loaded(t, r)
}

// oneActive returns the one active key, which is published and signs.
func oneActive(t *testing.T, r *signing.Ring) (kid string) {
	t.Helper()
	for _, k := range r.Loaded() {
		if k.State == signing.Active && kid != "" {
			t.Errorf("%s and %s are active", kid, k.ID)
		}
		if k.State == signing.Active {
			kid = k.ID
		}
	}
	if got := signed(t, r, "ES256"); got != kid || !bytes.Contains(r.JWKS().Body, []byte(kid)) {
		t.Errorf("%s signs, %s is active, and %s is published", got, kid, r.JWKS().Body)
	}
	return kid
}
