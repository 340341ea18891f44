package activity

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// maxTallies bounds what is kept in memory between two flushes; what comes beyond
// is counted for no organisation.
const maxTallies = 65_536

// tally keeps counts in memory, so that a token costs no write.
type tally struct {
	mu     sync.Mutex
	counts map[place]int64
}

// place names a bucket.
type place struct {
	org   ident.OrgID
	hour  int64 // unix seconds of its start
	kind  Kind
	label string
}

// Issued counts an access token that the grant earned in the organisation. grant
// is one of a closed set.
func (s *Service) Issued(org ident.OrgID, grant string) {
	s.tally.add(place{org, s.Now().Truncate(time.Hour).Unix(), Tokens, grant}, 1)
}

func (t *tally) add(p place, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[place]int64{}
	}
	if _, there := t.counts[p]; !there && len(t.counts) >= maxTallies {
		p.org = ""
	}
	t.counts[p] += n
}

// Flush stores what was counted in memory. What cannot be stored is kept for the
// next time.
func (s *Service) Flush(ctx context.Context) error {
	s.tally.mu.Lock()
	counts := s.tally.counts
	s.tally.counts = nil
	s.tally.mu.Unlock()
	if len(counts) == 0 {
		return nil
	}
	add := make([]Bucket, 0, len(counts))
	for p, n := range counts {
		add = append(add, Bucket{Org: p.org, Start: time.Unix(p.hour, 0).UTC(), Kind: p.kind, Label: p.label, Count: n})
	}
	err := s.Store.AddActivity(ctx, Merge(add))
	if err != nil {
		for p, n := range counts {
			s.tally.add(p, n)
		}
	}
	return err
}

// Merge adds up buckets of the same place and puts them in one order, in which
// transactions lock them.
func Merge(add []Bucket) []Bucket {
	same := func(a, b Bucket) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), a.Start.Compare(b.Start), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Label, b.Label))
	}
	add = slices.SortedFunc(slices.Values(add), same)
	out := add[:0]
	for _, b := range add {
		if n := len(out); n > 0 && same(out[n-1], b) == 0 {
			out[n-1].Count += b.Count
			continue
		}
		out = append(out, b)
	}
	return out
}
