package audit

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// ChainReader reads events at their places. What it returns was committed, and
// nothing ever takes a place before what was returned.
type ChainReader interface {
	// Linked returns at most limit links of the whole deployment with an ID
	// above after, in their order. IDs have no gaps but where the beginning of a
	// chain was removed by retention.
	Linked(ctx context.Context, after int64, limit int) ([]Linked, error)
	// LinkedOf returns at most limit links of one shard with a position above
	// after, in their order.
	LinkedOf(ctx context.Context, shard ident.OrgID, after int64, limit int) ([]Linked, error)
}
