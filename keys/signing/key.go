// Package signing holds the keys that sign tokens: creating, sealing and
// loading them, signing with them, and publishing their public halves.
package signing

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
)

// State is where a key stands in its life.
type State string

// The states, in the order of a key's life.
const (
	Published State = "published" // in the JWKS, so that verifiers know it before it signs
	Active    State = "active"    // signs; one for each algorithm
	Retiring  State = "retiring"  // signs no more; in the JWKS until its last token has expired
	Revoked   State = "revoked"   // not in the JWKS; what it signed is refused
)

// Key is a signing key as it is stored.
type Key struct {
	ID          string // the kid: RFC 7638 thumbprint of the public key
	Algorithm   string // the one algorithm it signs with (RFC 8725 §3.1): "ES256", "RS256"
	State       State
	CreatedAt   time.Time
	ActivatedAt time.Time       // zero where it never signed
	RetiredAt   time.Time       // when it retired or was revoked; zero where it may still sign
	Public      jose.JSONWebKey // with kid, alg and use; no private member
	Sealed      []byte          // the private key, PKCS #8, sealed under the context "signing-key:" + ID
}

// Store keeps signing keys.
type Store interface {
	// SigningKeys returns every key, oldest first.
	SigningKeys(ctx context.Context) ([]Key, error)
	// InTx runs fn in a transaction. fn may run twice.
	InTx(ctx context.Context, fn func(Tx) error) error
}

// Tx is one transaction.
type Tx interface {
	audit.Sink
	changes.Sink
	// LockSigningKeys returns every key, oldest first, and lets no other
	// transaction add or change one until this one has ended.
	LockSigningKeys() ([]Key, error)
	// AddSigningKey stores a new key. It is fault.Conflict where a key of that
	// id exists, or where it would be the second active one of its algorithm;
	// the transaction is then of no further use.
	AddSigningKey(Key) error
	// MoveSigningKey gives a key that is in the state from another one: at is
	// when it was activated, or when it retired or was revoked. It is
	// fault.Conflict where the key is not in the state from, or would be the
	// second active one of its algorithm.
	MoveSigningKey(id string, from, to State, at time.Time) error
	// DeleteSigningKey forgets a key for ever; fault.NotFound where there is none.
	DeleteSigningKey(id string) error
}
