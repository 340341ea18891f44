package verify

import (
	"context"
	"errors"
	"slices"
	"sync"
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

// KeySource finds public keys. RemoteKeys, Lookup and Finder are those there are.
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
	// negative. Everything but form and signature is checked each time.
	CacheSize int
	// Report, where set, hears the error of each refusal that Middleware
	// answers. It is for logs and metrics.
	Report func(ctx context.Context, err error)

	memory     *memory
	memoryOnce sync.Once
}

// errIncomplete is a Verifier with a required field unset. It refuses every
// token: an empty issuer must not match an empty iss.
var errIncomplete = ErrUnavailable.because("Issuer, Audience, Keys and Now of a Verifier are required")

// Verify returns what the token says where it is good, and no claims with any
// error. Errors are as the package comment says; each is an *Error.
func (v *Verifier) Verify(ctx context.Context, token string) (Claims, error) {
	return v.verify(ctx, token, v.forUs)
}

// Issued is Verify whatever the token's audience. It is for the issuer, who is
// asked about tokens for others (RFC 7662, RFC 7009). A resource server that
// calls it would take tokens that are not meant for it.
func (v *Verifier) Issued(ctx context.Context, token string) (Claims, error) {
	return v.verify(ctx, token, func(Claims) bool { return true })
}

// forUs is RFC 8725 §3.9.
func (v *Verifier) forUs(c Claims) bool { return slices.Contains(c.Audience, v.Audience) }

func (v *Verifier) verify(ctx context.Context, token string, meant func(Claims) bool) (Claims, error) {
	if v.Issuer == "" || v.Audience == "" || v.Keys == nil || v.Now == nil {
		return Claims{}, errIncomplete
	}
	c, err := v.authentic(ctx, token)
	if err != nil {
		return Claims{}, err
	}
	if err := v.judge(c, v.Now(), meant(c)); err != nil {
		return Claims{}, err
	}
	if v.Revoked != nil {
		revoked, err := v.Revoked.Revoked(ctx, c)
		if err != nil {
			return Claims{}, refusal(err)
		}
		if revoked {
			return Claims{}, ErrRevoked
		}
	}
	return c, nil
}

// authentic returns the claims of a token that the issuer signed.
func (v *Verifier) authentic(ctx context.Context, token string) (Claims, error) {
	v.memoryOnce.Do(func() { v.memory = newMemory(v.CacheSize) })
	if len(token) > MaxTokenSize {
		return Claims{}, ErrInvalid.because("the token is longer than %d bytes", MaxTokenSize)
	}
	if seen := v.memory.recall(token); seen != nil {
		// The key may have been withdrawn since.
		if key, err := v.Keys.Key(ctx, seen.kid); err == nil && sameKey(key, seen.key) {
			return seen.claims, nil
		}
	}
	e, err := open(token, MaxTokenSize)
	if err != nil {
		return Claims{}, err
	}
	if !e.isType(TokenType) { // RFC 8725 §3.11: no other kind of JWT will do
		return Claims{}, ErrInvalid.because("the token's typ is not %s", TokenType)
	}
	payload, key, err := e.payload(ctx, v.Keys)
	if err != nil {
		return Claims{}, err
	}
	c, err := readClaims(payload)
	if err != nil {
		return Claims{}, err
	}
	c.Bound.SignedBy = e.kid
	v.memory.remember(token, &remembered{claims: c, kid: e.kid, key: key})
	return c, nil
}

// judge applies the checks that depend on who and when we are.
func (v *Verifier) judge(c Claims, now time.Time, meant bool) error {
	leeway := max(v.Leeway, 0)
	if v.Leeway == 0 {
		leeway = DefaultLeeway
	}
	switch {
	case c.Issuer != v.Issuer: // RFC 9068 §4: exactly, to the last slash
		return ErrInvalid.because("another issuer's token")
	case !meant:
		return ErrInvalid.because("a token for another audience")
	case c.Subject == "" || c.ID == "":
		return ErrInvalid.because("the token has no sub or no jti")
	case c.NotBefore.After(now.Add(leeway)) || c.IssuedAt.After(now.Add(leeway)):
		return ErrInvalid.because("the token is of the future")
	case !now.Before(c.ExpiresAt.Add(leeway)):
		return ErrExpired
	case c.OrgID == "":
		return ErrNoOrg
	}
	return nil
}

// refusal makes a *Error of what a source answered.
func refusal(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ErrUnavailable.because("%v", err)
}

// Result names the outcome of a verification for metrics: "ok", "missing",
// "invalid", "expired", "missing_org", "revoked", "forbidden" or "unavailable".
func Result(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrForbidden):
		return "forbidden"
	case errors.As(err, &e) && e.Reason != "":
		return e.Reason
	default:
		return "unavailable"
	}
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

// Finder is a Lookup that may have to ask somebody: its error means that it
// cannot tell.
type Finder func(ctx context.Context, kid string) (jose.JSONWebKey, bool, error)

// Key returns the key that the function finds.
func (f Finder) Key(ctx context.Context, kid string) (jose.JSONWebKey, error) {
	k, ok, err := f(ctx, kid)
	switch {
	case err != nil:
		return jose.JSONWebKey{}, ErrUnavailable.because("key set: %v", err)
	case !ok:
		return jose.JSONWebKey{}, ErrInvalid.because("the issuer has no key with this id")
	default:
		return k, nil
	}
}

// RevokedFunc is a RevocationSource in this process.
type RevokedFunc func(ctx context.Context, c Claims) (bool, error)

// Revoked calls the function.
func (f RevokedFunc) Revoked(ctx context.Context, c Claims) (bool, error) { return f(ctx, c) }
