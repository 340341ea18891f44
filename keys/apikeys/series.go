package apikeys

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// UsageStore tells how often keys were used.
type UsageStore interface {
	// APIKeyUsage returns the sums of the key's hourly buckets from from until
	// before to, by steps of whole hours counted from 1970, oldest first; steps
	// without any use are left out. The caller knows that the key is the tenant's.
	APIKeyUsage(ctx context.Context, id ident.APIKeyID, from, to time.Time, step time.Duration) ([]UsageBucket, error)
	// PruneAPIKeyUsage removes at most limit buckets of hours before usage, and at
	// most limit windows of limits that ended before allowances. It returns the
	// greater number.
	PruneAPIKeyUsage(ctx context.Context, usage, allowances time.Time, limit int) (int, error)
}

// UsageBucket is what happened with a key in a step of time.
type UsageBucket struct {
	Start   time.Time
	OK      int64 // accepted
	Refused int64 // refused, but for the limits
	Limited int64 // refused by a limit of the key
}

// Step is the resolution of a series.
type Step string

// The steps of a series, and how long one of each may be.
const (
	Hourly Step = "hour"
	Daily  Step = "day"

	maxHourly = 31 * 24 * time.Hour
	maxDaily  = 366 * 24 * time.Hour
)

// Span is what a series covers. Where From is zero it begins a day, or thirty,
// before To; where To is zero it ends with the present hour or day. Both are
// rounded outwards to the step, in UTC.
type Span struct {
	From, To time.Time
	Step     Step // Hourly where empty
}

// Series is how often a key was used.
type Series struct {
	Span
	Buckets []UsageBucket // oldest first; steps without any use are left out
}

// Usage returns how often a key of the caller's organisation was used. Uses are
// counted in memory first and stored within seconds. It needs api-keys:read. At
// most 31 days by the hour, or 366 by the day, can be asked for at once.
func (s *Service) Usage(ctx context.Context, caller ident.Caller, id ident.APIKeyID, sp Span) (Series, error) {
	if !caller.May(PermRead) {
		return Series{}, fault.Lacking(string(PermRead))
	}
	now := s.Now()
	sp, step, err := sp.resolve(now)
	if err != nil {
		return Series{}, err
	}
	if _, err := s.find(ctx, caller, id, now); err != nil {
		return Series{}, err
	}
	buckets, err := s.Store.APIKeyUsage(ctx, id, sp.From, sp.To, step)
	return Series{Span: sp, Buckets: buckets}, err
}

func (sp Span) resolve(now time.Time) (Span, time.Duration, error) {
	step, most, usual := time.Hour, maxHourly, 24*time.Hour
	switch sp.Step {
	case "", Hourly:
		sp.Step = Hourly
	case Daily:
		step, most, usual = 24*time.Hour, maxDaily, 30*24*time.Hour
	default:
		return Span{}, 0, fault.Refuse("by", "must be hour or day")
	}
	if sp.To.IsZero() {
		sp.To = now
		if !sp.From.IsZero() && !sp.From.Before(now) {
			return Span{}, 0, fault.Refuse("from", "must be in the past")
		}
		sp.To = sp.To.Truncate(step).Add(step)
	}
	if sp.From.IsZero() {
		sp.From = sp.To.Add(-usual)
	}
	sp.From = sp.From.UTC().Truncate(step)
	if up := sp.To.UTC().Truncate(step); up.Before(sp.To) {
		sp.To = up.Add(step)
	}
	sp.To = sp.To.UTC()
	if !sp.From.Before(sp.To) {
		return Span{}, 0, fault.Refuse("to", "must be after from")
	}
	if sp.To.Sub(sp.From) > most {
		return Span{}, 0, fault.Refuse("from", "must be at most 31 days before to by the hour, and 366 days by the day")
	}
	return sp, step, nil
}

// pruneBatch bounds how many rows one statement removes.
const pruneBatch = 500

// Prune removes how often keys were used longer ago than is kept, and the counts
// of windows that ended, in small batches.
func (s *Service) Prune(ctx context.Context) error {
	now, kept := s.Now(), s.UsageRetention
	if kept == 0 {
		kept = DefaultUsageRetention
	}
	// A replica whose clock is behind may still count in a window that ended here.
	windows := now.Add(-time.Hour)
	for n := pruneBatch; n == pruneBatch && ctx.Err() == nil; {
		var err error
		if n, err = s.Store.PruneAPIKeyUsage(ctx, now.Add(-kept), windows, pruneBatch); err != nil {
			return err
		}
	}
	return nil
}
