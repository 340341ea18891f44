package tokens

import (
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// maxRoutine bounds how many sessions are remembered.
const maxRoutine = 1 << 16

// hourly remembers which sessions had their routine event of this hour. It
// forgets rather than grows: then an hour has two of them.
type hourly struct {
	mu   sync.Mutex
	hour int64
	seen map[ident.SessionID]struct{}
}

// first reports whether the session has had no routine event in the hour of
// at, and takes note of one.
func (h *hourly) first(id ident.SessionID, at time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	hour := at.Unix() / 3600
	if h.seen == nil || hour != h.hour || len(h.seen) >= maxRoutine {
		h.hour, h.seen = hour, map[ident.SessionID]struct{}{}
	}
	_, had := h.seen[id]
	h.seen[id] = struct{}{}
	return !had
}

// forget undoes first: the event was not committed.
func (h *hourly) forget(id ident.SessionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seen, id)
}
