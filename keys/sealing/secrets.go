package sealing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Purpose says what a secret is for. No secret serves two.
type Purpose string

// The purposes.
const (
	RefreshMAC    Purpose = "refresh-mac"    // authenticates refresh tokens
	APIKeyPepper  Purpose = "api-key-pepper" // digests API keys
	LockoutPepper Purpose = "lockout-pepper" // hides identifiers in login counters
	DeviceCookie  Purpose = "device-cookie"  // authenticates device cookies
	CursorKey     Purpose = "cursor-key"     // authenticates page cursors
	SetupLink     Purpose = "setup-link"     // authenticates the set-up link
	// BrowserSession authenticates the cookies of browser sessions.
	BrowserSession Purpose = "browser-session"
	// FormToken authenticates the forms of our own pages against forgery.
	FormToken Purpose = "form-token"
	// PairwiseSubject makes the sub that one sector knows a user by (OpenID
	// Connect Core 1.0 §8.1). It is never replaced: users would be strangers.
	PairwiseSubject Purpose = "pairwise-subject"
	// StatusIndex scatters tokens over their status lists and names them by their
	// place. It is never replaced: tokens would stand elsewhere.
	StatusIndex Purpose = "status-index"
	// MasterKeyMark is sealed under the master key that everything is to be
	// sealed under, and is good for nothing else.
	MasterKeyMark Purpose = "master-key-mark"
	// WrappedMasterKey is no secret of ours but the master key, wrapped by a
	// Custodian. Purposes does not list it and Secrets passes it over.
	WrappedMasterKey Purpose = "master-key-wrapped"
)

// Purposes lists every purpose.
func Purposes() []Purpose {
	return []Purpose{RefreshMAC, APIKeyPepper, LockoutPepper, DeviceCookie, CursorKey, SetupLink, BrowserSession, FormToken, PairwiseSubject, StatusIndex, MasterKeyMark}
}

// secretSize is the size of a secret in bytes.
const secretSize = 32

// Sealed is a secret as it lies in the database.
type Sealed struct {
	Purpose   Purpose
	ID        uint8 // counts from 1 within its purpose
	Sealed    []byte
	CreatedAt time.Time
}

// Context binds the sealed value to its place.
func (s Sealed) Context() string {
	return "secret:" + string(s.Purpose) + ":" + strconv.Itoa(int(s.ID))
}

// SecretStore keeps sealed secrets.
type SecretStore interface {
	// SealedSecrets returns every secret.
	SealedSecrets(ctx context.Context) ([]Sealed, error)
	// AddSealedSecrets adds all of them or none. It is fault.Conflict where one
	// of that purpose and id exists.
	AddSealedSecrets(ctx context.Context, secrets []Sealed) error
}

// Secrets are the symmetric secrets of a deployment, the same on every
// replica. Load them before use.
type Secrets struct {
	Store  SecretStore
	Keeper Keeper
	Now    func() time.Time
	Random io.Reader

	open atomic.Pointer[map[Purpose][]opened]
}

type opened struct {
	id  uint8
	key []byte
}

// Load opens every secret and creates one for each purpose that has none.
// Replicas that start together agree on whose were first. Where anything does
// not open, Load fails with ErrWrongMasterKey or ErrDamaged and creates nothing.
func (s *Secrets) Load(ctx context.Context) error {
	for {
		stored, err := s.Store.SealedSecrets(ctx)
		if err != nil {
			return fmt.Errorf("read secrets: %w", err)
		}
		open, err := s.openAll(stored)
		if err != nil {
			return err
		}
		fresh, err := s.missing(open)
		if err != nil {
			return err
		}
		if len(fresh) == 0 {
			s.open.Store(&open)
			return nil
		}
		// Another replica may be first: read again either way, so that what is
		// used is what is stored.
		if err := s.Store.AddSealedSecrets(ctx, fresh); err != nil && !errors.Is(err, fault.Conflict) {
			return fmt.Errorf("store secrets: %w", err)
		}
	}
}

func (s *Secrets) openAll(stored []Sealed) (map[Purpose][]opened, error) {
	out := make(map[Purpose][]opened)
	for _, row := range stored {
		if row.Purpose == WrappedMasterKey {
			continue
		}
		key, err := s.Keeper.Open(row.Sealed, row.Context())
		if err != nil {
			return nil, fmt.Errorf("open secret %s %d: %w", row.Purpose, row.ID, err)
		}
		if len(key) != secretSize {
			return nil, fmt.Errorf("open secret %s %d: %w", row.Purpose, row.ID, ErrDamaged)
		}
		out[row.Purpose] = append(out[row.Purpose], opened{row.ID, key})
	}
	for _, keys := range out {
		slices.SortFunc(keys, func(a, b opened) int { return int(a.id) - int(b.id) })
	}
	return out, nil
}

// missing makes a first secret for each purpose that has none.
func (s *Secrets) missing(open map[Purpose][]opened) ([]Sealed, error) {
	var out []Sealed
	now := s.Now()
	for _, p := range Purposes() {
		if len(open[p]) > 0 {
			continue
		}
		key, err := secret.Bytes(s.Random, secretSize)
		if err != nil {
			return nil, err
		}
		row := Sealed{Purpose: p, ID: 1, CreatedAt: now}
		if row.Sealed, err = s.Keeper.Seal(key, row.Context()); err != nil {
			return nil, fmt.Errorf("seal secret %s: %w", p, err)
		}
		out = append(out, row)
	}
	return out, nil
}

// Current returns the secret to use for new things, and its id, to be stored
// beside them. It panics before Load: a missing key would authenticate
// everything. The caller must not change key.
func (s *Secrets) Current(p Purpose) (id uint8, key []byte) {
	keys := (*s.open.Load())[p]
	last := keys[len(keys)-1]
	return last.id, last.key
}

// ByID returns the secret that Current gave under that id, now or earlier.
func (s *Secrets) ByID(p Purpose, id uint8) (key []byte, ok bool) {
	open := s.open.Load()
	if open == nil {
		return nil, false
	}
	for _, k := range (*open)[p] {
		if k.id == id {
			return k.key, true
		}
	}
	return nil, false
}
