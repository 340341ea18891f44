package changes

import (
	"context"
	"time"
)

// Replica is a process that follows the log and answers from its caches.
type Replica struct {
	ID    string    // of one stretch of following: who lost its place goes on under another
	Until time.Time // it believes no cache from then on, unless it says so again before
}

// Replicas is what storage keeps of those who follow the log.
type Replicas interface {
	// Beat stores r in place of the replica before, which may be r itself or empty.
	Beat(ctx context.Context, r Replica, before string) error
	// Leave removes a replica.
	Leave(ctx context.Context, id string) error
	// Believing returns the replicas whose Until is after now, by their ids.
	Believing(ctx context.Context, now time.Time) ([]Replica, error)
	// Ask commits the question c, after all that has committed before.
	Ask(ctx context.Context, c Change) error
	// Confirm stores that the replica has heard the question, once.
	Confirm(ctx context.Context, question, replica string, at time.Time) error
	// Confirmed returns the ids of those that have heard the question.
	Confirmed(ctx context.Context, question string) ([]string, error)
	// Prune removes replicas whose Until, and confirmations whose time, is before.
	Prune(ctx context.Context, before time.Time) error
}
