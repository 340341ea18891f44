package house

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/server"
)

// MaxClockSkew is how far a replica's clock may be from the database's, which is
// how replicas know of each other's. It is less than what verifiers allow for, twice.
const MaxClockSkew = time.Minute

// clockEvery is how often the clocks are compared besides by whoever asks for
// readiness.
const clockEvery = 5 * time.Second

// compareClocks is server.ErrClock while our clock and the database's are further
// apart than is allowed. Until they agree again nothing is answered that depends on
// the time, and nothing is removed because of its age: one of them is wrong, and
// nobody can tell which.
func (h *House) compareClocks(ctx context.Context) error {
	if h.env.ClockSkew == 0 {
		return nil
	}
	began := h.env.Now()
	theirs, err := h.DB.Clock(ctx)
	if err != nil || theirs.IsZero() {
		return err
	}
	ours := h.env.Now()
	apart := theirs.Before(began.Add(-h.env.ClockSkew)) || theirs.After(ours.Add(h.env.ClockSkew))
	if was := h.state.apart.Swap(apart); was != apart {
		h.env.Logger.WarnContext(ctx, "whether our clock and the database's agree", "agree", !apart, "ours", ours, "theirs", theirs)
	}
	if apart {
		return server.ErrClock
	}
	return nil
}

// clock fails while the clocks disagreed when they were last compared.
func (h *House) clock() error {
	if h.state.apart.Load() {
		return fault.New(fault.Unavailable, "The clock of this server cannot be believed.")
	}
	return nil
}

// onTime does work while the clocks agree.
func (h *House) onTime(work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := h.compareClocks(ctx); err != nil {
			return err
		}
		return work(ctx)
	}
}
