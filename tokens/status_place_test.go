package tokens

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/changes"
)

func someKey() *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), 32, 32) }

func somePlace() *rapid.Generator[Place] {
	return rapid.Custom(func(t *rapid.T) Place {
		return Place{rapid.SampledFrom([]string{"k3fd9a2c", "m0000001", "zzzzzzzzzz"}).Draw(t, "list"), rapid.Uint32Range(0, StatusListPlaces-1).Draw(t, "position")}
	})
}

func TestEachPositionHasItsIndexAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, p := someKey().Draw(t, "key"), somePlace().Draw(t, "place")
		index := IndexOf(key, p.List, p.Position)
		if index >= StatusListPlaces {
			t.Fatalf("index %d is outside the list", index)
		}
		if back := PositionOf(key, p.List, index); back != p.Position {
			t.Fatalf("%d became %d and that %d", p.Position, index, back)
		}
		if there := IndexOf(key, p.List, PositionOf(key, p.List, p.Position)); there != p.Position {
			t.Fatalf("the inverse of %d leads to %d", p.Position, there)
		}
	})
}

func TestIndexesAreAPermutationThatListAndKeyDecide(t *testing.T) {
	key := []byte(strings.Repeat("k", 32))
	perm := PermutationOf(key, "k3fd9a2c")
	seen := make([]bool, StatusListPlaces)
	for position := range uint32(StatusListPlaces) {
		index := perm.Index(position)
		if seen[index] {
			t.Fatalf("two positions have the index %d", index)
		}
		seen[index] = true
	}
	for name, other := range map[string]Permutation{
		"list": PermutationOf(key, "k3fd9a2d"), "key": PermutationOf([]byte(strings.Repeat("k", 31)+"l"), "k3fd9a2c"),
	} {
		same := 0
		for position := range uint32(4096) {
			if other.Index(position) == perm.Index(position) {
				same++
			}
		}
		if same > 8 { // one in 256 is expected to have one
			t.Errorf("with another %s, %d of 4096 indexes are the same", name, same)
		}
	}
}

// Tokens issued one after the other stand nowhere near each other.
func TestNeighboursAreScattered(t *testing.T) {
	perm := PermutationOf([]byte(strings.Repeat("k", 32)), "k3fd9a2c")
	quarter := [4]int{}
	near := 0
	for position := range uint32(4096) {
		a, b := perm.Index(position), perm.Index(position+1)
		quarter[a/(StatusListPlaces/4)]++
		if max(a, b)-min(a, b) < StatusListPlaces/1024 {
			near++
		}
	}
	if near > 30 { // 8 expected
		t.Errorf("%d of 4096 neighbours are close to each other", near)
	}
	for i, n := range quarter {
		if n < 900 || n > 1150 { // 1024 expected
			t.Errorf("quarter %d has %d of 4096 indexes", i, n)
		}
	}
}

func TestATokenIsNamedByItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, a, b := someKey().Draw(t, "key"), somePlace().Draw(t, "a"), somePlace().Draw(t, "b")
		name, again, other := TokenIDAt(key, a), TokenIDAt(slices.Clone(key), a), TokenIDAt(key, b)
		if name != again || (name == other) != (a == b) {
			t.Fatalf("%v is named %s and %s, %v is named %s", a, name, again, b, other)
		}
		if other := append(slices.Clone(key[1:]), key[0]^1); TokenIDAt(other, a) == TokenIDAt(key, a) {
			t.Fatal("another key names the token alike")
		}
	})
}

func TestPlaceOfReadsOnlyOwnClaims(t *testing.T) {
	key, issuer := []byte(strings.Repeat("k", 32)), "https://issuer.example"
	s := &Service{StatusKey: key}
	at := Place{"k3fd9a2c", 77}
	uri := StatusListURI(issuer, at.List)
	if got := s.PlaceOf(issuer, StatusReference{IndexOf(key, at.List, at.Position), uri}); got != at {
		t.Errorf("the place is %v, want %v", got, at)
	}
	for _, r := range []StatusReference{{1, ""}, {1, "https://other.example/oauth2/status-lists/k3fd9a2c"}, {1, StatusListURI(issuer, "")}, {1, uri + "/x"}, {StatusListPlaces, uri}} {
		if got := s.PlaceOf(issuer, r); got != (Place{}) {
			t.Errorf("%v names the place %v", r, got)
		}
	}
}

