package apikeys

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// How allowances are fetched.
const (
	leaseTimeout = 2 * time.Second // the longest that a request waits for an allowance
	leasePause   = time.Second     // no replica asks again sooner after the database failed
	leaseQuick   = time.Second     // a chunk that is used up sooner was too small
	evictSample  = 64              // meters looked at to make room for one
	leaseShare   = 100             // of a window's allowance, the most that one replica holds unused
)

// LimitFailure is what becomes of a limited key while its allowance cannot be
// asked for.
type LimitFailure string

// The choices.
const (
	// FailClosed answers fault.Unavailable.
	FailClosed LimitFailure = "closed"
	// FailOpen lets the request pass uncounted.
	FailOpen LimitFailure = "open"
)

// AllowanceStore counts what the keys of a deployment used of their limits.
type AllowanceStore interface {
	// TakeAPIKeyAllowance takes from each window up to Want, of what it has left
	// of Most, in one statement: whatever races, the takings of a window never add
	// up to more than the greatest Most. The answers are in the order of the asks.
	TakeAPIKeyAllowance(ctx context.Context, key ident.APIKeyID, asks []Ask) ([]Taken, error)
}

// Ask is a request for a part of a window's allowance. The windows of one
// period are told apart by their start alone, so that replicas whose clocks
// differ count in different windows rather than stop each other.
type Ask struct {
	Period     string // "1m", "24h", "day", "month"
	Start, End time.Time
	Most, Want int64 // Want is at least 1
}

// Taken is what a replica may now admit by itself.
type Taken struct {
	Granted int64 // 0: the window is used up
	Used    int64 // of the window, by all replicas, with Granted
}

// limiter admits requests of limited keys. It holds a chunk of each window's
// allowance and asks the database for more when that is used up; that a window
// has no more is remembered until its end.
type limiter struct {
	mu   sync.Mutex
	keys map[ident.APIKeyID]*meter
}

// meter is the limits of one key, as one replica knows them. Whoever holds
// turn may use the rest.
type meter struct {
	turn    chan struct{}
	windows map[string]*window
	failed  time.Time // when the database last failed
	ends    time.Time // when the last of the windows does
}

type window struct {
	start, end time.Time
	most       int64
	left       int64 // granted to this replica and not used
	used       int64 // of most, when last heard
	chunk      int64 // the size of the last one
	asked      time.Time
}

// gone reports whether the window is used up, as far as this replica goes.
func (w *window) gone() bool { return w.left == 0 && w.used >= w.most }

// remaining is what is left for everybody, as far as known.
func (w *window) remaining() int64 { return w.left + max(0, w.most-w.used) }

// meter returns the one of the key. When there are size of them, some whose
// windows all ended go, or else any one: what it held is lost to its key,
// which is never too generous.
func (l *limiter) meter(id ident.APIKeyID, now time.Time, size int) *meter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.keys[id]; m != nil {
		return m
	}
	if l.keys == nil {
		l.keys = make(map[ident.APIKeyID]*meter)
	}
	if len(l.keys) >= size {
		l.evict(now)
	}
	m := &meter{turn: make(chan struct{}, 1), windows: make(map[string]*window)}
	l.keys[id] = m
	return m
}

// evict makes room. The caller holds l.mu. A meter that is in use stays. It
// looks at a sample, which map order makes random, since every request of a
// limited key waits for l.mu.
func (l *limiter) evict(now time.Time) {
	var idle ident.APIKeyID
	before, seen := len(l.keys), 0
	for id, m := range l.keys {
		if seen++; seen > evictSample {
			break
		}
		select {
		case m.turn <- struct{}{}:
			idle = id
			if !now.Before(m.ends) {
				delete(l.keys, id)
			}
			<-m.turn
		default:
		}
	}
	if len(l.keys) == before {
		delete(l.keys, idle)
	}
}

// admit takes one request from every limit of the key, or none where one of
// them has no more: that is fault.RateLimited, with the allowance. Where the
// database must be asked and does not answer, it is fault.Unavailable, or
// passes uncounted, as the operator chose.
func (s *Service) admit(ctx context.Context, k *Key, now time.Time) (ident.Allowance, error) {
	m := s.limits.meter(k.ID, now, s.cacheSize())
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return ident.Allowance{}, fault.Wrap(ctx.Err(), fault.Unavailable, "")
	}
	ws, asks := m.prepare(k.Rules, now)
	if len(asks) > 0 {
		if err := s.lease(ctx, k.ID, m, asks, now); err != nil {
			if s.LimitFailure == FailOpen {
				return ident.Allowance{}, nil
			}
			return ident.Allowance{}, fault.Wrap(err, fault.Unavailable, "").After(leasePause)
		}
	}
	return spend(k.Rules, ws, now)
}

