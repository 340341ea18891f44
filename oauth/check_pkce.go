package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// challengeSize is the length of every S256 challenge (RFC 7636 §4.2).
const challengeSize = 43

// CodeChallengeMethods lists how a code_challenge may be made, as discovery
// documents show it. plain is not among them (RFC 9700 §2.1.1).
func CodeChallengeMethods() []string { return []string{"S256"} }

func checkPKCE(_ context.Context, q *authorizing) error {
	challenge, method := q.params["code_challenge"], q.params["code_challenge_method"]
	switch {
	case challenge == "" && method != "":
		return refuse("invalid_request", "The code_challenge_method has no code_challenge.")
	case challenge == "" && q.needsPKCE():
		return refuse("invalid_request", "The parameter code_challenge is required (RFC 7636).")
	case challenge == "":
		return nil
	case method != "S256": // where it is left out it means plain (RFC 7636 §4.3)
		return refuse("invalid_request", "The code_challenge_method must be S256.")
	case len(challenge) != challengeSize || strings.ContainsFunc(challenge, notBase64URL):
		return refuse("invalid_request", "The code_challenge must be a SHA-256 in base64url: 43 characters.")
	}
	q.wants.challenge = challenge
	return nil
}

func (q *authorizing) needsPKCE() bool {
	switch {
	case !q.client.Confidential():
		return true
	case q.client.Settings.PKCE == PKCEOptional:
		return false
	case q.client.Settings.PKCE == PKCEOrNonce: // RFC 9700 §2.1.1: a nonce that the client checks does as much
		return !asksOpenID(q.params) || q.params["nonce"] == ""
	default:
		return true
	}
}

func notBase64URL(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
}

// checkVerifier holds the code_verifier of a token request against the
// challenge of its code (RFC 7636 §4.6).
func checkVerifier(challenge, verifier string) error {
	switch {
	case challenge == "" && verifier == "":
		return nil
	case challenge == "": // RFC 9700 §4.8.2: the request was made without, so this is not who made it
		return invalidGrant("verifier_without_challenge")
	case verifier == "":
		return invalidGrant("no_verifier")
	case len(verifier) < 43 || len(verifier) > 128 ||
		strings.ContainsFunc(verifier, func(c rune) bool { return notBase64URL(c) && c != '.' && c != '~' }):
		return fault.New(fault.Malformed, "The code_verifier must be 43 to 128 letters, digits, - . _ or ~.")
	}
	sum := sha256.Sum256([]byte(verifier))
	if !secret.Equal([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) {
		return invalidGrant("wrong_verifier")
	}
	return nil
}
