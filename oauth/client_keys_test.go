package oauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func rsaKey(t *testing.T, bits int, kid string) string {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1)) // only the size is looked at
	return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":"AQAB"}`, kid, b64(n.SetBit(n, 0, 1).Bytes()))
}

func ecKey(t *testing.T, curve elliptic.Curve, name string) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := len(point) / 2
	return fmt.Sprintf(`{"kty":"EC","crv":%q,"kid":%q,"alg":"ES256","use":"sig","x":%q,"y":%q}`, name, name, b64(point[1:1+half]), b64(point[1+half:]))
}

func keySetOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

const okp = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

func TestKeySetsOfClients(t *testing.T) {
	real, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	genuine := fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB","key_ops":["verify"]}`, b64(real.N.Bytes()))
	for name, set := range map[string]string{
		"RSA": keySetOf(genuine), "curves": keySetOf(ecKey(t, elliptic.P256(), "P-256"), ecKey(t, elliptic.P384(), "P-384"), ecKey(t, elliptic.P521(), "P-521")),
		"Ed25519": keySetOf(okp), "two with names": keySetOf(rsaKey(t, 2048, "a"), rsaKey(t, 4096, "b")),
	} {
		if err := checkKeySet([]byte(set)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ec := ecKey(t, elliptic.P256(), "P-256")
	for name, c := range map[string][2]string{
		"no JSON":                   {"x", "JWK Set"},
		"a list":                    {"[" + okp + "]", "JWK Set"},
		"something after it":        {keySetOf(okp) + "x", "JWK Set"},
		"no key":                    {`{"keys":[]}`, "1 to 10"},
		"too many":                  {keySetOf(strings.Split(strings.Repeat(okp+"\n", 11), "\n")[:11]...), "1 to 10"},
		"SEC-OAU-60 private":        {keySetOf(okp[:len(okp)-1] + `,"d":"AA"}`), "public"},
		"SEC-OAU-60 private RSA":    {keySetOf(`{"kty":"RSA","n":"AA","e":"AQAB","p":"AA"}`), "public"},
		"symmetric":                 {keySetOf(`{"kty":"oct","k":"AA"}`), "public"},
		"symmetric without a value": {keySetOf(`{"kty":"oct"}`), "public"},
		"for encryption":            {keySetOf(okp[:len(okp)-1] + `,"use":"enc"}`), "signatures"},
		"a short modulus":           {keySetOf(rsaKey(t, 1024, "")), "bits"},
		"a modulus without end":     {keySetOf(rsaKey(t, 16384, "")), "bits"},
		"an exponent of 1":          {keySetOf(strings.Replace(genuine, "AQAB", "AQ", 1)), "exponent"},
		"an even exponent":          {keySetOf(strings.Replace(genuine, "AQAB", "BA", 1)), "exponent"},
		"another curve":             {keySetOf(strings.Replace(ec, `"crv":"P-256"`, `"crv":"secp256k1"`, 1)), "P-256"},
		"not on its curve":          {keySetOf(`{"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"}`), "point"},
		"X25519":                    {keySetOf(strings.Replace(okp, "Ed25519", "X25519", 1)), "Ed25519"},
		"the same name twice":       {keySetOf(okp, okp), "kid"},
		"an unknown member":         {keySetOf(okp[:len(okp)-1] + `,"x5u":"https://evil.example"}`), "JWK Set"},
	} {
		if err := checkKeySet([]byte(c[0])); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v, want %q", name, err, c[1])
		}
	}
}
