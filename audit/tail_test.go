package audit_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Whoever goes on from where they were gets each event once, in the order of the
// chain, of one organisation or of all.
func TestATailGivesEachEventOnce(t *testing.T) {
	w := newWorld(t)
	for extent, org := range map[string]*ident.OrgID{"an organisation": &w.orgs[1], "the deployment": &w.orgs[0], "everything": nil} {
		t.Run(extent, func(t *testing.T) {
			var got, want []int64
			var tail audit.Tail
			look := func(limit int) int {
				t.Helper()
				before := tail.After
				var err error
				if tail, err = w.sealer.Tail(t.Context(), audit.Extent{Org: org, After: tail.After}, limit); err != nil || tail.After < before || len(tail.Lines) > limit {
					t.Fatalf("%+v, %v", tail, err)
				}
				for _, l := range tail.Lines {
					got = append(got, l.Seq)
				}
				return len(tail.Lines)
			}
			for round := range 4 {
				for _, o := range w.orgs {
					w.record(t, o, audit.LoginFailed, round)
				}
				look(5) // what is not sealed is not told
				w.seal(t)
				for look(2) > 0 {
				}
			}
			links, err := w.Chain().Linked(t.Context(), 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range links {
				if org == nil || l.Shard == *org {
					want = append(want, l.Event.Seq)
				}
			}
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("told %v, want %v", got, want)
			}
			newest, err := w.sealer.Tail(t.Context(), audit.Extent{Org: org, After: -1}, 3)
			if err != nil || len(newest.Lines) != 3 || newest.Lines[2].Seq != want[len(want)-1] || newest.After != tail.After {
				t.Errorf("the newest are %+v, %v", newest, err)
			}
			beyond, err := w.sealer.Tail(t.Context(), audit.Extent{Org: org, After: tail.After + 100}, 3)
			if err != nil || len(beyond.Lines) != 0 || beyond.After != tail.After {
				t.Errorf("after the end comes %+v, %v", beyond, err)
			}
		})
	}
}

// Events whose time is over do not stop a tail.
func TestATailPassesWhatRetentionRemoved(t *testing.T) {
	w := newWorld(t)
	w.record(t, w.orgs[1], audit.APIKeyUsed, 5)
	w.record(t, w.orgs[1], audit.LoginFailed, 1)
	w.seal(t)
	w.now = w.now.Add(15 * day)
	w.prune(t, shortly)
	w.seal(t)
	var told []string
	var tail audit.Tail
	for moved := true; moved; {
		next, err := w.sealer.Tail(t.Context(), audit.Extent{Org: &w.orgs[1], After: tail.After}, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range next.Lines {
			told = append(told, fmt.Sprint(l.Event, " ", next.After))
		}
		moved, tail = next.After > tail.After, next
	}
	if want := []string{"login.failed 6", "audit.pruned 7"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
