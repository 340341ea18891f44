package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxKeyID is the longest key id looked up, in bytes.
const maxKeyID = 128

// envelope is a compact JWS (RFC 7515 §7.1) whose form was checked and whose
// signature was not.
type envelope struct {
	compact   string
	algorithm jose.SignatureAlgorithm
	kid       string
	typ       string
}

// strictBase64 refuses padding and bits that no encoder would leave, so that a
// token has one spelling only (RFC 8725 §2.4; RFC 7515 §2).
var strictBase64 = base64.RawURLEncoding.Strict()

// open checks the form of a compact JWS of at most limit bytes. It looks for
// the dots before it decodes anything, so that the cost of nonsense is its length.
func open(compact string, limit int) (envelope, error) {
	if len(compact) > limit {
		return envelope{}, ErrInvalid.because("the token is longer than %d bytes", limit)
	}
	head, rest, ok := strings.Cut(compact, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.IndexByte(signature, '.') >= 0 {
		// Five parts would be a JWE: nothing here decrypts (RFC 8725 §3.3).
		return envelope{}, ErrInvalid.because("the token does not have three parts")
	}
	if head == "" || payload == "" || signature == "" {
		return envelope{}, ErrInvalid.because("a part of the token is empty")
	}
	if strings.ContainsAny(compact, "\r\n") { // the decoder would skip them
		return envelope{}, ErrInvalid.because("the token has a line break")
	}
	header, err := strictBase64.DecodeString(head)
	if err != nil {
		return envelope{}, ErrInvalid.because("the header is not canonical base64url")
	}
	for _, part := range []string{payload, signature} {
		if _, err := strictBase64.DecodeString(part); err != nil {
			return envelope{}, ErrInvalid.because("payload or signature is not canonical base64url")
		}
	}
	return readHeader(compact, header)
}

func readHeader(compact string, header []byte) (envelope, error) {
	ms, err := members(header)
	if err != nil {
		return envelope{}, ErrInvalid.because("header: %v", err)
	}
	e := envelope{compact: compact}
	for _, m := range ms {
		var s string
		ok := true
		switch m.name {
		case "alg":
			s, ok = asString(m.raw)
			e.algorithm = jose.SignatureAlgorithm(s)
		case "kid":
			e.kid, ok = asString(m.raw)
		case "typ":
			e.typ, ok = asString(m.raw)
		case "crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5c", "x5u":
			// Extensions we do not have (RFC 7515 §4.1.11, RFC 7797), nested tokens,
			// and keys that the sender chose (RFC 8725 §3.10).
			return envelope{}, ErrInvalid.because("the header has %s", m.name)
		}
		if !ok {
			return envelope{}, ErrInvalid.because("the header's %s is not a string", m.name)
		}
	}
	if !goodKeyID(e.kid) {
		return envelope{}, ErrInvalid.because("the header has no usable kid")
	}
	return e, nil
}

func goodKeyID(kid string) bool {
	for _, c := range []byte(kid) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return kid != "" && len(kid) <= maxKeyID
}

// isType compares a typ header with a media type, which may be written without
// its "application/" (RFC 7515 §4.1.9).
func (e envelope) isType(want string) bool {
	typ := strings.ToLower(e.typ)
	return typ == want || typ == "application/"+want
}

// payload returns what was signed, once the signature of the named key holds.
func (e envelope) payload(ctx context.Context, keys KeySource) (json.RawMessage, jose.JSONWebKey, error) {
	key, err := keys.Key(ctx, e.kid)
	if err != nil {
		return nil, key, refusal(err)
	}
	// RFC 8725 §3.1: the key decides on the algorithm, never the token.
	if jose.SignatureAlgorithm(key.Algorithm) != e.algorithm || !usable(key) {
		return nil, key, ErrInvalid.because("the token's alg is not that of its key")
	}
	jws, err := jose.ParseSignedCompact(e.compact, []jose.SignatureAlgorithm{e.algorithm})
	if err != nil {
		return nil, key, ErrInvalid.because("not a signed token")
	}
	data, err := jws.Verify(key.Key)
	if err != nil {
		return nil, key, ErrInvalid.because("the signature does not hold")
	}
	return data, key, nil
}

// refresher is a KeySource that can be told to look for new keys now.
type refresher interface {
	Refresh(ctx context.Context) error
}

// stated is payload for what the issuer gave us itself. After a signing key was
// revoked without a successor at hand it is signed by one that nobody was told
// of: that is looked for at once.
func (e envelope) stated(ctx context.Context, keys KeySource) (json.RawMessage, error) {
	_, err := keys.Key(ctx, e.kid)
	if r, ok := keys.(refresher); ok && errors.Is(err, ErrInvalid) {
		if err := r.Refresh(ctx); err != nil {
			return nil, refusal(err)
		}
	}
	payload, _, err := e.payload(ctx, keys)
	return payload, err
}

// usable reports whether a key is a public one of the algorithm it says, and of
// a size that is neither weak nor a burden (RFC 7518 §3.3, §3.4; RFC 8037).
func usable(k jose.JSONWebKey) bool {
	switch key := k.Key.(type) {
	case *ecdsa.PublicKey:
		bits := map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[k.Algorithm]
		return bits != 0 && key.Curve != nil && key.Curve.Params().BitSize == bits
	case ed25519.PublicKey:
		return k.Algorithm == "EdDSA" && len(key) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		switch k.Algorithm {
		case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
			n := key.N.BitLen()
			return n >= 2048 && n <= 8192 && key.E >= 3 && key.E%2 == 1
		}
	}
	return false
}
