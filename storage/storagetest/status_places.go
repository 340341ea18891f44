package storagetest

import (
	"cmp"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// lease leases places, which must succeed.
func (f *fixture) lease(t testing.TB, count uint32, h tokens.LeaseHolder, list string) tokens.PlaceRange {
	t.Helper()
	r, err := f.StatusPlaces().LeasePlaces(t.Context(), tokens.Lease{Count: count, Holder: h, At: f.now, Until: f.now.Add(48 * time.Hour), NewList: list})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// placeLeases: places are leased once, in order, to the end of each list.
func placeLeases(t *testing.T, f *fixture) {
	if lists, err := f.StatusPlaces().StatusLists(t.Context()); err != nil || len(lists) != 0 {
		t.Fatalf("lists before the first lease: %v, %v", lists, err)
	}
	at := func(list string, first, count uint32) tokens.PlaceRange {
		return tokens.PlaceRange{Place: tokens.Place{List: list, Position: first}, Count: count}
	}
	client := tokens.LeaseHolder{Kind: tokens.ClientHolder, ID: "cli_1"}
	created := f.now
	for _, tt := range []struct {
		count  uint32
		holder tokens.LeaseHolder
		name   string
		want   tokens.PlaceRange
	}{
		{64, tokens.LeaseHolder{}, "aaaaaaaa", at("aaaaaaaa", 0, 64)},
		{8, client, "bbbbbbbb", at("aaaaaaaa", 64, 8)},
		{tokens.StatusListPlaces, tokens.LeaseHolder{}, "bbbbbbbb", at("aaaaaaaa", 72, tokens.StatusListPlaces-72)}, // the rest, and the list is full
		{8, client, "cccccccc", at("cccccccc", 0, 8)},
		{1, tokens.LeaseHolder{}, "dddddddd", at("cccccccc", 8, 1)},
	} {
		if got := f.lease(t, tt.count, tt.holder, tt.name); got != tt.want {
			t.Errorf("%d places: %v, want %v", tt.count, got, tt.want)
		}
		f.now = f.now.Add(time.Minute)
	}
	closed := created.Add(2 * time.Minute)
	want := []tokens.StatusList{{ID: "aaaaaaaa", CreatedAt: created, ClosedAt: closed}, {ID: "cccccccc", CreatedAt: created.Add(3 * time.Minute)}}
	if lists, err := f.StatusPlaces().StatusLists(t.Context()); err != nil || !slices.Equal(lists, want) {
		t.Errorf("lists: %v, %v; want %v", lists, err, want)
	}
	places := f.StatusPlaces()
	for _, tt := range []struct {
		what   string
		remove func() (int, error)
		want   int
	}{
		{"leases that are alive", func() (int, error) { return places.DeleteOldLeases(t.Context(), created.Add(48*time.Hour), 10) }, 0},
		{"one lease", func() (int, error) { return places.DeleteOldLeases(t.Context(), created.Add(49*time.Hour), 1) }, 1},
		{"the other lease", func() (int, error) { return places.DeleteOldLeases(t.Context(), created.Add(49*time.Hour), 10) }, 1},
		{"no list", func() (int, error) { return places.DeleteOldStatusLists(t.Context(), closed, 10) }, 0},
		{"the closed list, not the open one", func() (int, error) {
			return places.DeleteOldStatusLists(t.Context(), closed.Add(time.Microsecond), 10)
		}, 1},
	} {
		if n, err := tt.remove(); err != nil || n != tt.want {
			t.Errorf("%s: %d removed, %v; want %d", tt.what, n, err, tt.want)
		}
	}
	if lists, _ := places.StatusLists(t.Context()); !slices.Equal(lists, want[1:]) {
		t.Errorf("left are %v", lists)
	}
}

// placesTogether: replicas that lease at once, even while a list ends, never
// share a place; one that dies takes places with it, and leaves no other gap.
func placesTogether(t *testing.T, f *fixture) {
	f.lease(t, tokens.StatusListPlaces-3000, tokens.LeaseHolder{}, "firstlist")
	var mu sync.Mutex
	got := []tokens.PlaceRange{}
	var replicas sync.WaitGroup
	for range 4 {
		replicas.Go(func() {
			blocks := &tokens.PlaceBlocks{Store: f.StatusPlaces(), Now: func() time.Time { return f.now }, Random: rand.Reader}
			mine := []tokens.PlaceRange{}
			for i := range 1500 {
				holder := tokens.LeaseHolder{}
				if i%3 == 0 {
					holder = tokens.LeaseHolder{Kind: tokens.ClientHolder, ID: "cli_1"}
				}
				at, err := blocks.Next(t.Context(), holder)
				if err != nil {
					t.Error(err)
					return
				}
				mine = append(mine, tokens.PlaceRange{Place: at, Count: 1})
			}
			if err := blocks.Close(t.Context()); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, mine...)
		})
	}
	replicas.Wait()
	slices.SortFunc(got, func(a, b tokens.PlaceRange) int {
		return cmp.Or(cmp.Compare(a.List, b.List), cmp.Compare(a.Position, b.Position))
	})
	lists := map[string]int{}
	for i, r := range got {
		lists[r.List]++
		if i > 0 && r.Place == got[i-1].Place || r.List == "firstlist" && r.Position < tokens.StatusListPlaces-3000 || r.Position >= tokens.StatusListPlaces {
			t.Fatalf("%v was given twice, or is nobody's", r.Place)
		}
	}
	stored, err := f.StatusPlaces().StatusLists(t.Context())
	if err != nil || len(stored) != 2 || lists[stored[0].ID]+lists[stored[1].ID] != 6000 {
		t.Errorf("%v, %v hold the places %v; want all 6000 in 2 lists", stored, err, lists)
	}
}

// placesOfTheRevoked: a lease and the revocation of its holder that happen
// together end in a block that is announced as revoked, or in none.
func placesOfTheRevoked(t *testing.T, f *fixture) {
	until := f.now.Add(20 * time.Minute)
	for i := range 24 {
		id := "key_" + string(rune('a'+i))
		holder := tokens.LeaseHolder{Kind: tokens.KeyHolder, ID: id, User: "user_1"}
		var mu sync.Mutex
		var leased []tokens.PlaceRange
		var together sync.WaitGroup
		for n := range 3 {
			together.Go(func() {
				r, err := f.StatusPlaces().LeasePlaces(t.Context(), tokens.Lease{Count: 8, Holder: holder, At: f.now, Until: until, NewList: "list000" + string(rune('1'+n))})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					leased = append(leased, r)
				} else if !errors.Is(err, fault.InvalidAPIKey) {
					t.Errorf("lease: %v", err)
				}
			})
		}
		together.Go(func() {
			err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error {
				return tx.Announce(changes.Change{Kind: changes.APIKeyRevoked, Key: id, At: f.now, Until: until})
			})
			if err != nil {
				t.Error(err)
			}
		})
		together.Wait()
		told := f.revokedPlaces(t)
		for _, r := range leased {
			for n := range r.Count {
				if _, ok := told[tokens.Place{List: r.List, Position: r.Position + n}]; !ok {
					t.Fatalf("the block %v of a revoked API key is not announced", r)
				}
			}
		}
	}
}

// revokedPlaces is every place that was announced as revoked, and until when.
func (f *fixture) revokedPlaces(t testing.TB) map[tokens.Place]time.Time {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[tokens.Place]time.Time{}
	for _, c := range f.changes {
		if c.Kind != changes.StatusRevoked {
			continue
		}
		r, err := tokens.ParsePlaceRange(c.Key)
		if err != nil {
			t.Fatalf("announced %q: %v", c.Key, err)
		}
		for n := range r.Count {
			out[tokens.Place{List: r.List, Position: r.Position + n}] = c.Until
		}
	}
	return out
}
