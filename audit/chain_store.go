package audit

import (
	"context"
	"time"

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

// ChainStore gives committed events their places and keeps what is signed.
type ChainStore interface {
	ChainReader
	// Seal gives every event that committed before the call its place, and
	// returns how many got one. Who seals at the same time in another process
	// leaves no gap and gives no event two places.
	Seal(ctx context.Context) (int, error)
	// Newest returns the ID of the newest link, and the head of the shard.
	Newest(ctx context.Context, shard ident.OrgID) (id int64, head Head, err error)
	// Unsigned returns at most limit shards with links that no checkpoint
	// covers: at least every of them, or the newest checkpoint is from before.
	Unsigned(ctx context.Context, every int64, before time.Time, limit int) ([]Unsigned, error)
	// AddCheckpoint stores c, unless the shard's newest checkpoint is not the one
	// at the position after any more, and reports whether it did.
	AddCheckpoint(ctx context.Context, c Checkpoint, after int64) (bool, error)
	// Checkpoints returns the checkpoints of links with IDs above after and up to
	// through; of one shard where it is not nil.
	Checkpoints(ctx context.Context, shard *ident.OrgID, after, through int64) ([]Checkpoint, error)
	// Backlog returns what is still to be given a place or a signature.
	Backlog(ctx context.Context) (Backlog, error)
	// BaseOf returns from where the chain of the shard is kept: the zero base
	// where it is kept from its beginning.
	BaseOf(ctx context.Context, shard ident.OrgID) (Base, error)
}

// Unsigned is a shard whose newest links no checkpoint covers.
type Unsigned struct {
	Shard    ident.OrgID
	Position int64 // of its head
	Signed   int64 // position of its newest checkpoint
	Previous Hash  // of that checkpoint
}

// Checkpoint is a signed statement about a shard.
type Checkpoint struct {
	Shard    ident.OrgID
	Position int64
	Link     int64 // ID of the link at Position
	Time     time.Time
	JWS      string
}

// Base is a signed statement of what was removed at the beginning of a shard.
type Base struct {
	Position int64 // the last that was removed
	Hash     Hash  // of the link there
	JWS      string
}
