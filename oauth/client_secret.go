package oauth

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// SecretPrefix starts every client_secret.
const SecretPrefix = "ths_"

// Sealer keeps secrets that must be read again: sealing.Keeper.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// SecretMatches reports whether plain is one of the client's secrets at now.
// How long it takes does not depend on which, nor on how much of it is right.
func (r Registered) SecretMatches(plain string, now time.Time) bool {
	sum, found := secret.Sum(plain), false
	for _, s := range r.ValidSecrets(now) {
		if secret.Equal(sum, s.Digest) {
			found = true
		}
	}
	return found
}

// OpenSecret returns a secret of a client whose method is client_secret_jwt,
// to check what was signed with it (RFC 7523 §3).
func (s *Clients) OpenSecret(id ident.ClientID, sec ClientSecret) ([]byte, error) {
	return s.Sealer.Open(sec.Sealed, SecretContext(id))
}

// SecretContext is what a sealed secret of a client is bound to.
func SecretContext(id ident.ClientID) string { return "client-secret:" + string(id) }

// newSecret makes a client_secret of 256 bits and what is stored of it.
func (s *Clients) newSecret(id ident.ClientID, m AuthMethod, now time.Time) (secret.Plain, ClientSecret, error) {
	plain, err := secret.Mint(s.Random, SecretPrefix)
	if err != nil {
		return secret.Plain{}, ClientSecret{}, err
	}
	sec := ClientSecret{Digest: secret.Sum(plain.Reveal()), CreatedAt: now}
	if m == AuthSecretJWT {
		if sec.Sealed, err = s.Sealer.Seal([]byte(plain.Reveal()), SecretContext(id)); err != nil {
			return secret.Plain{}, ClientSecret{}, err
		}
	}
	return plain, sec, nil
}
