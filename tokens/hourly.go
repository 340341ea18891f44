package tokens

import "sync"

// hourly remembers which sessions had their first routine event of the hour.
// It forgets rather than grows: then an hour has two first events.
type hourly struct {
	mu   sync.Mutex
	hour int64
	seen map[string]struct{}
}
