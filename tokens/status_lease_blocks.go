package tokens

import (
	"cmp"
	"context"
	"encoding/base32"
	"io"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

const (
	// Blocks begin small and grow by growth where they are used up fast, so that
	// a crash loses few places and a busy replica asks rarely.
	leastOwn, mostOwn   = 64, 16384
	leastHeld, mostHeld = 8, 4096
	growth              = 4
	usedUpFast          = 10 * time.Second // so soon after a block was begun, half of it
	usedUpSlowly        = 10 * time.Minute

	// blockLife is how long places are given out of a block. It bounds how long
	// a list must outlive its last lease.
	blockLife = 24 * time.Hour
	// leaseTimeout bounds one lease, which may serve many requests.
	leaseTimeout = 10 * time.Second
	// leaseRetry is how long after a failure no block is fetched ahead of need.
	leaseRetry = time.Second
	// maxHolders bounds how many API keys and clients have blocks here. Beyond
	// it blocks are forgotten, and places with them.
	maxHolders = 1 << 16
)

// PlaceBlocks gives out the places of a replica, from blocks that it leases
// before they are needed. What is left of a block when the process ends is
// lost; no place is ever given twice. Subscribe it to the changes, so that a
// holder that was revoked gets none of the places that were revoked with it.
//
// Store, Now and Random are required.
type PlaceBlocks struct {
	Store  PlaceStore
	Now    func() time.Time
	Random io.Reader
	// MaxAccessTTL is the longest life of an access token; DefaultMaxAccessTTL
	// where zero.
	MaxAccessTTL time.Duration

	own     pool
	running sync.WaitGroup

	mu      sync.Mutex
	holders map[string]*pool
	owners  map[ident.UserID][]string // the holders of each user
}

var (
	_ Places             = (*PlaceBlocks)(nil)
	_ changes.Subscriber = (*PlaceBlocks)(nil)
)

// pool is the blocks of one holder.
type pool struct {
	mu      sync.Mutex
	user    ident.UserID // who owned the key when the pool was made
	now     block        // that places are taken from
	next    block        // fetched ahead
	began   time.Time
	size    uint32 // of the last block that was asked for
	pending *leasing
	failed  time.Time // when a lease last failed
}

// block is places that nobody else has.
type block struct {
	PlaceRange           // what is left
	leased     uint32    // how many there were
	deadline   time.Time // no place is taken afterwards
}

// leasing is a lease under way.
type leasing struct {
	done chan struct{}
	err  error // once done
}

// Next implements Places.
func (b *PlaceBlocks) Next(ctx context.Context, h LeaseHolder) (Place, error) {
	p := b.pool(h)
	for {
		at, wait := b.take(p, h)
		if wait == nil {
			return at, nil
		}
		select {
		case <-wait.done:
			if wait.err != nil {
				return Place{}, noPlace(wait.err)
			}
		case <-ctx.Done():
			return Place{}, noPlace(ctx.Err())
		}
	}
}

func noPlace(err error) error {
	return fault.Wrap(err, fault.Unavailable, "No place in a status list is free now.")
}

// take returns a place, or else the lease to wait for. It sees to it that the
// next block is there before the present one ends.
func (b *PlaceBlocks) take(p *pool, h LeaseHolder) (Place, *leasing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := b.Now()
	if !p.now.good(now) {
		if !p.next.good(now) {
			b.lease(p, h, now)
			return Place{}, p.pending
		}
		p.now, p.next, p.began = p.next, block{}, now
	}
	at := p.now.Place
	p.now.Position++
	p.now.Count--
	if p.now.Count <= p.now.leased/2 && !p.next.good(now) && now.Sub(p.failed) >= leaseRetry {
		b.lease(p, h, now)
	}
	return at, nil
}

func (k block) good(now time.Time) bool { return k.Count > 0 && now.Before(k.deadline) }

// lease fetches the next block of a pool whose mutex is held, where nobody does
// already. It goes on whatever becomes of the request that needed it first.
func (b *PlaceBlocks) lease(p *pool, h LeaseHolder, now time.Time) {
	if p.pending != nil {
		return
	}
	p.size = p.grown(h, now)
	count, under := p.size, &leasing{done: make(chan struct{})}
	p.pending = under
	b.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaseTimeout)
		defer cancel()
		got, err := b.fetch(ctx, h, count, now)
		p.mu.Lock()
		p.pending, under.err = nil, err
		if err == nil {
			p.next, p.failed = got, time.Time{}
		} else {
			p.failed = now
		}
		p.mu.Unlock()
		close(under.done)
	})
}

