// Package sealing keeps secrets that must lie in the database unreadable
// there: private keys and peppers are encrypted under a master key that the
// database never sees.
package sealing

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
)

// Keeper seals and opens. An implementation is safe for concurrent use.
type Keeper interface {
	// Seal encrypts plain and binds it to context, such as "signing-key:" and
	// the key's id, so that a sealed value moved elsewhere does not open there.
	Seal(plain []byte, context string) ([]byte, error)
	// Open is the inverse of Seal under the same context. It fails with
	// ErrWrongMasterKey or ErrDamaged.
	Open(sealed []byte, context string) ([]byte, error)
}

var (
	// ErrMasterKey is a master key that is too short to be one.
	ErrMasterKey = errors.New("the master key must be 32 random bytes, raw or as hex or base64, or a text of at least 32 characters; make one with: openssl rand -base64 32")
	// ErrWrongMasterKey is something sealed under another master key than ours.
	ErrWrongMasterKey = errors.New("the database was sealed under another master key: give the one it was created with (TOKENHOUSE_MASTER_KEY or TOKENHOUSE_MASTER_KEY_FILE, or master.key in the data directory); nothing was created or changed")
	// ErrDamaged is a sealed value that was altered, cut, or moved from its place.
	ErrDamaged = errors.New("a sealed value is damaged or not in its place; restore the database from a backup")
)

// Sizes of a sealed value: version, fingerprint of the master key, then nonce
// and ciphertext.
const (
	version         = 1
	fingerprintSize = 4
	headerSize      = 1 + fingerprintSize
	minMaster       = 32 // bytes, and characters of a text
)

// Local is a Keeper whose master key is in this process: AES-256-GCM with a
// random nonce (NIST SP 800-38D §8.2.2) under a key derived by HKDF-SHA-256
// (RFC 5869). It seals under one master key and opens under several, so that
// the master key can be replaced.
type Local struct {
	given   *derived                // the first one, which everything is to be sealed under
	current atomic.Pointer[derived] // the one that Seal uses
	known   map[[fingerprintSize]byte]*derived
}

type derived struct {
	fingerprint [fingerprintSize]byte
	aead        cipher.AEAD
}

// NewLocal returns the Keeper of a master key, and of earlier ones whose
// sealed values must still open. A master key is 32 bytes, or the hex or
// base64 text of 32 bytes, or any text of at least 32 characters; white space
// around a text does not count. Shorter ones are ErrMasterKey.
func NewLocal(master []byte, earlier ...[]byte) (*Local, error) {
	current, err := derive(master)
	if err != nil {
		return nil, err
	}
	l := &Local{given: current, known: map[[fingerprintSize]byte]*derived{current.fingerprint: current}}
	l.current.Store(current)
	for _, m := range earlier {
		d, err := derive(m)
		if err != nil {
			return nil, err
		}
		if l.known[d.fingerprint] == nil {
			l.known[d.fingerprint] = d
		}
	}
	return l, nil
}

func derive(master []byte) (*derived, error) {
	material, err := material(master)
	if err != nil {
		return nil, err
	}
	// The labels keep the fingerprint, which is stored in clear, apart from the key.
	id, err := hkdf.Key(sha256.New, material, nil, "tokenhouse sealing fingerprint 1", fingerprintSize)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, material, nil, "tokenhouse sealing key 1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	return &derived{fingerprint: [fingerprintSize]byte(id), aead: aead}, nil
}

// material decodes the forms of a master key, so that a key means the same
// whether it came as bytes or as text.
func material(master []byte) ([]byte, error) {
	if len(master) == minMaster {
		return master, nil
	}
	text := bytes.TrimSpace(master)
	if b, err := hex.DecodeString(string(text)); err == nil && len(b) == minMaster {
		return b, nil
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(string(text)); err == nil && len(b) == minMaster {
			return b, nil
		}
	}
	if len(text) < minMaster {
		return nil, ErrMasterKey
	}
	return text, nil
}

// Seal encrypts plain under the master key that Use chose last, else the first.
func (l *Local) Seal(plain []byte, context string) ([]byte, error) {
	return l.current.Load().seal(plain, context), nil
}

func (d *derived) seal(plain []byte, context string) []byte {
	out := append(make([]byte, 0, headerSize+len(plain)+d.aead.Overhead()), version)
	out = append(out, d.fingerprint[:]...)
	return d.aead.Seal(out, nil, plain, bound(out, context))
}

// Open decrypts what Seal made under any of the master keys.
func (l *Local) Open(sealed []byte, context string) ([]byte, error) {
	if len(sealed) < headerSize || sealed[0] != version {
		return nil, ErrDamaged
	}
	d, ok := l.known[[fingerprintSize]byte(sealed[1:headerSize])]
	if !ok {
		return nil, ErrWrongMasterKey
	}
	plain, err := d.aead.Open(nil, nil, sealed[headerSize:], bound(sealed[:headerSize], context))
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

// bound is the additional data: the header and the context.
func bound(header []byte, context string) []byte {
	return append(bytes.Clone(header), context...)
}
