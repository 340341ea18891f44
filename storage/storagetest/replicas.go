package storagetest

import (
	"reflect"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
)

// replicaList: who is listed, who was asked and who confirmed. A question is
// read after what committed before it.
func replicaList(t *testing.T, f *fixture) {
	ctx, list := t.Context(), f.Replicas()
	believing := func(when time.Time, want ...changes.Replica) {
		t.Helper()
		got, err := list.Believing(ctx, when)
		if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("believing at %s: %v, %v; want %v", when, got, err, want)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	a, b := changes.Replica{ID: "rep_a", Until: f.now.Add(time.Second)}, changes.Replica{ID: "rep_b", Until: f.now.Add(time.Minute)}
	ok(list.Beat(ctx, a, ""))
	ok(list.Beat(ctx, b, ""))
	believing(f.now, a, b)
	believing(a.Until, b) // not from then on
	a.Until = f.now.Add(time.Hour)
	ok(list.Beat(ctx, a, a.ID))
	ok(list.Beat(ctx, changes.Replica{ID: "rep_c", Until: b.Until}, b.ID))
	believing(f.now, a, changes.Replica{ID: "rep_c", Until: b.Until})
	ok(list.Leave(ctx, "rep_c"))
	ok(list.Leave(ctx, "rep_c"))
	believing(f.now, a)

	_, cursor, err := f.Changes().Start(ctx, f.now)
	ok(err)
	ok(list.Ask(ctx, changes.Change{Kind: changes.Question, Key: "first", At: f.now}))
	ok(list.Ask(ctx, changes.Change{Kind: changes.Question, Key: "second", At: f.now}))
	heard, _, err := f.Changes().Since(ctx, cursor)
	if err != nil || len(heard) != 2 || heard[0].Key != "first" || heard[1].Key != "second" || heard[0].Kind != changes.Question {
		t.Errorf("heard %v, %v", heard, err)
	}
	for range 2 { // a change may be told twice
		ok(list.Confirm(ctx, "first", "rep_a", f.now))
	}
	ok(list.Confirm(ctx, "first", "rep_b", f.now.Add(time.Minute)))
	for question, want := range map[string]int{"first": 2, "second": 0} {
		if got, err := list.Confirmed(ctx, question); err != nil || len(got) != want {
			t.Errorf("%s: confirmed by %v, %v", question, got, err)
		}
	}
	ok(list.Prune(ctx, f.now.Add(time.Second)))
	if got, err := list.Confirmed(ctx, "first"); err != nil || len(got) != 1 || got[0] != "rep_b" {
		t.Errorf("after pruning: confirmed by %v, %v", got, err)
	}
	believing(f.now, a)
	ok(list.Prune(ctx, f.now.Add(2*time.Hour)))
	believing(f.now)
}
