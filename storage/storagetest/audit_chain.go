package storagetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
)

// seal gives the events that were committed their places.
func (f *fixture) seal(t *testing.T) {
	t.Helper()
	if _, err := f.Chain().Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// chained reads the whole chain in small batches and checks that it is one: no
// ID and no position is missing, every link follows from the one before and
// its event.
func chained(t *testing.T, f *fixture) (out []audit.Linked) {
	t.Helper()
	heads := map[ident.OrgID]audit.Head{}
	for {
		var after int64
		if len(out) > 0 {
			after = out[len(out)-1].ID
		}
		batch, err := f.Chain().Linked(t.Context(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) == 0 {
			return out
		}
		for _, l := range batch {
			head := heads[l.Shard]
			head.Shard = l.Shard
			want := head.Next(l.Event)
			if want.ID = int64(len(out)) + 1; want != l.Link {
				t.Fatalf("link %d is %+v, want %+v", len(out)+1, l.Link, want)
			}
			heads[l.Shard] = l.Head()
			out = append(out, l)
		}
	}
}

// chainTogether: events of many transactions at once get their places once each
// while two sealers are at it, and those of transactions that were rolled back
// get none and leave no gap. Sealers are rolled back too.
func chainTogether(t *testing.T, f *fixture) {
	const committers, each = 6, 15
	orgs := []ident.OrgID{"", ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)}
	var ended atomic.Int64
	f.refuse = func() error {
		if ended.Add(1)%4 == 0 {
			return faulty.ErrInjected
		}
		return nil
	}
	var writing sync.WaitGroup
	var committed, lost atomic.Int64
	for c := range committers {
		writing.Go(func() {
			for i := range each {
				events := make([]audit.Event, 1+(c+i)%3)
				for n := range events {
					events[n] = audit.Event{Time: f.now, Name: audit.LoginFailed, Org: orgs[(c+i+n)%3], Reason: fmt.Sprint(c, i, n)}
				}
				switch err := f.Recorder().RecordAll(t.Context(), events...); {
				case errors.Is(err, faulty.ErrInjected):
					lost.Add(1)
				case err != nil:
					t.Error(err)
				default:
					committed.Add(int64(len(events)))
				}
			}
		})
	}
	sealed := f.keepSealing(t, 2)
	writing.Wait()
	sealed()
	f.refuse = nil
	f.seal(t)
	links := chained(t, f)
	all, err := f.Audit().Export(t.Context(), 0, 10*committers*each)
	if err != nil || len(all) != len(links) || int64(len(all)) != committed.Load() || lost.Load() == 0 {
		t.Fatalf("%d events were committed and %d transactions rolled back; %d events have %d places, %v", committed.Load(), lost.Load(), len(all), len(links), err)
	}
	seen := map[int64]bool{}
	for _, l := range links {
		if seen[l.Event.Seq] {
			t.Errorf("event %d has two places", l.Event.Seq)
		}
		seen[l.Event.Seq] = true
	}
	if n, err := f.Chain().Seal(t.Context()); n != 0 || err != nil {
		t.Errorf("a second time %d events got places, %v", n, err)
	}
	chainsOf(t, f, orgs, len(all))
}

// keepSealing seals in so many goroutines until stop is called.
func (f *fixture) keepSealing(t *testing.T, sealers int) (stop func()) {
	var sealing sync.WaitGroup
	enough := make(chan struct{})
	for range sealers {
		sealing.Go(func() {
			for {
				if _, err := f.Chain().Seal(t.Context()); err != nil && !errors.Is(err, faulty.ErrInjected) {
					t.Error(err)
					return
				}
				select {
				case <-enough:
					return
				default:
				}
			}
		})
	}
	return func() { close(enough); sealing.Wait() }
}

// chainsOf reads the chain of each organisation.
func chainsOf(t *testing.T, f *fixture, orgs []ident.OrgID, most int) {
	t.Helper()
	for _, org := range orgs {
		own, err := f.Chain().LinkedOf(t.Context(), org, 0, most)
		if err != nil || len(own) == 0 {
			t.Fatalf("the chain of %q: %d links, %v", org, len(own), err)
		}
		for i, l := range own {
			if l.Shard != org || l.Position != int64(i)+1 {
				t.Fatalf("link %d of %q is %+v", i+1, org, l.Link)
			}
		}
		rest, err := f.Chain().LinkedOf(t.Context(), org, own[1].Position, 1)
		if err != nil || len(rest) != 1 || rest[0].Position != 3 {
			t.Errorf("after position 2 of %q comes %+v, %v", org, rest, err)
		}
	}
}

// chainRetention: what is removed leaves its link and an event in the same
// shard, and two replicas do not remove it twice.
func chainRetention(t *testing.T, f *fixture) {
	org := ident.NewOrgID(f.now, rand.Reader)
	for i := range 5 {
		if err := f.Recorder().RecordAll(t.Context(), audit.Event{Time: f.now, Name: audit.APIKeyUsed, Org: org, Reason: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	before := f.now.Add(time.Hour)
	if _, found, err := f.AuditRetention().Prunable(t.Context(), audit.Routine, before); found || err != nil {
		t.Fatalf("what has no place can be removed: %v, %v", found, err)
	}
	f.seal(t)
	shard, found, err := f.AuditRetention().Prunable(t.Context(), audit.Routine, before)
	if shard != org || !found || err != nil {
		t.Fatalf("prunable is %q, %v, %v", shard, found, err)
	}
	var removed atomic.Int64
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			n, err := f.AuditRetention().PruneEvents(t.Context(), audit.Pruning{Shard: org, Class: audit.Routine, Before: before}, 4, func(n int) audit.Event {
				return audit.Event{Time: f.now, Name: audit.AuditPruned, Org: org, Meta: map[string]string{"count": fmt.Sprint(n)}}
			})
			if removed.Add(int64(n)); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := removed.Load(); n < 4 || n > 5 {
		t.Errorf("%d events were removed", n)
	}
	f.seal(t)
	links, err := f.Chain().LinkedOf(t.Context(), org, 0, 100)
	if err != nil || len(links) < 6 {
		t.Fatalf("%d links, %v", len(links), err)
	}
	var pruned int64
	for _, l := range links {
		if l.Pruned {
			pruned++
		}
	}
	if pruned != removed.Load() || links[5].Event.Name != audit.AuditPruned {
		t.Errorf("%d places are without events, of %d removed; then comes %q", pruned, removed.Load(), links[5].Event.Name)
	}
}
