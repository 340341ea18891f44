package storagetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/outputs"
)

// auditOutputs: a cursor of the audit log is served by one replica at a time,
// moves where that one moves it, and passes nothing over.
func auditOutputs(t *testing.T, f *fixture) {
	s := f.Outputs()
	claim := f.claim
	record := func(n int) {
		for i := range n {
			if err := f.Recorder().RecordAll(t.Context(), audit.Event{Time: f.now, Name: audit.LoginFailed, Reason: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Chain().Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	record(3)
	if at, ok, err := s.ClaimOutput(t.Context(), claim("all", "a", 0, true)); err != nil || !ok || at != 0 {
		t.Fatalf("a new output that wants everything stands at %d, %v, %v", at, ok, err)
	}
	newest, ok, err := s.ClaimOutput(t.Context(), claim("new", "a", 0, false))
	if err != nil || !ok {
		t.Fatalf("a new output: %v, %v", ok, err)
	}
	record(2)
	events, next, err := s.EventsAfter(t.Context(), newest, 10)
	if err != nil || len(events) != 2 || events[0].Seq >= events[1].Seq || events[0].Name != audit.LoginFailed {
		t.Fatalf("after the newest of then come %v, %v", events, err)
	}
	if rest, same, err := s.EventsAfter(t.Context(), next, 10); err != nil || len(rest) != 0 || same != next {
		t.Errorf("after the last event come %v, at %d, %v", rest, same, err)
	}
	first, mid, err := s.EventsAfter(t.Context(), 0, 3)
	if err != nil || len(first) != 3 {
		t.Fatalf("the first batch is %v, %v", first, err)
	}
	if second, _, err := s.EventsAfter(t.Context(), mid, 3); err != nil || len(second) != 2 || second[0].Seq != events[0].Seq {
		t.Errorf("the second batch is %v, %v", second, err)
	}
	outputsAreLent(t, f, mid, next)
}

// claim asks for an output, that long after now.
func (f *fixture) claim(name, holder string, at time.Duration, start bool) outputs.Claim {
	now := f.now.Add(at)
	return outputs.Claim{Output: name, Holder: holder, Start: start, Now: now, Until: now.Add(time.Minute)}
}

// outputsAreLent to one replica at a time, which alone moves the cursor.
func outputsAreLent(t *testing.T, f *fixture, mid, next outputs.Cursor) {
	s, claim := f.Outputs(), f.claim
	for _, held := range []time.Duration{time.Second, 40 * time.Second} {
		if _, ok, err := s.ClaimOutput(t.Context(), claim("all", "b", held, true)); err != nil || ok {
			t.Errorf("after %s another replica has it: %v, %v", held, ok, err)
		}
	}
	if ok, err := s.AdvanceOutput(t.Context(), claim("all", "a", 50*time.Second, true), mid); err != nil || !ok {
		t.Errorf("the holder cannot go on: %v, %v", ok, err)
	}
	if _, ok, err := s.ClaimOutput(t.Context(), claim("all", "b", 109*time.Second, true)); err != nil || ok {
		t.Errorf("going on does not extend the loan: %v, %v", ok, err)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			at, ok, err := s.ClaimOutput(t.Context(), claim("all", fmt.Sprint("r", i), 111*time.Second, true))
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
				if at != mid {
					t.Errorf("it goes on at %d, want %d", at, mid)
				}
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d replicas have the output", won.Load())
	}
	if ok, err := s.AdvanceOutput(t.Context(), claim("all", "a", 112*time.Second, true), next); err != nil || ok {
		t.Errorf("who lost the output moves its cursor: %v, %v", ok, err)
	}
}
