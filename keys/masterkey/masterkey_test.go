package masterkey_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
	"github.com/tokenhouse/tokenhouse/storage/gormstore"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

var (
	first  = masterkey.Source{Key: []byte("the first master key, of thirty-two characters or more")}
	second = masterkey.Source{Key: []byte("the second master key, of thirty-two characters or more")}
	third  = masterkey.Source{Key: []byte("a third master key, of thirty-two characters or more")}

	operator = ident.OperatorOf("", nil)
)

// deployment is a database with what a server keeps sealed in it.
type deployment struct {
	db     *gormstore.DB
	plan   faulty.Plan
	mu     sync.Mutex
	events []audit.Name
	follow func([]changes.Change)
}

func (d *deployment) observe(es []audit.Event, cs []changes.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range es {
		d.events = append(d.events, e.Name)
	}
	if d.follow != nil {
		d.follow(cs)
	}
}

// onEach runs a test on a new database of each kind.
func onEach(t *testing.T, test func(t *testing.T, d *deployment)) {
	for _, backend := range []string{"SQLite", "PostgreSQL"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			d := &deployment{}
			opts := gormstore.Options{OnCommit: d.observe, Random: rand.Reader, MaxConns: 2, Hooks: gormstore.Hooks{Before: d.plan.Before}}
			var err error
			if backend == "SQLite" {
				d.db, err = gormstore.OpenSQLite(migrated.SQLite(t), opts)
			} else {
				d.db, err = gormstore.OpenPostgres(t.Context(), migrated.Postgres(t), opts)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.db.Close(); err != nil {
					t.Error(err)
				}
			})
			if err := d.db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			test(t, d)
		})
	}
}

func now() time.Time { return time.Unix(1_767_323_045, 0) }

func (d *deployment) master(given, earlier masterkey.Source) *masterkey.Master {
	return &masterkey.Master{Store: d.db.MasterKey(), Given: given, Earlier: earlier, Now: now, Random: rand.Reader}
}

// contents are what a server reads: its secrets and the kids of its keys.
type contents struct {
	secrets map[sealing.Purpose][]byte
	jwks    []byte
}

func (c contents) equal(o contents) bool {
	for p, key := range c.secrets {
		if !bytes.Equal(key, o.secrets[p]) {
			return false
		}
	}
	return len(c.secrets) == len(o.secrets) && bytes.Equal(c.jwks, o.jwks)
}

// open is the start of a server: it makes what is missing and reads everything.
func (d *deployment) open(ctx context.Context, m *masterkey.Master) (contents, error) {
	if err := m.Unlock(ctx); err != nil {
		return contents{}, err
	}
	s := &sealing.Secrets{Store: d.db.SealedSecrets(), Keeper: m, Now: now, Random: rand.Reader}
	if err := s.Load(ctx); err != nil {
		return contents{}, err
	}
	r := &signing.Ring{Store: d.db.SigningKeys(), Keeper: m, Now: now, Random: rand.Reader}
	if err := r.Load(ctx); err != nil {
		return contents{}, err
	}
	out := contents{secrets: map[sealing.Purpose][]byte{}, jwks: r.JWKS().Body}
	for _, p := range sealing.Purposes() {
		_, out.secrets[p] = s.Current(p)
	}
	return out, nil
}

