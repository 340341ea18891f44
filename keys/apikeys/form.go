package apikeys

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// A credential is prefix_ID SECRET CRC without the blanks. Its 46 characters
// after the last separator have fixed lengths and are read from the right, so
// that a prefix may hold underscores.
const (
	lookupSize   = 8
	secretSize   = 32 // 190 bits
	checksumSize = 6
	bodySize     = lookupSize + secretSize + checksumSize
	maxPrefix    = 32
	maxSize      = maxPrefix + 1 + bodySize
)

// digits are those of secret.Text, in the same order.
const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var errPrefix = errors.New("the prefix of API keys is 1 to 32 characters of a-z, 0-9 and _")

// CheckPrefix refuses a prefix that keys cannot have.
func CheckPrefix(prefix string) error {
	if prefix == "" || len(prefix) > maxPrefix {
		return errPrefix
	}
	for _, c := range []byte(prefix) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return errPrefix
		}
	}
	return nil
}

// LooksLike reports whether s has the form of an API key of any deployment:
// shape and checksum. It says nothing of whether the key exists.
func LooksLike(s string) bool {
	_, ok := parse(s)
	return ok
}

// parse returns the lookup id of a well-formed credential.
func parse(s string) (lookup string, ok bool) {
	if len(s) > maxSize || len(s) < 1+1+bodySize {
		return "", false
	}
	prefix, body := s[:len(s)-bodySize-1], s[len(s)-bodySize:]
	if s[len(prefix)] != '_' || CheckPrefix(prefix) != nil || !base62(body) {
		return "", false
	}
	if checksum(s[:len(s)-checksumSize]) != [checksumSize]byte([]byte(s[len(s)-checksumSize:])) {
		return "", false
	}
	return body[:lookupSize], true
}

func base62(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// checksum is the CRC-32 (IEEE) of everything before it. It proves nothing: it
// lets a scanner or a client tell a typing error from a key without asking us.
func checksum(s string) [checksumSize]byte {
	var out [checksumSize]byte
	n := crc32.ChecksumIEEE([]byte(s))
	for i := checksumSize - 1; i >= 0; i-- {
		out[i] = digits[n%62]
		n /= 62
	}
	return out
}

// mint makes a credential with a new secret for the lookup id.
func mint(random io.Reader, prefix, lookup string) (secret.Plain, error) {
	hidden, err := secret.Text(random, secretSize)
	if err != nil {
		return secret.Plain{}, err
	}
	s := prefix + "_" + lookup + hidden
	sum := checksum(s)
	return secret.Of(s + string(sum[:])), nil
}

// last4 are the characters a person recognises a credential by.
func last4(p secret.Plain) string {
	s := p.Reveal()
	return s[len(s)-4:]
}

// Pattern is a regular expression, in the syntax that RE2 and PCRE share, whose
// first group is a credential of that prefix. It cannot check the checksum.
func Pattern(prefix string) string {
	return fmt.Sprintf("(%s_[0-9A-Za-z]{%d})(?:[^0-9A-Za-z]|$)", prefix, bodySize)
}
