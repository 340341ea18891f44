package sealing

import (
	"context"
	"errors"
)

// Custodian has a key that never leaves it, and wraps the master key with it:
// the transit engine of Vault or OpenBao, an HSM, the key management service of
// a cloud. It is asked when a server starts and by commands about the master
// key, and never in between. An implementation is safe for concurrent use.
type Custodian interface {
	// String names it for operators, without a credential.
	String() string
	// Wrap encrypts a master key. It fails with ErrAway, or with what only an
	// operator can mend.
	Wrap(ctx context.Context, plain []byte) ([]byte, error)
	// Unwrap is the inverse of Wrap. It fails as Wrap does, and with
	// ErrNotWrapped for what is damaged or was wrapped with another key.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

var (
	// ErrAway is a custodian that cannot be asked at the moment.
	ErrAway = errors.New("the key management service does not answer")
	// ErrNotWrapped is something that this custodian's key did not wrap.
	ErrNotWrapped = errors.New("the key management service did not wrap this with its key")
)
