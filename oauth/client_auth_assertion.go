package oauth

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// assertionType is the one kind of client_assertion (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Limits of an assertion.
const (
	maxAssertion = 8 << 10         // bytes
	maxJTI       = 256             // bytes
	assertionTTL = 5 * time.Minute // the furthest exp
	clockSkew    = 30 * time.Second
)

// The algorithms of an assertion. A secret, which is too short for the longer
// HMACs (RFC 7518 §3.2), signs with the first list, a key with the second:
// which of them counts is the client's registered method, never what the
// assertion says (RFC 8725 §3.1).
var (
	secretAlgorithms = []jose.SignatureAlgorithm{jose.HS256}
	keyAlgorithms    = []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512, jose.EdDSA,
	}
)

// AssertionAlgorithms lists what client assertions may be signed with, as
// discovery documents show them.
func AssertionAlgorithms() []string {
	return algorithmNames(slices.Concat(secretAlgorithms, keyAlgorithms))
}

// ObjectAlgorithms lists what a client's own keys may sign with: assertions and
// request objects.
func ObjectAlgorithms() []string { return algorithmNames(keyAlgorithms) }

func algorithmNames(algs []jose.SignatureAlgorithm) []string {
	out := make([]string, len(algs))
	for i, a := range algs {
		out[i] = string(a)
	}
	return out
}

// AssertionStore remembers the assertions that were used until they expire, for
// every replica and across restarts.
type AssertionStore interface {
	// UseAssertion remembers the assertion of that client with the SHA-256 of its
	// jti until it expires. It reports false where it was used before; of two
	// who use one at once, one is first.
	UseAssertion(ctx context.Context, client ident.ClientID, jti []byte, expires time.Time) (bool, error)
	// DeleteExpiredAssertions removes at most limit assertions that expired
	// before the given time, and returns how many.
	DeleteExpiredAssertions(ctx context.Context, before time.Time, limit int) (int, error)
}

// KeyFetcher gets public keys from where a client said its JWK Set is
// (outbound.KeyCache).
type KeyFetcher interface {
	// Key returns the key of that id for that algorithm; where kid is empty, the
	// only key that can be meant.
	Key(ctx context.Context, url, kid, alg string) (jose.JSONWebKey, error)
}

// assertion is client_secret_jwt and private_key_jwt (RFC 7523 §2.2).
var assertion = clientMethod{
	claim: func(p ClientProof) (claimed, bool) {
		c := claimed{secret: p.Params["client_assertion"], kind: p.Params["client_assertion_type"]}
		if c.secret == "" && c.kind == "" {
			return c, false
		}
		// Whose assertion it is decides by whose keys it is verified.
		if a, err := readAssertion(c.secret); err == nil && c.kind == assertionType {
			c.id = a.claims.Subject
		}
		return c, true
	},
	serves: func(m AuthMethod) bool { return m == AuthSecretJWT || m == AuthPrivateKeyJWT },
	prove: func(ctx context.Context, a *ClientAuthenticator, r Registered, c claimed) error {
		in, err := readAssertion(c.secret)
		if err != nil {
			return err
		}
		if err := a.authentic(ctx, r, in); err != nil {
			return err
		}
		now := a.Now()
		if !in.claims.good(r.ID, a.Issuer, now) {
			return refusedClient{refusedAssertion}
		}
		// Remembered last: whoever only guesses uses nothing up.
		first, err := a.Assertions.UseAssertion(ctx, r.ID, secret.Sum(in.claims.ID), in.claims.ExpiresAt.time().Add(clockSkew))
		switch {
		case err != nil:
			return err
		case !first:
			return refusedClient{refusedReplay}
		}
		return nil
	},
}

// presentedAssertion is a JWT whose form is good and whose signature was not
// looked at.
type presentedAssertion struct {
	jws    *jose.JSONWebSignature
	claims assertionClaims
}

func readAssertion(compact string) (presentedAssertion, error) {
	if len(compact) > maxAssertion {
		return presentedAssertion{}, refusedClient{refusedAssertion}
	}
	jws, err := jose.ParseSignedCompact(compact, slices.Concat(secretAlgorithms, keyAlgorithms))
	if err != nil || len(jws.Signatures) != 1 {
		return presentedAssertion{}, refusedClient{refusedAssertion}
	}
	in := presentedAssertion{jws: jws}
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &in.claims) != nil {
		return presentedAssertion{}, refusedClient{refusedAssertion}
	}
	return in, nil
}

// authentic verifies the signature with what the client has registered.
func (a *ClientAuthenticator) authentic(ctx context.Context, r Registered, in presentedAssertion) error {
	alg := jose.SignatureAlgorithm(in.jws.Signatures[0].Header.Algorithm)
	if only := r.Settings.Signing.TokenEndpoint; only != "" && only != string(alg) {
		return refusedClient{refusedAssertion}
	}
	if r.AuthMethod == AuthSecretJWT {
		return a.signedWithSecret(r, in.jws, alg)
	}
	if !slices.Contains(keyAlgorithms, alg) {
		return refusedClient{refusedAssertion}
	}
	ok, err := a.signedByKey(ctx, r, in.jws)
	if err == nil && !ok {
		err = refusedClient{refusedAssertion}
	}
	return err
}

// signedByKey reports whether one of the client's own keys made the signature.
// It is refusedClient where the keys that the client publishes cannot be had.
func (a *ClientAuthenticator) signedByKey(ctx context.Context, r Registered, jws *jose.JSONWebSignature) (bool, error) {
	alg, kid := jose.SignatureAlgorithm(jws.Signatures[0].Header.Algorithm), jws.Signatures[0].Header.KeyID
	keys, err := a.keysOf(ctx, r, kid, alg)
	if err != nil {
		return false, err
	}
	for _, k := range keys.Keys {
		if kid != "" && k.KeyID != kid || !signsWith(k, alg) {
			continue
		}
		if _, err := jws.Verify(k.Key); err == nil {
			return true, nil
		}
	}
	return false, nil
}

func (a *ClientAuthenticator) signedWithSecret(r Registered, jws *jose.JSONWebSignature, alg jose.SignatureAlgorithm) error {
	if !slices.Contains(secretAlgorithms, alg) {
		return refusedClient{refusedAssertion}
	}
	for _, s := range r.ValidSecrets(a.Now()) {
		plain, err := a.Clients.OpenSecret(r.ID, s)
		if err != nil {
			return err
		}
		if _, err := jws.Verify(plain); err == nil {
			return nil
		}
	}
	return refusedClient{refusedAssertion}
}

// keysOf returns the client's keys that may be meant: of those it registered,
// or of those it publishes.
func (a *ClientAuthenticator) keysOf(ctx context.Context, r Registered, kid string, alg jose.SignatureAlgorithm) (set jose.JSONWebKeySet, err error) {
	switch {
	case len(r.JWKS) > 0:
		err = json.Unmarshal(r.JWKS, &set)
	case r.JWKSURI != "" && a.RemoteKeys != nil:
		k, err := a.RemoteKeys.Key(ctx, r.JWKSURI, kid, string(alg))
		if err != nil { // their server's trouble or a key it does not have: nothing is proven
			return set, refusedClient{refusedKeys}
		}
		set.Keys = []jose.JSONWebKey{k}
	}
	return set, err
}

// signsWith reports whether a public key may verify alg: it is for signatures,
// and where it names an algorithm, for that one.
func signsWith(k jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	return k.IsPublic() && k.Valid() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == string(alg))
}
