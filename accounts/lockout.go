package accounts

import (
	"slices"
	"time"
)

// CounterKind says what a counter of failed logins counts by.
type CounterKind string

// The kinds, in the order in which a transaction locks them.
const (
	// SourceCounter counts the different identifiers that failed from one
	// network prefix, whoever they belong to.
	SourceCounter CounterKind = "source"
	// PairCounter counts failures at one identifier from one network prefix.
	PairCounter CounterKind = "pair"
	// PoolCounter counts failures at one identifier from everywhere that is not
	// a known device.
	PoolCounter CounterKind = "pool"
	// ProofCounter counts failures at one identifier of strangers who passed the
	// pool with a proof.
	ProofCounter CounterKind = "proof"
	// DeviceCounter counts failures at one identifier from a device that has
	// logged in to it before. Strangers cannot touch it.
	DeviceCounter CounterKind = "device"
)

// CounterKey names a counter by keyed hashes, so that storage tells neither
// who was attacked nor from where.
type CounterKey struct {
	Kind       CounterKind
	Hash       [32]byte // of kind, identifier and what else the kind counts by
	Identifier [32]byte // of the identifier; zero for a SourceCounter
}

// Counter is what is remembered of failed logins. The zero Counter of a key
// remembers nothing.
type Counter struct {
	CounterKey
	Since       time.Time // of the first failure of the window; zero where Failures is 0
	Failures    int       // in the window; for a SourceCounter the different identifiers
	Failed      []uint64  // SourceCounter: the identifiers that failed, as tags
	Leases      []Lease   // attempts under way
	LockedUntil time.Time // attempts before it are refused
	Level       int       // locks since the last quiet window
	EndsAt      time.Time // when an untouched counter stops mattering; set before it is stored
}

// Lease is a place taken by an attempt before its password is looked at, so
// that attempts under way are counted too. It ends by itself, in case the
// process that took it did.
type Lease struct {
	Until time.Time // whole microseconds
	Tag   uint64    // of the identifier
}

// Limit is how many failures a counter allows, and what happens then.
type Limit struct {
	Failures int
	Window   time.Duration
	// Locks are the durations of the first lock, the second, …; the last is
	// used for all further ones. Empty: a lock lasts until its window ends.
	Locks []time.Duration
}

type verdict int

const (
	admitted verdict = iota
	crowded          // every place is taken by an attempt under way
	locked
)

// retryCrowded is how long to wait for attempts under way to end.
const retryCrowded = time.Second

// judge says whether an attempt may look at a password now, and if not, when
// to come back. It is pure: the policy of locks is here and nowhere else.
func (c Counter) judge(l Limit, now time.Time, tag uint64) (verdict, time.Time) {
	c = c.at(l, now)
	if now.Before(c.LockedUntil) {
		return locked, c.LockedUntil
	}
	if c.Kind == SourceCounter && (slices.Contains(c.Failed, tag) || c.leases(tag)) {
		return admitted, time.Time{} // counted already
	}
	// Failures reach the limit in an open window only where a lock has ended:
	// then one attempt at a time goes on.
	if c.underWay() >= max(l.Failures-c.Failures, 1) {
		return crowded, now.Add(retryCrowded)
	}
	return admitted, time.Time{}
}

// reserve takes a place for an attempt that judge admitted.
func (c Counter) reserve(l Limit, now time.Time, lease Lease) Counter {
	c = c.at(l, now)
	c.Leases = append(c.Leases, lease)
	return c
}

// fail counts a wrong password and ends its lease. It reports true where this
// very failure locked. While locked nothing is counted and no lock grows.
func (c Counter) fail(l Limit, now time.Time, lease Lease) (Counter, bool) {
	c = c.release(l, now, lease)
	if now.Before(c.LockedUntil) {
		return c, false
	}
	if c.Kind == SourceCounter {
		if slices.Contains(c.Failed, lease.Tag) {
			return c, false
		}
		c.Failed = append(c.Failed, lease.Tag)
	}
	if c.Failures == 0 {
		c.Since = now
	}
	c.Failures++
	if c.Failures < l.Failures {
		return c, false
	}
	c.LockedUntil = c.Since.Add(l.Window)
	if n := len(l.Locks); n > 0 {
		c.LockedUntil = now.Add(l.Locks[min(c.Level, n-1)])
	}
	c.Level++
	return c, true
}

