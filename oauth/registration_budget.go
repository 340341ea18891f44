package oauth

import (
	"sync"
	"time"
)

// maxBudgets bounds the networks that are remembered; beyond it new ones wait
// for the next hour.
const maxBudgets = 10_000

// fetchBudget bounds what strangers make us fetch: a sector_identifier_uri is
// read before the client is counted, and a client that is refused never is. It
// is of this process, and ready to use.
type fetchBudget struct {
	mu   sync.Mutex
	hour int64
	used map[string]int
}

// take reports whether the network may cause one fetch more in this hour.
func (b *fetchBudget) take(network string, now time.Time, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if hour := now.Unix() / 3600; b.used == nil || hour != b.hour {
		b.hour, b.used = hour, map[string]int{}
	}
	if n, known := b.used[network]; n >= most || !known && len(b.used) >= maxBudgets {
		return false
	}
	b.used[network]++
	return true
}
