package audit

import (
	"context"
	"net/netip"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Filter narrows a reading. Zero fields do not narrow.
type Filter struct {
	Name    Name
	Names   []Name // any of them
	Outcome Outcome
	Reason  string
	Actor   string // the identifier of who did it
	Target  string // the identifier of what it was done to
	IP      netip.Addr
	User    ident.UserID    // as actor or target
	Key     ident.APIKeyID  // as actor or target
	Session ident.SessionID // as actor or target
	Request ident.RequestID
	Event   ident.EventID // the one event of that identifier
	Since   time.Time     // inclusive
	Until   time.Time     // exclusive
}

// Reader reads the log back.
type Reader interface {
	// Events returns at most limit events of the tenant with Seq below before
	// (0: from the newest), newest first.
	Events(ctx context.Context, t ident.Tenant, f Filter, before int64, limit int) ([]Event, error)
	// Requested returns the events of one request in the whole deployment, in the
	// order of the log. It is for the operator.
	Requested(ctx context.Context, r ident.RequestID) ([]Event, error)
	// Export returns at most limit events of the whole deployment with Seq above
	// after, oldest first. It is for the operator.
	Export(ctx context.Context, after int64, limit int) ([]Event, error)
}

// Recorder records events that accompany no other change: refusals, and the
// first routine use of an hour.
type Recorder interface {
	// Record commits the events together.
	RecordAll(ctx context.Context, events ...Event) error
}

// SearchSpan is how many events one search looks at.
const SearchSpan = 5000

// Found is what a search found.
type Found struct {
	Events []Event // newest first
	// Before is where to go on: what has a lower Seq was not looked at. 0: all was.
	Before int64
	// Back is the time of the oldest event that was looked at, where Before is not 0.
	Back time.Time
}

// Searcher looks for what is rare without reading all there is.
type Searcher interface {
	// Search returns at most limit events of the tenant with Seq below before (0:
	// from the newest), among the SearchSpan events before it.
	Search(ctx context.Context, t ident.Tenant, f Filter, before int64, limit int) (Found, error)
}
