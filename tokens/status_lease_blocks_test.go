package tokens_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

var (
	robot = tokens.LeaseHolder{Kind: tokens.ClientHolder, ID: "cli_robot"}
	key   = tokens.LeaseHolder{Kind: tokens.KeyHolder, ID: "key_1", User: "user_1"}
)

// take takes n places, which must be there and never have been given before.
func (b *bench) take(t *testing.T, h tokens.LeaseHolder, n int, seen map[tokens.Place]bool) (last tokens.Place) {
	t.Helper()
	for range n {
		at, err := b.places.Next(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if seen[at] {
			t.Fatalf("%v was given twice", at)
		}
		seen[at], last = true, at
	}
	return last
}

// settle waits until no block is being fetched.
func (b *bench) settle(t *testing.T) []tokens.Lease {
	t.Helper()
	if err := b.places.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.leases.mu.Lock()
	defer b.leases.mu.Unlock()
	asked := b.leases.asked
	b.leases.asked = nil
	return asked
}

// Issuing a token writes nothing for it: a thousand cost a handful of leases,
// which grow while they are used up fast and shrink again afterwards.
func TestAThousandPlacesCostAHandfulOfLeases(t *testing.T) {
	b := newBench(t)
	b.settle(t)
	seen := map[tokens.Place]bool{}
	b.take(t, robot, 1000, seen)
	asked := b.settle(t)
	if n := len(asked); n < 3 || n > 6 {
		t.Errorf("1000 places cost %d leases", n)
	}
	var sum uint32
	for i, l := range asked {
		if sum += l.Count; l.Holder != robot || !l.At.Equal(b.now) || !l.Until.Equal(b.now.Add(48*time.Hour+5*time.Minute)) {
			t.Errorf("lease %d is %+v", i, l)
		}
		if i > 0 && l.Count != min(4*asked[i-1].Count, 4096) {
			t.Errorf("lease %d is of %d places, after %d", i, l.Count, asked[i-1].Count)
		}
	}
	// From now on one place an hour: a block ends with its day, and each is smaller.
	last := asked[len(asked)-1].Count
	for range 24 * 6 {
		b.now = b.now.Add(time.Hour)
		b.take(t, robot, 1, seen)
	}
	asked = b.settle(t)
	if n := len(asked); n < 4 || n > 24 || asked[n-1].Count != 8 || last <= 8 {
		t.Errorf("%d leases in 6 quiet days, the last of %d places", n, asked[n-1].Count)
	}
}

// Requests do not wait for the database while a block lasts, nor for the next
// one; and only then they fail, as unavailable, until it is back.
func TestPlacesLastThroughAnOutage(t *testing.T) {
	b := newBench(t)
	seen := map[tokens.Place]bool{}
	b.take(t, tokens.LeaseHolder{}, 40, seen) // of 64, one of which is gone: the next block was fetched
	b.settle(t)
	b.plan.FailAll()
	b.take(t, tokens.LeaseHolder{}, 64-1-40+256, seen)
	for range 3 {
		if _, err := b.places.Next(t.Context(), tokens.LeaseHolder{}); !errors.Is(err, fault.Unavailable) {
			t.Fatalf("without a place: %v, want fault.Unavailable", err)
		}
	}
	if _, err := b.begin(t.Context()); err == nil {
		t.Error("the database works")
	}
	b.plan.Heal()
	b.now = b.now.Add(time.Second)
	b.take(t, tokens.LeaseHolder{}, 1, seen)
}

// However many ask at once, each has a place of its own and one of them leases.
func TestPlacesForMany(t *testing.T) {
	b := newBench(t)
	b.settle(t)
	var mu sync.Mutex
	seen := map[tokens.Place]bool{}
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 100 {
				at, err := b.places.Next(t.Context(), robot)
				mu.Lock()
				if err != nil || seen[at] {
					t.Errorf("%v is given twice, or %v", at, err)
				}
				seen[at] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	var leased uint32
	asked := b.settle(t)
	for _, l := range asked {
		leased += l.Count
	}
	if len(asked) > 8 || int(leased) < len(seen) {
		t.Errorf("3200 places cost %d leases of %d places", len(asked), leased)
	}
}

// Whoever does not wait for a block leaves without one, and it is not lost.
func TestPlacesForTheImpatient(t *testing.T) {
	b := newBench(t)
	gone, leave := context.WithCancel(t.Context())
	leave()
	var failed bool
	for range 100 {
		if _, err := b.places.Next(gone, robot); errors.Is(err, fault.Unavailable) {
			failed = true
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(b.settle(t)) > 5 || !failed {
		t.Errorf("every impatient request leased, or none had to wait: %v", failed)
	}
	b.take(t, robot, 1, map[tokens.Place]bool{})
}

// A key that has another owner takes places of a block that is leased in the new
// owner's name: whatever ends the owner ends them.
func TestAKeyThatWasGivenAwayTakesOtherPlaces(t *testing.T) {
	b := newBench(t)
	seen := map[tokens.Place]bool{}
	before := b.take(t, key, 1, seen)
	b.settle(t)
	given := key
	given.User = "svc_1"
	if after := b.take(t, given, 1, seen); after.Position == before.Position+1 {
		t.Error("the next place is of the block of the owner before")
	}
	if asked := b.settle(t); len(asked) == 0 || asked[0].Holder != given {
		t.Errorf("leased %+v, want a block for %+v", asked, given)
	}
}

// What was leased for a holder that was revoked is not given out any more: it
// reads "invalid".
func TestPlacesOfTheRevokedAreNotGivenOut(t *testing.T) {
	for name, hear := range map[string]func(*tokens.PlaceBlocks){
		"the key": func(p *tokens.PlaceBlocks) { p.Hear([]changes.Change{{Kind: changes.APIKeyRevoked, Key: key.ID}}) },
		"its owner": func(p *tokens.PlaceBlocks) {
			p.Hear([]changes.Change{{Kind: changes.SubjectCutoff, Key: string(key.User)}})
		},
		"a silent feed": func(p *tokens.PlaceBlocks) { p.Forget() },
	} {
		b := newBench(t)
		seen := map[tokens.Place]bool{}
		own, before, other := b.take(t, tokens.LeaseHolder{}, 1, seen), b.take(t, key, 2, seen), b.take(t, robot, 1, seen)
		b.settle(t)
		hear(b.places)
		if after := b.take(t, key, 1, seen); after.Position == before.Position+1 {
			t.Errorf("%s: the next place is of the revoked block", name)
		}
		if after := b.take(t, robot, 1, seen); name != "a silent feed" && after.Position != other.Position+1 {
			t.Errorf("%s: a stranger lost its block", name)
		}
		if after := b.take(t, tokens.LeaseHolder{}, 1, seen); after.Position != own.Position+1 {
			t.Errorf("%s: the replica lost its own block", name)
		}
	}
}
