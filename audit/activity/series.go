package activity

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// PermRead is what who asks for a series must hold: it is told from the audit log.
const PermRead scope.Permission = "audit:read"

// Range is how far back a series goes.
type Range string

// The ranges, and by what steps they are told.
const (
	Day   Range = "day"   // 24 steps of an hour
	Week  Range = "week"  // 28 of six hours
	Month Range = "month" // 30 of a day
	Year  Range = "year"  // 52 of seven days
)

// Ranges lists every range, the shortest first.
func Ranges() []Range { return []Range{Day, Week, Month, Year} }

// steps says how many steps of which length a range has.
func (r Range) steps() (int, time.Duration, bool) {
	const hour = time.Hour
	switch r {
	case Day:
		return 24, hour, true
	case Week:
		return 28, 6 * hour, true
	case Month:
		return 30, 24 * hour, true
	case Year:
		return 52, 7 * 24 * hour, true
	default:
		return 0, 0, false
	}
}

// Series is what happened in an organisation, in steps of the same length. The
// last one is under way.
type Series struct {
	Range   Range
	From    time.Time // the start of the first step, UTC
	Step    time.Duration
	Steps   int
	buckets []Bucket
}

// Line is how often something of one label happened, step by step.
type Line struct {
	Label  string
	Counts []int64
	Total  int64
}

// Of returns the series of the caller's organisation until now. It is seconds
// behind. It needs audit:read; a range that there is not is fault.Invalid.
func (s *Service) Of(ctx context.Context, caller ident.Caller, r Range) (Series, error) {
	if !caller.May(PermRead) {
		return Series{}, fault.Lacking(string(PermRead))
	}
	n, step, known := r.steps()
	if !known {
		return Series{}, fault.Refuse("range", "must be day, week, month or year")
	}
	// Truncate counts from the year 1, storage from 1970: that is the same for
	// every step but the week, which is brought to 1970 here.
	now := s.Now().UTC()
	to := time.Unix(0, 0).UTC().Add(now.Sub(time.Unix(0, 0)).Truncate(step)).Add(step)
	out := Series{Range: r, From: to.Add(-time.Duration(n) * step), Step: step, Steps: n}
	var err error
	out.buckets, err = s.Store.Activity(ctx, caller.Tenant(), out.From, to, step)
	return out, err
}

// Lines returns what happened of the kind, the most frequent label first.
func (s Series) Lines(k Kind) []Line {
	byLabel := map[string]*Line{}
	for _, b := range s.buckets {
		at := int(b.Start.Sub(s.From) / s.Step)
		if b.Kind != k || at < 0 || at >= s.Steps {
			continue
		}
		l := byLabel[b.Label]
		if l == nil {
			l = &Line{Label: b.Label, Counts: make([]int64, s.Steps)}
			byLabel[b.Label] = l
		}
		l.Counts[at] += b.Count
		l.Total += b.Count
	}
	out := make([]Line, 0, len(byLabel))
	for _, l := range byLabel {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b Line) int { return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Label, b.Label)) })
	return out
}

// Total is how often something of the kind happened.
func (s Series) Total(k Kind) int64 {
	var n int64
	for _, l := range s.Lines(k) {
		n += l.Total
	}
	return n
}

// pruneBatch bounds how many rows one statement removes.
const pruneBatch = 500

// Prune removes hours that are older than Retention.
func (s *Service) Prune(ctx context.Context) error {
	for n := pruneBatch; n == pruneBatch && ctx.Err() == nil; {
		var err error
		if n, err = s.Store.PruneActivity(ctx, s.Now().Add(-Retention), pruneBatch); err != nil {
			return err
		}
	}
	return nil
}