var liveStart = time.Unix(1_700_000_000, 0).UTC()

func someLive() *rapid.Generator[[]LivePlace] {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) LivePlace {
		return LivePlace{somePlace().Draw(t, "place"), liveStart.Add(time.Duration(rapid.IntRange(-100, 100_000).Draw(t, "until")) * time.Second)}
	}), 0, 120, func(p LivePlace) Place { return p.Place })
}

// A session remembers exactly the places whose tokens are alive, in the order
// in which they were given, and never more than the bound.
func TestLiveRemembersWhatIsAlive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := someLive().Draw(t, "given")
		now := liveStart
		var l Live
		var want []LivePlace
		for _, p := range given {
			now = now.Add(time.Duration(rapid.IntRange(0, 500_000).Draw(t, "passed")) * time.Millisecond)
			l = l.With(p, now)
			want = slices.DeleteFunc(want, func(q LivePlace) bool { return !q.Until.After(now) })
			if len(want) < maxLive {
				want = append(want, p)
			} else if last := &want[len(want)-1]; p.Until.After(last.Until) {
				last.Until = p.Until
			}
			if newest, ok := l.Newest(); !ok || newest != want[len(want)-1] {
				t.Fatalf("the newest is %v, want %v", newest, want[len(want)-1])
			}
			if again := pack(l.all()); again != l {
				t.Fatalf("%q is read and written as %q", l, again)
			}
		}
		want = slices.DeleteFunc(want, func(q LivePlace) bool { return !q.Until.After(now) })
		if got := l.Alive(now); !slices.Equal(got, want) {
			t.Fatalf("alive are %v, want %v", got, want)
		}
		if len(want) > 0 {
			gone := rapid.SampledFrom(want).Draw(t, "gone")
			want = slices.DeleteFunc(want, func(q LivePlace) bool { return q == gone })
			if got := l.Without(gone.Place).Alive(now); !slices.Equal(got, want) {
				t.Fatalf("without %v: %v, want %v", gone, got, want)
			}
		}
	})
}

func TestLiveRoundsUpAndPassesOverWhatItCannotRead(t *testing.T) {
	l := Live("").With(LivePlace{Place{"k3fd9a2c", 5}, liveStart.Add(time.Microsecond)}, liveStart)
	if p, ok := l.Newest(); !ok || !p.Until.Equal(liveStart.Add(time.Second)) {
		t.Errorf("a token that ends within a second lives until %v", p.Until)
	}
	if got := Live("x /1/zz k/!/zz k/2 " + string(l) + " /9/zzzzzz").Alive(liveStart); len(got) != 2 || got[0].Position != 5 || got[1] != (LivePlace{Place{"k3fd9a2c", 9}, got[1].Until}) {
		t.Errorf("read %v", got)
	}
}

// Whatever order ranges come in, what is announced covers each of their places
// for at least its time, no other place, and no place twice.
func TestRevokedPlacesCoverEachPlaceOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) LiveRange {
			return LiveRange{
				PlaceRange{Place{rapid.SampledFrom([]string{"aaaaaaaa", "bbbbbbbb"}).Draw(t, "list"), rapid.Uint32Range(0, 60).Draw(t, "first")}, rapid.Uint32Range(1, 9).Draw(t, "count")},
				liveStart.Add(time.Duration(rapid.IntRange(1, 50).Draw(t, "until")) * time.Second),
			}
		}), 0, 20).Draw(t, "ranges")
		want := map[Place]time.Time{}
		for _, r := range ranges {
			for i := range r.Count {
				p := Place{r.List, r.Position + i}
				want[p] = later(want[p], r.Until)
			}
		}
		got := map[Place]time.Time{}
		for _, c := range RevokedPlaces(liveStart, ranges) {
			r, err := ParsePlaceRange(c.Key)
			if err != nil || c.Kind != changes.StatusRevoked || !c.At.Equal(liveStart) {
				t.Fatalf("announced %v: %v", c, err)
			}
			for i := range r.Count {
				p := Place{r.List, r.Position + i}
				if _, twice := got[p]; twice {
					t.Fatalf("%v is announced twice", p)
				}
				got[p] = c.Until
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d places announced, want %d", len(got), len(want))
		}
		for p, until := range want {
			if got[p].Before(until) {
				t.Fatalf("%v is announced until %v, want %v", p, got[p], until)
			}
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
