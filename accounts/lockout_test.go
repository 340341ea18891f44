package accounts

import (
	"slices"
	"testing"
	"testing/quick"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// wrong lets n wrong passwords come to an end at now.
func wrong(c Counter, l Limit, now time.Time, n int) Counter {
	for range n {
		lease := Lease{Until: now.Add(30 * time.Second), Tag: 1}
		c, _ = c.reserve(l, now, lease).fail(l, now, lease)
	}
	return c
}

func TestPairLocksAtItsLimitForLongerEachTime(t *testing.T) {
	l := DefaultThrottle().Pair
	c := wrong(Counter{CounterKey: CounterKey{Kind: PairCounter}}, l, noon, 4)
	if v, _ := c.judge(l, noon, 1); v != admitted {
		t.Fatalf("after 4 failures: %v, want admitted", v)
	}
	c = wrong(c, l, noon, 1)
	now := noon
	for i, minutes := range []int{1, 2, 4, 8, 15, 15} {
		want := time.Duration(minutes) * time.Minute
		v, until := c.judge(l, now, 1)
		if v != locked || until.Sub(now) != want {
			t.Fatalf("lock %d: %v for %v, want locked for %v", i+1, v, until.Sub(now), want)
		}
		// INV-11: one microsecond before the end it is locked, at the end it is not.
		if v, _ := c.judge(l, until.Add(-time.Microsecond), 1); v != locked {
			t.Errorf("lock %d: %v just before its end", i+1, v)
		}
		now = until
		if v, _ := c.judge(l, now, 1); v != admitted {
			t.Fatalf("lock %d: %v at its end, want admitted", i+1, v)
		}
		failures := 1 // in the same window one more failure locks again
		if !now.Before(c.Since.Add(l.Window)) {
			failures = l.Failures
		}
		c = wrong(c, l, now, failures)
	}
}

func TestCounterJudges(t *testing.T) {
	pair, source := DefaultThrottle().Pair, DefaultThrottle().Source
	lease := func(tag uint64, d time.Duration) Lease { return Lease{Until: noon.Add(d), Tag: tag} }
	leases := func(n int, d time.Duration) (ls []Lease) {
		for range n {
			ls = append(ls, lease(1, d))
		}
		return ls
	}
	tags := func(n int) (ts []uint64) {
		for i := range n {
			ts = append(ts, uint64(100+i))
		}
		return ts
	}
	pairOf := func(c Counter) Counter { c.Kind = PairCounter; return c }
	sourceOf := func(c Counter) Counter { c.Kind = SourceCounter; return c }
	recent := noon.Add(-time.Minute)
	for _, tt := range []struct {
		name  string
		c     Counter
		l     Limit
		want  verdict
		after time.Duration
	}{
		{"nothing remembered", pairOf(Counter{}), pair, admitted, 0},
		{"attempts under way leave the last place", pairOf(Counter{Leases: leases(4, 1)}), pair, admitted, 0},
		{"attempts under way take every place", pairOf(Counter{Leases: leases(5, 1)}), pair, crowded, time.Second}, // INV-10
		{"failures and attempts under way add up", pairOf(Counter{Since: recent, Failures: 3, Leases: leases(2, 1)}), pair, crowded, time.Second},
		{"a lease ends by itself", pairOf(Counter{Leases: leases(5, 0)}), pair, admitted, 0},
		{"a failure leaves the window", pairOf(Counter{Since: noon.Add(-pair.Window), Failures: 4, Leases: leases(4, 1)}), pair, admitted, 0},
		{"a failure is still in the window", pairOf(Counter{Since: noon.Add(1 - pair.Window), Failures: 4, Leases: leases(4, 1)}), pair, crowded, time.Second},
		{"locked", pairOf(Counter{Since: recent, Failures: 5, Level: 1, LockedUntil: noon.Add(7)}), pair, locked, 7},
		{"after a lock one attempt goes on", pairOf(Counter{Since: recent, Failures: 5, Level: 1, LockedUntil: noon}), pair, admitted, 0},
		{"after a lock a second one waits", pairOf(Counter{Since: recent, Failures: 5, Level: 1, LockedUntil: noon, Leases: leases(1, 1)}), pair, crowded, time.Second},
		{"a source with room", sourceOf(Counter{Since: recent, Failures: 19, Failed: tags(19)}), source, admitted, 0},
		{"a source whose last place is taken by another", sourceOf(Counter{Since: recent, Failures: 19, Failed: tags(19), Leases: []Lease{lease(2, 1)}}), source, crowded, time.Second},
		{"a source where the identifier is under way", sourceOf(Counter{Since: recent, Failures: 19, Failed: tags(19), Leases: leases(3, 1)}), source, admitted, 0},
		{"a source where the identifier failed before", sourceOf(Counter{Since: recent, Failures: 19, Failed: append(tags(18), 1), Leases: []Lease{lease(2, 1)}}), source, admitted, 0},
		{"a locked source refuses known identifiers too", sourceOf(Counter{Since: recent, Failures: 20, Failed: append(tags(19), 1), LockedUntil: noon.Add(9), Level: 1}), source, locked, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, until := tt.c.judge(tt.l, noon, 1)
			if v != tt.want || (v != admitted && until.Sub(noon) != tt.after) {
				t.Errorf("judge() = %v until +%v, want %v until +%v", v, until.Sub(noon), tt.want, tt.after)
			}
		})
	}
}

