package apikeys

import (
	"net/netip"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Throttle bounds how many wrong keys one source may present: such as never
// were good. A source is an
// IPv4 address or an IPv6 /64. What exceeds it is refused without a question
// to the database. A right key that is in memory passes all the same, so that
// nobody is locked out of a key by guesses at it, not even a neighbour of the
// one who guesses.
type Throttle struct {
	Burst     int // wrong keys at once; DefaultThrottle's where zero
	PerSecond int // wrong keys in the long run; DefaultThrottle's where zero
}

// DefaultThrottle is that of a deployment that chooses none.
func DefaultThrottle() Throttle { return Throttle{Burst: 300, PerSecond: 20} }

func (t Throttle) orDefault() Throttle {
	usual := DefaultThrottle()
	if t.Burst <= 0 {
		t.Burst = usual.Burst
	}
	if t.PerSecond <= 0 {
		t.PerSecond = usual.PerSecond
	}
	return t
}

// maxBuckets is how many sources are remembered.
const maxBuckets = 1 << 16

// sieve holds a bucket of tokens for each source that presented a wrong key.
type sieve struct {
	mu      sync.Mutex
	buckets map[netip.Prefix]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// take takes a token of the source, or tells how long to wait for one. Nothing
// is asked of a source that is not known.
func (v *sieve) take(source netip.Prefix, t Throttle, now time.Time) (wait time.Duration) {
	if !source.IsValid() {
		return 0
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	b, known := v.buckets[source]
	if b = b.filled(t, now, known); b.tokens < 1 {
		return max(time.Millisecond, time.Duration((1-b.tokens)/float64(t.PerSecond)*float64(time.Second)))
	}
	b.tokens--
	v.put(source, b, t, now)
	return 0
}

// giveBack returns a token: the key was right.
func (v *sieve) giveBack(source netip.Prefix, t Throttle, now time.Time) {
	if !source.IsValid() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if b, known := v.buckets[source]; known {
		if b = b.filled(t, now, true); b.tokens+1 >= float64(t.Burst) {
			delete(v.buckets, source)
		} else {
			b.tokens++
			v.buckets[source] = b
		}
	}
}

func (b bucket) filled(t Throttle, now time.Time, known bool) bucket {
	if !known {
		return bucket{tokens: float64(t.Burst), at: now}
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens, b.at = min(float64(t.Burst), b.tokens+d.Seconds()*float64(t.PerSecond)), now
	}
	return b
}

// put keeps a bucket. Where there are too many, the full ones go, and else
// some other one: it is the better off for it.
func (v *sieve) put(source netip.Prefix, b bucket, t Throttle, now time.Time) {
	if v.buckets == nil {
		v.buckets = make(map[netip.Prefix]bucket)
	}
	if _, known := v.buckets[source]; !known && len(v.buckets) >= maxBuckets {
		n := 0
		for p, old := range v.buckets { // a sample: map order is random
			if old.filled(t, now, true).tokens >= float64(t.Burst) || n == 0 {
				delete(v.buckets, p)
			}
			if n++; n >= 64 {
				break
			}
		}
	}
	v.buckets[source] = b
}

// errThrottled is the same whatever was wrong with the key.
func errThrottled(wait time.Duration) error {
	return fault.New(fault.RateLimited, "Too many wrong API keys came from this address.").After(max(wait, time.Second))
}
