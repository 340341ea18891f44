// Package changes tells every replica what its caches must forget and which
// credentials it must refuse. A change is written in the transaction that
// makes it, applied locally before the reply, and followed by other replicas.
package changes

import (
	"context"
	"time"
)

// Kind says what changed.
type Kind string

// The kinds of change.
const (
	// SessionRevoked: refuse every token of session Key until Until.
	SessionRevoked Kind = "session.revoked"
	// TokenRevoked: refuse the access token with jti Key until Until.
	TokenRevoked Kind = "token.revoked"
	// SubjectCutoff: refuse access tokens of user Key issued at or before At, until Until.
	SubjectCutoff Kind = "subject.cutoff"
	// APIKeyRevoked: refuse every access token that was exchanged for the API key
	// with the id Key, until Until.
	APIKeyRevoked Kind = "api_key.revoked"
	// SigningKeyRevoked: refuse what the signing key with the kid Key signed,
	// until Until.
	SigningKeyRevoked Kind = "signing_key.revoked"
	// StatusRevoked: places of a status list read "invalid" until Until. It
	// stands beside one of the kinds above, which it says again for readers of
	// status lists; Key is as tokens.PlaceRange writes it.
	StatusRevoked Kind = "status.revoked"
	// SigningKeys: the key ring changed; load it again.
	SigningKeys Kind = "signing_keys"
	// MasterKey: seal under the master key with the fingerprint Key from now on.
	MasterKey Kind = "master_key"
	// APIKey: forget the API key with lookup id Key.
	APIKey Kind = "api_key"
	// APIKeyPolicy: forget what organisation Key lets its API keys do.
	APIKeyPolicy Kind = "api_key.policy"
	// Client: forget the OAuth client Key.
	Client Kind = "client"
	// User: forget what is known of the standing of user Key, in every organisation.
	User Kind = "user"
	// Org: forget organisation Key, its members and its roles.
	Org Kind = "org"
	// Question: tell Replicas that everything before was heard; Key names it.
	Question Kind = "question"
)

// Change is one line of the log of changes.
type Change struct {
	Kind  Kind
	Key   string
	At    time.Time
	Until time.Time // when the change stops mattering; zero for a purge
}

// Revokes reports whether the change names tokens to refuse, so that it is
// kept until Until and loaded at start. StatusRevoked, which is kept as well,
// names places and no tokens.
func (c Change) Revokes() bool {
	switch c.Kind {
	case SessionRevoked, TokenRevoked, SubjectCutoff, APIKeyRevoked, SigningKeyRevoked:
		return true
	default:
		return false
	}
}

// Sink announces changes. Every domain transaction is a Sink, so that a fact
// and its announcement commit together or not at all.
type Sink interface {
	Announce(Change) error
}

// Cursor is a place in the log. The zero Cursor is nowhere: see Log.Start.
type Cursor struct {
	Seq int64
	Mid string // backend's own mark, for logs whose order is not their commit order
}

// Log is what storage keeps of changes.
type Log interface {
	// Start returns the revocations that matter at now, and a cursor such that
	// every change committed afterwards is returned by Since.
	Start(ctx context.Context, now time.Time) ([]Change, Cursor, error)
	// Since returns the changes after c that have committed and the cursor
	// after them. A change may be returned twice, never missed.
	Since(ctx context.Context, c Cursor) ([]Change, Cursor, error)
	// Wait returns when a change may have been committed by another process,
	// or when ctx ends. It is a hint: a follower polls as well.
	Wait(ctx context.Context) error
}
