package masterkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Use is how much is sealed under one master key.
type Use struct {
	Fingerprint string // empty for what no master key sealed
	Values      int
	Given       bool // it is the configured one
	Known       bool // it is the configured one or the earlier one
	Current     bool // replicas seal under it
}

// Status says what is sealed under which master key, the configured one first.
func (m *Master) Status(ctx context.Context) ([]Use, error) {
	l := m.local.Load()
	if l == nil {
		return nil, errLocked
	}
	counts, err := m.Store.CountSealed(ctx)
	if err != nil {
		return nil, fmt.Errorf("count what is sealed: %w", err)
	}
	given := l.Fingerprint()
	out := []Use{{Fingerprint: given, Values: counts[given], Given: true, Known: true, Current: l.Current() == given}}
	for fingerprint, n := range counts {
		if fingerprint != given {
			out = append(out, Use{Fingerprint: fingerprint, Values: n, Known: l.Knows(fingerprint), Current: l.Current() == fingerprint})
		}
	}
	return out, nil
}

// rewrapper is a custodian that can wrap with the newest version of its key
// without telling us the master key.
type rewrapper interface {
	Rewrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// Rewrap has the custodian wrap the master key anew, with the newest version of
// its own key. The master key stays the same and servers notice nothing. It is
// fault.Invalid where no custodian is configured.
func (m *Master) Rewrap(ctx context.Context, by ident.Caller) error {
	c := m.Given.Custodian
	if c == nil {
		return fault.New(fault.Invalid, "No key management service is configured: there is nothing to wrap anew.")
	}
	rows, err := m.Store.SealedSecrets(ctx)
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	key, row, err := newest(ctx, c, rows)
	if err != nil {
		return err
	}
	fresh, err := rewrap(ctx, c, key, row)
	if err != nil {
		return fmt.Errorf("wrap the master key anew: %w", err)
	}
	event := audit.By(by, m.Now(), audit.MasterKeyRewrapped, audit.Target{Type: "master_key", ID: m.local.Load().Fingerprint()})
	return m.Store.InTx(ctx, func(tx Tx) error {
		replaced, err := tx.ReplaceSealed(Value{Table: "sealed_secrets", ID: string(row.Purpose), N: int(row.ID), Sealed: row.Sealed}, fresh)
		if err == nil && !replaced {
			err = fault.Conflict
		}
		if err != nil {
			return err
		}
		return tx.Record(event)
	})
}

// rewrap returns the row's value, wrapped anew. What does not open again is
// refused before it is stored.
func rewrap(ctx context.Context, c sealing.Custodian, key []byte, row sealing.Sealed) ([]byte, error) {
	r, able := c.(rewrapper)
	if !able {
		return wrap(ctx, c, key)
	}
	var w wrapped
	if err := json.Unmarshal(row.Sealed, &w); err != nil {
		return nil, err
	}
	var err error
	if w.Key, err = r.Rewrap(ctx, w.Key); err != nil {
		return nil, err
	}
	again, err := c.Unwrap(ctx, w.Key)
	if err != nil {
		return nil, err
	}
	if string(again) != string(key) {
		return nil, errors.New("the key management service gave back another key")
	}
	w.By = c.String()
	return json.Marshal(w)
}
