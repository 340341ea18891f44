package signing

import (
	"crypto"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// signer signs with one key. A go-jose signer has its typ built in, so there is
// one for each typ, made at the first use; there are only as many as the code
// has kinds of tokens.
type signer struct {
	key   jose.SigningKey
	byTyp sync.Map // of jose.Signer
}

func newSigner(k Key, private crypto.Signer) (*signer, error) {
	s := &signer{key: jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.Algorithm),
		Key:       jose.JSONWebKey{Key: private, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"},
	}}
	// A key of another type than its algorithm's must fail now, not at the
	// first login.
	if _, err := s.sign([]byte("{}"), "JWT"); err != nil {
		return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	return s, nil
}

func (s *signer) sign(payload []byte, typ string) (string, error) {
	js, err := s.of(typ)
	if err != nil {
		return "", err
	}
	jws, err := js.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

func (s *signer) of(typ string) (jose.Signer, error) {
	if js, ok := s.byTyp.Load(typ); ok {
		return js.(jose.Signer), nil
	}
	js, err := jose.NewSigner(s.key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return nil, fmt.Errorf("prepare a signer: %w", err)
	}
	s.byTyp.Store(typ, js)
	return js, nil
}
