package outbound

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and knows d from D
)

// maxKeys bounds a key set.
const maxKeys = 64

// KeySet is somebody else's JWK Set (RFC 7517 §5), reduced to what a signature
// may be verified with. It is shared: do not change it.
type KeySet struct {
	Keys []jose.JSONWebKey
	// Refused says of each key for signatures that cannot be trusted why. It is
	// in nobody's way in a fetched set (RFC 7517 §5), and a registration that
	// brings one is refused.
	Refused []error
}

// ReadKeySet reads a JWK Set that came from outside, fetched or registered. A
// set with private or symmetric key material, with two keys of one id or
// without a sound key is refused whole: ErrAnswer. Keys for encryption, and of
// types that we do not have, are passed over.
func ReadKeySet(body []byte) (KeySet, error) {
	var top struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &top); err != nil {
		return KeySet{}, fmt.Errorf("%w: not a JWK Set: %w", ErrAnswer, err)
	}
	if len(top.Keys) > maxKeys {
		return KeySet{}, fmt.Errorf("%w: a JWK Set of more than %d keys", ErrAnswer, maxKeys)
	}
	var set KeySet
	ids := map[string]bool{}
	for n, raw := range top.Keys {
		k, ours, err := readKey(raw)
		switch {
		case errors.Is(err, errPrivate):
			return KeySet{}, fmt.Errorf("%w: key %d: %w", ErrAnswer, n, err)
		case err != nil:
			set.Refused = append(set.Refused, fmt.Errorf("key %d: %w", n, err))
		case ours && ids[k.KeyID]:
			return KeySet{}, fmt.Errorf("%w: two keys of one id", ErrAnswer)
		case ours:
			ids[k.KeyID] = k.KeyID != ""
			set.Keys = append(set.Keys, k)
		}
	}
	if len(set.Keys) == 0 {
		return KeySet{}, fmt.Errorf("%w: a JWK Set without a sound key for signatures: %w", ErrAnswer, errors.Join(set.Refused...))
	}
	return set, nil
}

// Find returns the one key with that id that can verify alg (RFC 7518 §3.1). A
// signature without a key id finds a key only where there is no choice (OIDC
// Core §10.1), so that nobody makes us try them all.
func (s KeySet) Find(kid, alg string) (jose.JSONWebKey, bool) {
	var found []jose.JSONWebKey
	for _, k := range s.Keys {
		if (kid == "" || k.KeyID == kid) && (k.Algorithm == "" || k.Algorithm == alg) && slices.Contains(algorithms(k.Key), alg) {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		return jose.JSONWebKey{}, false
	}
	return found[0], true
}

// errPrivate is about key material that its owner must not give away.
var errPrivate = errors.New("private or symmetric key material")

// privateMembers are the JWK members that a public key never has (RFC 7518
// §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

// readKey returns one key; false where it is none of ours to judge.
func readKey(raw []byte) (jose.JSONWebKey, bool, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return jose.JSONWebKey{}, false, err
	}
	for _, name := range privateMembers {
		if _, has := members[name]; has {
			return jose.JSONWebKey{}, false, errPrivate
		}
	}
	var about struct {
		Type       string   `json:"kty"`
		Curve      string   `json:"crv"`
		Use        string   `json:"use"`
		Operations []string `json:"key_ops"`
		Algorithm  string   `json:"alg"`
	}
	if err := json.Unmarshal(raw, &about); err != nil {
		return jose.JSONWebKey{}, false, err
	}
	switch {
	case about.Use != "" && about.Use != "sig", about.Operations != nil && !slices.Contains(about.Operations, "verify"):
		return jose.JSONWebKey{}, false, nil
	case !slices.Contains([]string{"RSA", "EC P-256", "EC P-384", "EC P-521", "OKP Ed25519"}, kind(about.Type, about.Curve)):
		return jose.JSONWebKey{}, false, nil
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return jose.JSONWebKey{}, false, err
	}
	if about.Algorithm != "" && !slices.Contains(algorithms(k.Key), about.Algorithm) {
		return jose.JSONWebKey{}, false, nil
	}
	return k, true, sound(k)
}

func kind(kty, crv string) string {
	if kty == "RSA" {
		return kty
	}
	return kty + " " + crv
}

// sound refuses RSA keys that are weak (RFC 7518 §3.3) or dear to verify with.
// Points off their curve and of small order are refused where keys are parsed.
func sound(k jose.JSONWebKey) error {
	key, ok := k.Key.(*rsa.PublicKey)
	if !ok {
		return nil
	}
	if n := key.N.BitLen(); n < 2048 || n > 4096 {
		return fmt.Errorf("an RSA key of %d bits; 2048 to 4096 are accepted", n)
	}
	if key.E < 3 || key.E > 1<<31-1 || key.E%2 == 0 || key.N.Bit(0) == 0 {
		return errors.New("an RSA key with an exponent or a modulus that none has")
	}
	return nil
}

// algorithms are the ones that a key can verify, alg aside.
func algorithms(key any) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		return map[int][]string{256: {"ES256"}, 384: {"ES384"}, 521: {"ES512"}}[k.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return []string{"EdDSA", "Ed25519"} // RFC 9864 §2.2
	}
	return nil
}