// grown is how large the next block shall be: by how fast the last was used.
func (p *pool) grown(h LeaseHolder, now time.Time) uint32 {
	least, most := uint32(leastHeld), uint32(mostHeld)
	if h.Kind == NoHolder {
		least, most = leastOwn, mostOwn
	}
	size := p.size
	if p.now.leased == 0 { // the first, or none was had
		return max(size, least)
	}
	switch used := now.Sub(p.began); {
	case used < usedUpFast:
		size *= growth
	case used > usedUpSlowly:
		size /= growth
	}
	return min(max(size, least), most)
}

func (b *PlaceBlocks) fetch(ctx context.Context, h LeaseHolder, count uint32, now time.Time) (block, error) {
	id, err := newListID(b.Random)
	if err != nil {
		return block{}, err
	}
	r, err := b.Store.LeasePlaces(ctx, Lease{Count: count, Holder: h, At: now, Until: now.Add(b.outlives()), NewList: id})
	return block{PlaceRange: r, leased: r.Count, deadline: now.Add(blockLife)}, err
}

// listIDs writes ids of lists in the digits of identifiers.
var listIDs = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newListID draws 56 bits: lists are few, and nothing depends on their ids
// being secret.
func newListID(random io.Reader) (string, error) {
	raw, err := secret.Bytes(random, 7)
	return listIDs.EncodeToString(raw), err
}

// pool returns the blocks of a holder.
func (b *PlaceBlocks) pool(h LeaseHolder) *pool {
	if h.Kind == NoHolder {
		return &b.own
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.holders[h.ID]; ok && p.user == h.User { // a key may have been given to another owner
		return p
	}
	if b.holders == nil || len(b.holders) >= maxHolders {
		b.holders, b.owners = map[string]*pool{}, map[ident.UserID][]string{}
	}
	p := &pool{user: h.User}
	b.holders[h.ID] = p
	if h.User != "" {
		b.owners[h.User] = append(b.owners[h.User], h.ID)
	}
	return p
}

// Hear forgets the blocks of holders that were revoked: their places are.
func (b *PlaceBlocks) Hear(cs []changes.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range cs {
		switch c.Kind {
		case changes.APIKeyRevoked:
			delete(b.holders, c.Key)
		case changes.SubjectCutoff: // of a client, or of a user with API keys
			delete(b.holders, c.Key)
			for _, id := range b.owners[ident.UserID(c.Key)] {
				delete(b.holders, id)
			}
			delete(b.owners, ident.UserID(c.Key))
		}
	}
}

// Forget forgets the blocks of all holders: some may have been revoked.
func (b *PlaceBlocks) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holders, b.owners = nil, nil
}

// Close waits until no lease is under way, or ctx ends. Nobody may ask for
// places any more.
func (b *PlaceBlocks) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() { b.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Cleanup removes, in small batches, the leases and the lists that no living
// token names. Several replicas may run it at once.
func (b *PlaceBlocks) Cleanup(ctx context.Context) error {
	now := b.Now().Add(-keepChanges)
	if _, err := inBatches(ctx, now, b.Store.DeleteOldLeases); err != nil {
		return err
	}
	_, err := inBatches(ctx, now.Add(-b.outlives()), b.Store.DeleteOldStatusLists)
	return err
}

// outlives is how much longer than a lease its last token may live.
func (b *PlaceBlocks) outlives() time.Duration {
	return blockLife + cmp.Or(b.MaxAccessTTL, DefaultMaxAccessTTL) + margin
}