// succeed ends the lease of a right password. A known device and a pair start
// anew; what other sources did to the account, and what this source did to
// other accounts, stays (SEC-LOG-09).
func (c Counter) succeed(l Limit, now time.Time, lease Lease) Counter {
	c = c.release(l, now, lease)
	if c.Kind == DeviceCounter || c.Kind == PairCounter {
		return Counter{CounterKey: c.CounterKey, Leases: c.Leases}
	}
	return c
}

// release ends a lease without counting anything.
func (c Counter) release(l Limit, now time.Time, lease Lease) Counter {
	c = c.at(l, now)
	if i := slices.IndexFunc(c.Leases, func(o Lease) bool { return o.Tag == lease.Tag && o.Until.Equal(lease.Until) }); i >= 0 {
		c.Leases = slices.Delete(c.Leases, i, i+1)
	}
	return c
}

// at forgets what no longer counts at now, and shares no memory with c.
func (c Counter) at(l Limit, now time.Time) Counter {
	c = c.believable(l, now)
	c.Leases = slices.DeleteFunc(slices.Clone(c.Leases), func(o Lease) bool { return !now.Before(o.Until) })
	c.Failed = slices.Clone(c.Failed)
	if c.Failures > 0 && !now.Before(c.Since.Add(l.Window)) {
		c.Failures, c.Failed, c.Since = 0, nil, time.Time{}
	}
	if c.Failures == 0 && !now.Before(c.LockedUntil.Add(l.Window)) {
		c.Level, c.LockedUntil = 0, time.Time{}
	}
	return c
}

// clocksApart is how far the clocks of those who write counters may be apart.
const clocksApart = time.Minute

// believable takes back what only a clock that was wrong can have written, which
// would else hold for as long as that clock was ahead: a window that begins in the
// future begins now, and a lock or a lease that lasts for longer than any is over.
func (c Counter) believable(l Limit, now time.Time) Counter {
	longest := l.Window
	for _, lock := range l.Locks {
		longest = max(longest, lock)
	}
	last := now.Add(longest + clocksApart)
	if c.Since.After(now.Add(clocksApart)) {
		c.Since = now
	}
	if c.LockedUntil.After(last) {
		c.LockedUntil = now
	}
	c.Leases = slices.DeleteFunc(slices.Clone(c.Leases), func(o Lease) bool { return o.Until.After(last) })
	return c
}

// Blank reports whether the counter remembers nothing, so that it need not be kept.
func (c Counter) Blank() bool {
	return c.Failures == 0 && len(c.Leases) == 0 && c.Level == 0
}

// forgottenAt is when a counter that nobody touches becomes blank.
func (c Counter) forgottenAt(l Limit) time.Time {
	end := c.Since
	if c.Failures > 0 {
		end = c.Since.Add(l.Window)
	}
	if c.Level > 0 && c.LockedUntil.Add(l.Window).After(end) {
		end = c.LockedUntil.Add(l.Window)
	}
	for _, o := range c.Leases {
		if o.Until.After(end) {
			end = o.Until
		}
	}
	return end
}

func (c Counter) leases(tag uint64) bool {
	return slices.ContainsFunc(c.Leases, func(o Lease) bool { return o.Tag == tag })
}

// underWay is how many failures the attempts under way may add.
func (c Counter) underWay() int {
	if c.Kind != SourceCounter {
		return len(c.Leases)
	}
	var open []uint64
	for _, o := range c.Leases {
		if !slices.Contains(c.Failed, o.Tag) && !slices.Contains(open, o.Tag) {
			open = append(open, o.Tag)
		}
	}
	return len(open)
}
