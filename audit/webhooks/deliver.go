package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// Limits of the delivery. Together they bound what a replica has in memory:
// maxTurns times placesRead events, and as many answers of maxAnswer bytes as
// there are turns.
const (
	// AttemptTimeout is how long a receiver may take for one message.
	AttemptTimeout = 15 * time.Second
	// turnTime is when a turn ends: after it nothing is begun.
	turnTime = 5 * time.Second
	// turnEvents bounds how many messages are sent in a turn.
	turnEvents = 100
	// lease is how long a turn may take before another replica takes over:
	// several times turnTime and AttemptTimeout together.
	lease = time.Minute
	// maxTurns bounds how many endpoints are sent to at once, turnsEach how many
	// of one organisation, so that no organisation keeps the others waiting.
	maxTurns  = 64
	turnsEach = 4
	// placesRead is how many links are read at once.
	placesRead = 100
	// statusGone is a receiver's that wants no more.
	statusGone = 410
	// maxAnswer bounds what is read of an answer, in bytes; only its status counts.
	maxAnswer = 64 << 10
)

// Result is how one attempt ended; a metric's label.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	Failed    Result = "retried" // it failed, and is tried again
	GivenUp   Result = "dead"    // it failed for the last time
	Refused   Result = "gone"    // 410: the receiver wants no more
)

// Results lists every Result.
func Results() []Result { return []Result{Delivered, Failed, GivenUp, Refused} }

// Asker sends one request to a server that a tenant named: outbound.Client.
type Asker interface {
	Do(ctx context.Context, r outbound.Request) (outbound.Response, error)
}

// Deliverer sends events to endpoints. Every field but Observe is required.
type Deliverer struct {
	Queue  Queue
	Chain  audit.ChainReader
	Sealer Sealer
	Asker  Asker
	Now    func() time.Time
	Log    *slog.Logger
	// Observe, where set, is told how each attempt ended.
	Observe func(Result)

	mu    sync.Mutex
	turns map[ident.OrgID]int
	all   int
	ends  *sync.Cond
}

// Start begins a turn for each endpoint that is due and for which there is room,
// and returns how many it began. It does not wait for them.
func (d *Deliverer) Start(ctx context.Context) (int, error) {
	return d.start(ctx, func(e Endpoint, err error) {
		if err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "a webhook's turn could not be taken or written down", "webhook", e.ID, "err", err)
		}
	})
}

func (d *Deliverer) start(ctx context.Context, ended func(Endpoint, error)) (int, error) {
	due, err := d.Queue.DueWebhooks(ctx, d.Now(), 2*maxTurns)
	if err != nil {
		return 0, err
	}
	begun := 0
	for _, e := range due {
		if ctx.Err() != nil {
			break
		}
		if !d.enter(e.Org) {
			continue
		}
		begun++
		go func() {
			err := d.turn(ctx, e)
			d.leave(e.Org) // first, so that there is room when the next is begun
			ended(e, err)
		}()
	}
	return begun, nil //nolint:nilerr // whoever stops in between loses nothing
}

// Wait returns when no turn is under way.
func (d *Deliverer) Wait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.all > 0 {
		d.quiet().Wait()
	}
}

// Deliver sends all that is due now, and returns when the next is due: zero where
// nothing waits for its time. Replicas share the work, and so do those who call
// Deliver at the same time.
func (d *Deliverer) Deliver(ctx context.Context) (time.Time, error) {
	for ctx.Err() == nil {
		ends := make(chan error, maxTurns)
		n, err := d.start(ctx, func(_ Endpoint, err error) { ends <- err })
		for range n {
			err = errors.Join(err, <-ends)
		}
		if err != nil {
			return time.Time{}, err
		}
		if n == 0 {
			break
		}
	}
	return d.Queue.NextWebhook(ctx)
}

// quiet is told when the last turn ends. The caller holds mu.
func (d *Deliverer) quiet() *sync.Cond {
	if d.ends == nil {
		d.ends = sync.NewCond(&d.mu)
	}
	return d.ends
}

func (d *Deliverer) enter(org ident.OrgID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= maxTurns || d.turns[org] >= turnsEach {
		return false
	}
	if d.turns == nil {
		d.turns = map[ident.OrgID]int{}
	}
	d.turns[org]++
	d.all++
	return true
}

func (d *Deliverer) leave(org ident.OrgID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all--; d.all == 0 {
		d.quiet().Broadcast()
	}
	if d.turns[org]--; d.turns[org] == 0 {
		delete(d.turns, org)
	}
}
