package signing

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Document is a JWK Set (RFC 7517 §5), ready to be served.
type Document struct {
	Body []byte
	ETag string // strong, with its quotes (RFC 9110 §8.8.3)
}

// documentOf encodes the public keys. It refuses a key with a private member,
// whatever made it so.
func documentOf(keys []jose.JSONWebKey) (Document, error) {
	for _, k := range keys {
		if !k.IsPublic() {
			return Document{}, fmt.Errorf("signing key %s: not public", k.KeyID)
		}
	}
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		return Document{}, fmt.Errorf("encode the JWK Set: %w", err)
	}
	sum := sha256.Sum256(body)
	return Document{Body: body, ETag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`}, nil
}
