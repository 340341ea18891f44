package masterkey

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// defaultBatch is how many values one transaction seals anew.
const defaultBatch = 100

// Progress says how a Change goes about it and is told what it does. The zero
// Progress is of a deployment without servers that run meanwhile.
type Progress struct {
	Batch  int         // how many values one transaction seals anew; 100 where zero
	Sealed func(n int) // told, where set, that n more values are sealed anew
	// Settle waits until other replicas have heard: what they sealed meanwhile
	// under the earlier master key is sealed anew afterwards.
	Settle func(context.Context) error
}

func (p Progress) batch() int {
	if p.Batch == 0 {
		return defaultBatch
	}
	return p.Batch
}

// Changed is what a Change did.
type Changed struct {
	Fingerprint string   // of the master key that everything is sealed under now
	Begun       bool     // this call began it; else it went on with one that was interrupted, or found nothing to do
	Sealed      int      // values sealed anew by this call
	Damaged     []string // values that do not open, by table and id
}

// Change seals everything that is sealed under the master key Given. Servers
// that have both keys may run meanwhile. It may be interrupted and run again.
// Where anything is sealed under a key that is neither Given nor Earlier it
// fails with sealing.ErrWrongMasterKey and changes nothing. Values that do not
// open stay as they are and are listed.
func (m *Master) Change(ctx context.Context, by ident.Caller, p Progress) (Changed, error) {
	l := m.local.Load()
	if l == nil {
		return Changed{}, errLocked
	}
	done := Changed{Fingerprint: l.Fingerprint()}
	if err := m.openable(ctx, l); err != nil {
		return done, err
	}
	var err error
	if done.Begun, err = m.begin(ctx, l, by); err != nil {
		return done, fmt.Errorf("begin to change the master key: %w", err)
	}
	for settled := false; ; settled = true {
		n, err := m.pass(ctx, l, &done, p)
		if err != nil {
			return done, err
		}
		// Twice: other replicas hear of the beginning a moment later.
		if settled && n == 0 {
			break
		}
		if p.Settle != nil && (done.Begun || done.Sealed > 0) {
			if err := p.Settle(ctx); err != nil {
				return done, err
			}
		}
	}
	return done, m.finish(ctx, l, by, done)
}

// openable refuses to begin what could not be finished.
func (m *Master) openable(ctx context.Context, l *sealing.Local) error {
	counts, err := m.Store.CountSealed(ctx)
	if err != nil {
		return fmt.Errorf("count what is sealed: %w", err)
	}
	for fingerprint, n := range counts {
		if fingerprint != "" && !l.Knows(fingerprint) {
			return fmt.Errorf("%d values are sealed under the master key %s, which was not given: %w", n, fingerprint, sealing.ErrWrongMasterKey)
		}
	}
	return nil
}

// begin seals the mark under the given key and tells every replica to seal
// under it. It reports whether that was not so before.
func (m *Master) begin(ctx context.Context, l *sealing.Local, by ident.Caller) (bool, error) {
	rows, err := m.Store.SealedSecrets(ctx)
	if err != nil {
		return false, err
	}
	now := m.Now()
	for _, r := range rows {
		earlier := sealing.FingerprintOf(r.Sealed)
		if r.Purpose != sealing.MasterKeyMark || earlier == l.Fingerprint() {
			continue
		}
		v := Value{Table: "sealed_secrets", ID: string(r.Purpose), N: int(r.ID), Context: r.Context(), Sealed: r.Sealed}
		fresh, err := l.Reseal(v.Sealed, v.Context)
		if err != nil {
			return false, err
		}
		event := audit.By(by, now, audit.MasterKeyChanged, audit.Target{Type: "master_key", ID: l.Fingerprint()})
		event.Meta = map[string]string{"previous": earlier}
		begun := false
		err = m.Store.InTx(ctx, func(tx Tx) error {
			if begun, err = tx.ReplaceSealed(v, fresh); err != nil || !begun {
				return err // another began it at the same time
			}
			return errors.Join(tx.Record(event), tx.Announce(changes.Change{Kind: changes.MasterKey, Key: l.Fingerprint(), At: now}))
		})
		l.Use(l.Fingerprint())
		return begun, err
	}
	return false, nil
}

// pass seals anew what is under another key, in batches, and returns how many
// values that were.
func (m *Master) pass(ctx context.Context, l *sealing.Local, done *Changed, p Progress) (total int, err error) {
	done.Damaged = nil
	for {
		values, err := m.Store.NotSealedUnder(ctx, l.Fingerprint(), len(done.Damaged), p.batch())
		if err != nil || len(values) == 0 {
			return total, err
		}
		n, err := m.reseal(ctx, l, values, done)
		if err != nil {
			return total, fmt.Errorf("seal under the new master key: %w", err)
		}
		total, done.Sealed = total+n, done.Sealed+n
		if p.Sealed != nil {
			p.Sealed(n)
		}
	}
}

func (m *Master) reseal(ctx context.Context, l *sealing.Local, values []Value, done *Changed) (n int, err error) {
	fresh := make([][]byte, len(values))
	for i, v := range values {
		fresh[i], err = l.Reseal(v.Sealed, v.Context)
		if errors.Is(err, sealing.ErrWrongMasterKey) {
			return 0, err
		}
		if err != nil {
			done.Damaged = append(done.Damaged, v.Table+" "+v.ID)
		}
	}
	err = m.Store.InTx(ctx, func(tx Tx) error {
		n = 0
		for i, v := range values {
			if fresh[i] == nil {
				continue
			}
			replaced, err := tx.ReplaceSealed(v, fresh[i])
			if err != nil {
				return err
			}
			if replaced {
				n++
			}
		}
		return nil
	})
	return n, err
}

// finish removes wrapped master keys that nothing is sealed under any more, and
// records that the change is over.
func (m *Master) finish(ctx context.Context, l *sealing.Local, by ident.Caller, done Changed) error {
	if !done.Begun && done.Sealed == 0 || len(done.Damaged) > 0 {
		return nil
	}
	rows, err := m.Store.SealedSecrets(ctx)
	if err != nil {
		return err
	}
	keep := -1
	if m.Given.Custodian != nil {
		_, row, err := newest(ctx, m.Given.Custodian, rows)
		if err != nil {
			return err
		}
		keep = int(row.ID)
	}
	event := audit.By(by, m.Now(), audit.MasterKeyResealed, audit.Target{Type: "master_key", ID: l.Fingerprint()})
	event.Meta = map[string]string{"values": strconv.Itoa(done.Sealed)}
	return m.Store.InTx(ctx, func(tx Tx) error {
		for _, r := range rows {
			if r.Purpose == sealing.WrappedMasterKey && int(r.ID) != keep {
				if err := tx.RemoveSealedSecret(r.Purpose, r.ID); err != nil {
					return err
				}
			}
		}
		return tx.Record(event)
	})
}
