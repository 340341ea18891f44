package outbound_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// keys are made once; RSA keys take their time.
var keys = sync.OnceValue(func() (k struct {
	ec, ec384 *ecdsa.PrivateKey
	ed        ed25519.PrivateKey
	rsa       *rsa.PrivateKey
}) {
	var errs [4]error
	k.ec, errs[0] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.ec384, errs[1] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, k.ed, errs[2] = ed25519.GenerateKey(rand.Reader)
	k.rsa, errs[3] = rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(errs[:]...); err != nil {
		panic(err)
	}
	return k
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk writes a key, with members changed or added.
func jwk(t *testing.T, key any, kid string, change ...string) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n+1 < len(change); n += 2 {
		text = fmt.Appendf(nil, `%s,%q:%s}`, strings.TrimSuffix(string(text), "}"), change[n], change[n+1])
	}
	return string(text)
}

func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// rsaKey writes a modulus of that many bits, odd, and an exponent.
func rsaKey(bits uint, e int64) string {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	n.SetBit(n, 0, 1)
	return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`, b64(n.Bytes()), b64(big.NewInt(e).Bytes()))
}

func TestKeysOfEveryAlgorithmAreFound(t *testing.T) {
	k := keys()
	set, err := outbound.ReadKeySet([]byte(jwks(
		jwk(t, k.ec.Public(), "p256"), jwk(t, k.ec384.Public(), "p384", "alg", `"ES384"`, "use", `"sig"`), jwk(t, k.ed.Public(), "ed", "key_ops", `["verify"]`),
		jwk(t, k.rsa.Public(), "rsa"), jwk(t, k.rsa.Public(), "ps", "alg", `"PS256"`),
	)))
	if err != nil || len(set.Refused) > 0 {
		t.Fatalf("%v, refused %v", err, set.Refused)
	}
	for _, row := range []struct {
		kid, alg string
		found    string
	}{
		{"p256", "ES256", "p256"}, {"p384", "ES384", "p384"}, {"ed", "EdDSA", "ed"}, {"ed", "Ed25519", "ed"}, {"rsa", "RS256", "rsa"}, {"rsa", "PS512", "rsa"}, {"ps", "PS256", "ps"},
		{"", "ES256", "p256"}, {"", "EdDSA", "ed"}, {"", "RS256", "rsa"},
		{"", "PS256", ""}, // two could have made it
		{"p256", "ES384", ""}, {"p256", "RS256", ""}, {"ps", "RS256", ""}, {"rsa", "HS256", ""}, {"rsa", "none", ""}, {"rsa", "", ""}, {"ed", "ES256", ""}, {"x", "ES256", ""}, {"", "", ""},
	} {
		got, ok := set.Find(row.kid, row.alg)
		if ok != (row.found != "") || got.KeyID != row.found {
			t.Errorf("%q %q: found %q %v, want %q", row.kid, row.alg, got.KeyID, ok, row.found)
		}
	}
}

func TestKeysThatAreNotForSignaturesArePassedOver(t *testing.T) {
	k := keys()
	set, err := outbound.ReadKeySet([]byte(jwks(
		jwk(t, k.ec.Public(), "good"), jwk(t, k.ec.Public(), "enc", "use", `"enc"`), jwk(t, k.ec.Public(), "ops", "key_ops", `["deriveKey"]`),
		jwk(t, k.rsa.Public(), "oaep", "alg", `"RSA-OAEP"`), jwk(t, k.rsa.Public(), "hs", "alg", `"HS256"`), `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`,
		`{"kty":"OKP","crv":"X25519","x":"AA"}`, `{"kty":"LMS"}`, `{}`,
	)))
	if err != nil || len(set.Keys) != 1 || set.Keys[0].KeyID != "good" || len(set.Refused) != 0 {
		t.Errorf("got %v, refused %v, %v", set.Keys, set.Refused, err)
	}
}

// SEC-JWT-27: RSA keys that are weak, impossible or dear to verify with.
// SEC-JWT-26: points of small order, in every encoding.
func TestUnsoundKeysAreRefused(t *testing.T) {
	k := keys()
	good := jwk(t, k.ec.Public(), "good")
	unsound := []string{
		rsaKey(512, 65537), rsaKey(1024, 65537), rsaKey(2047, 65537), rsaKey(4097, 65537), rsaKey(16384, 65537),
		rsaKey(2048, 1), rsaKey(2048, 2), rsaKey(2048, 65536), rsaKey(2048, 1<<31+1), rsaKey(2048, 0),
		fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())),
		`{"kty":"RSA","e":"AQAB"}`, `{"kty":"RSA","n":"","e":""}`,
		fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(make([]byte, 32)), b64(make([]byte, 32))),
		`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, `{"kty":"OKP","crv":"Ed25519","x":"AA"}`, `{"kty":"OKP","crv":"Ed25519"}`,
		strings.Replace(good, `"kty":"EC"`, `"kty":"EC","kty":"EC"`, 1), `"a string"`, `[]`, `7`,
	}
	for _, x := range smallOrder() {
		unsound = append(unsound, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, b64(x)))
	}
	for _, key := range unsound {
		if _, err := outbound.ReadKeySet([]byte(jwks(key))); !errors.Is(err, outbound.ErrAnswer) {
			t.Errorf("%.90s: %v", key, err)
		}
		set, err := outbound.ReadKeySet([]byte(jwks(key, good)))
		if err != nil || len(set.Keys) != 1 || set.Keys[0].KeyID != "good" || len(set.Refused) != 1 {
			t.Errorf("%.90s beside a good one: %v, refused %v, %v", key, set.Keys, set.Refused, err)
		}
	}
	for _, key := range []string{rsaKey(2048, 3), rsaKey(4096, 65537), rsaKey(3072, 1<<31-1)} {
		if set, err := outbound.ReadKeySet([]byte(jwks(key))); err != nil || len(set.Keys) != 1 {
			t.Errorf("%.60s: %v", key, err)
		}
	}
}

