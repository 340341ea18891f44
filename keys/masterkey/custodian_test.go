package masterkey_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// strongbox is a custodian in this process, which counts how often it is asked
// and may be away.
type strongbox struct {
	aead  cipher.AEAD
	asked atomic.Int32
	away  atomic.Bool
}

func newStrongbox(t *testing.T) *strongbox {
	t.Helper()
	block, err := aes.NewCipher([]byte(rand.Text() + rand.Text())[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return &strongbox{aead: aead}
}

func (s *strongbox) String() string { return "a strongbox" }

func (s *strongbox) Wrap(_ context.Context, plain []byte) ([]byte, error) {
	if s.asked.Add(1); s.away.Load() {
		return nil, sealing.ErrAway
	}
	return s.aead.Seal(nil, nil, plain, nil), nil
}

func (s *strongbox) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	if s.asked.Add(1); s.away.Load() {
		return nil, sealing.ErrAway
	}
	plain, err := s.aead.Open(nil, nil, wrapped, nil)
	if err != nil {
		return nil, sealing.ErrNotWrapped
	}
	return plain, nil
}

func in(s *strongbox) masterkey.Source { return masterkey.Source{Custodian: s} }

// A custodian is asked once for each start; what is sealed afterwards does not
// need it, and a start without it changes nothing.
func TestACustodianIsAskedAtTheStartOnly(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		box := newStrongbox(t)
		m := d.master(in(box), masterkey.Source{})
		before := d.mustOpen(t, m)
		box.away.Store(true)
		asked := box.asked.Load()
		sealed, err := m.Seal([]byte("x"), "place")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Open(sealed, "place"); err != nil {
			t.Error(err)
		}
		if err := m.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		if n := box.asked.Load(); n != asked {
			t.Errorf("it was asked %d times after the start", n-asked)
		}
		if _, err := d.open(t.Context(), d.master(in(box), masterkey.Source{})); !errors.Is(err, sealing.ErrAway) {
			t.Errorf("a start while it is away: %v", err)
		}
		box.away.Store(false)
		if got := d.mustOpen(t, d.master(in(box), masterkey.Source{})); !got.equal(before) {
			t.Error("after a restart it is another deployment")
		}
		if _, err := d.open(t.Context(), d.master(in(newStrongbox(t)), masterkey.Source{})); !errors.Is(err, sealing.ErrWrongMasterKey) {
			t.Errorf("a custodian with another key: %v", err)
		}
		if rows, err := d.db.SealedSecrets().SealedSecrets(t.Context()); err != nil || len(rows) != len(sealing.Purposes())+1 {
			t.Errorf("%d rows, %v; want the secrets and one wrapped key", len(rows), err)
		}
	})
}

func TestReplicasThatStartTogetherShareTheWrappedKey(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		box := newStrongbox(t)
		masters, errs := make([]*masterkey.Master, 8), make([]error, 8)
		var all sync.WaitGroup
		for i := range masters {
			masters[i] = d.master(in(box), masterkey.Source{})
			all.Go(func() { errs[i] = masters[i].Unlock(context.Background()) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		sealed, err := masters[0].Seal([]byte("x"), "place")
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range masters {
			if _, err := m.Open(sealed, "place"); err != nil {
				t.Errorf("replica %d: %v", i, err)
			}
		}
	})
}

// A deployment moves from a file to a custodian, to another one, and back.
func TestACustodianTakesOverAndGivesBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		one, other := newStrongbox(t), newStrongbox(t)
		before := d.mustOpen(t, d.master(first, masterkey.Source{}))
		from := first
		for name, to := range []masterkey.Source{in(one), in(other), second} {
			m := d.master(to, from)
			d.mustOpen(t, m)
			if _, err := m.Change(t.Context(), operator, masterkey.Progress{}); err != nil {
				t.Fatal(name, err)
			}
			for what, m := range map[string]*masterkey.Master{"the new one alone": d.master(to, masterkey.Source{}), "both, as configured still": d.master(to, from)} {
				if got := d.mustOpen(t, m); !got.equal(before) {
					t.Errorf("step %d, with %s: another deployment", name, what)
				}
			}
			if _, err := d.open(t.Context(), d.master(from, masterkey.Source{})); !errors.Is(err, sealing.ErrWrongMasterKey) {
				t.Errorf("step %d: with the earlier one alone: %v", name, err)
			}
			from = to
		}
		rows, err := d.db.SealedSecrets().SealedSecrets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Purpose == sealing.WrappedMasterKey {
				t.Error("a wrapped master key is left that nothing needs")
			}
		}
	})
}

func TestTheMasterKeyIsWrappedAnew(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, d *deployment) {
		box := newStrongbox(t)
		m := d.master(in(box), masterkey.Source{})
		before := d.mustOpen(t, m)
		wrapped := func() []byte {
			rows, err := d.db.SealedSecrets().SealedSecrets(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.Purpose == sealing.WrappedMasterKey {
					return r.Sealed
				}
			}
			return nil
		}
		old := wrapped()
		if err := m.Rewrap(t.Context(), operator); err != nil {
			t.Fatal(err)
		}
		if fresh := wrapped(); bytes.Equal(fresh, old) || fresh == nil {
			t.Error("it is wrapped as it was")
		}
		if got := d.mustOpen(t, d.master(in(box), masterkey.Source{})); !got.equal(before) {
			t.Error("it is another deployment")
		}
		if last := d.events[len(d.events)-1]; last != audit.MasterKeyRewrapped {
			t.Errorf("the last event is %s", last)
		}
		d2 := d.master(first, masterkey.Source{})
		if err := d2.Rewrap(t.Context(), operator); !errors.Is(err, fault.Invalid) {
			t.Errorf("without a custodian: %v", err)
		}
	})
}
