package signing_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// claims is a payload of the size of an access token's.
var claims = []byte(`{"iss":"http://localhost:8080","sub":"user_01jh0000000000000000000000","aud":"http://localhost:8080","exp":1767326645,"iat":1767323045,"nbf":1767323045,"jti":"tok_01jh0000000000000000000000","sid":"sess_01jh0000000000000000000000","org_id":"org_01jh0000000000000000000000","roles":["engineer"],"permissions":["agents:create","agents:delete","agents:read"],"client_id":"cli_overwatch"}`)

func BenchmarkSign(b *testing.B) {
	db := openSQLite(b, filepath.Join(b.TempDir(), "th.db"), &commits{})
	r := loaded(b, ringOn(b, db.SigningKeys()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign(b.Context(), claims, "at+jwt"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkECDSA is the signature alone: what BenchmarkSign adds is ours.
func BenchmarkECDSA(b *testing.B) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256(claims)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, private, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGoJose signs the same with go-jose's prepared signer.
func BenchmarkGoJose(b *testing.B) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: "0123456789012345678901234567890123456789012"}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		jws, err := signer.Sign(claims)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := jws.CompactSerialize(); err != nil {
			b.Fatal(err)
		}
	}
}
