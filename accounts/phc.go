package accounts

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Params are the costs of Argon2id (RFC 9106 §3.1).
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8  // lanes
}

// FloorParams are the least costs of a new hash.
func FloorParams() Params { return Params{Memory: 19 * 1024, Time: 2, Threads: 1} }

// The bounds of a stored hash: more would let whoever wrote it exhaust us.
const (
	maxMemory  = 1 << 20 // KiB: 1 GiB
	maxTime    = 16
	maxThreads = 16
)

// raised returns p with everything below the floor raised to it.
func (p Params) raised() Params {
	f := FloorParams()
	return Params{Memory: max(p.Memory, f.Memory), Time: max(p.Time, f.Time), Threads: max(p.Threads, f.Threads)}
}

// ErrHash is a stored hash that we do not read: another scheme, a malformed
// text, or parameters out of bounds.
var ErrHash = errors.New("not an argon2id PHC string within m<=1048576, t<=16, p<=16")

// CheckHash reports ErrHash for a hash that must not be imported. It computes
// nothing, so it is safe on hostile input.
func CheckHash(stored string) error {
	_, err := parsePHC(stored)
	return err
}

// phc is "$argon2id$v=19$m=M,t=T,p=P$salt$hash", both in base 64 without
// padding.
type phc struct {
	params     Params
	salt, hash []byte
}

// String returns the PHC string.
func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.params.Memory, p.params.Time, p.params.Threads, b64(p.salt), b64(p.hash))
}

// weaker reports whether a new hash with the params now would cost more in any way.
func (p phc) weaker(now Params) bool {
	return p.params.Memory < now.Memory || p.params.Time < now.Time || len(p.salt) < saltSize || len(p.hash) < hashSize
}

func parsePHC(s string) (phc, error) {
	f := strings.Split(s, "$")
	if len(s) > 512 || len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, ErrHash
	}
	costs := strings.Split(f[3], ",")
	if len(costs) != 3 {
		return phc{}, ErrHash
	}
	m, ok1 := cost(costs[0], "m=", maxMemory)
	t, ok2 := cost(costs[1], "t=", maxTime)
	l, ok3 := cost(costs[2], "p=", maxThreads)
	if !ok1 || !ok2 || !ok3 || m < 8*l { // RFC 9106 §3.1: at least 8 blocks for each lane
		return phc{}, ErrHash
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(f[4])
	hash, err2 := base64.RawStdEncoding.Strict().DecodeString(f[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(hash) < 16 || len(hash) > 64 {
		return phc{}, ErrHash
	}
	p := phc{params: Params{Memory: m, Time: t, Threads: uint8(l)}, salt: salt, hash: hash}
	if p.String() != s { // the decoder skips line breaks
		return phc{}, ErrHash
	}
	return p, nil
}

// cost reads name and a plain decimal between 1 and most.
func cost(s, name string, most uint64) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, name)
	if !ok || digits == "" || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n <= most
}
