package oauth

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// Limits of a client's key set.
const (
	maxClientKeys = 10
	minModulus    = 2048 // bits (RFC 7518 §3.3)
	maxModulus    = 8192 // bits: larger ones cost the verifier too much
	maxExponent   = 1<<31 - 1
)

// publicKey is a JSON Web Key, as far as it is checked (RFC 7517 §4, RFC 7518 §6).
type publicKey struct {
	Type     string   `json:"kty"`
	Use      string   `json:"use"`
	Ops      []string `json:"key_ops"`
	Alg      string   `json:"alg"`
	ID       string   `json:"kid"`
	Curve    string   `json:"crv"`
	X        string   `json:"x"`
	Y        string   `json:"y"`
	Modulus  string   `json:"n"`
	Exponent string   `json:"e"`
	Private  string   `json:"d"`
	Prime    string   `json:"p"`
	Secret   string   `json:"k"`
}

var errKeySet = errors.New(`must be a JWK Set, {"keys": [...]} (RFC 7517 §5), whose keys have kty, use, key_ops, alg, kid and crv, x, y, n or e only`)

// checkKeySet accepts a JWK Set of 1 to 10 public keys that can check
// signatures: RSA of 2048 bits and more, P-256, P-384, P-521 and Ed25519.
func checkKeySet(set []byte) error {
	var doc struct {
		Keys []publicKey `json:"keys"`
	}
	d := json.NewDecoder(bytes.NewReader(set))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return errKeySet
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errKeySet
	}
	if len(doc.Keys) == 0 || len(doc.Keys) > maxClientKeys {
		return fmt.Errorf("must hold 1 to %d keys", maxClientKeys)
	}
	ids := map[string]bool{}
	for i, k := range doc.Keys {
		if err := k.check(); err != nil {
			return fmt.Errorf("keys[%d] %w", i, err)
		}
		if ids[k.ID] {
			return fmt.Errorf("keys[%d] must have a kid of its own", i)
		}
		ids[k.ID] = true
	}
	return nil
}

func (k publicKey) check() error {
	switch {
	case k.Private != "" || k.Prime != "" || k.Secret != "" || k.Type == "oct":
		return errors.New("must be a public key: what was sent is secret and should be used no more")
	case k.Use != "" && k.Use != "sig":
		return errors.New("must be for signatures: use is sig")
	}
	switch k.Type {
	case "RSA":
		return k.checkRSA()
	case "EC":
		return k.checkEC()
	case "OKP":
		if x, err := field(k.X); k.Curve != "Ed25519" || err != nil || len(x) != 32 {
			return errors.New("must be an Ed25519 key of 32 bytes")
		}
		return nil
	default:
		return errors.New("must have kty RSA, EC or OKP")
	}
}

func (k publicKey) checkRSA() error {
	n, err := field(k.Modulus)
	e, err2 := field(k.Exponent)
	if err != nil || err2 != nil {
		return errors.New("must have n and e in base64url")
	}
	if bits := new(big.Int).SetBytes(n).BitLen(); bits < minModulus || bits > maxModulus {
		return fmt.Errorf("must have %d to %d bits", minModulus, maxModulus)
	}
	if exp := new(big.Int).SetBytes(e); !exp.IsInt64() || exp.Int64() < 3 || exp.Int64() > maxExponent || exp.Bit(0) == 0 {
		return errors.New("must have an odd exponent of at least 3")
	}
	return nil
}

func (k publicKey) checkEC() error {
	var curve ecdh.Curve
	switch k.Curve {
	case "P-256":
		curve = ecdh.P256()
	case "P-384":
		curve = ecdh.P384()
	case "P-521":
		curve = ecdh.P521()
	default:
		return errors.New("must be on P-256, P-384 or P-521")
	}
	x, err := field(k.X)
	y, err2 := field(k.Y)
	if err != nil || err2 != nil || len(x) != len(y) {
		return errors.New("must have x and y in base64url")
	}
	// NewPublicKey holds that the point is on the curve (SEC 1 §2.3.4).
	if _, err := curve.NewPublicKey(append(append([]byte{4}, x...), y...)); err != nil {
		return errors.New("must be a point of its curve")
	}
	return nil
}

func field(s string) ([]byte, error) {
	if s == "" {
		return nil, errKeySet
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
