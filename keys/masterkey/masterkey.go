// Package masterkey finds the master key of a deployment, which everything
// secret in its database is sealed under, and changes it while servers run.
package masterkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Source is where a master key comes from: bytes that somebody gave us, or a
// custodian that wrapped it. The zero Source is none.
type Source struct {
	Key       []byte // as sealing.NewLocal takes it
	Custodian sealing.Custodian
}

// IsZero reports whether there is none.
func (s Source) IsZero() bool { return s.Key == nil && s.Custodian == nil }

// Value is a sealed value of the database.
type Value struct {
	Table   string // signing_keys, sealed_secrets or client_secrets
	ID      string // the kid, the purpose, the client's id
	N       int    // of a sealed secret: its id within the purpose
	Digest  []byte // of a client's secret
	Context string // what it is sealed with
	Sealed  []byte
}

// Store keeps what is sealed.
type Store interface {
	sealing.SecretStore
	// CountSealed counts the sealed values by the fingerprint of their master
	// key, "" for what has none. Wrapped master keys are not among them.
	CountSealed(ctx context.Context) (map[string]int, error)
	// NotSealedUnder returns up to limit values, without the first skip ones, that
	// are sealed under another master key than that of the fingerprint, in an
	// order that stays.
	NotSealedUnder(ctx context.Context, fingerprint string, skip, limit int) ([]Value, error)
	// InTx runs fn in a transaction. fn may run twice.
	InTx(ctx context.Context, fn func(Tx) error) error
}

// Tx is one transaction.
type Tx interface {
	audit.Sink
	changes.Sink
	// ReplaceSealed puts fresh in the place of v.Sealed. It reports false, and
	// does nothing, where something else is there by now.
	ReplaceSealed(v Value, fresh []byte) (bool, error)
	// RemoveSealedSecret forgets a secret; it does nothing where there is none.
	RemoveSealedSecret(p sealing.Purpose, id uint8) error
}

// Master is the master key of the deployment, and the Keeper that seals under
// it. Set the fields, Unlock it, and subscribe it to the change feed.
//
// Where Given and Earlier are both there, it seals under the one that the
// deployment is on: under Earlier until Change has begun, wherever that runs.
// So servers may be restarted one after the other beforehand.
type Master struct {
	Store   Store
	Given   Source // required: what everything is to be sealed under
	Earlier Source // what it was sealed under before Change, if that is not over
	Now     func() time.Time
	Random  io.Reader
	Logger  *slog.Logger // slog.Default where nil

	local atomic.Pointer[sealing.Local]
}

// errLocked is a Master that is used before it is unlocked.
var errLocked = errors.New("the master key is not unlocked yet")

// dataKeySize is the size of a master key that a custodian wraps, in bytes.
const dataKeySize = 32

// Seal implements sealing.Keeper.
func (m *Master) Seal(plain []byte, context string) ([]byte, error) {
	if l := m.local.Load(); l != nil {
		return l.Seal(plain, context)
	}
	return nil, errLocked
}

// Open implements sealing.Keeper.
func (m *Master) Open(sealed []byte, context string) ([]byte, error) {
	if l := m.local.Load(); l != nil {
		return l.Open(sealed, context)
	}
	return nil, errLocked
}

// Unlock finds the master keys, and makes one for a custodian that has wrapped
// none yet. It fails with sealing.ErrWrongMasterKey where the database is
// sealed under none of them, with sealing.ErrAway where a custodian cannot be
// asked at the moment, and then changes nothing.
func (m *Master) Unlock(ctx context.Context) error {
	for {
		rows, err := m.Store.SealedSecrets(ctx)
		if err != nil {
			return fmt.Errorf("read secrets: %w", err)
		}
		l, fresh, err := m.unlock(ctx, rows)
		if err != nil {
			return err
		}
		if fresh.Purpose != "" {
			err = m.Store.AddSealedSecrets(ctx, []sealing.Sealed{fresh})
			if errors.Is(err, fault.Conflict) {
				continue // another replica was first: its key is the one
			}
			if err != nil {
				return fmt.Errorf("store the wrapped master key: %w", err)
			}
		}
		m.local.Store(l)
		return nil
	}
}

// unlock opens the sources. fresh is a wrapped master key that must be stored
// before anything is sealed; it has no purpose where there is none.
func (m *Master) unlock(ctx context.Context, rows []sealing.Sealed) (l *sealing.Local, fresh sealing.Sealed, err error) {
	var keys [][]byte
	given, err := m.open(ctx, m.Given, rows)
	missing := errors.Is(err, errNoneWrapped)
	if err != nil && !missing {
		return nil, fresh, err
	}
	if missing {
		if given, fresh, err = m.wrapOne(ctx, rows); err != nil {
			return nil, fresh, err
		}
	}
	keys = append(keys, given)
	if !m.Earlier.IsZero() {
		// One that is removed already is no longer needed, or it is missed below.
		earlier, err := m.open(ctx, m.Earlier, rows)
		if err != nil && !errors.Is(err, errNoneWrapped) {
			return nil, fresh, fmt.Errorf("the earlier master key: %w", err)
		}
		if err == nil {
			keys = append(keys, earlier)
		}
	}
	if l, err = sealing.NewLocal(keys[0], keys[1:]...); err != nil {
		return nil, fresh, err
	}
	return l, fresh, follow(l, rows)
}