func (d *deployment) mustOpen(t *testing.T, m *masterkey.Master) contents {
	t.Helper()
	c, err := d.open(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stored is every sealed value as it lies there.
func (d *deployment) stored(t *testing.T) string {
	t.Helper()
	values, err := d.db.MasterKey().NotSealedUnder(t.Context(), "00000000", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(values)
}

// SEC-OBS-15: after a change the earlier master key opens nothing and the new
// one everything; what is sealed is the same as before.
func TestAChangeSealsEverythingUnderTheNewMasterKey(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		before := d.mustOpen(t, d.master(first, masterkey.Source{}))
		m := d.master(second, first)
		if got := d.mustOpen(t, m); !got.equal(before) {
			t.Error("with both keys it is another deployment")
		}
		done, err := m.Change(t.Context(), operator, masterkey.Progress{})
		if err != nil || !done.Begun || done.Sealed != len(before.secrets) || len(done.Damaged) != 0 { // the mark is the beginning; the signing key makes up for it
			t.Errorf("Change = %+v, %v; want %d values sealed anew", done, err, len(before.secrets))
		}
		if got := d.mustOpen(t, d.master(second, masterkey.Source{})); !got.equal(before) {
			t.Error("with the new key alone it is another deployment")
		}
		if _, err := d.open(t.Context(), d.master(first, masterkey.Source{})); !errors.Is(err, sealing.ErrWrongMasterKey) {
			t.Errorf("with the earlier key alone: %v", err)
		}
		uses, err := m.Status(t.Context())
		if err != nil || len(uses) != 1 || !uses[0].Given || !uses[0].Current || uses[0].Values != len(before.secrets)+1 {
			t.Errorf("Status = %+v, %v", uses, err)
		}
		again, err := m.Change(t.Context(), operator, masterkey.Progress{})
		if err != nil || again.Begun || again.Sealed != 0 {
			t.Errorf("a second time: %+v, %v", again, err)
		}
		n := map[audit.Name]int{}
		for _, e := range d.events {
			n[e]++
		}
		if n[audit.MasterKeyChanged] != 1 || n[audit.MasterKeyResealed] != 1 {
			t.Errorf("recorded: %v", n)
		}
	})
}

// Where what is there was sealed under a key that nobody gave, nothing changes.
func TestAWrongEarlierMasterKeyChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		d.mustOpen(t, d.master(first, masterkey.Source{}))
		before := d.stored(t)
		for name, m := range map[string]*masterkey.Master{"a wrong one": d.master(second, third), "none": d.master(second, masterkey.Source{})} {
			if _, err := d.open(t.Context(), m); !errors.Is(err, sealing.ErrWrongMasterKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// A key of yet another master key came in while both others were known.
		m := d.master(second, first)
		d.mustOpen(t, m)
		foreign, err := sealing.NewLocal(third.Key)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := foreign.Seal([]byte("x"), "secret:setup-link:2")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.db.SealedSecrets().AddSealedSecrets(t.Context(), []sealing.Sealed{{Purpose: sealing.SetupLink, ID: 2, Sealed: sealed, CreatedAt: now()}}); err != nil {
			t.Fatal(err)
		}
		withForeign := d.stored(t)
		if _, err := m.Change(t.Context(), operator, masterkey.Progress{}); !errors.Is(err, sealing.ErrWrongMasterKey) {
			t.Errorf("Change = %v; want ErrWrongMasterKey", err)
		}
		if after := d.stored(t); after != withForeign || len(before) == 0 {
			t.Error("something was sealed anew")
		}
	})
}

// A change that fails at whatever statement leaves a deployment that opens with
// both keys, and is finished by the next one.
func TestAnInterruptedChangeGoesOn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		from, to := first, second
		before := d.mustOpen(t, d.master(from, masterkey.Source{}))
		progress, interrupted := masterkey.Progress{Batch: 3}, 0
		for n := 0; ; n++ {
			m := d.master(to, from)
			d.mustOpen(t, m)
			d.plan.FailAt(n)
			_, err := m.Change(t.Context(), operator, progress)
			if d.plan.Heal() == "" {
				if err != nil {
					t.Fatal(err)
				}
				break // it takes fewer statements than that
			}
			if err == nil {
				t.Fatalf("statement %d failed and nobody noticed", n)
			}
			interrupted++
			if got := d.mustOpen(t, d.master(to, from)); !got.equal(before) {
				t.Fatalf("interrupted at statement %d: it is another deployment", n)
			}
			m = d.master(to, from)
			d.mustOpen(t, m)
			if _, err := m.Change(t.Context(), operator, progress); err != nil {
				t.Fatalf("after an interruption at statement %d: %v", n, err)
			}
			if got := d.mustOpen(t, d.master(to, masterkey.Source{})); !got.equal(before) {
				t.Fatalf("interrupted at statement %d and finished: it is another deployment", n)
			}
			from, to = to, from
		}
		if interrupted < 10 {
			t.Errorf("only %d interruptions", interrupted)
		}
		t.Logf("%d interruptions", interrupted)
	})
}

// Replicas that know both keys seal under the earlier one until the change
// begins, wherever it is run, so that those that know only that one read it.
func TestReplicasSealUnderTheKeyThatTheDeploymentIsOn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		old, both, changing := d.master(first, masterkey.Source{}), d.master(second, first), d.master(second, first)
		for _, m := range []*masterkey.Master{old, both, changing} {
			d.mustOpen(t, m)
		}
		sealed, err := both.Seal([]byte("x"), "place")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.Open(sealed, "place"); err != nil {
			t.Errorf("a replica that was not restarted yet: %v", err)
		}
		late := d.master(second, first)
		d.mustOpen(t, late)
		d.follow = both.Hear
		settled := 0
		_, err = changing.Change(t.Context(), operator, masterkey.Progress{Settle: func(context.Context) error { settled++; return nil }})
		if err != nil || settled == 0 {
			t.Errorf("%v; it waited %d times for others to hear", err, settled)
		}
		alone := d.master(second, masterkey.Source{})
		d.mustOpen(t, alone)
		if err := late.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		for name, m := range map[string]*masterkey.Master{"heard": both, "looked": late, "changed": changing} {
			if sealed, err = m.Seal([]byte("x"), "place"); err != nil {
				t.Fatal(err)
			}
			if _, err := alone.Open(sealed, "place"); err != nil {
				t.Errorf("who %s it seals under another key: %v", name, err)
			}
		}
	})
}
