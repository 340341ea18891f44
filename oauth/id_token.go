package oauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const (
	// IDTokenType is the typ header of an ID token. It is no other token's.
	IDTokenType = "JWT"
	// DefaultIDTokenAlgorithm signs ID tokens where a client chose none, and the
	// signed answers of RFC 9701 (OpenID Connect Registration 1.0 §2, RFC 9701 §6).
	DefaultIDTokenAlgorithm = "RS256"
	// DefaultIDTokenTTL is how long an ID token may be accepted.
	DefaultIDTokenTTL = time.Hour
)

// AlgorithmSigner signs with the active key of one algorithm. The ring of
// keys/signing is one.
type AlgorithmSigner interface {
	// SignWith returns the compact JWS (RFC 7515 §7.1) over payload with the
	// header {alg, kid, typ}. It fails for an algorithm that has no key.
	SignWith(ctx context.Context, alg string, payload []byte, typ string) (string, error)
}

// IDTokens makes ID tokens. Every field but TTL is required.
type IDTokens struct {
	Signer   AlgorithmSigner
	Subjects *Subjects
	Issuer   string
	TTL      time.Duration // whole seconds; DefaultIDTokenTTL where zero
}

// IDGrant is what an ID token shall say.
type IDGrant struct {
	Client        Registered
	User          Person
	Session       ident.SessionID // sid
	Authorization Authorization
	Access        secret.Plain // the access token given with it, for at_hash; zero: none
	IssuedAt      time.Time    // whole seconds
	// First is the one that answers the authorization request, and repeats its
	// nonce; one that comes of a refresh does not (OpenID Connect Core 1.0 §12.2).
	First bool
}

// Mint returns a fresh ID token (OpenID Connect Core 1.0 §2). It writes
// nothing; it fails only where signing does. What the scopes profile and email
// ask for is in it as well as at UserInfo: there are products, Kubernetes among
// them, that look at nothing else.
func (t *IDTokens) Mint(ctx context.Context, g IDGrant) (string, error) {
	alg := cmp.Or(g.Client.Settings.Signing.IDToken, DefaultIDTokenAlgorithm)
	// What a person or a client could choose comes first, so that no such claim
	// ever stands for one of the token's own.
	claims := identityOf(g.User, g.Authorization.Scopes, g.Authorization.Claims.IDToken)
	set := func(name, value string) {
		if delete(claims, name); value != "" {
			claims[name] = value
		}
	}
	set("iss", t.Issuer)
	set("sub", t.Subjects.Sub(g.Client, g.User.ID))
	set("aud", string(g.Client.ID))
	set("sid", string(g.Session))
	set("acr", g.Authorization.Authenticated.ACR)
	set("nonce", "")
	if g.First {
		set("nonce", g.Authorization.Nonce)
	}
	set("at_hash", "")
	if !g.Access.IsZero() {
		set("at_hash", leftHalf(alg, g.Access.Reveal()))
	}
	claims["iat"] = g.IssuedAt.Unix()
	claims["exp"] = g.IssuedAt.Add(cmp.Or(t.TTL, DefaultIDTokenTTL)).Unix()
	if at := g.Authorization.Authenticated.Time; at != 0 {
		claims["auth_time"] = at
	}
	if methods := g.Authorization.Authenticated.Methods; len(methods) > 0 {
		claims["amr"] = methods
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode an ID token: %w", err)
	}
	token, err := t.Signer.SignWith(ctx, alg, payload, IDTokenType)
	if err != nil {
		return "", fmt.Errorf("sign an ID token: %w", err)
	}
	return token, nil
}

// IDTokenClaims names the claims of an ID token that are about the token or
// the login, as discovery documents show them.
func IDTokenClaims() []string {
	return []string{"iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid"}
}

// leftHalf is the left half of the digest of a token, by the hash function of
// the signature (OpenID Connect Core 1.0 §3.1.3.6). Ed25519 has SHA-512.
func leftHalf(alg, token string) string {
	var sum []byte
	switch alg {
	case "ES384":
		d := sha512.Sum384([]byte(token))
		sum = d[:]
	case "EdDSA":
		d := sha512.Sum512([]byte(token))
		sum = d[:]
	default:
		d := sha256.Sum256([]byte(token))
		sum = d[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