// follow makes l seal under the master key that the deployment is on, as the
// mark says, or the first secret where a release without marks made them.
func follow(l *sealing.Local, rows []sealing.Sealed) error {
	on := ""
	for _, r := range rows {
		if r.Purpose == sealing.WrappedMasterKey {
			continue
		}
		fingerprint := sealing.FingerprintOf(r.Sealed)
		if fingerprint == "" {
			return fmt.Errorf("secret %s %d: %w", r.Purpose, r.ID, sealing.ErrDamaged)
		}
		if !l.Knows(fingerprint) {
			return sealing.ErrWrongMasterKey
		}
		if on == "" || r.Purpose == sealing.MasterKeyMark {
			on = fingerprint
		}
	}
	if on != "" {
		l.Use(on)
	}
	return nil
}

// wrapped is how a wrapped master key lies in the database.
type wrapped struct {
	By          string `json:"by"` // the custodian, for whoever reads the table
	Fingerprint string `json:"fingerprint"`
	Key         []byte `json:"key"`
}

// errNoneWrapped is a custodian that wrapped none of the master keys there are.
var errNoneWrapped = fmt.Errorf("the key management service wrapped none of the master keys in the database: %w", sealing.ErrWrongMasterKey)

// open returns the master key of a source: the newest one that its custodian
// opens, or errNoneWrapped.
func (m *Master) open(ctx context.Context, s Source, rows []sealing.Sealed) ([]byte, error) {
	if s.Custodian == nil {
		return s.Key, nil
	}
	key, _, err := newest(ctx, s.Custodian, rows)
	return key, err
}

func newest(ctx context.Context, c sealing.Custodian, rows []sealing.Sealed) (key []byte, row sealing.Sealed, err error) {
	for _, r := range slices.Backward(rows) { // they come in the order of their ids
		if r.Purpose != sealing.WrappedMasterKey {
			continue
		}
		var w wrapped
		if err := json.Unmarshal(r.Sealed, &w); err != nil {
			return nil, r, fmt.Errorf("wrapped master key %d: %w", r.ID, sealing.ErrDamaged)
		}
		key, err := c.Unwrap(ctx, w.Key)
		if errors.Is(err, sealing.ErrNotWrapped) {
			continue
		}
		if err != nil {
			return nil, r, fmt.Errorf("%s: %w", c, err)
		}
		l, err := sealing.NewLocal(key)
		if err != nil || l.Fingerprint() != w.Fingerprint {
			return nil, r, fmt.Errorf("wrapped master key %d is another than it says: %w", r.ID, sealing.ErrDamaged)
		}
		return key, r, nil
	}
	return nil, row, errNoneWrapped
}

// wrapOne makes a master key and has the custodian wrap it, in a database where
// nothing is sealed, or all under the earlier master key.
func (m *Master) wrapOne(ctx context.Context, rows []sealing.Sealed) (key []byte, row sealing.Sealed, err error) {
	row = sealing.Sealed{Purpose: sealing.WrappedMasterKey, ID: 1, CreatedAt: m.Now()}
	for _, r := range rows {
		switch {
		case r.Purpose == sealing.WrappedMasterKey:
			row.ID = r.ID + 1
		case m.Earlier.IsZero():
			return nil, row, errNoneWrapped
		}
	}
	if key, err = secret.Bytes(m.Random, dataKeySize); err != nil {
		return nil, row, err
	}
	row.Sealed, err = wrap(ctx, m.Given.Custodian, key)
	return key, row, err
}

func wrap(ctx context.Context, c sealing.Custodian, key []byte) ([]byte, error) {
	l, err := sealing.NewLocal(key)
	if err != nil {
		return nil, err
	}
	w := wrapped{By: c.String(), Fingerprint: l.Fingerprint()}
	if w.Key, err = c.Wrap(ctx, key); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return json.Marshal(w)
}

// Hear makes Seal use the master key that the deployment is on from now on.
func (m *Master) Hear(cs []changes.Change) {
	for _, c := range cs {
		if l := m.local.Load(); c.Kind == changes.MasterKey && l != nil && !l.Use(c.Key) {
			m.logger().Error("the deployment is being sealed under a master key that this server was not given: restart it with that one", "fingerprint", c.Key)
		}
	}
}

// Forget does nothing: Refresh looks now and then.
func (m *Master) Forget() {}

// Refresh looks into the database which master key the deployment is on. It
// asks no custodian.
func (m *Master) Refresh(ctx context.Context) error {
	rows, err := m.Store.SealedSecrets(ctx)
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	if l := m.local.Load(); l != nil {
		return follow(l, rows)
	}
	return errLocked
}

func (m *Master) logger() *slog.Logger {
	if m.Logger == nil {
		return slog.Default()
	}
	return m.Logger
}

var (
	_ sealing.Keeper     = (*Master)(nil)
	_ changes.Subscriber = (*Master)(nil)
)
