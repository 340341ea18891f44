package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
)

// signer signs with one key. It writes the compact serialization itself, from
// a header encoded once for each typ: a general signer, which encodes the
// header three times for each token, costs a third of the signature on top.
// Only the serialization is ours; parsing and verifying are go-jose's.
type signer struct {
	key     Key
	private crypto.Signer
	headers sync.Map // typ -> header, encoded, with its dot; as many as there are kinds of tokens
}

func newSigner(k Key, private crypto.Signer) (*signer, error) {
	s := &signer{key: k, private: private}
	// A key of another type than its algorithm's must fail now, not at the
	// first login.
	if _, err := s.sign([]byte("{}"), "JWT"); err != nil {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	return s, nil
}

// sign returns the compact serialization of payload (RFC 7515 §3.1).
func (s *signer) sign(payload []byte, typ string) (string, error) {
	h, err := s.header(typ)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	// An ES256 signature is 64 bytes; of a longer one the slice makes room.
	out := make([]byte, 0, len(h)+enc.EncodedLen(len(payload))+1+enc.EncodedLen(64))
	out = enc.AppendEncode(append(out, h...), payload)
	signature, err := s.signature(out)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return string(enc.AppendEncode(append(out, '.'), signature)), nil
}

func (s *signer) header(typ string) (string, error) {
	if h, ok := s.headers.Load(typ); ok {
		return h.(string), nil
	}
	plain, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}{s.key.Algorithm, s.key.ID, typ})
	if err != nil {
		return "", fmt.Errorf("encode a token's header: %w", err)
	}
	h := base64.RawURLEncoding.EncodeToString(plain) + "."
	s.headers.Store(typ, h)
	return h, nil
}

// signature signs input as the key's algorithm says (RFC 7518 §3, RFC 8037 §3.1).
func (s *signer) signature(input []byte) ([]byte, error) {
	switch key := s.private.(type) {
	case *ecdsa.PrivateKey:
		return s.ecdsa(key, input)
	case *rsa.PrivateKey:
		digest := sha256.Sum256(input)
		switch s.key.Algorithm {
		case "RS256":
			return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		case "PS256": // RFC 7518 §3.5: the salt is as long as the digest
			return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case ed25519.PrivateKey:
		if s.key.Algorithm == "EdDSA" {
			return ed25519.Sign(key, input), nil
		}
	}
	return nil, fmt.Errorf("a %T cannot sign %q", s.private, s.key.Algorithm)
}

// ecdsa signs; the signature is r and s at their full length (RFC 7518 §3.4).
func (s *signer) ecdsa(key *ecdsa.PrivateKey, input []byte) ([]byte, error) {
	var digest []byte
	switch {
	case s.key.Algorithm == "ES256" && key.Curve == elliptic.P256():
		d := sha256.Sum256(input)
		digest = d[:]
	case s.key.Algorithm == "ES384" && key.Curve == elliptic.P384():
		d := sha512.Sum384(input)
		digest = d[:]
	default:
		return nil, fmt.Errorf("a key on %s cannot sign %q", key.Curve.Params().Name, s.key.Algorithm)
	}
	r, t, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	size := len(digest) // of the curve's order, for these two
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	t.FillBytes(out[size:])
	return out, nil
}
