package apikeys_test

import (
	"hash/crc32"
	"strings"
)

// Credentials made by hand, as an attacker would.

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func checksum(s string) string {
	n, out := crc32.ChecksumIEEE([]byte(s)), [6]byte{}
	for i := 5; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}

// flip is another character of the same kind.
func flip(c byte) string {
	if i := strings.IndexByte(base62, c); i >= 0 {
		if i >= 36 || i < 10 && c != '9' { // keep prefixes lower-case
			return string(base62[max(i, 36)^1])
		}
		return string(base62[i^1])
	}
	return "x"
}

// anotherSecret is a well-formed key with the lookup id of key.
func anotherSecret(key string) string {
	at := len(key) - 46 + 8
	s := key[:at] + strings.Repeat("0", 32)
	return s + checksum(s)
}

// anotherLookup is a well-formed key that does not exist.
func anotherLookup(key string) string {
	s := key[:len(key)-46] + strings.Repeat("Z", 40)
	return s + checksum(s)
}
