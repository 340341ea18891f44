package changes

import (
	"context"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Heard is the answer of Everywhere.
type Heard struct {
	Replicas int       // that were waited for, this one aside
	Missing  []Replica // that have not confirmed, and may not have heard
}

// patience bounds the pause between two looks at who has confirmed.
const patience = 50 * time.Millisecond

// Everywhere returns when no replica can answer any more as if what committed
// before the call had not happened, or when ctx ends: then Missing names those
// that may, until their Until at the latest.
//
// Why it is enough. Let a change commit at c, and let w > c be when the list is
// read here. A replica believes its caches only before the Until of its last
// beat, and only once it has heard everything that had committed before that
// beat (Poll and Start beat, then read, then believe). So of each replica,
// either its last beat before w has run out at w, and it believes nothing until
// a later beat, which comes after c, so that it has heard of c by then; or it
// is on the list that is read, and we wait until it has heard the question,
// which committed after c; or its Until passes while we wait. A replica that
// loses its place in the log drops its caches, and its old row goes with them.
// Clocks may be apart by skew. What a request read before it heard it may still
// finish with: requests that began before Everywhere returned are not covered.
// Nor is what a subscriber loads again in the background: signing keys.
func (f *Feed) Everywhere(ctx context.Context) (Heard, error) {
	r := f.Roll
	if r == nil {
		return Heard{}, nil
	}
	began := f.Now()
	h, err := f.everywhere(ctx, began)
	if err == nil && r.Observe != nil {
		r.Observe(f.Now().Sub(began), len(h.Missing) == 0)
	}
	return h, err
}

func (f *Feed) everywhere(ctx context.Context, now time.Time) (Heard, error) {
	r := f.Roll
	waiting, err := f.others(ctx, now)
	if err != nil || len(waiting) == 0 {
		return Heard{}, err
	}
	h := Heard{Replicas: len(waiting), Missing: waiting}
	question, err := secret.Text(r.Random, 16)
	if err != nil {
		return h, err
	}
	if err := r.Replicas.Ask(ctx, Change{Kind: Question, Key: question, At: now}); err != nil {
		return h, err
	}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, patience) {
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return h, nil
		}
		still, err := f.missing(ctx, question, h.Missing)
		if err != nil {
			return h, unlessOver(ctx, err)
		}
		if h.Missing = still; len(still) == 0 {
			return h, nil
		}
	}
}

// unlessOver is err, but where ctx has ended: the end of patience is an answer
// and no failure.
func unlessOver(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// others is the list without this process, which heard at its own commit.
func (f *Feed) others(ctx context.Context, now time.Time) ([]Replica, error) {
	listed, err := f.Roll.Replicas.Believing(ctx, now.Add(-skew))
	self := f.Roll.self()
	return slices.DeleteFunc(listed, func(r Replica) bool { return r.ID == self }), err
}

// missing is who of waiting is still listed and has not confirmed.
func (f *Feed) missing(ctx context.Context, question string, waiting []Replica) ([]Replica, error) {
	// The list first: who leaves it in between has confirmed or believes nothing.
	listed, err := f.others(ctx, f.Now())
	if err != nil {
		return nil, err
	}
	confirmed, err := f.Roll.Replicas.Confirmed(ctx, question)
	if err != nil {
		return nil, err
	}
	var still []Replica
	for _, r := range listed {
		known := slices.ContainsFunc(waiting, func(w Replica) bool { return w.ID == r.ID })
		if known && !slices.Contains(confirmed, r.ID) {
			still = append(still, r)
		}
	}
	return still, nil
}
