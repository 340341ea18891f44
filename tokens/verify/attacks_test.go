package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

func TestHeadersThatAreRefused(t *testing.T) {
	i := newIssuer(t)
	own := i.public()
	jwk, err := own.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	for name, header := range map[string]string{
		"K20 alg none":                   i.header(claim{"alg", "none"}),
		"alg absent":                     i.header(claim{"alg", nil}),
		"alg in another case":            i.header(claim{"alg", "es256"}),
		"alg a list":                     i.header(claim{"alg", []string{"ES256"}}),
		"SEC-JWT-03 alg ES384":           i.header(claim{"alg", "ES384"}),
		"SEC-JWT-04 kid absent":          i.header(claim{"kid", nil}),
		"SEC-JWT-04 kid empty":           i.header(claim{"kid", ""}),
		"SEC-JWT-04 kid a path":          i.header(claim{"kid", "../../etc/passwd"}),
		"SEC-JWT-04 kid SQL":             i.header(claim{"kid", "' OR 1=1--"}),
		"SEC-JWT-04 kid 10 kB":           i.header(claim{"kid", strings.Repeat("k", 10_000)}),
		"SEC-JWT-04 kid 129 bytes":       i.header(claim{"kid", strings.Repeat("k", 129)}),
		"SEC-JWT-04 kid NUL":             i.header(claim{"kid", i.kid + "\x00"}),
		"SEC-JWT-04 kid a number":        i.header(claim{"kid", 7}),
		"SEC-JWT-04 kid a list":          i.header(claim{"kid", []string{i.kid}}),
		"SEC-JWT-04 kid an object":       i.header(claim{"kid", map[string]string{"kid": i.kid}}),
		"SEC-JWT-07 own key embedded":    i.header(claim{"jwk", json.RawMessage(jwk)}),
		"SEC-JWT-07 chain embedded":      i.header(claim{"x5c", []string{"AAAA"}}),
		"jku":                            i.header(claim{"jku", "https://evil.example.com/jwks"}),
		"x5u":                            i.header(claim{"x5u", "https://evil.example.com/chain"}),
		"SEC-JWT-08 crit unknown":        i.header(claim{"crit", []string{"x"}}, claim{"x", true}),
		"SEC-JWT-08 crit empty":          i.header(claim{"crit", []string{}}),
		"SEC-JWT-08 crit names alg":      i.header(claim{"crit", []string{"alg"}}),
		"SEC-JWT-08 crit b64":            i.header(claim{"crit", []string{"b64"}}, claim{"b64", true}),
		"SEC-JWT-08 b64 false":           i.header(claim{"b64", false}),
		"zip":                            i.header(claim{"zip", "DEF"}),
		"SEC-JWT-10 typ of an ID token":  i.header(claim{"typ", "JWT"}),
		"SEC-JWT-10 typ absent":          i.header(claim{"typ", nil}),
		"SEC-JWT-10 typ logout+jwt":      i.header(claim{"typ", "logout+jwt"}),
		"typ a number":                   i.header(claim{"typ", 7}),
		"SEC-JWT-31 nested":              i.header(claim{"cty", "JWT"}),
		"SEC-JWT-09 alg twice":           `{"alg":"none","alg":"ES256","kid":` + quote(i.kid) + `,"typ":"at+jwt"}`,
		"SEC-JWT-09 kid twice":           `{"alg":"ES256","kid":"x","kid":` + quote(i.kid) + `,"typ":"at+jwt"}`,
		"SEC-JWT-09 twice by escape":     `{"alg":"ES256","\u0061lg":"none","kid":` + quote(i.kid) + `,"typ":"at+jwt"}`,
		"alg in capitals only":           `{"ALG":"ES256","kid":` + quote(i.kid) + `,"typ":"at+jwt"}`,
		"not an object":                  `["ES256"]`,
		"two values":                     i.header() + i.header(),
		"empty":                          ` `,
		"SEC-JWT-37 byte order mark":     "\ufeff" + i.header(),
		"SEC-JWT-37 not UTF-8":           strings.Replace(i.header(), `{`, "{\"x\":\"\xff\",", 1),
		"SEC-JWT-37 lone high surrogate": strings.Replace(i.header(), `{`, `{"x":"\ud800",`, 1),
		"SEC-JWT-37 lone low surrogate":  strings.Replace(i.header(), `{`, `{"x":"\udc00 ",`, 1),
		"SEC-JWT-37 two high surrogates": strings.Replace(i.header(), `{`, `{"x":"\ud800\ud800",`, 1),
		"SEC-JWT-29 10 000 lists deep":   strings.Replace(i.header(), `{`, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,`, 1),
		"SEC-JWT-29 20 objects deep":     strings.Replace(i.header(), `{`, `{"x":`+strings.Repeat(`{"x":`, 20)+"1"+strings.Repeat("}", 20)+`,`, 1),
		"trailing comma":                 strings.Replace(i.header(), `}`, `,}`, 1),
	} {
		t.Run(name, func(t *testing.T) { refused(t, i.verifier(), i.sign(header, i.payload()), verify.ErrInvalid) })
	}
	for name, header := range map[string]string{
		"typ as a media type":     i.header(claim{"typ", "application/at+jwt"}),
		"typ in capitals":         i.header(claim{"typ", "AT+JWT"}),
		"an unknown header":       i.header(claim{"x-trace", "1"}),
		"white space":             "\n " + strings.ReplaceAll(i.header(), ",", " ,\t") + "\r\n",
		"a whole surrogate pair":  strings.Replace(i.header(), `{`, `{"x":"\ud83d\ude00",`, 1),
		"an escaped backslash, u": strings.Replace(i.header(), `{`, `{"x":"\\ud800",`, 1),
	} {
		t.Run(name, func(t *testing.T) { accepted(t, i.verifier(), i.sign(header, i.payload())) })
	}
}

func TestPayloadsThatAreRefused(t *testing.T) {
	i := newIssuer(t)
	wide := func(n int) string {
		var b strings.Builder
		for k := range n {
			fmt.Fprintf(&b, `"c%d":1,`, k)
		}
		return strings.Replace(i.payload(), `{`, `{`+b.String(), 1)
	}
	for name, payload := range map[string]string{
		"SEC-JWT-09 sub twice":            strings.Replace(i.payload(), `{`, `{"sub":"user_2",`, 1),
		"SEC-JWT-09 exp twice":            strings.Replace(i.payload(), `{`, `{"exp":99999999999,`, 1),
		"SEC-JWT-09 twice, deep inside":   strings.Replace(i.payload(), `{`, `{"act":{"sub":"a","sub":"b"},`, 1),
		"exp in capitals only":            strings.Replace(i.payload(claim{"exp", nil}), `{`, `{"EXP":99999999999,`, 1),
		"SEC-JWT-29 10 000 lists deep":    strings.Replace(i.payload(), `{`, `{"x":`+strings.Repeat("[", 4000)+strings.Repeat("]", 4000)+`,`, 1),
		"SEC-JWT-29 very many members":    wide(1200),
		"SEC-JWT-37 not UTF-8":            strings.Replace(i.payload(), `{`, "{\"x\":\"\xc3\x28\",", 1),
		"SEC-JWT-37 byte order mark":      "\ufeff" + i.payload(),
		"SEC-JWT-37 lone surrogate":       strings.Replace(i.payload(), `{`, `{"x":"\udfff-",`, 1),
		"SEC-JWT-37 lone surrogate, name": strings.Replace(i.payload(), `{`, `{"\udfff-":1,`, 1),
		"not an object":                   `"user_1"`,
		"null":                            `null`,
		"a NaN":                           strings.Replace(i.payload(), `{`, `{"x":NaN,`, 1),
		"more than the limit":             i.payload(claim{"x", strings.Repeat("x", verify.MaxTokenSize)}),
	} {
		t.Run(name, func(t *testing.T) { refused(t, i.verifier(), i.sign(i.header(), payload), verify.ErrInvalid) })
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	i := newIssuer(t)
	good := i.token()
	h, rest, _ := strings.Cut(good, ".")
	p, s, _ := strings.Cut(rest, ".")
	full, err := jose.ParseSignedCompact(good, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	signature, _ := base64.RawURLEncoding.DecodeString(s)
	for name, token := range map[string]string{
		"empty":                               "",
		"O39 one letter":                      "x",
		"O39 a.b.c":                           "a.b.c",
		"no signature":                        h + "." + p + ".",
		"no signature, no dot":                h + "." + p,
		"no payload":                          h + ".." + s,
		"SEC-JWT-20 five parts":               h + ".." + p + "." + p + "." + s,
		"SEC-JWT-30 JSON serialisation":       full.FullSerialize(),
		"SEC-JWT-32 padding":                  h + "." + p + "." + s + "==",
		"SEC-JWT-32 standard alphabet":        standard(i),
		"SEC-JWT-32 line break":               h + "." + p + ".\n" + s,
		"SEC-JWT-32 carriage return, inside":  h[:4] + "\r" + h[4:] + "." + p + "." + s,
		"SEC-JWT-32 trailing line break":      good + "\n",
		"SEC-JWT-32 leading space":            " " + good,
		"SEC-JWT-32 non-canonical signature":  h + "." + p + "." + nonCanonical(t, s),
		"SEC-JWT-25 signature of zeros":       h + "." + p + "." + b64(make([]byte, 64)),
		"SEC-JWT-25 signature too short":      h + "." + p + "." + b64(signature[:63]),
		"SEC-JWT-25 signature too long":       h + "." + p + "." + b64(append(signature, 0)),
		"SEC-JWT-25 signature empty bytes":    h + "." + p + "." + b64([]byte{0}),
		"K20 another payload, same signature": h + "." + b64([]byte(i.payload(claim{"org_id", "org_2"}))) + "." + s,
	} {
		t.Run(name, func(t *testing.T) { refused(t, i.verifier(), token, verify.ErrInvalid) })
	}
	accepted(t, i.verifier(), good)
}

// standard spells a good token in base64's other alphabet.
func standard(i *issuer) string {
	for {
		token := i.token()
		if s := strings.NewReplacer("-", "+", "_", "/").Replace(token); s != token {
			return s
		}
	}
}

// nonCanonical spells the same bytes in another way: 64 bytes leave 4 unused
// bits in the last character.
func nonCanonical(t *testing.T, s string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	other := s[:len(s)-1] + string(alphabet[last|1])
	a, err1 := base64.RawURLEncoding.DecodeString(s)
	b, err2 := base64.RawURLEncoding.DecodeString(other)
	if err1 != nil || err2 != nil || string(a) != string(b) || other == s {
		t.Fatal("the test's own spelling is wrong")
	}
	return other
}

// SEC-JWT-02, K20: the public key, in every form, is no HMAC key.
func TestPublicKeysAreNoSecrets(t *testing.T) {
	i, k := newIssuer(t), newOtherKeys(t)
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	own := i.public()
	jwk, err := own.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWK": jwk, "JWKS": i.jwks(),
		"point": point, "modulus": k.rsa.N.Bytes(), "nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			input := b64([]byte(i.header(claim{"alg", "HS256"}))) + "." + b64([]byte(i.payload()))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			refused(t, i.verifier(), input+"."+b64(mac.Sum(nil)), verify.ErrInvalid)
		})
	}
	// Even where a key source would hand out a symmetric key.
	v := i.verifier()
	v.Keys = verify.Lookup(func(string) (jose.JSONWebKey, bool) {
		return jose.JSONWebKey{Key: make([]byte, 32), KeyID: i.kid, Algorithm: "HS256"}, true
	})
	input := b64([]byte(i.header(claim{"alg", "HS256"}))) + "." + b64([]byte(i.payload()))
	mac := hmac.New(sha256.New, make([]byte, 32))
	mac.Write([]byte(input))
	refused(t, v, input+"."+b64(mac.Sum(nil)), verify.ErrInvalid)
}

// SEC-JWT-03: one key, one algorithm, although the key could do the other.
func TestTheKeyDecidesOnTheAlgorithm(t *testing.T) {
	i, k := newIssuer(t), newOtherKeys(t)
	for name, c := range map[string]struct {
		key        any
		registered string
		alg        jose.SignatureAlgorithm
		good       bool
	}{
		"RS256 as registered":             {k.rsa, "RS256", jose.RS256, true},
		"PS256 with an RS256 key":         {k.rsa, "RS256", jose.PS256, false},
		"RS512 with an RS256 key":         {k.rsa, "RS256", jose.RS512, false},
		"PS256 as registered":             {k.rsa, "PS256", jose.PS256, true},
		"EdDSA as registered":             {k.ed, "EdDSA", jose.EdDSA, true},
		"a key without an algorithm":      {k.rsa, "", jose.RS256, false},
		"a key of an unknown algorithm":   {k.rsa, "RS1", jose.RS256, false},
		"an RSA key registered for EdDSA": {k.rsa, "EdDSA", jose.RS256, false},
	} {
		t.Run(name, func(t *testing.T) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: c.alg, Key: jose.JSONWebKey{Key: c.key, KeyID: "k"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
			if err != nil {
				t.Fatal(err)
			}
			jws, err := signer.Sign([]byte(i.payload()))
			if err != nil {
				t.Fatal(err)
			}
			token, err := jws.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			v := i.verifier()
			v.Keys = verify.Lookup(func(string) (jose.JSONWebKey, bool) {
				return jose.JSONWebKey{Key: publicOf(c.key), KeyID: "k", Algorithm: c.registered}, true
			})
			if c.good {
				accepted(t, v, token)
				return
			}
			refused(t, v, token, verify.ErrInvalid)
		})
	}
}

func publicOf(private any) any { return private.(crypto.Signer).Public() }

// SEC-JWT-25: what a verifier that forgets a range check would believe.
func TestSignaturesOutOfRange(t *testing.T) {
	i := newIssuer(t)
	n := elliptic.P256().Params().N
	half := func(v *big.Int) []byte { return v.FillBytes(make([]byte, 32)) }
	input := b64([]byte(i.header())) + "." + b64([]byte(i.payload()))
	good := i.signature(input)
	r, s := new(big.Int).SetBytes(good[:32]), new(big.Int).SetBytes(good[32:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	zero, one := new(big.Int), big.NewInt(1)
	for name, signature := range map[string][]byte{
		"r=0":   append(half(zero), good[32:]...),
		"s=0":   append(good[:32:32], half(zero)...),
		"r=s=0": make([]byte, 64),
		"r=n":   append(half(n), good[32:]...),
		"s=n":   append(good[:32:32], half(n)...),
		"r=s=n": append(half(n), half(n)...),
		"r=s=1": append(half(one), half(one)...),
		"DER":   der,
	} {
		t.Run(name, func(t *testing.T) { refused(t, i.verifier(), input+"."+b64(signature), verify.ErrInvalid) })
	}
	accepted(t, i.verifier(), input+"."+b64(good))
}

// SEC-JWT-26: S and S+L are the same point; only S is a signature.
func TestMalleatedEd25519(t *testing.T) {
	i := newIssuer(t)
	k := newOtherKeys(t).ed
	input := b64([]byte(i.header(claim{"alg", "EdDSA"}))) + "." + b64([]byte(i.payload()))
	signature := ed25519.Sign(k, []byte(input))
	v := i.verifier()
	v.Keys = verify.Lookup(func(string) (jose.JSONWebKey, bool) {
		return jose.JSONWebKey{Key: k.Public(), KeyID: i.kid, Algorithm: "EdDSA"}, true
	})
	accepted(t, v, input+"."+b64(signature))

	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := new(big.Int).SetBytes(reversed(signature[32:]))
	s.Add(s, order)
	malleated := append(signature[:32:32], reversed(s.FillBytes(make([]byte, 32)))...)
	refused(t, v, input+"."+b64(malleated), verify.ErrInvalid)
}

func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[len(b)-1-i] = b[i]
	}
	return out
}

// SEC-JWT-27: weak keys prove nothing, and enormous ones are not computed with.
func TestKeysOfUnreasonableSize(t *testing.T) {
	i := newIssuer(t)
	odd := func(bits int) *big.Int {
		return new(big.Int).SetBit(new(big.Int).SetBit(new(big.Int), bits-1, 1), 0, 1)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]jose.JSONWebKey{
		"RSA of 1024 bits":  {Key: &rsa.PublicKey{N: odd(1024), E: 65537}, Algorithm: "RS256"},
		"RSA of 16384 bits": {Key: &rsa.PublicKey{N: odd(16384), E: 65537}, Algorithm: "RS256"},
		"RSA with e=1":      {Key: &rsa.PublicKey{N: odd(2048), E: 1}, Algorithm: "RS256"},
		"RSA with even e":   {Key: &rsa.PublicKey{N: odd(2048), E: 65536}, Algorithm: "RS256"},
		"P-224":             {Key: &p224.PublicKey, Algorithm: "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			v := i.verifier()
			v.Keys = verify.Lookup(func(string) (jose.JSONWebKey, bool) { return k, true })
			refused(t, v, i.sign(i.header(claim{"alg", k.Algorithm}), i.payload()), verify.ErrInvalid)
		})
	}
}

// SEC-JWT-33, K20: a token with any one bit changed is no token.
func TestEveryBitCounts(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier()
	parts := strings.Split(i.token(), ".")
	for n, part := range parts {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(raw) * 8 {
			raw[bit/8] ^= 1 << (bit % 8)
			changed := []string{parts[0], parts[1], parts[2]}
			changed[n] = b64(raw)
			if c, err := v.Verify(t.Context(), strings.Join(changed, ".")); err == nil || c.Subject != "" {
				t.Fatalf("part %d, bit %d: accepted", n, bit)
			}
			raw[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// SEC-JWT-28, SEC-JWT-21: nonsense costs next to nothing, however long it is.
func TestNonsenseIsCheap(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier()
	v.CacheSize = 0
	bomb := b64([]byte(`{"alg":"dir","enc":"A256GCM","zip":"DEF","kid":"`+i.kid+`"}`)) + ".." + strings.Repeat("A", 100_000) + "." + strings.Repeat("A", 100_000) + ".AAAA"
	for name, token := range map[string]string{
		"1 MB of dots":            strings.Repeat(".", 1<<20),
		"8 000 dots":              strings.Repeat(".", 8000),
		"100 MB":                  strings.Repeat("A", 100<<20),
		"a JWE that would expand": bomb,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			refused(t, v, token, verify.ErrInvalid)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}

// SEC-JWT-29: depth and width are bounded where the signature does not protect.
func TestDeepAndWideHeadersAreBounded(t *testing.T) {
	var wide strings.Builder
	for n := range 100_000 {
		fmt.Fprintf(&wide, `,"x%d":1`, n)
	}
	for name, text := range map[string]string{
		"deep lists":   `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
		"deep objects": strings.Repeat(`{"x":`, 10_000) + "1" + strings.Repeat("}", 10_000),
		"wide":         "{" + wide.String()[1:] + "}",
	} {
		if _, err := verify.Members([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
