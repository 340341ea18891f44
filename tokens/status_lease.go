package tokens

import (
	"context"
	"time"
)

// StatusList is one status list, as storage knows it.
type StatusList struct {
	ID        string
	CreatedAt time.Time
	ClosedAt  time.Time // when its last place was leased; zero while some are left
}

// Lease asks for a block of places.
type Lease struct {
	Count   uint32 // at most so many
	Holder  LeaseHolder
	At      time.Time
	Until   time.Time // when the last token that may stand in the block has expired
	NewList string    // the id of a list to open where no other is open
}

// PlaceStore keeps status lists and who leased which of their places. What was
// revoked of them the log of changes says.
type PlaceStore interface {
	// LeasePlaces sets places aside that nobody else has or ever gets, at least
	// one, and remembers the holder, where there is one, until l.Until. A
	// revocation of the holder that commits later covers the block.
	LeasePlaces(ctx context.Context, l Lease) (PlaceRange, error)
	// StatusLists returns every list there is, oldest first.
	StatusLists(ctx context.Context) ([]StatusList, error)
	// DeleteOldLeases removes at most limit leases that ended before the given
	// time, and returns how many.
	DeleteOldLeases(ctx context.Context, before time.Time, limit int) (int, error)
	// DeleteOldStatusLists removes at most limit lists that were closed before
	// the given time, and returns how many.
	DeleteOldStatusLists(ctx context.Context, before time.Time, limit int) (int, error)
}
