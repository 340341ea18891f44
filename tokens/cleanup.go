package tokens

import (
	"context"
	"time"
)

const (
	// keepExpired is how long an expired family is kept, so that its tokens are
	// answered with the true reason and its end is seen in lists of storage.
	keepExpired = 7 * 24 * time.Hour
	// keepChanges is how much longer than needed a change is kept: much longer
	// than a follower may be silent.
	keepChanges = time.Hour
	// cleanupBatch bounds how long one statement holds locks.
	cleanupBatch = 500
)

// Cleaned counts what a cleanup removed.
type Cleaned struct{ Sessions, Changes int }

// Cleanup removes, in small batches, the sessions and changes that stopped
// mattering. Several replicas may run it at once.
func (s *Service) Cleanup(ctx context.Context) (Cleaned, error) {
	now := s.Now()
	var c Cleaned
	var err error
	if c.Sessions, err = inBatches(ctx, now.Add(-keepExpired), s.Store.DeleteExpiredSessions); err != nil {
		return c, err
	}
	c.Changes, err = inBatches(ctx, now.Add(-keepChanges), s.Store.DeleteOldChanges)
	return c, err
}

func inBatches(ctx context.Context, before time.Time, remove func(context.Context, time.Time, int) (int, error)) (int, error) {
	var total int
	for {
		n, err := remove(ctx, before, cleanupBatch)
		total += n
		if err != nil || n < cleanupBatch {
			return total, err
		}
		if err := ctx.Err(); err != nil {
			return total, err
		}
	}
}
