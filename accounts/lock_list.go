package accounts

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// LockReader finds who is locked out. Counters are named by keyed hashes and tell
// of nobody: whom they may concern is in the audit log.
type LockReader interface {
	// LockEvents returns at most limit login.locked events of the tenant at or
	// after since, with Seq below before (0: from the newest), newest first.
	LockEvents(ctx context.Context, t ident.Tenant, since time.Time, before int64, limit int) ([]audit.Event, error)
	// LockedCounters returns the counters of the identifiers that are locked at now.
	LockedCounters(ctx context.Context, identifiers [][32]byte, now time.Time) ([]Counter, error)
}

// Lock is who is locked out at present, and by what.
type Lock struct {
	User   ident.UserID
	Email  string
	Kind   CounterKind
	Places int        // how many networks or devices are locked
	Since  time.Time  // of the last of them
	Until  time.Time  // when the last of them ends
	Source netip.Addr // of the attempt that locked last
}

// Lockouts tells who is locked out. Every field but Throttle is required.
type Lockouts struct {
	Locks    LockReader
	Secrets  Secrets
	Throttle Throttle // as the Authenticator's
	Now      func() time.Time
}

// List returns who is locked out in the caller's organisation, whoever was locked
// last first. It looks at limit locks before the given place of the log (0: from
// the newest) and returns where to go on; 0 where nothing is left. A lock by
// network concerns nobody in particular and is not listed. It needs users:read.
func (l *Lockouts) List(ctx context.Context, caller ident.Caller, before int64, limit int) ([]Lock, int64, error) {
	if !caller.May(UsersRead) {
		return nil, 0, fault.Lacking(string(UsersRead))
	}
	now := l.Now()
	events, err := l.Locks.LockEvents(ctx, caller.Tenant(), now.Add(-l.Throttle.longest()), before, limit)
	if err != nil || len(events) == 0 {
		return nil, 0, err
	}
	var next int64
	if len(events) == limit {
		next = events[limit-1].Seq
	}
	_, pepper := l.Secrets.Current(sealing.LockoutPepper)
	var out []Lock
	var identifiers [][32]byte
	for _, e := range events {
		lock, ok := lockOf(e)
		same := func(o Lock) bool { return o.User == lock.User && o.Kind == lock.Kind }
		if !ok || slices.ContainsFunc(out, same) {
			continue
		}
		out = append(out, lock)
		identifiers = append(identifiers, hashIdentifier(pepper, Identifier(lock.Email)))
	}
	counters, err := l.Locks.LockedCounters(ctx, identifiers, now)
	if err != nil {
		return nil, 0, err
	}
	for i := range out {
		for _, c := range counters {
			if c.Kind != out[i].Kind || c.Identifier != identifiers[i] {
				continue
			}
			out[i].Places++
			if c.LockedUntil.After(out[i].Until) {
				out[i].Until = c.LockedUntil
			}
		}
	}
	return slices.DeleteFunc(out, func(o Lock) bool { return o.Places == 0 }), next, nil
}

// lockOf is what an event tells of a lock of somebody.
func lockOf(e audit.Event) (Lock, bool) {
	i := slices.IndexFunc(e.Targets, func(t audit.Target) bool { return t.Type == "user" && t.Name != "" })
	if i < 0 {
		return Lock{}, false
	}
	return Lock{User: ident.UserID(e.Targets[i].ID), Email: e.Targets[i].Name, Kind: CounterKind(e.Reason), Since: e.Time, Source: e.Origin.IP}, true
}

// longest is how long a lock lasts at most.
func (t Throttle) longest() time.Duration {
	var most time.Duration
	for _, k := range []CounterKind{SourceCounter, PairCounter, PoolCounter, DeviceCounter} {
		l := t.limit(k)
		most = max(most, l.Window, slices.Max(append(l.Locks, 0)))
	}
	return most
}
