package oauth

import (
	"encoding/json"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// maxHint is the longest id_token_hint that is looked at, in bytes.
const maxHint = 16 << 10

// hintAlgorithms is every algorithm that an ID token of ours was ever signed
// with. none is not among them, nor is any that takes a shared key (RFC 8725
// §3.1, §3.2).
var hintAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA}

// VerificationKeys finds the public key of a kid, unless it is unknown or
// revoked: signing.Ring.
type VerificationKeys interface {
	PublicKey(kid string) (jose.JSONWebKey, bool)
}

// hint is what a good id_token_hint says.
type hint struct {
	Client  ident.ClientID
	Subject string
}

// hintClaims are the claims of an ID token that a hint is judged by.
type hintClaims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience json.RawMessage `json:"aud"`
	Expires  numericDate     `json:"exp"`
	IssuedAt numericDate     `json:"iat"`
	Events   json.RawMessage `json:"events"`
}

// readHint accepts an ID token that we issued, however long ago it expired
// (OpenID Connect RP-Initiated Logout 1.0 §4). Access tokens and logout tokens,
// which the same keys sign, say by their typ that they are none (RFC 8725 §3.11).
func readHint(compact, issuer string, keys VerificationKeys) (hint, bool) {
	if len(compact) > maxHint {
		return hint{}, false
	}
	jws, err := jose.ParseSignedCompact(compact, hintAlgorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return hint{}, false
	}
	h := jws.Signatures[0].Protected
	if typ, ok := h.ExtraHeaders[jose.HeaderType].(string); !ok || !strings.EqualFold(typ, IDTokenType) {
		return hint{}, false
	}
	key, ok := keys.PublicKey(h.KeyID)
	if !ok || key.Algorithm != h.Algorithm {
		return hint{}, false
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return hint{}, false
	}
	var c hintClaims
	var aud ident.ClientID
	if json.Unmarshal(payload, &c) != nil || json.Unmarshal(c.Audience, &aud) != nil { // ours have one audience
		return hint{}, false
	}
	if c.Issuer != issuer || aud == "" || c.Subject == "" || c.Expires == 0 || c.IssuedAt == 0 || len(c.Events) > 0 {
		return hint{}, false
	}
	return hint{Client: aud, Subject: c.Subject}, true
}
