package breached

import (
	"encoding/binary"
	"slices"
)

// Encode makes a list of the passwords. Those that are the same once folded
// count once.
func Encode(passwords []string) []byte {
	folded := make([]string, len(passwords))
	for i, p := range passwords {
		folded[i] = Folded(p)
	}
	slices.Sort(folded)
	folded = slices.Compact(folded)
	numbers := make([]uint64, len(folded))
	for i, p := range folded {
		numbers[i] = reduced(p, uint64(len(folded)))
	}
	slices.Sort(numbers)
	w := writer{out: binary.BigEndian.AppendUint32(nil, uint32(len(folded)))}
	var before uint64
	for _, n := range numbers {
		w.add(n - before)
		before = n
	}
	return w.end()
}

// writer writes differences, bit by bit.
type writer struct {
	out  []byte
	word byte
	have int
}

func (w *writer) add(difference uint64) {
	for range difference >> riceBits {
		w.bit(1)
	}
	w.bit(0)
	for i := riceBits - 1; i >= 0; i-- {
		w.bit(byte(difference>>i) & 1)
	}
}

func (w *writer) bit(b byte) {
	w.word = w.word<<1 | b
	if w.have++; w.have == 8 {
		w.out, w.word, w.have = append(w.out, w.word), 0, 0
	}
}

// end fills up the last byte.
func (w *writer) end() []byte {
	for w.have > 0 {
		w.bit(0)
	}
	return w.out
}
