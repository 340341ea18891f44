// Package verify checks access tokens offline.
package verify

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits and defaults.
const (
	// MaxTokenSize is the longest token looked at, in bytes.
	MaxTokenSize = 16 << 10
	// DefaultLeeway is how far the clocks of issuer and verifier may differ.
	DefaultLeeway = 30 * time.Second
	// DefaultCacheSize is how many verified tokens a Verifier remembers.
	DefaultCacheSize = 4096
	// TokenType is the typ header an access token has (RFC 9068 §2.1).
	TokenType = "at+jwt"
)

// KeySource finds public keys. RemoteKeys and Lookup are the two there are.
type KeySource interface {
	// Key returns the public key with that id. It answers ErrInvalid where the
	// issuer has no such key and ErrUnavailable where that cannot be told.
	Key(ctx context.Context, kid string) (jose.JSONWebKey, error)
}

// RevocationSource knows which tokens were revoked before they expired.
type RevocationSource interface {
	// Revoked reports whether the token must be refused. Where it cannot tell it
	// answers an error, and the token is refused with ErrUnavailable.
	Revoked(ctx context.Context, c Claims) (bool, error)
}

// Verifier verifies access tokens. Set the fields before first use; a Verifier
// must not be copied afterwards. It is safe for concurrent use.
type Verifier struct {
	Issuer   string           // required: iss must be exactly this
	Audience string           // required: aud must be or contain this
	Keys     KeySource        // required
	Now      func() time.Time // required: time.Now in production
	Revoked  RevocationSource // nil: tokens live until they expire
	// Leeway is how far the clocks may differ; DefaultLeeway where zero, none
	// where negative. A token is good until exp + Leeway.
	Leeway time.Duration
	// CacheSize is how many verified tokens are remembered, so that a signature
	// is checked once per token; DefaultCacheSize where zero, none where
	// negative. Expiry and revocation are checked each time.
	CacheSize int
	// Report, where set, hears the error of each refusal that Middleware
	// answers. It is for logs and metrics.
	Report func(ctx context.Context, err error)
}

// Lookup is a KeySource in this process: the public keys of a key ring.
type Lookup func(kid string) (jose.JSONWebKey, bool)

// Key returns the key that the function finds.
func (l Lookup) Key(_ context.Context, kid string) (jose.JSONWebKey, error) {
	if k, ok := l(kid); ok {
		return k, nil
	}
	return jose.JSONWebKey{}, ErrInvalid.because("the issuer has no key with this id")
}

// RevokedFunc is a RevocationSource in this process.
type RevokedFunc func(ctx context.Context, c Claims) (bool, error)

// Revoked calls the function.
func (f RevokedFunc) Revoked(ctx context.Context, c Claims) (bool, error) { return f(ctx, c) }