// smallOrder computes the encodings of the eight points of edwards25519 whose
// order divides 8 (RFC 8032 §5.1), canonical or not: y = 1, -1, 0 and the four
// with d*y^4 + 2*y^2 = 1, whose doubles have y = 0.
func smallOrder() [][]byte {
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	ys := []*big.Int{big.NewInt(0), one, new(big.Int).Sub(p, one)}
	root := new(big.Int).ModSqrt(new(big.Int).Add(d, one), p)
	for _, r := range []*big.Int{root, new(big.Int).Sub(p, root)} {
		y2 := new(big.Int).Sub(r, one)
		y2.Mul(y2, new(big.Int).ModInverse(d, p)).Mod(y2, p)
		if y := new(big.Int).ModSqrt(y2, p); y != nil {
			ys = append(ys, y, new(big.Int).Sub(p, y))
		}
	}
	var out [][]byte
	for _, y := range ys {
		for _, v := range []*big.Int{y, new(big.Int).Add(y, p)} {
			if v.BitLen() > 255 {
				continue
			}
			for sign := range uint(2) {
				le := new(big.Int).SetBit(v, 255, sign).FillBytes(make([]byte, 32))
				for a, b := 0, 31; a < b; a, b = a+1, b-1 {
					le[a], le[b] = le[b], le[a]
				}
				out = append(out, le)
			}
		}
	}
	return out
}

// Without the refusal, these keys would accept a signature that nobody made.
func TestSmallOrderPointsAreWorthRefusing(t *testing.T) {
	points := smallOrder()
	if len(points) != 14 {
		t.Fatalf("%d encodings", len(points))
	}
	identity := append([]byte{1}, make([]byte, 63)...) // R = the neutral point, S = 0
	forged := 0
	for _, x := range points {
		for n := range 64 {
			if ed25519.Verify(x, fmt.Append(nil, n), identity) {
				forged++
				break
			}
		}
	}
	if forged == 0 {
		t.Error("the points computed here are not of small order")
	}
}

// SEC-INJ-14: a set with a key that its owner should have kept is refused whole.
func TestSetsWithPrivateKeysAreRefused(t *testing.T) {
	k := keys()
	good := jwk(t, k.ec.Public(), "good")
	for _, key := range []string{
		jwk(t, k.ec, "ec"), jwk(t, k.rsa, "rsa"), jwk(t, k.ed, "ed"), jwk(t, []byte("0123456789abcdef0123456789abcdef"), "oct"),
		jwk(t, k.ec.Public(), "d", "d", "null"), jwk(t, k.ec.Public(), "enc", "use", `"enc"`, "d", `"AA"`), jwk(t, k.rsa.Public(), "p", "p", `"AA"`), jwk(t, k.rsa.Public(), "oth", "oth", `[]`),
		`{"kty":"AKP","alg":"ML-DSA-44","priv":"AA"}`, `{"kty":"oct","k":"AA"}`,
	} {
		if _, err := outbound.ReadKeySet([]byte(jwks(good, key))); !errors.Is(err, outbound.ErrAnswer) || !strings.Contains(err.Error(), "private") {
			t.Errorf("%.60s: %v", key, err)
		}
	}
}

func TestWhatIsNoKeySetIsRefused(t *testing.T) {
	good, noID := jwk(t, keys().ec.Public(), "good"), jwk(t, keys().ec.Public(), "")
	for _, body := range []string{
		"", "{", "null", "[]", "7", "{}", `{"keys":[]}`, `{"keys":null}`, `{"keys":{}}`, `{"KEYS":[` + good + `]}`, jwks(good) + "x", jwks(good) + jwks(good), `{"keys":[],"keys":[` + good + `]}`,
		jwks(good, good), jwks(strings.Repeat(noID+",", 64) + noID), strings.Repeat(`{"keys":[`, 50000), "<html></html>", "\xff",
	} {
		if set, err := outbound.ReadKeySet([]byte(body)); !errors.Is(err, outbound.ErrAnswer) {
			t.Errorf("%.40q: %v, %v", body, set, err)
		}
	}
	if set, err := outbound.ReadKeySet([]byte(jwks(strings.Repeat(noID+",", 63) + noID))); err != nil || len(set.Keys) != 64 {
		t.Errorf("64 keys without an id: %v", err)
	}
}

func FuzzReadKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AA"]},{"kty":"EC","crv":"P-256","x":"AA","y":"AA","key_ops":[]}]}`))
	f.Add([]byte(jwks(rsaKey(2048, 65537))))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := outbound.ReadKeySet(body)
		if (err == nil) != (len(set.Keys) > 0) {
			t.Errorf("%d keys and %v", len(set.Keys), err)
		}
		for _, k := range set.Keys {
			if !k.IsPublic() || !k.Valid() {
				t.Errorf("took %T", k.Key)
			}
		}
	})
}
