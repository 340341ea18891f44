package tokens

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	policy = Policy{}.withDefaults()

	home  = ident.Origin{IP: netip.MustParseAddr("192.0.2.10"), UserAgent: "overwatch/1"}
	couch = ident.Origin{IP: netip.MustParseAddr("192.0.2.77"), UserAgent: "overwatch/1"} // the same /24
	train = ident.Origin{IP: netip.MustParseAddr("203.0.113.5"), UserAgent: "overwatch/1"}
	thief = ident.Origin{IP: netip.MustParseAddr("198.51.100.9"), UserAgent: "curl/8"}
)

func from(o ident.Origin, g uint32) presentation {
	return presentation{Generation: g, Origin: o, Network: networkOf(o.IP), Agent: textDigest(o.UserAgent)}
}

func (p presentation) proving(s string) presentation  { p.Proof = textDigest(s); return p }
func (p presentation) retrying(s string) presentation { p.RetryKey = textDigest(s); return p }

// fifth is a family whose generation 4 was rotated an hour ago, at home, and
// whose generation 5 nobody has used since.
func fifth(change ...func(*Family)) Family {
	f := Family{
		ID: "sess_x", Refreshable: true, CreatedAt: noon.Add(-24 * time.Hour), ExpiresAt: noon.Add(29 * 24 * time.Hour),
		Seen:   Seen{At: noon.Add(-time.Hour), IP: home.IP, UserAgent: home.UserAgent},
		Chain:  Chain{Generation: 5, LastUsed: 4, PreviousAt: noon.Add(-2 * time.Hour)},
		Holder: Holder{Network: networkOf(home.IP), Agent: textDigest(home.UserAgent)},
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

// rotatedAgo moves the rotation to 5 to ago before noon, and the one to 4 as
// long before that.
func rotatedAgo(ago time.Duration) func(*Family) {
	return func(f *Family) {
		f.Seen.At, f.Chain.PreviousAt = noon.Add(-ago), noon.Add(-2*ago)
	}
}

func boundTo(proof string, proven bool) func(*Family) {
	return func(f *Family) { f.Holder.Proof, f.Holder.Proven = textDigest(proof), proven }
}

// contestedAgo makes 5 contested and 6 the current one, given to o.
func contestedAgo(ago time.Duration, o ident.Origin) func(*Family) {
	return func(f *Family) { *f = f.disputed(from(o, 4), noon.Add(-ago)) }
}

func retryKey(s string) func(*Family) { return func(f *Family) { f.Chain.RetryKey = textDigest(s) } }

// TestJudge walks the table of the decision record row by row, with the limits
// of each row on both sides.
func TestJudge(t *testing.T) {
	day := 24 * time.Hour
	tests := []struct {
		name string
		f    Family
		p    presentation
		want Result
		cur  uint32 // afterwards
	}{
		// Row 1: the family or the token is over; it wins over everything below.
		{"a revoked family says so", fifth(func(f *Family) { f.Ended = Ended{noon.Add(-1), "logout"} }), from(home, 5), Revoked, 5},
		{"a family revoked for reuse says so", fifth(func(f *Family) { f.Ended = Ended{noon.Add(-1), "reuse_detected"} }), from(home, 5), Reused, 5},
		{"a revoked family is not adopted into", fifth(func(f *Family) { f.Ended = Ended{noon.Add(-1), "logout"} }), from(home, 6), Revoked, 5},
		{"the absolute limit holds at its instant", fifth(func(f *Family) { f.ExpiresAt = noon }), from(home, 5), Expired, 5},
		{"one moment before the absolute limit is fine", fifth(func(f *Family) { f.ExpiresAt = noon.Add(1) }), from(home, 5), Rotated, 6},
		{"idle too long", fifth(rotatedAgo(7 * day)), from(home, 5), Idle, 5},
		{"nearly idle", fifth(rotatedAgo(7*day - 1)), from(home, 5), Rotated, 6},
		{"the last used one dies of its own age", fifth(func(f *Family) { f.Chain.PreviousAt = noon.Add(-7 * day) }), from(home, 4), Idle, 5},
		{"O11: the login's own token expires after its days, however often it served", fifth(func(f *Family) { f.CreatedAt = noon.Add(-7 * day) }), from(home, 0), Expired, 5},
		{"a family without refresh tokens has none to present", fifth(func(f *Family) { f.Refreshable = false }), from(home, 5), Expired, 5},
		{"generations do not wrap around", fifth(func(f *Family) { f.Chain.Generation = math.MaxUint32 }), from(home, math.MaxUint32), Expired, math.MaxUint32},

		// Row 2: the database lost its last write.
		{"the next generation is adopted", fifth(), from(home, 6), Adopted, 7},
		{"the next generation is adopted from anywhere", fifth(), from(thief, 6), Adopted, 7},
		{"a later one is not", fifth(), from(home, 7), Stale, 5},

		// Row 3: tabs and server-side fan-out.
		{"cur again within the cool-down", fifth(rotatedAgo(30*time.Second - 1)), from(couch, 5), Replayed, 5},
		{"rotated at the end of the cool-down", fifth(rotatedAgo(30 * time.Second)), from(home, 5), Rotated, 6},
		{"rotated within the cool-down from another network", fifth(rotatedAgo(5 * time.Second)), from(train, 5), Rotated, 6},
		{"rotated within the cool-down by another user agent", fifth(rotatedAgo(5 * time.Second)), from(ident.Origin{IP: home.IP, UserAgent: "curl/8"}, 5), Rotated, 6},
		// Row 4.
		{"cur rotates", fifth(), from(home, 5), Rotated, 6},
		{"cur rotates wherever it comes from", fifth(), from(thief, 5), Rotated, 6},

		// Row 5: contested.
		{"contested, at once, same user agent", fifth(contestedAgo(30*time.Second-1, train)), from(home, 5), Replayed, 6},
		{"contested, at once, other user agent", fifth(contestedAgo(5*time.Second, thief)), from(home, 5), Reused, 6},
		{"contested, later", fifth(contestedAgo(30*time.Second, train)), from(home, 5), Reused, 6},
		{"contested, although cur has moved on", fifth(contestedAgo(time.Hour, thief), func(f *Family) { *f = f.rotated(from(thief, 6), noon.Add(-time.Minute)) }), from(home, 5), Reused, 7},
		{"contested twice: each of them counts", fifth(contestedAgo(2*time.Hour, train), contestedAgo(time.Hour, home)), from(home, 5), Reused, 7},
		{"a later use is not contested by an older dispute", fifth(contestedAgo(2*time.Hour, train), func(f *Family) {
			*f = f.rotated(from(train, 6), noon.Add(-time.Hour))
		}), from(train, 6), Replayed, 7},

		// Row 6: same context.
		{"lost reply", fifth(rotatedAgo(2 * time.Second)), from(home, 4), Replayed, 5},
		{"slept for an hour", fifth(), from(home, 4), Replayed, 5},
		{"the one before the last used, within grace", fifth(rotatedAgo(29 * time.Second)), from(home, 3), Replayed, 5},
		{"the one before that is not explained by grace", fifth(rotatedAgo(5 * time.Second)), from(home, 2), Stale, 5},

		// Row 7: strong proof.
		{"any older one with the family's proof", fifth(boundTo("device", true)), from(train, 1).proving("device"), Replayed, 5},
		{"the same Idempotency-Key is the same request", fifth(retryKey("r1")), from(thief, 4).retrying("r1"), Replayed, 5},
		{"another Idempotency-Key is another request", fifth(retryKey("r1")), from(train, 4).retrying("r2"), Disputed, 6},
		{"an Idempotency-Key excuses no other token", fifth(retryKey("r1")), from(thief, 3).retrying("r1"), Reused, 5},
		{"no Idempotency-Key twice is not the same request", fifth(), from(train, 4), Disputed, 6},
		{"a wrong proof is none", fifth(boundTo("device", true)), from(home, 3).proving("other"), Reused, 5},
		{"bound: the weak context does not count", fifth(boundTo("device", true)), from(home, 4), Disputed, 6},
		{"bound: network and user agent do not excuse within grace", fifth(boundTo("device", true), rotatedAgo(time.Second)), from(train, 4), Disputed, 6},
		{"bound: the weak context does not keep the family", fifth(boundTo("device", true)), from(home, 2), Reused, 5},
		{"bound: cur was given to somebody without the proof", fifth(boundTo("device", false)), from(home, 4).proving("device"), Disputed, 6},

		// Row 8.
		{"retried from the next network within grace", fifth(rotatedAgo(60*time.Second - 1)), from(train, 4), Roaming, 5},
		{"another user agent is not roaming", fifth(rotatedAgo(5 * time.Second)), from(thief, 4), Disputed, 6},
		// Row 9.
		{"retried from the next network after the grace", fifth(rotatedAgo(60 * time.Second)), from(train, 4), Disputed, 6},
		// Row 10.
		{"a replay out of a queue", fifth(), from(home, 1), Stale, 5},
		// Row 11: SEC-OAU-32, SEC-OAU-34.
		{"its successor was used, and it comes from elsewhere", fifth(), from(train, 3), Reused, 5},
		{"SEC-OAU-34: a grandparent within the grace, by another user agent", fifth(rotatedAgo(5 * time.Second)), from(thief, 3), Reused, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := judge(tt.f, tt.p, noon, policy)
			if got.Result != tt.want || got.Next.Chain.Generation != tt.cur {
				t.Errorf("answered %s with generation %d, want %s with %d", got.Result, got.Next.Chain.Generation, tt.want, tt.cur)
			}
			revokes := tt.f.Ended.At.IsZero() && tt.want == Reused
			if ended := !got.Next.Ended.At.IsZero() && tt.f.Ended.At.IsZero(); ended != revokes {
				t.Errorf("family ended = %v, want %v", ended, revokes)
			}
			if !tt.want.Served() && !revokes && got.Next != tt.f {
				t.Errorf("a refusal changed the family: %+v", got.Next)
			}
			if !got.Next.ExpiresAt.Equal(tt.f.ExpiresAt) || !got.Next.CreatedAt.Equal(tt.f.CreatedAt) {
				t.Error("SEC-OAU-37: the absolute limit moved")
			}
		})
	}
}

// What a rotation writes down decides about every later presentation.
func TestRotationRemembersWhoAndWhen(t *testing.T) {
	f := judge(fifth(), from(train, 5).retrying("r"), noon, policy).Next
	want := Chain{Generation: 6, LastUsed: 5, PreviousAt: noon.Add(-time.Hour), RetryKey: textDigest("r")}
	if f.Chain != want {
		t.Errorf("chain = %+v\nwant    %+v", f.Chain, want)
	}
	if f.Holder != (Holder{Network: "203.0.113.0/24", Agent: textDigest("overwatch/1")}) || f.Seen != (Seen{noon, train.IP, train.UserAgent}) {
		t.Errorf("holder = %+v, seen = %+v", f.Holder, f.Seen)
	}
}

// An unused token that was handed out again stays good from then on.
func TestAReplayRenewsTheIdleTime(t *testing.T) {
	sixDays := 6 * 24 * time.Hour
	f := judge(fifth(), from(home, 4), noon.Add(sixDays), policy).Next
	later := noon.Add(2 * sixDays)
	if got := judge(f, from(home, 5), later, policy).Result; got != Rotated {
		t.Errorf("six days after it was handed out again: %s", got)
	}
	// The reply to that is lost, too.
	f = judge(f, from(home, 5), later, policy).Next
	if got := judge(f, from(home, 5), later.Add(time.Hour), policy).Result; got != Replayed {
		t.Errorf("its reply was lost: %s", got)
	}
}

// SEC-DOS-10: 10^6 rotations are one family of the same size, and the last
// token is judged like the first.
func TestAMillionRotationsAreOneFamily(t *testing.T) {
	f := fifth(func(f *Family) { f.ExpiresAt = noon.AddDate(100, 0, 0) })
	now := noon
	for range 1_000_000 {
		now = now.Add(policy.Cooldown)
		v := judge(f, from(home, f.Chain.Generation), now, policy)
		if v.Result != Rotated {
			t.Fatalf("generation %d: %s", f.Chain.Generation, v.Result)
		}
		f = v.Next
	}
	want := Chain{Generation: 1_000_005, LastUsed: 1_000_004, PreviousAt: now.Add(-policy.Cooldown)}
	if f.Chain != want {
		t.Errorf("chain = %+v, want %+v", f.Chain, want)
	}
}

// A burst of the same request costs one write.
func TestAReplayInABurstChangesNothing(t *testing.T) {
	f := fifth(rotatedAgo(time.Second))
	if v := judge(f, from(home, 4), noon, policy); v.Next != f {
		t.Errorf("family changed: %+v", v.Next)
	}
}

func TestNetworkOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.200": "192.0.2.0/24", "::ffff:192.0.2.200": "192.0.2.0/24",
		"2001:db8:1:23ff::1": "2001:db8:1:2300::/56", "fe80::1%eth0": "fe80::/56",
	} {
		if got := networkOf(netip.MustParseAddr(ip)); got != want {
			t.Errorf("networkOf(%s) = %q, want %q", ip, got, want)
		}
	}
	if got := networkOf(netip.Addr{}); got != "" {
		t.Errorf("networkOf(nothing) = %q", got)
	}
}
