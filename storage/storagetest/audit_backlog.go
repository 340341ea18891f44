package storagetest

import (
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// chainBacklog: the oldest event without a place and the oldest link without a
// signature are known, so that somebody is told when the sealer stands still.
func chainBacklog(t *testing.T, f *fixture) {
	expect := func(when string, unsealed, unsigned time.Time) {
		t.Helper()
		b, err := f.Chain().Backlog(t.Context())
		if err != nil || !b.Unsealed.Equal(unsealed) || !b.Unsigned.Equal(unsigned) {
			t.Errorf("%s: %+v, %v; want %s and %s", when, b, err, unsealed, unsigned)
		}
	}
	record := func(at time.Time) {
		t.Helper()
		if err := f.Recorder().RecordAll(t.Context(), audit.Event{Time: at, Name: audit.LoginFailed}); err != nil {
			t.Fatal(err)
		}
	}
	f.seal(t)
	expect("nothing happened", time.Time{}, time.Time{})
	first, second := f.now, f.now.Add(time.Minute)
	record(first)
	record(second)
	expect("two events", first, time.Time{})
	f.seal(t)
	expect("sealed", time.Time{}, first)
	links := chained(t, f)
	newest := links[len(links)-1]
	if ok, err := f.Chain().AddCheckpoint(t.Context(), audit.Checkpoint{Shard: newest.Shard, Position: newest.Position - 1, Link: newest.ID - 1, Time: second, JWS: "x"}, 0); !ok || err != nil {
		t.Fatal(ok, err)
	}
	expect("the first is signed for", time.Time{}, second)
	record(second.Add(time.Minute))
	expect("one more", second.Add(time.Minute), second)
	f.seal(t)
	if ok, err := f.Chain().AddCheckpoint(t.Context(), audit.Checkpoint{Shard: newest.Shard, Position: newest.Position + 1, Link: newest.ID + 1, Time: second, JWS: "y"}, newest.Position-1); !ok || err != nil {
		t.Fatal(ok, err)
	}
	expect("all is signed for", time.Time{}, time.Time{})
}