// spend takes a request from every window, or refuses.
func spend(r Rules, ws []*window, now time.Time) (ident.Allowance, error) {
	var wait time.Duration
	tightest := ws[0]
	for _, w := range ws {
		if w.gone() {
			wait = max(wait, w.end.Sub(now), time.Millisecond)
		}
	}
	for _, w := range ws {
		if wait == 0 {
			w.left--
		}
		if a, b := w.remaining(), tightest.remaining(); a < b || a == b && w.end.After(tightest.end) {
			tightest = w
		}
	}
	a := ident.Allowance{Limit: tightest.most, Remaining: tightest.remaining(), Reset: max(0, tightest.end.Sub(now)), Policy: r.policy(now)}
	if wait > 0 {
		a.Remaining = 0
		return a, fault.New(fault.RateLimited, "The API key has used up its limit of requests.").After(wait)
	}
	return a, nil
}

// prepare finds the windows that hold now, and what to ask for. Where one is
// used up already, nothing is asked of the others.
func (m *meter) prepare(r Rules, now time.Time) (ws []*window, asks []Ask) {
	refused := false
	add := func(period string, most int64, start, end time.Time) {
		w := m.windows[period]
		if w == nil {
			w = &window{}
			m.windows[period] = w
		}
		if !w.start.Equal(start) {
			*w = window{start: start, end: end, most: most, chunk: w.chunk, asked: w.asked}
		}
		if w.most != most { // the key was changed: what is left was granted under another limit
			w.most, w.left, w.used = most, 0, 0
		}
		if m.ends.Before(end) {
			m.ends = end
		}
		ws = append(ws, w)
		if w.gone() {
			refused = true
		} else if w.left == 0 {
			asks = append(asks, Ask{Period: period, Start: start, End: end, Most: most, Want: w.want(now)})
		}
	}
	for _, l := range r.Limits {
		start, end := l.window(now)
		add(PeriodText(l.Per), l.Requests, start, end)
	}
	if q := r.Quota; q != (Quota{}) {
		start, end := q.window(now)
		add(string(q.Per), q.Requests, start, end)
	}
	if refused {
		return ws, nil
	}
	return ws, asks
}

// want is the next chunk: twice the last where that was used up at once, half
// of it where it lasted; never more than a hundredth of the window, so that what
// idle replicas hold is not missed.
func (w *window) want(now time.Time) int64 {
	next := w.chunk / 2
	if now.Sub(w.asked) < leaseQuick {
		next = 2 * w.chunk
	}
	return max(1, min(next, w.most/leaseShare))
}

// lease asks for chunks. One request asks for all that wait for the same key;
// its own end does not end the asking, since the answer is for the others too.
func (s *Service) lease(ctx context.Context, id ident.APIKeyID, m *meter, asks []Ask, now time.Time) error {
	if now.Before(m.failed.Add(leasePause)) {
		return errPaused
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTimeout)
	defer cancel()
	taken, err := s.Store.TakeAPIKeyAllowance(ctx, id, asks)
	if err == nil && len(taken) != len(asks) {
		err = fmt.Errorf("asked for %d allowances, got %d", len(asks), len(taken))
	}
	if err != nil {
		m.failed = s.Now()
		return fmt.Errorf("the allowance of an API key: %w", err)
	}
	for i, a := range asks {
		w := m.windows[a.Period]
		w.left, w.used, w.chunk, w.asked = taken[i].Granted, taken[i].Used, a.Want, now
		if taken[i].Granted == 0 {
			w.used = max(w.used, w.most)
		}
	}
	return nil
}

var errPaused = fmt.Errorf("the database failed a moment ago")

// policy tells all limits: the requests and the seconds of the window.
func (r Rules) policy(now time.Time) string {
	var b strings.Builder
	add := func(requests int64, d time.Duration) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d;w=%d", requests, int64(d/time.Second))
	}
	for _, l := range r.Limits {
		add(l.Requests, l.Per)
	}
	if q := r.Quota; q != (Quota{}) {
		start, end := q.window(now)
		add(q.Requests, end.Sub(start))
	}
	return b.String()
}
