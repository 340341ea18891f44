package outputs

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// Store keeps, for each output, how far it came and which replica serves it.
type Store interface {
	// ClaimOutput lends the output to the holder until then, unless another
	// holder has it at now, and returns how far it came. An output that is new
	// comes to stand before the oldest event where start, else after the newest.
	ClaimOutput(ctx context.Context, c Claim) (cursor Cursor, ok bool, err error)
	// AdvanceOutput stores how far the output came and extends the loan. It
	// reports false where the holder has lost it.
	AdvanceOutput(ctx context.Context, c Claim, to Cursor) (bool, error)
	// EventsAfter returns at most limit events after the cursor, in an order in
	// which no event comes before one that was returned earlier, and the cursor
	// after what was looked at: where that is no further than from, there is
	// nothing more. Events that were pruned are left out.
	EventsAfter(ctx context.Context, from Cursor, limit int) ([]audit.Event, Cursor, error)
}

// Cursor is a place in the log.
type Cursor int64

// Claim asks for an output.
type Claim struct {
	Output string
	Holder string // of this process
	Start  bool
	Now    time.Time
	Until  time.Time
}

// How an output is served.
const (
	batchSize = 500
	// lease is how long a replica that died keeps an output from the others. It
	// is more than one batch may take.
	lease = time.Minute
	// retryMost is the longest time between two attempts at a receiver that does
	// not take anything; the first is a second.
	retryMost = 30 * time.Second
)

// handover takes events: when it returns nil they were taken.
type handover interface {
	send(ctx context.Context, events []audit.Event) error
}

// Process is who sends.
type Process struct {
	Host   string // of this machine, for syslog
	PID    int
	Stdout io.Writer // of the target stdout:; nowhere where nil
}

// Output serves one target. Set the exported fields; one goroutine uses it.
type Output struct {
	Target  Target
	Store   Store
	Holder  string // names this process: no other has it
	Version string // of tokenhouse
	Process Process
	Now     func() time.Time
	Observe func(kind string, behind time.Duration) // how old the oldest event not yet taken is; may be nil

	wait  time.Duration
	retry time.Time
}

// Deliver hands over everything that is there, unless another replica serves
// the output or a failed attempt is too recent.
func (o *Output) Deliver(ctx context.Context) error {
	now := o.Now()
	if now.Before(o.retry) {
		return nil
	}
	err := o.deliver(ctx)
	if err == nil {
		o.wait, o.retry = 0, time.Time{}
		return nil
	}
	o.wait = min(max(2*o.wait, time.Second), retryMost)
	o.retry = o.Now().Add(o.wait)
	return fmt.Errorf("output %s: %w", o.Target.Name, err)
}

func (o *Output) deliver(ctx context.Context) error {
	at, mine, err := o.Store.ClaimOutput(ctx, o.claim())
	if err != nil || !mine {
		return err
	}
	to := o.handover()
	for ctx.Err() == nil {
		events, next, err := o.Store.EventsAfter(ctx, at, batchSize)
		if err != nil {
			return err
		}
		o.behind(events)
		if next == at {
			return nil
		}
		if len(events) > 0 {
			if err := to.send(ctx, events); err != nil {
				return err
			}
		}
		// Whoever dies here has sent what the next one sends again.
		if mine, err = o.Store.AdvanceOutput(ctx, o.claim(), next); err != nil || !mine {
			return err
		}
		at = next
	}
	return ctx.Err()
}

func (o *Output) claim() Claim {
	now := o.Now()
	return Claim{Output: o.Target.Name, Holder: o.Holder, Start: o.Target.Start, Now: now, Until: now.Add(lease)}
}

func (o *Output) behind(waiting []audit.Event) {
	if o.Observe == nil {
		return
	}
	var age time.Duration
	if len(waiting) > 0 {
		age = o.Now().Sub(waiting[0].Time)
	}
	o.Observe(o.Target.Kind, age)
}

func (o *Output) handover() handover {
	switch o.Target.Kind {
	case "stdout":
		return writer{o.Target, o.Version, cmp.Or(o.Process.Stdout, io.Discard)}
	case "file":
		return file{o.Target, o.Version}
	default:
		return &syslog{o.Target, o.Process, o.Version}
	}
}
