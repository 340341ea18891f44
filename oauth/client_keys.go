package oauth

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
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

// members of a public key that are kept of what a client sends.
var publicMembers = []string{"kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e"}

// privateMembers are members of no public key (RFC 7518 §6.2.2, §6.3.2, §6.4).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

// readKeySet returns the JWK Set of a client that registers itself as it is
// stored: keys for encryption and of types that we do not have, and members
// that we do not know, are left out (RFC 7517 §4 and §5). Private and symmetric
// key material is refused wherever it is.
func readKeySet(raw []byte) ([]byte, error) {
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errKeySet
	}
	kept := struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}{}
	for i, k := range set.Keys {
		if slices.ContainsFunc(privateMembers, func(name string) bool { return k[name] != nil }) || jsonText(k["kty"]) == "oct" {
			return nil, fmt.Errorf("keys[%d] %w", i, errNotPublic)
		}
		if use := jsonText(k["use"]); use != "" && use != "sig" || !slices.Contains([]string{"RSA", "EC", "OKP"}, jsonText(k["kty"])) {
			continue
		}
		maps.DeleteFunc(k, func(name string, _ json.RawMessage) bool { return !slices.Contains(publicMembers, name) })
		kept.Keys = append(kept.Keys, k)
	}
	if len(kept.Keys) == 0 {
		return nil, errors.New("must hold a key for signatures")
	}
	return json.Marshal(kept)
}

// jsonText is a JSON string; empty for anything else.
func jsonText(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

var errNotPublic = errors.New("must be a public key: what was sent is secret and should be used no more")

func (k publicKey) check() error {
	switch {
	case k.Private != "" || k.Prime != "" || k.Secret != "" || k.Type == "oct":
		return errNotPublic
	case k.Use != "" && k.Use != "sig":
		return errors.New("must be for signatures: use is sig")
	}
	switch k.Type {
	case "RSA":
		return k.checkRSA()
	case "EC":
		return k.checkEC()
	case "OKP":
		return k.checkEd25519()
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

func (k publicKey) checkEd25519() error {
	x, err := field(k.X)
	if k.Curve != "Ed25519" || err != nil || len(x) != 32 {
		return errors.New("must be an Ed25519 key of 32 bytes")
	}
	if !edwardsPoint(x) {
		return errors.New("must be a point of its curve, and not one of small order")
	}
	return nil
}

// The field of edwards25519, and d of -x² + y² = 1 + dx²y² (RFC 8032 §5.1).
var (
	edwardsP = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	edwardsD = new(big.Int).Mod(new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), edwardsP)), edwardsP)
)

// edwardsPoint reports whether the 32 bytes encode a point of edwards25519 of
// more than small order: for a key of small order, signatures verify that
// nobody made (RFC 8032 §8.9). Only y is looked at, reduced, so that no second
// encoding of a point slips through.
func edwardsPoint(encoded []byte) bool {
	le := bytes.Clone(encoded)
	le[31] &= 0x7f // the sign of x
	slices.Reverse(le)
	one := big.NewInt(1)
	y2 := new(big.Int).SetBytes(le)
	y2.Mul(y2, y2).Mod(y2, edwardsP)
	u := new(big.Int).Sub(y2, one)
	dy2 := new(big.Int).Mul(edwardsD, y2)
	v := new(big.Int).Add(dy2, one)
	// x² = u/v must be a square, as uv then is.
	if uv := new(big.Int).Mul(u, v); big.Jacobi(uv.Mod(uv, edwardsP), edwardsP) < 0 {
		return false
	}
	// Twice a point of order 8 has y = 0, which comes to dy⁴ + 2y² - 1 = 0; the
	// points of order 4, 2 and 1 have y = 0, -1 and 1.
	small := new(big.Int).Mul(dy2, y2)
	small.Add(small, y2).Add(small, u)
	small.Mul(small, y2).Mul(small, u)
	return small.Mod(small, edwardsP).Sign() != 0
}

func field(s string) ([]byte, error) {
	if s == "" {
		return nil, errKeySet
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
