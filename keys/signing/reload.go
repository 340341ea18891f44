package signing

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
)

// retries are the pauses after failed reloads. After the last one the ring
// stays as it is until it hears again: the feed calls Forget when it has been
// out of reach, which is what fails a reload for longer.
var retries = []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}

// reloader runs one reload at a time in the background, and one more where it
// was asked meanwhile.
type reloader struct {
	mu      sync.Mutex
	running chan struct{} // closed when the reload that runs has ended; nil where none runs
	again   bool
}

// Hear loads the ring again, in the background, where its keys changed.
func (r *Ring) Hear(cs []changes.Change) {
	if slices.ContainsFunc(cs, func(c changes.Change) bool { return c.Kind == changes.SigningKeys }) {
		r.Forget()
	}
}

// Forget loads the ring again in the background. Until it is loaded the ring
// stays as it was: no keys at all would refuse everybody.
func (r *Ring) Forget() {
	r.reload.mu.Lock()
	defer r.reload.mu.Unlock()
	if r.reload.running != nil {
		r.reload.again = true
		return
	}
	r.reload.running = make(chan struct{})
	go r.reloadUntilQuiet()
}

// Settle returns when the reload that runs in the background, if any, has ended.
func (r *Ring) Settle() {
	r.reload.mu.Lock()
	running := r.reload.running
	r.reload.mu.Unlock()
	if running != nil {
		<-running
	}
}

func (r *Ring) reloadUntilQuiet() {
	for {
		r.reloadPersistently()
		r.reload.mu.Lock()
		if !r.reload.again {
			close(r.reload.running)
			r.reload.running = nil
			r.reload.mu.Unlock()
			return
		}
		r.reload.again = false
		r.reload.mu.Unlock()
	}
}

func (r *Ring) reloadPersistently() {
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := r.Load(ctx)
		cancel()
		if err == nil {
			return
		}
		r.logger().Error("signing keys could not be loaded again", "err", err, "attempt", attempt+1)
		if attempt == len(retries) {
			return
		}
		<-time.After(retries[attempt])
	}
}

func (r *Ring) logger() *slog.Logger {
	if r.Logger == nil {
		return slog.Default()
	}
	return r.Logger
}

var _ changes.Subscriber = (*Ring)(nil)
