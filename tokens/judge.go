package tokens

import (
	"math"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// touch is how old Family.Seen may get before a refresh that changes nothing
// else writes it: a burst of repeated requests costs no writes.
const touch = 15 * time.Second

// presentation is one generation of a family coming in.
type presentation struct {
	Generation uint32
	Origin     ident.Origin
	Network    string
	Agent      Digest
	Proof      Digest // zero: none shown
	RetryKey   Digest // zero: none sent
}

// verdict is what a presentation is answered, and the family afterwards.
type verdict struct {
	Result Result
	Next   Family // equal to the judged family where nothing changes
}

// judge decides what presenting a generation of f is worth at now. It is pure:
// the table of docs/decisions/0002-refresh-families.md is this switch, row by
// row in its order, and is nowhere else.
func judge(f Family, p presentation, now time.Time, pol Policy) verdict {
	c := f.Chain
	cur := p.Generation == c.Generation
	same := f.sameHolder(p)
	grace := f.withinGrace(p.Generation, now, pol)
	lastUsed := !cur && p.Generation == c.LastUsed
	roams := !f.bound() && p.Agent == f.Holder.Agent

	switch {
	// 1. The family or this token is over.
	case !f.Ended.At.IsZero():
		return verdict{revokedResult(f.Ended.Reason), f}
	case !now.Before(f.ExpiresAt) || !f.Refreshable || c.Generation == math.MaxUint32:
		return verdict{Expired, f}
	case !now.Before(f.handedOut(p.Generation).Add(pol.Idle)):
		return verdict{idleResult(p.Generation), f}

	// 2. A generation the database has lost; more than one is no accident.
	case c.Generation+1 == p.Generation:
		return verdict{Adopted, f.adopted(p, now)}
	case p.Generation > c.Generation:
		return verdict{Stale, f}

	// 3. Several requests of the holder at once. Seen stays: whoever asks without
	// end is given a new one from time to time.
	case cur && same && now.Sub(f.Seen.At) < pol.Cooldown:
		return verdict{Replayed, f}
	// 4. The ordinary case.
	case cur:
		return verdict{Rotated, f.rotated(p, now)}

	// 5. Two parties may hold it, and now it shows up.
	case c.contested(p.Generation) && p.Agent == c.Contested.Agent && now.Sub(c.Contested.At) < pol.Cooldown:
		return verdict{Replayed, f}
	case c.contested(p.Generation):
		return verdict{Reused, f.ended(now, string(Reused))}

	// 6. A lost reply, sleep, or a client that never stores the new token.
	case same && (grace || lastUsed):
		return verdict{Replayed, f.served(p, now)}
	// 7. The same party beyond doubt.
	case same && f.bound(), lastUsed && p.RetryKey != Digest{} && p.RetryKey == c.RetryKey:
		return verdict{Replayed, f.served(p, now)}
	// 8. A lost reply, retried from the next network.
	case grace && roams && now.Sub(f.Seen.At) < pol.Cooldown:
		return verdict{Roaming, f} // a straggler from the old network does not take the new one's place
	case grace && roams:
		return verdict{Roaming, f.served(p, now)}
	// 9. A move, or a theft: whether the contested one shows up will tell.
	case lastUsed:
		return verdict{Disputed, f.disputed(p, now)}
	// 10. A replay out of a queue: refused, and no harm done.
	case same:
		return verdict{Stale, f}
	// 11. RFC 9700 §4.14.2: its successor was used, and it comes from elsewhere.
	default:
		return verdict{Reused, f.ended(now, string(Reused))}
	}
}

// bound reports whether the family is bound to a strong proof. Then only that
// counts, and network and user agent do not.
func (f Family) bound() bool { return f.Holder.Proof != Digest{} }

// sameHolder reports whether p comes from the party the current generation was
// handed to. In a bound family that party may have been one without the proof;
// then nobody is the same, so that a thief who was first is found out.
func (f Family) sameHolder(p presentation) bool {
	if f.bound() {
		return f.Holder.Proven && p.Proof == f.Holder.Proof
	}
	return p.Network == f.Holder.Network && p.Agent == f.Holder.Agent
}

// withinGrace reports whether a lost reply of a moment ago explains g. For the
// last one used that counts from when the current one was last handed out in
// reply to it, for the one used before from when the last one used was. Older
// ones are not explained.
func (f Family) withinGrace(g uint32, now time.Time, pol Policy) bool {
	c := f.Chain
	switch {
	case g == c.LastUsed:
		return now.Sub(f.Seen.At) < pol.Grace
	case c.LastUsed > 0 && g == c.usedBefore():
		return now.Sub(c.PreviousAt) < pol.Grace
	default:
		return false
	}
}

// usedBefore is the generation that was in use before the last used one. Those
// in between were contested and never used.
func (c Chain) usedBefore() uint32 {
	if !c.Contested.At.IsZero() && c.Contested.To+1 == c.LastUsed {
		return c.Contested.From - 1
	}
	return c.LastUsed - 1
}

// handedOut is when the client last got generation g, as far as is known: for
// those long gone, when the family was last served.
func (f Family) handedOut(g uint32) time.Time {
	switch {
	case g == 0:
		return f.CreatedAt
	case g == f.Chain.LastUsed && g != f.Chain.Generation:
		return f.Chain.PreviousAt
	default:
		return f.Seen.At
	}
}

func (c Chain) contested(g uint32) bool {
	return !c.Contested.At.IsZero() && c.Contested.From <= g && g <= c.Contested.To
}

// served hands the current generation out again.
func (f Family) served(p presentation, now time.Time) Family {
	held := f.heldBy(p)
	if held.Holder == f.Holder && now.Sub(f.Seen.At) < touch {
		return f
	}
	held.Seen = sightingOf(p, now)
	return held
}

// rotated makes the next generation because the current one was used.
func (f Family) rotated(p presentation, now time.Time) Family {
	f.Chain.LastUsed, f.Chain.PreviousAt = f.Chain.Generation, f.Seen.At
	return f.advanced(p, now)
}

// adopted makes the next generation of one the database does not know. When
// that was handed out is lost with it.
func (f Family) adopted(p presentation, now time.Time) Family {
	f.Chain.Generation = p.Generation
	f.Chain.LastUsed, f.Chain.PreviousAt = p.Generation, now
	return f.advanced(p, now)
}

// disputed makes the next generation beside the current one. Everything after
// the last one used exists only through disputes.
func (f Family) disputed(p presentation, now time.Time) Family {
	f.Chain.Contested = Contested{From: f.Chain.LastUsed + 1, To: f.Chain.Generation, At: now, Agent: p.Agent}
	return f.advanced(p, now)
}

func (f Family) advanced(p presentation, now time.Time) Family {
	f.Chain.Generation++
	f.Chain.RetryKey = p.RetryKey
	f = f.heldBy(p)
	f.Seen = sightingOf(p, now)
	return f
}

func (f Family) heldBy(p presentation) Family {
	f.Holder.Network, f.Holder.Agent = p.Network, p.Agent
	f.Holder.Proven = f.bound() && p.Proof == f.Holder.Proof
	return f
}

func (f Family) ended(now time.Time, reason string) Family {
	f.Ended = Ended{At: now, Reason: reason}
	return f
}

func sightingOf(p presentation, now time.Time) Seen {
	return Seen{At: now, IP: p.Origin.IP, UserAgent: p.Origin.UserAgent}
}

// revokedResult keeps reuse apart from other revocations, for the reply.
func revokedResult(reason string) Result {
	if reason == string(Reused) {
		return Reused
	}
	return Revoked
}

// idleResult: a client that keeps the token of its login sees it expire; only
// one that was given newer ones can be idle.
func idleResult(g uint32) Result {
	if g == 0 {
		return Expired
	}
	return Idle
}
