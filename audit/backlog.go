package audit

import "time"

// Backlog is what the chain has still to do. A zero time says that there is
// nothing.
type Backlog struct {
	Unsealed time.Time // of the oldest event that has no place
	Unsigned time.Time // of the event of the oldest link that no checkpoint covers
}

// Ages are how old the oldest are at now; zero where there are none.
func (b Backlog) Ages(now time.Time) (unsealed, unsigned time.Duration) {
	if !b.Unsealed.IsZero() {
		unsealed = max(now.Sub(b.Unsealed), 0)
	}
	if !b.Unsigned.IsZero() {
		unsigned = max(now.Sub(b.Unsigned), 0)
	}
	return unsealed, unsigned
}
