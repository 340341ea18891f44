package tokens

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// maxRefusalSources bounds what Refusals keeps in memory; what comes from
// further sources within the same minute is recorded together.
const maxRefusalSources = 4096

// Refusals puts refused access tokens into the audit log. A client that lost
// its session asks again and again, and whoever floods us pays nothing for a
// request, so one event tells of one source in one minute: how many, and why.
// A verification writes nothing; Flush does.
type Refusals struct {
	Recorder audit.Recorder
	Now      func() time.Time

	mu      sync.Mutex
	sources map[refusalSource]*refused
}

// refusalSource is one network prefix in one minute.
type refusalSource struct {
	prefix netip.Prefix
	minute int64 // unix seconds of its start
}

type refused struct {
	last     ident.Origin
	byReason map[string]int
}

// Count remembers a refusal. The reason is one of a closed set, never from the
// request.
func (r *Refusals) Count(reason string, at time.Time, from ident.Origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.of(refusalSource{ident.NetworkOf(from.IP), at.Truncate(time.Minute).Unix()})
	s.last = from
	s.byReason[reason]++
}

// of returns what is remembered of a source, or of all that find no room. The
// caller holds r.mu.
func (r *Refusals) of(id refusalSource) *refused {
	if len(r.sources) >= maxRefusalSources && r.sources[id] == nil {
		id.prefix = netip.Prefix{}
	}
	s := r.sources[id]
	if s == nil {
		if r.sources == nil {
			r.sources = make(map[refusalSource]*refused)
		}
		s = &refused{byReason: make(map[string]int)}
		r.sources[id] = s
	}
	return s
}

// Flush records the minutes that are over.
func (r *Refusals) Flush(ctx context.Context) error {
	return r.record(ctx, r.Now().Truncate(time.Minute).Unix())
}

// Close records everything, the minute that is not over too.
func (r *Refusals) Close(ctx context.Context) error {
	return r.record(ctx, r.Now().Unix()+1)
}

// record stores the minutes that began before. What cannot be stored is kept
// for the next time.
func (r *Refusals) record(ctx context.Context, before int64) error {
	r.mu.Lock()
	var events []audit.Event
	taken := make(map[refusalSource]*refused)
	for id, s := range r.sources {
		if id.minute < before {
			taken[id] = s
			events = append(events, s.event(id))
			delete(r.sources, id)
		}
	}
	r.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	slices.SortFunc(events, func(a, b audit.Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Meta["source"], b.Meta["source"]))
	})
	err := r.Recorder.RecordAll(ctx, events...)
	if err != nil {
		r.giveBack(taken)
	}
	return err
}

func (r *Refusals) giveBack(taken map[refusalSource]*refused) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, from := range taken {
		to := r.of(id)
		if len(to.byReason) == 0 {
			to.last = from.last
		}
		for reason, n := range from.byReason {
			to.byReason[reason] += n
		}
	}
}

// event tells of the source: the reason is the most frequent one, and meta
// counts them all.
func (s *refused) event(id refusalSource) audit.Event {
	meta := make(map[string]string, len(s.byReason)+1)
	var most string
	for reason, n := range s.byReason {
		meta[reason] = strconv.Itoa(n)
		if most == "" || n > s.byReason[most] || n == s.byReason[most] && reason < most {
			most = reason
		}
	}
	if id.prefix.IsValid() {
		meta["source"] = id.prefix.String()
	}
	return audit.Event{
		Time: time.Unix(id.minute, 0).UTC(), Name: audit.AccessTokenRefused, Outcome: audit.Failure, Reason: most,
		Actor: audit.Actor{Type: string(ident.Anonymous), Via: "access_token"}, Origin: s.last, Meta: meta,
	}
}