func TestFailuresWhileLockedNeitherCountNorExtend(t *testing.T) {
	l := DefaultThrottle().Pair
	c := wrong(Counter{CounterKey: CounterKey{Kind: PairCounter}}, l, noon, 5)
	later, again := c.fail(l, noon.Add(time.Second), Lease{})
	if again || later.Failures != c.Failures || later.Level != c.Level || !later.LockedUntil.Equal(c.LockedUntil) {
		t.Errorf("a failure while locked changed %+v to %+v", c, later)
	}
}

func TestLevelFallsAfterAQuietWindow(t *testing.T) {
	l := DefaultThrottle().Pair
	c := wrong(Counter{CounterKey: CounterKey{Kind: PairCounter}}, l, noon, 5)
	c = wrong(c, l, c.LockedUntil, 1) // the second lock: 2 min
	for _, tt := range []struct {
		quiet time.Duration // after the lock ended
		level int
	}{{l.Window - 1, 2}, {l.Window, 0}} {
		now := c.LockedUntil.Add(tt.quiet)
		if got := c.at(l, now); got.Level != tt.level || got.Blank() != (tt.level == 0) {
			t.Errorf("%v after the lock: level %d, blank %v, want level %d", tt.quiet, got.Level, got.Blank(), tt.level)
		}
	}
	if want := c.LockedUntil.Add(l.Window); !c.forgottenAt(l).Equal(want) {
		t.Errorf("forgotten at %v, want %v", c.forgottenAt(l), want)
	}
}

func TestPoolLocksUntilItsHourEnds(t *testing.T) {
	l := DefaultThrottle().Pool
	c := wrong(Counter{CounterKey: CounterKey{Kind: PoolCounter}}, l, noon, 1)
	c = wrong(c, l, noon.Add(20*time.Minute), 99)
	if v, until := c.judge(l, noon.Add(20*time.Minute), 1); v != locked || !until.Equal(noon.Add(time.Hour)) {
		t.Errorf("judge() = %v until %v, want locked until 13:00: never longer than the hour", v, until)
	}
	if v, _ := c.judge(l, noon.Add(time.Hour), 1); v != admitted {
		t.Errorf("after the hour: %v, want admitted", v)
	}
}

func TestSourceCountsEachIdentifierOnce(t *testing.T) {
	l := DefaultThrottle().Source
	c := wrong(Counter{CounterKey: CounterKey{Kind: SourceCounter}}, l, noon, 50)
	if c.Failures != 1 || len(c.Failed) != 1 {
		t.Errorf("50 failures at one identifier count %d", c.Failures)
	}
}

func TestSuccessClearsOnlyWhatIsItsOwn(t *testing.T) { // SEC-LOG-09
	d := DefaultThrottle()
	for kind, tt := range map[CounterKind]struct {
		l    Limit
		left int
	}{PairCounter: {d.Pair, 0}, DeviceCounter: {d.Device, 0}, PoolCounter: {d.Pool, 3}, SourceCounter: {d.Source, 1}} {
		c := wrong(Counter{CounterKey: CounterKey{Kind: kind}}, tt.l, noon, 3)
		lease := Lease{Until: noon.Add(time.Second), Tag: 1}
		other := Lease{Until: noon.Add(2 * time.Second), Tag: 1}
		c = c.reserve(tt.l, noon, lease).reserve(tt.l, noon, other).succeed(tt.l, noon, lease)
		if c.Failures != tt.left || !slices.Equal(c.Leases, []Lease{other}) {
			t.Errorf("%s after a success: %d failures, leases %v; want %d and the other's lease", kind, c.Failures, c.Leases, tt.left)
		}
	}
}

// Whatever happens in whatever order, what was counted and what is under way
// never exceed the limit, and a place once taken is given back (INV-10).
func TestCounterNeverExceedsItsLimit(t *testing.T) {
	property := func(steps []uint8) bool {
		l := Limit{Failures: 5, Window: 15 * time.Minute, Locks: []time.Duration{time.Minute, 2 * time.Minute}}
		c, now, evaluated := Counter{CounterKey: CounterKey{Kind: PairCounter}}, noon, 0
		var open []Lease
		for i, s := range steps {
			switch {
			case s < 120:
				if v, _ := c.judge(l, now, 1); v == admitted {
					lease := Lease{Until: now.Add(l.Window), Tag: uint64(i)}
					c, open = c.reserve(l, now, lease), append(open, lease)
				}
			case s < 230 && len(open) > 0:
				var lockedNow bool
				before := c.Level
				c, lockedNow = c.fail(l, now, open[0])
				open = open[1:]
				evaluated++
				if lockedNow != (c.Level == before+1) {
					return false
				}
			default:
				now = now.Add(time.Duration(s) * time.Second)
			}
			open = slices.DeleteFunc(open, func(o Lease) bool { return !now.Before(o.Until) })
			is := c.at(l, now)
			if is.Failures+len(open) > max(l.Failures, is.Failures+1) || len(is.Leases) != len(open) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}
