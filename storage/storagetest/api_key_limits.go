package storagetest

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// allRules has every kind of rule.
func allRules() apikeys.Rules {
	return apikeys.Rules{
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Limits:   []apikeys.Limit{{Requests: 10, Per: time.Second}, {Requests: 1_000_000_000_000, Per: 90 * time.Minute}},
		Quota:    apikeys.Quota{Requests: 7, Per: apikeys.Month},
	}
}

// apiKeyAllowances: whoever races for a window, the takings are what it has, no
// more and no less; windows are told apart by key, period and start; a limit
// that was lowered gives nothing more.
func apiKeyAllowances(t *testing.T, f *fixture) {
	key, other := ident.NewAPIKeyID(f.now, rand.Reader), ident.NewAPIKeyID(f.now, rand.Reader)
	minute := f.now.Truncate(time.Minute)
	ask := func(most, want int64, period string, start time.Time) apikeys.Ask {
		return apikeys.Ask{Period: period, Start: start, End: start.Add(time.Minute), Most: most, Want: want}
	}
	take := func(key ident.APIKeyID, asks ...apikeys.Ask) []apikeys.Taken {
		got, err := f.APIKeys().TakeAPIKeyAllowance(context.Background(), key, asks)
		if err != nil || len(got) != len(asks) {
			t.Errorf("take %+v: %+v, %v", asks, got, err)
			return make([]apikeys.Taken, len(asks))
		}
		return got
	}
	const most = 100
	var mu sync.Mutex
	var all sync.WaitGroup
	var sums [2]int64
	for i := range 8 {
		all.Go(func() {
			for n := range 10 {
				got := take(key, ask(most, int64(1+(i+n)%5), "1m", minute), ask(2*most, 3, "day", minute))
				mu.Lock()
				sums[0], sums[1] = sums[0]+got[0].Granted, sums[1]+got[1].Granted
				if got[0].Used > most || got[1].Used > 2*most || got[0].Granted < 0 {
					t.Errorf("took %+v", got)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if sums != [2]int64{most, 2 * most} {
		t.Errorf("eight that race took %v; want %d and %d", sums, most, 2*most)
	}
	for name, c := range map[string]struct {
		key  ident.APIKeyID
		ask  apikeys.Ask
		want apikeys.Taken
	}{
		"what is used up":         {key, ask(most, 1, "1m", minute), apikeys.Taken{Used: most}},
		"another key":             {other, ask(most, 7, "1m", minute), apikeys.Taken{Granted: 7, Used: 7}},
		"another period":          {key, ask(most, 7, "1h", minute), apikeys.Taken{Granted: 7, Used: 7}},
		"the next window":         {key, ask(most, 7, "1m", minute.Add(time.Minute)), apikeys.Taken{Granted: 7, Used: 7}},
		"the window before":       {key, ask(most, 7, "1m", minute.Add(-time.Minute)), apikeys.Taken{Granted: 7, Used: 7}},
		"more than there ever is": {key, ask(5, 9, "2m", minute), apikeys.Taken{Granted: 5, Used: 5}},
	} {
		if got := take(c.key, c.ask)[0]; got != c.want {
			t.Errorf("%s: %+v; want %+v", name, got, c.want)
		}
	}
	for _, step := range []struct{ most, want, granted, used int64 }{{10, 4, 4, 4}, {10, 4, 4, 8}, {5, 1, 0, 8}, {10, 4, 2, 10}, {10, 1, 0, 10}, {12, 5, 2, 12}} {
		if got := take(other, ask(step.most, step.want, "3m", minute))[0]; got != (apikeys.Taken{Granted: step.granted, Used: step.used}) {
			t.Errorf("%d of %d: %+v; want %d, and %d used", step.want, step.most, got, step.granted, step.used)
		}
	}
}

// apiKeySeries: buckets add up to steps, of one key and between two times; what
// is old goes, in batches.
func apiKeySeries(t *testing.T, f *fixture) {
	org := ident.NewOrgID(f.now, rand.Reader)
	k, other := usableKey(org, "AAAAAAAA", f.now), usableKey(org, "BBBBBBBB", f.now)
	insertKeys(t, f, k, other)
	day := f.now.Truncate(24 * time.Hour)
	var uses []apikeys.Uses
	for hour := range 50 {
		at := day.Add(time.Duration(hour) * time.Hour)
		uses = append(uses, apikeys.Uses{Key: k.ID, Hour: at, OK: 2, Refused: 1, Limited: 3}, apikeys.Uses{Key: other.ID, Hour: at, Limited: 9}, apikeys.Uses{Key: k.ID, Generation: 1, Hour: at, Limited: 1})
	}
	err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error { _, err := tx.CountAPIKeyUses(uses); return err })
	if err != nil {
		t.Fatal(err)
	}
	series := func(from, to time.Time, step time.Duration) []apikeys.UsageBucket {
		t.Helper()
		got, err := f.APIKeys().APIKeyUsage(t.Context(), k.ID, from, to, step)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	bucket := func(at time.Time, hours int64) apikeys.UsageBucket {
		return apikeys.UsageBucket{Start: at, OK: 2 * hours, Refused: hours, Limited: 4 * hours}
	}
	next := day.Add(24 * time.Hour)
	if got, want := series(day, day.Add(48*time.Hour), 24*time.Hour), []apikeys.UsageBucket{bucket(day, 24), bucket(next, 24)}; !slices.Equal(got, want) {
		t.Errorf("by the day: %+v; want %+v", got, want)
	}
	if got, want := series(next, next.Add(2*time.Hour), time.Hour), []apikeys.UsageBucket{bucket(next, 1), bucket(next.Add(time.Hour), 1)}; !slices.Equal(got, want) {
		t.Errorf("by the hour: %+v; want %+v", got, want)
	}
	if got := series(day.Add(-48*time.Hour), day, time.Hour); len(got) != 0 {
		t.Errorf("before the first use: %+v", got)
	}
	for i := range 3 {
		start := day.Add(time.Duration(i) * time.Hour)
		ask := apikeys.Ask{Period: "1h", Start: start, End: start.Add(time.Hour), Most: 5, Want: 5}
		if _, err := f.APIKeys().TakeAPIKeyAllowance(t.Context(), k.ID, []apikeys.Ask{ask}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{30, 18, 0} { // 24 hours of two keys
		if n, err := f.APIKeys().PruneAPIKeyUsage(t.Context(), next, day.Add(2*time.Hour), 30); err != nil || n != want {
			t.Errorf("pruned %d, %v; want %d", n, err, want)
		}
	}
	if got := series(day, next.Add(26*time.Hour), 24*time.Hour); len(got) != 2 || got[0] != bucket(next, 24) {
		t.Errorf("after the first day went: %+v", got)
	}
	for i, want := range []int64{5, 0, 0} { // the window that ended before is gone
		start := day.Add(time.Duration(i) * time.Hour)
		got, err := f.APIKeys().TakeAPIKeyAllowance(t.Context(), k.ID, []apikeys.Ask{{Period: "1h", Start: start, End: start.Add(time.Hour), Most: 5, Want: 5}})
		if err != nil || got[0].Granted != want {
			t.Errorf("window %d: %+v, %v; want %d", i, got, err, want)
		}
	}
}
