package tokens

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

const (
	// halfBits is half the bits of an index below StatusListPlaces.
	halfBits = 10
	halfMask = 1<<halfBits - 1
	// rounds is what a Feistel network needs at the very least to look random to
	// whoever sees many indexes, twice over (Luby, Rackoff 1988; NIST SP 800-38G
	// uses 8 to 10).
	rounds = 10
)

// A Permutation takes the positions of one status list to its indexes, each to
// another: a Feistel network under AES. Without the key the next index cannot
// be told from the last ones. It may be used by many at once.
type Permutation struct{ block cipher.Block }

// PermutationOf returns the permutation of a list under the deployment's key of
// status lists, which is never replaced: places would move.
func PermutationOf(key []byte, list string) Permutation {
	block, err := aes.NewCipher(derive(key, "index", list)[:16])
	if err != nil {
		panic(err) // 16 bytes are a key of AES
	}
	return Permutation{block}
}

// Index returns the index of a position. Both are below 2^20.
func (p Permutation) Index(position uint32) uint32 {
	left, right := position>>halfBits&halfMask, position&halfMask
	for r := range uint32(rounds) {
		left, right = right, left^p.round(r, right)
	}
	return left<<halfBits | right
}

// Position is the inverse of Index.
func (p Permutation) Position(index uint32) uint32 {
	left, right := index>>halfBits&halfMask, index&halfMask
	for r := range uint32(rounds) {
		left, right = right^p.round(rounds-1-r, left), left
	}
	return left<<halfBits | right
}

func (p Permutation) round(number, half uint32) uint32 {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint32(b[:4], number)
	binary.BigEndian.PutUint32(b[4:8], half)
	p.block.Encrypt(b[:], b[:])
	return binary.BigEndian.Uint32(b[:4]) & halfMask
}

// IndexOf returns the index of one position. Whoever asks for many of one list
// keeps its Permutation.
func IndexOf(key []byte, list string, position uint32) uint32 {
	return PermutationOf(key, list).Index(position)
}

// PositionOf is the inverse of IndexOf.
func PositionOf(key []byte, list string, index uint32) uint32 {
	return PermutationOf(key, list).Position(index)
}

// TokenIDAt names the access token that stands at a place: whatever stands
// there is the same token by name. Nobody without the key can tell one from
// the other.
func TokenIDAt(key []byte, p Place) ident.TokenID {
	var position [4]byte
	binary.BigEndian.PutUint32(position[:], p.Position)
	var b [16]byte
	copy(b[:], derive(key, "jti", p.List, string(position[:])))
	return ident.TokenIDFrom(b)
}

// derive makes a key or a name for one use of many from the key.
func derive(key []byte, use string, of ...string) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range append([]string{"tokenhouse status " + use}, of...) {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	return mac.Sum(nil)
}
