// Package secret mints opaque credentials and keeps them out of logs. It is
// the only place that turns random bytes into credentials.
package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Plain is a credential in clear. It prints as [redacted] everywhere; Reveal
// is the only way to the text and is easy to grep for.
type Plain struct{ s string }

// Of wraps a credential that came from outside.
func Of(s string) Plain { return Plain{s} }

// Reveal returns the credential itself.
func (p Plain) Reveal() string { return p.s }

// IsZero reports whether there is no credential.
func (p Plain) IsZero() bool { return p.s == "" }

// String returns a fixed text.
func (Plain) String() string { return redacted }

// GoString returns a fixed text.
func (Plain) GoString() string { return redacted }

// Format prints a fixed text for every verb.
func (Plain) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText encodes a fixed text, so that no encoder can leak the credential.
func (Plain) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue logs a fixed text.
func (Plain) LogValue() slog.Value { return slog.StringValue(redacted) }

const redacted = "[redacted]"

// alphabet is base62 in ASCII order.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Text returns n base62 characters (5.95 bits each) read from random without
// bias. It fails only where random does.
func Text(random io.Reader, n int) (string, error) {
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4+8)
	for len(out) < n {
		if _, err := io.ReadFull(random, buf); err != nil {
			return "", fmt.Errorf("read random bytes: %w", err)
		}
		for _, b := range buf {
			// 248 is the largest multiple of 62 in a byte: above it the
			// remainder would favour some characters.
			if b < 248 && len(out) < n {
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out), nil
}

// Mint returns prefix followed by 43 base62 characters: 256 bits.
func Mint(random io.Reader, prefix string) (Plain, error) {
	t, err := Text(random, 43)
	if err != nil {
		return Plain{}, err
	}
	return Plain{prefix + t}, nil
}

// Bytes returns n bytes read from random.
func Bytes(random io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}

// Sum is the SHA-256 of a high-entropy credential: what is stored instead of it.
func Sum(s string) []byte {
	d := sha256.Sum256([]byte(s))
	return d[:]
}

// MAC is HMAC-SHA-256 of the parts under key. Each part is preceded by its
// length, so that ("ab","c") and ("a","bc") differ.
func MAC(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		n := len(p)
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		io.WriteString(h, p)
	}
	return h.Sum(nil)
}

// Equal compares two digests in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
