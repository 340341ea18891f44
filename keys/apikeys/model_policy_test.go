package apikeys_test

import (
	"context"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// policy is what the organisation lets its keys be.
type policy struct {
	ceiling []string
	life    time.Duration // zero: no bound
}

// permits tells whether a new key may be given all of declared.
func (p policy) permits(declared []string) bool {
	return !slices.ContainsFunc(declared, func(q string) bool { return !anyCovers(p.ceiling, q) })
}

// endOf is when the key ends: by itself, or because it is too old. Zero: never.
func (m *model) endOf(k *modelKey) time.Time {
	if m.policy.life == 0 {
		return k.ends
	}
	if latest := k.made.Add(m.policy.life); k.ends.IsZero() || latest.Before(k.ends) {
		return latest
	}
	return k.ends
}

// ended tells whether the key is over by itself, whatever the policy.
func (m *model) ended(k *modelKey) bool {
	return !k.ends.IsZero() && !m.r.clock.now().Before(k.ends)
}

// over tells whether the key is over, under the policy.
func (m *model) over(k *modelKey) bool {
	end := m.endOf(k)
	return !end.IsZero() && !m.r.clock.now().Before(end)
}

// endsFirst tells whether the key ends no later than the one that rotates it.
func (m *model) endsFirst(k, by *modelKey) bool {
	if by == nil || m.endOf(by).IsZero() {
		return true
	}
	end := m.endOf(k)
	return !end.IsZero() && !end.After(m.endOf(by))
}

func (m *model) drawEnd(t *rapid.T) time.Time {
	in := rapid.SampledFrom([]time.Duration{0, 0, time.Hour, 5 * time.Hour, 50 * time.Hour}).Draw(t, "ends in")
	if in == 0 {
		return time.Time{}
	}
	return m.r.clock.now().Add(in)
}

// ending is when a new key ends that was asked to end then, and whether it may.
func (m *model) ending(by *modelKey, asked time.Time) (time.Time, bool) {
	if by != nil {
		switch end := m.endOf(by); {
		case asked.IsZero():
			asked = end
		case !end.IsZero() && asked.After(end):
			return asked, false
		}
	}
	if m.policy.life == 0 {
		return asked, true
	}
	return asked, !asked.IsZero() && !asked.After(m.r.clock.now().Add(m.policy.life))
}

// narrower tells whether p lets no key do or live more than q.
func (p policy) narrower(q policy) bool {
	return q.permits(p.ceiling) && (q.life == 0 || p.life != 0 && p.life <= q.life)
}

// setPolicy: who has the permission changes it, a key towards less only.
func (m *model) setPolicy(t *rapid.T) {
	c, by := m.caller(t)
	next := policy{
		ceiling: rapid.SampledFrom([][]string{{"*:*"}, {"agents:*", "api-keys:*"}, {"*:read", "api-keys:*"}, {"agents:read", "api-keys:create"}, {"api-keys:*", "*:create"}}).Draw(t, "ceiling"),
		life:    rapid.SampledFrom([]time.Duration{0, 2 * time.Hour, 20 * time.Hour}).Draw(t, "life"),
	}
	_, err := m.r.SetPolicy(context.Background(), c, apikeys.PolicyChanges{Permissions: &next.ceiling, MaxLifetime: &next.life})
	want := c.May(apikeys.PermPolicy) && (by == nil || next.narrower(m.policy))
	if (err == nil) != want {
		t.Fatalf("policy %+v over %+v by %s with %v: %v; want success %v", next, m.policy, c.ID(), c.Permissions, err, want)
	}
	if err == nil {
		m.policy = next
	}
}

// pass lets time go by, which ends keys.
func (m *model) pass(t *rapid.T) {
	m.r.clock.advance(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 4 * time.Hour}).Draw(t, "passes"))
	if err := m.r.feed.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// operatorWidens has nobody of the organisation be needed to lift a policy.
func (m *model) operatorWidens(t *rapid.T) {
	operator := ident.Caller{Kind: ident.Operator, Org: m.org, Permissions: m.r.Catalogue.All()}
	m.policy = policy{ceiling: []string{"*:*"}}
	if _, err := m.r.SetPolicy(context.Background(), operator, apikeys.PolicyChanges{Permissions: &m.policy.ceiling, MaxLifetime: new(time.Duration)}); err != nil {
		t.Fatal(err)
	}
}
