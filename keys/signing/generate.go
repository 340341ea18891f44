package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// rsaBits is the size of RSA keys: the least that RFC 7518 §3.3 allows, for
// each further bit slows every signature.
const rsaBits = 2048

// errAlgorithm is an algorithm that the ring cannot sign with.
var errAlgorithm = errors.New("not an algorithm we sign with; use ES256, ES384, RS256, PS256 or EdDSA")

// CheckAlgorithm refuses an algorithm that the ring cannot sign with.
func CheckAlgorithm(alg string) error {
	switch alg {
	case "ES256", "ES384", "RS256", "PS256", "EdDSA":
		return nil
	default:
		return fmt.Errorf("%q: %w", alg, errAlgorithm)
	}
}

// newPrivate makes a private key for one algorithm. Go's generators read the
// operating system and ignore random unless a test says otherwise.
func newPrivate(alg string, random io.Reader) (crypto.Signer, error) {
	switch alg {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), random)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), random)
	case "RS256", "PS256":
		return rsa.GenerateKey(random, rsaBits)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(random)
		return private, err
	default:
		return nil, CheckAlgorithm(alg)
	}
}

// newKey makes a key of the algorithm, sealed by keeper, which is in no state yet.
func newKey(alg string, keeper sealing.Keeper, random io.Reader) (Key, error) {
	private, err := newPrivate(alg, random)
	if err != nil {
		return Key{}, fmt.Errorf("generate a signing key: %w", err)
	}
	public, err := publicOf(private, alg)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, fmt.Errorf("encode a signing key: %w", err)
	}
	k := Key{ID: public.KeyID, Algorithm: alg, Public: public}
	if k.Sealed, err = keeper.Seal(der, SealContext(k.ID)); err != nil {
		return Key{}, fmt.Errorf("seal a signing key: %w", err)
	}
	return k, nil
}

// SealContext is what the sealed private key of a kid is bound to.
func SealContext(kid string) string { return "signing-key:" + kid }

// publicOf is the JWK of the public half, named by its RFC 7638 thumbprint.
func publicOf(private crypto.Signer, alg string) (jose.JSONWebKey, error) {
	k := jose.JSONWebKey{Key: private.Public(), Algorithm: alg, Use: "sig"}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("thumbprint of a signing key: %w", err)
	}
	k.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return k, nil
}

// openKey returns the private key of k and the public key that truly belongs
// to it: whoever can write to the database but lacks the master key cannot add
// a key of theirs to the JWK Set.
func openKey(k Key, keeper sealing.Keeper) (crypto.Signer, jose.JSONWebKey, error) {
	der, err := keeper.Open(k.Sealed, SealContext(k.ID))
	if err != nil {
		return nil, jose.JSONWebKey{}, fmt.Errorf("open signing key %s: %w", k.ID, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, jose.JSONWebKey{}, fmt.Errorf("open signing key %s: %w", k.ID, sealing.ErrDamaged)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, jose.JSONWebKey{}, fmt.Errorf("open signing key %s: %w", k.ID, sealing.ErrDamaged)
	}
	public, err := publicOf(private, k.Algorithm)
	if err != nil {
		return nil, jose.JSONWebKey{}, err
	}
	if public.KeyID != k.ID {
		return nil, jose.JSONWebKey{}, fmt.Errorf("signing key %s is stored under a name that is not its thumbprint: %w", k.ID, sealing.ErrDamaged)
	}
	return private, public, nil
}
