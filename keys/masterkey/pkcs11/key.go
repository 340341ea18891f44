//go:build pkcs11 && cgo

// Package pkcs11 wraps the master key with an AES key in a token that speaks
// PKCS#11: a hardware security module, a smart card, or a token in software.
// The key never leaves it. It needs cgo, and the build tag pkcs11.
package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Key is an AES key in a token. It is a sealing.Custodian. Nothing of the token
// stays open between two calls.
type Key struct {
	at  address
	pin secret.Plain
}

var _ sealing.Custodian = (*Key)(nil)

// New returns the key that a URI names (RFC 7512):
// pkcs11:token=label;object=label?module-path=/path. pin is the token user's,
// unless the URI names a pin-source, a file that is read anew for each call.
func New(u *url.URL, pin secret.Plain) (*Key, error) {
	at, err := parse(u)
	if err != nil {
		return nil, err
	}
	if at.pinFile == "" && pin.IsZero() {
		return nil, errors.New("it needs a PIN: set TOKENHOUSE_KEY_SEALER_TOKEN, or pin-source=file:/path in the URI")
	}
	// The module is loaded later: it is code, which a check of the configuration must not run.
	if _, err := os.Stat(at.module); err != nil {
		return nil, fmt.Errorf("module-path: %w", err)
	}
	return &Key{at: at, pin: pin}, nil
}

// String implements sealing.Custodian.
func (k *Key) String() string {
	return "the key " + k.at.key() + " in the PKCS#11 token " + k.at.tokenName()
}

// Wrap implements sealing.Custodian.
func (k *Key) Wrap(ctx context.Context, plain []byte) ([]byte, error) {
	return k.inSession(ctx, func(s *session) ([]byte, error) {
		if err := s.guarded(); err != nil {
			return nil, err
		}
		return s.sealAndProve(plain)
	})
}

// Unwrap implements sealing.Custodian.
func (k *Key) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return k.inSession(ctx, func(s *session) ([]byte, error) {
		plain, err := s.open(wrapped)
		if err == nil || errors.Is(err, sealing.ErrAway) || errors.Is(err, sealing.ErrNotWrapped) {
			return plain, err
		}
		// Modules answer with one code or another, a general error among them, where
		// a tag does not fit. A key that works shows that it is this value's fault.
		if _, broken := s.sealAndProve([]byte("probe")); broken != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", sealing.ErrNotWrapped, err)
	})
}

// What a wrapped key is made of: a byte for the form, one for the length of the
// initialization vector, that vector, and the ciphertext with its tag.
const (
	form    = 1
	ivSize  = 12  // bytes
	tagSize = 128 // bits
)

// purpose is bound to what is wrapped, so that another use of the same key
// gives nothing that passes for a master key.
const purpose = "tokenhouse master key"

func (s *session) seal(plain []byte) ([]byte, error) {
	iv, err := s.module.GenerateRandom(s.handle, ivSize)
	if err != nil {
		return nil, failed("make a random number", err)
	}
	params := pkcs11.NewGCMParams(iv, []byte(purpose), tagSize)
	defer params.Free()
	if err := s.module.EncryptInit(s.handle, gcm(params), s.key); err != nil {
		return nil, failed("begin to encrypt with AES-GCM", err)
	}
	sealed, err := s.module.Encrypt(s.handle, plain)
	if err != nil {
		return nil, failed("encrypt", err)
	}
	iv = params.IV() // some modules put one of their own in the place of ours
	if len(iv) == 0 || len(iv) > 255 {
		return nil, fmt.Errorf("its module used an initialization vector of %d bytes", len(iv))
	}
	return append(append([]byte{form, byte(len(iv))}, iv...), sealed...), nil
}

func (s *session) open(wrapped []byte) ([]byte, error) {
	if len(wrapped) < 2 || wrapped[0] != form || len(wrapped) < 2+int(wrapped[1])+tagSize/8 {
		return nil, sealing.ErrNotWrapped
	}
	iv, sealed := wrapped[2:2+wrapped[1]], wrapped[2+int(wrapped[1]):]
	params := pkcs11.NewGCMParams(iv, []byte(purpose), tagSize)
	defer params.Free()
	if err := s.module.DecryptInit(s.handle, gcm(params), s.key); err != nil {
		return nil, failed("begin to decrypt with AES-GCM", err)
	}
	plain, err := s.module.Decrypt(s.handle, sealed)
	if err != nil {
		return nil, failed("decrypt", err)
	}
	return plain, nil
}

// sealAndProve seals, and refuses what does not open again.
func (s *session) sealAndProve(plain []byte) ([]byte, error) {
	sealed, err := s.seal(plain)
	if err != nil {
		return nil, err
	}
	again, err := s.open(sealed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, plain) {
		return nil, errors.New("its module gave back another value than it encrypted")
	}
	return sealed, nil
}

func gcm(params *pkcs11.GCMParams) []*pkcs11.Mechanism {
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}
}

// guarded refuses a key whose value the token gives away. It is asked where a
// master key is wrapped, never where one is needed.
func (s *session) guarded() error {
	for attribute, wanted := range map[uint]bool{pkcs11.CKA_SENSITIVE: true, pkcs11.CKA_EXTRACTABLE: false} {
		got, err := s.module.GetAttributeValue(s.handle, s.key, []*pkcs11.Attribute{pkcs11.NewAttribute(attribute, nil)})
		if err != nil || len(got) != 1 || len(got[0].Value) != 1 {
			continue // the token does not say
		}
		if (got[0].Value[0] != 0) != wanted {
			return errors.New("the token would give the key away: make one that is sensitive and not extractable")
		}
	}
	return nil
}

// credential is the PIN to log in with.
func (k *Key) credential() (secret.Plain, error) {
	if k.at.pinFile == "" {
		return k.pin, nil
	}
	b, err := os.ReadFile(k.at.pinFile)
	if err != nil {
		return secret.Plain{}, fmt.Errorf("pin-source: %w", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return secret.Plain{}, fmt.Errorf("pin-source: %s holds no PIN on one line", k.at.pinFile)
	}
	return secret.Of(text), nil
}
