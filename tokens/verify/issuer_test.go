package verify_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

const (
	issuerURL = "https://auth.example.com"
	audience  = "https://api.example.com"
)

var noon = time.Date(2026, 6, 12, 10, 0, 0, 0, time.UTC)

// issuer signs whatever it is given, so that tests can sign nonsense too.
type issuer struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	kid string
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key}
	i.kid = thumbprint(t, &key.PublicKey)
	return i
}

func thumbprint(t testing.TB, public any) string {
	t.Helper()
	k := jose.JSONWebKey{Key: public}
	d, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return b64(d)
}

func (i *issuer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: &i.key.PublicKey, KeyID: i.kid, Algorithm: "ES256", Use: "sig"}
}

// lookup finds the issuer's one key.
func (i *issuer) lookup(kid string) (jose.JSONWebKey, bool) { return i.public(), kid == i.kid }

func (i *issuer) jwks() []byte {
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.public()}})
	if err != nil {
		i.t.Fatal(err)
	}
	return b
}

// header is a good header with the changes applied; a nil value removes.
func (i *issuer) header(changes ...claim) string {
	return object(i.t, append([]claim{{"alg", "ES256"}, {"kid", i.kid}, {"typ", "at+jwt"}}, changes...))
}

// payload is a good payload with the changes applied; a nil value removes.
func (i *issuer) payload(changes ...claim) string {
	return object(i.t, append([]claim{
		{"iss", issuerURL}, {"sub", "user_1"}, {"aud", audience}, {"exp", noon.Add(time.Hour).Unix()}, {"iat", noon.Unix()},
		{"nbf", noon.Unix()}, {"jti", "tok_1"}, {"sid", "sess_1"}, {"org_id", "org_1"}, {"roles", []string{"engineer"}},
		{"permissions", []string{"agents:read", "incidents:*"}}, {"client_id", "cli_1"}, {"scope", "agents:read incidents:*"},
	}, changes...))
}

func (i *issuer) token(changes ...claim) string { return i.sign(i.header(), i.payload(changes...)) }

// sign makes a compact ES256 JWS of the two texts as they are.
func (i *issuer) sign(header, payload string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(i.signature(input))
}

func (i *issuer) signature(input string) []byte {
	d := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, d[:])
	if err != nil {
		i.t.Fatal(err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// claim is a member to set, or to remove where value is nil.
type claim struct {
	name  string
	value any
}

func object(t testing.TB, cs []claim) string {
	m := map[string]any{}
	for _, c := range cs {
		if m[c.name] = c.value; c.value == nil {
			delete(m, c.name)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// verifier accepts the issuer's tokens at noon and remembers none.
func (i *issuer) verifier() *verify.Verifier {
	return &verify.Verifier{
		Issuer: issuerURL, Audience: audience, Keys: verify.Lookup(i.lookup), CacheSize: -1,
		Now: func() time.Time { return noon },
	}
}

// refused demands that the token is refused with want, and without claims.
func refused(t *testing.T, v *verify.Verifier, token string, want error) {
	t.Helper()
	c, err := v.Verify(context.Background(), token)
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	// SEC-JWT-19: no claims with any error.
	if c.Subject != "" || c.OrgID != "" || c.Raw != nil || c.Permissions != nil {
		t.Errorf("claims were returned with %v: %+v", err, c)
	}
}

func accepted(t *testing.T, v *verify.Verifier, token string) verify.Claims {
	t.Helper()
	c, err := v.Verify(context.Background(), token)
	if err != nil {
		t.Fatalf("a good token was refused: %v", err)
	}
	return c
}

// otherKeys are keys of the other algorithms, for tests that mix them up.
type otherKeys struct {
	rsa *rsa.PrivateKey
	ed  ed25519.PrivateKey
}

func newOtherKeys(t testing.TB) otherKeys {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return otherKeys{r, e}
}
