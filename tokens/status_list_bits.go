package tokens

import (
	"bytes"
	"compress/zlib"
	"container/heap"
	"encoding/base64"
	"sync"
)

// listBytes is the length of a status list before it is compressed.
const listBytes = StatusListPlaces / 8

// revokedPlaces is which places of one list are revoked, and until when. What
// is heard or over changes its own bits only.
type revokedPlaces struct {
	index   func(position uint32) uint32
	bits    []byte              // by index, the least significant bit of a byte first; nil before the first
	until   map[placeSpan]int64 // microseconds since 1970
	ends    spanEnds            // the earliest on top
	more    map[uint32]uint16   // by position: how many spans name it beside the first
	set     int                 // how many bits are
	version uint64              // counts what changed the bits
}

// placeSpan is a PlaceRange of a list that is known.
type placeSpan struct{ first, count uint32 }

// add marks a span until then. A span may be heard twice, and prolonged.
func (r *revokedPlaces) add(s placeSpan, until int64) {
	old, had := r.until[s]
	if had && until <= old {
		return
	}
	if r.bits == nil {
		r.bits, r.until = make([]byte, listBytes), map[placeSpan]int64{}
	}
	r.until[s] = until
	heap.Push(&r.ends, spanEnd{until, s})
	if had {
		return
	}
	for p := s.first; p < s.first+s.count; p++ {
		i := r.index(p)
		if r.bits[i/8]&(1<<(i%8)) == 0 {
			r.bits[i/8] |= 1 << (i % 8)
			r.set++
			r.version++
			continue
		}
		if r.more == nil {
			r.more = map[uint32]uint16{}
		}
		r.more[p]++
	}
}

// expire clears what no span names any more.
func (r *revokedPlaces) expire(now int64) {
	for len(r.ends) > 0 && r.ends[0].until <= now {
		s := heap.Pop(&r.ends).(spanEnd).span
		if until, had := r.until[s]; !had || until > now { // it was prolonged
			continue
		}
		delete(r.until, s)
		for p := s.first; p < s.first+s.count; p++ {
			switch n := r.more[p]; n {
			case 0:
				i := r.index(p)
				r.bits[i/8] &^= 1 << (i % 8)
				r.set--
				r.version++
			case 1:
				delete(r.more, p)
			default:
				r.more[p] = n - 1
			}
		}
	}
	if r.set == 0 { // give back what a busy time needed
		r.bits, r.until, r.ends, r.more = nil, nil, nil, nil
	}
}

// spanEnds is a heap of when spans are over, the first on top.
type spanEnds []spanEnd

type spanEnd struct {
	until int64
	span  placeSpan
}

func (e spanEnds) Len() int           { return len(e) }
func (e spanEnds) Less(i, j int) bool { return e[i].until < e[j].until }
func (e spanEnds) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }

// Push adds an end; use heap.Push.
func (e *spanEnds) Push(x any) { *e = append(*e, x.(spanEnd)) }

// Pop removes the last; use heap.Pop.
func (e *spanEnds) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// packer compresses lists, one at a time: its tables are larger than a list.
type packer struct {
	mu   sync.Mutex
	zlib *zlib.Writer
	out  bytes.Buffer
}

// pack makes the lst of a list: a ZLIB stream (RFC 1950) in base64url. nil bits
// are a list in which nothing is revoked.
func (p *packer) pack(bits []byte) (string, error) {
	if bits == nil {
		bits = make([]byte, listBytes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Reset()
	if p.zlib == nil {
		// The best compression takes twenty times as long for a tenth less.
		p.zlib = zlib.NewWriter(&p.out)
	}
	p.zlib.Reset(&p.out)
	if _, err := p.zlib.Write(bits); err != nil {
		return "", err
	}
	if err := p.zlib.Close(); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(p.out.Bytes()), nil
}
