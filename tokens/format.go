package tokens

import (
	"encoding/binary"
	"hash/crc32"
	"math/big"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// A refresh token is "thr_", the cookie of a browser session "thb_", then 50 base62 digits of
//
//	session id (16 bytes) · generation (4) · key id (1) · HMAC-SHA-256/128 of those (16)
//
// and 6 digits of the CRC-32 of all before, by which secret scanners know one
// and a mistyped one costs no HMAC. The two have different keys. The database
// holds none of this.
const (
	refreshPrefix = "thr_"
	browserPrefix = "thb_"
	bodyBytes     = 37
	namedBytes    = 21 // what the MAC authenticates
	bodyDigits    = 50 // 62^50 > 2^296
	crcDigits     = 6  // 62^6 > 2^32
	tokenSize     = len(refreshPrefix) + bodyDigits + crcDigits

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// generationOf is what a token names.
type generationOf struct {
	Session    ident.SessionID
	Generation uint32
}

// malformed never says what is wrong with the token: it was made up, mangled on
// its way, or belongs to another deployment or client.
func malformed() error { return fault.New(fault.InvalidToken, "Refresh token is not valid") }

// format derives the refresh token of one generation. The same generation has the same
// token for as long as the key is current.
func format(g generationOf, keys MACKeys) (secret.Plain, error) {
	return write(refreshPrefix, g, keys)
}

// parse is the inverse of format. It accepts one spelling of each token, and
// only what the server made.
func parse(text string, keys MACKeys) (generationOf, error) {
	g, ok := read(refreshPrefix, text, keys)
	if !ok {
		return generationOf{}, malformed()
	}
	return g, nil
}

func write(prefix string, g generationOf, keys MACKeys) (secret.Plain, error) {
	id, err := g.Session.Bytes()
	if err != nil {
		return secret.Plain{}, err
	}
	keyID, key := keys.Current()
	b := make([]byte, 0, bodyBytes)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, g.Generation)
	b = append(b, keyID)
	b = append(b, secret.MAC(key, string(b))[:bodyBytes-namedBytes]...)
	text := prefix + digitsOf(new(big.Int).SetBytes(b), bodyDigits)
	return secret.Of(text + checksum(text)), nil
}

func read(prefix, text string, keys MACKeys) (generationOf, bool) {
	if len(text) != tokenSize || !strings.HasPrefix(text, prefix) {
		return generationOf{}, false
	}
	body, crc := text[:tokenSize-crcDigits], text[tokenSize-crcDigits:]
	if checksum(body) != crc {
		return generationOf{}, false
	}
	n, ok := numberOf(body[len(prefix):])
	if !ok || n.BitLen() > 8*bodyBytes {
		return generationOf{}, false
	}
	b := n.FillBytes(make([]byte, bodyBytes))
	key, ok := keys.ByID(b[namedBytes-1])
	if !ok || !secret.Equal(b[namedBytes:], secret.MAC(key, string(b[:namedBytes]))[:bodyBytes-namedBytes]) {
		return generationOf{}, false
	}
	return generationOf{ident.SessionIDFrom([16]byte(b)), binary.BigEndian.Uint32(b[16:])}, true
}

func checksum(text string) string {
	return digitsOf(big.NewInt(int64(crc32.ChecksumIEEE([]byte(text)))), crcDigits)
}

// digitsOf writes n in base 62 with exactly width digits. It changes n.
func digitsOf(n *big.Int, width int) string {
	out := make([]byte, width)
	base, digit := big.NewInt(int64(len(base62))), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.QuoRem(n, base, digit)
		out[i] = base62[digit.Int64()]
	}
	return string(out)
}

func numberOf(text string) (*big.Int, bool) {
	n, base := new(big.Int), big.NewInt(int64(len(base62)))
	for _, c := range []byte(text) {
		d := strings.IndexByte(base62, c)
		if d < 0 {
			return nil, false
		}
		n.Add(n.Mul(n, base), big.NewInt(int64(d)))
	}
	return n, true
}
