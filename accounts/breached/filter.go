// Package breached knows the passwords that attackers try first, as found in
// what was stolen from others. It needs no network: the list is part of the
// binary, as a set of digests and not as passwords.
package breached

import (
	"crypto/sha256"
	_ "embed" // the list
	"encoding/binary"
	"math/bits"
	"sort"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"
)

// list is made by the command in build; docs/breached-passwords.md says from what.
//
//go:embed passwords.bin
var list []byte

// FalseOneIn is how rare it is that a password that is not on the list is taken
// for one that is: once in so many.
const FalseOneIn = 1 << riceBits

// A list is a set of Golomb-coded differences: the digests of its passwords,
// reduced to numbers below FalseOneIn times their count, in order; of each the
// difference to the one before, its high part in unary and riceBits low bits.
// That is 21.6 bits for each password. Marks say where to begin to read, so that a
// question takes microseconds and the memory is some kilobytes.
const (
	riceBits = 20
	header   = 4   // the count of passwords, big endian
	stride   = 512 // numbers between two marks
)

// mark is a place in a list: the number before it, and the bit where the next
// difference begins.
type mark struct {
	at  uint64
	bit int
}

var listMarks = sync.OnceValue(func() []mark { return marksOf(list) })

// Contains reports whether the password, however its letters are written, is on
// the list.
func Contains(password string) bool { return contains(list, listMarks(), password) }

// Count is how many passwords are on the list.
func Count() int { return int(binary.BigEndian.Uint32(list)) }

func contains(list []byte, marks []mark, password string) bool {
	count := int(binary.BigEndian.Uint32(list))
	wanted := reduced(password, uint64(count))
	after := sort.Search(len(marks), func(i int) bool { return marks[i].at >= wanted })
	i := max(after-1, 0) // a mark is before its numbers: one that is wanted itself was counted before it
	at, r := marks[i].at, readerAt(list, marks[i].bit)
	for range min(stride, count-i*stride) {
		if at += r.next(); at >= wanted {
			return at == wanted
		}
	}
	return false
}

// marksOf reads a list through once: there is a mark before every stride-th number.
func marksOf(list []byte) []mark {
	var out []mark
	var at uint64
	r := readerAt(list, 0)
	for n := range int(binary.BigEndian.Uint32(list)) {
		if n%stride == 0 {
			out = append(out, mark{at, 8*(len(list)-header-len(r.rest)) - r.have})
		}
		at += r.next()
	}
	return out
}

// Folded is the form under which passwords are compared: what differs in case or
// in the width of its letters is tried by attackers together.
func Folded(password string) string { return strings.ToLower(norm.NFKC.String(password)) }

// reduced maps a password evenly to the numbers below count * FalseOneIn.
func reduced(password string, count uint64) uint64 {
	sum := sha256.Sum256([]byte(Folded(password)))
	high, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), count<<riceBits)
	return high
}

// reader reads differences, bit by bit.
type reader struct {
	rest []byte
	word uint64 // its highest have bits are what was taken of rest and not read yet
	have int
}

func readerAt(list []byte, bit int) *reader {
	r := &reader{rest: list[header+bit/8:]}
	r.fill()
	r.drop(bit % 8)
	return r
}

// next returns the next difference. Nobody asks past the end: the count says where
// that is.
func (r *reader) next() uint64 {
	var high uint64
	for {
		r.fill()
		ones := bits.LeadingZeros64(^r.word)
		if ones < r.have {
			high += uint64(ones)
			r.drop(ones + 1)
			break
		}
		high += uint64(r.have)
		r.drop(r.have)
		if len(r.rest) == 0 {
			return high << riceBits
		}
	}
	r.fill()
	low := r.word >> (64 - riceBits)
	r.drop(riceBits)
	return high<<riceBits | low
}

// fill takes bytes until no whole one fits.
func (r *reader) fill() {
	for r.have <= 56 && len(r.rest) > 0 {
		r.word |= uint64(r.rest[0]) << (56 - r.have)
		r.rest, r.have = r.rest[1:], r.have+8
	}
}

func (r *reader) drop(n int) { r.word, r.have = r.word<<n, r.have-n }
