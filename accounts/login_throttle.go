package accounts

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Throttle is the limits on failed logins. A zero field means its default.
type Throttle struct {
	Source Limit // different identifiers from one network prefix
	Pair   Limit // one identifier from one network prefix
	Pool   Limit // one identifier from everywhere but known devices
	Proof  Limit // one identifier from everywhere, with a proof
	Device Limit // one identifier from one known device
	// Lease is how long an attempt holds its place where it never ends.
	Lease time.Duration
	// Offices are networks that many people share; they have no Source limit.
	Offices []netip.Prefix
}

// DefaultThrottle returns the limits of a deployment that sets none.
func DefaultThrottle() Throttle {
	rising := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute}
	return Throttle{
		Source: Limit{Failures: 20, Window: 10 * time.Minute},
		Pair:   Limit{Failures: 5, Window: 15 * time.Minute, Locks: rising},
		Pool:   Limit{Failures: 100, Window: time.Hour},
		Proof:  Limit{Failures: 100, Window: time.Hour},
		Device: Limit{Failures: 10, Window: 15 * time.Minute, Locks: rising},
		Lease:  30 * time.Second,
	}
}

func (t Throttle) limit(k CounterKind) Limit {
	set, usual := t, DefaultThrottle()
	pick := func(t Throttle) Limit {
		return map[CounterKind]Limit{SourceCounter: t.Source, PairCounter: t.Pair, PoolCounter: t.Pool, ProofCounter: t.Proof, DeviceCounter: t.Device}[k]
	}
	if l := pick(set); l.Failures > 0 {
		return l
	}
	return pick(usual)
}

func (t Throttle) lease() time.Duration {
	if t.Lease > 0 {
		return t.Lease
	}
	return DefaultThrottle().Lease
}

// trust is what an attempt has shown besides its password.
type trust int

const (
	stranger trust = iota
	knownDevice
	invited // by an unlock link that was mailed to the owner
	proven  // a stranger who answered a challenge
)

// guards says which counters guard an attempt, in the order in which they are
// locked and asked. A proof opens the pool and nothing else, and has a pool of its
// own. Who used an unlock link has a counter of that link's instead of those that
// strangers filled.
var guards = map[trust][]CounterKind{
	stranger:    {SourceCounter, PairCounter, PoolCounter},
	knownDevice: {DeviceCounter},
	invited:     {SourceCounter, DeviceCounter},
	proven:      {SourceCounter, PairCounter, ProofCounter},
}

// trustNames are how the audit log calls the device of an attempt.
var trustNames = map[trust]string{stranger: "unknown", knownDevice: "known", invited: "invited", proven: "unknown"}

// keys returns the keys of the counters that guard an attempt at identifier
// from source. device tells known devices apart.
func (t Throttle) keys(pepper []byte, identifier string, level trust, source netip.Addr, device string) []CounterKey {
	hash := func(parts ...string) [32]byte { return [32]byte(secret.MAC(pepper, parts...)) }
	owner, prefix := hashIdentifier(pepper, identifier), sourcePrefix(source)
	var out []CounterKey
	for _, kind := range guards[level] {
		k := CounterKey{Kind: kind, Identifier: owner}
		switch kind {
		case SourceCounter:
			if t.shared(source) {
				continue
			}
			k.Identifier = [32]byte{}
			k.Hash = hash(string(kind), prefix)
		case PairCounter:
			k.Hash = hash(string(kind), identifier, prefix)
		case PoolCounter, ProofCounter:
			k = poolKey(kind, pepper, identifier)
		case DeviceCounter:
			k.Hash = hash(string(kind), identifier, device)
		}
		out = append(out, k)
	}
	return out
}

// poolKey is the key of a counter that counts by the identifier alone.
func poolKey(kind CounterKind, pepper []byte, identifier string) CounterKey {
	return CounterKey{Kind: kind, Hash: [32]byte(secret.MAC(pepper, string(kind), identifier)), Identifier: hashIdentifier(pepper, identifier)}
}

// hashIdentifier is what storage knows an identifier by.
func hashIdentifier(pepper []byte, identifier string) [32]byte {
	return [32]byte(secret.MAC(pepper, "identifier", identifier))
}

// tagOf is a short form of the hash, for telling identifiers apart within one
// counter.
func tagOf(identifier [32]byte) uint64 { return binary.BigEndian.Uint64(identifier[:8]) }

func (t Throttle) shared(source netip.Addr) bool {
	return slices.ContainsFunc(t.Offices, func(p netip.Prefix) bool { return p.Contains(source.Unmap()) })
}

// sourcePrefix is the network that failures are counted by (SEC-LOG-10). The
// command line has none.
func sourcePrefix(a netip.Addr) string {
	if p := ident.NetworkOf(a); p.IsValid() {
		return p.String()
	}
	return ""
}

// ruling is what all the counters of an attempt say together.
type ruling struct {
	verdict verdict
	kind    CounterKind // of the counter that decided
	until   time.Time
}

// judge asks every counter. A locked source decides first, since it tells
// nothing of any account; then the longest lock, so that an attempt after it
// is not met by another.
func (t Throttle) judge(cs []Counter, now time.Time, tag uint64) ruling {
	var worst ruling
	for _, c := range cs {
		v, until := c.judge(t.limit(c.Kind), now, tag)
		r := ruling{v, c.Kind, until}
		if v == locked && c.Kind == SourceCounter {
			return r
		}
		if v > worst.verdict || (v == worst.verdict && until.After(worst.until)) {
			worst = r
		}
	}
	return worst
}

// reason is the ruling's name in the audit log.
func (r ruling) reason() string {
	switch {
	case r.verdict == crowded:
		return "concurrent"
	case r.kind == SourceCounter:
		return "throttled"
	default:
		return "locked"
	}
}

// fault is the ruling as the caller learns it: the same for every identifier,
// whether it is anybody's or not.
func (r ruling) fault(now time.Time) error {
	wait := (r.until.Sub(now) + time.Second - 1).Truncate(time.Second) // whole seconds, as Retry-After has them
	switch r.reason() {
	case "concurrent":
		return fault.New(fault.RateLimited, "Too many login attempts at the same time; try again in a moment.").After(wait)
	case "throttled":
		return fault.New(fault.RateLimited, "Too many failed logins from this network; try again later.").After(wait)
	default:
		return fault.New(fault.AccountLocked, "Too many failed login attempts; the account is locked for a while.").After(wait)
	}
}
