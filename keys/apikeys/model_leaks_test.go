package apikeys_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// leak reports a credential, which may have ended, under either response.
func (m *model) leak(t *rapid.T) {
	id, k := m.target(t)
	if k == nil {
		return
	}
	m.r.Settings.Leaked = rapid.SampledFrom([]apikeys.LeakResponse{apikeys.RevokeLeaked, apikeys.QuarantineLeaked}).Draw(t, "response")
	old := slices.Sorted(func(yield func(string) bool) {
		for c := range m.expired {
			if !yield(c) {
				return
			}
		}
	})
	credential := rapid.SampledFrom(append(slices.Clone(k.credentials), old...)).Draw(t, "leaked")
	m.r.clock.advance(reportPause) // the throttle of reports is tested elsewhere
	if err := m.r.Leaked(context.Background(), apikeys.Leak{Credentials: []string{credential}}, origin); err != nil {
		t.Fatalf("report: %v", err)
	}
	quarantine := m.r.Settings.Leaked == apikeys.QuarantineLeaked
	if !slices.Contains(k.credentials, credential) || k.revoked || k.held && quarantine || !k.held && m.ended(k) {
		return
	}
	m.end(k, quarantine)
	for _, other := range m.order {
		if o := m.keys[other]; m.madeBy(o, id) {
			m.end(o, quarantine)
		}
	}
}

// reportPause pays for one key that is reported.
const reportPause = time.Second / 20

func (*model) end(k *modelKey, quarantine bool) {
	switch {
	case k.revoked:
	case quarantine:
		k.held = true
	default:
		k.revoked = true
	}
}

// release lets a quarantined key go, where a person does it whose key it is.
func (m *model) release(t *rapid.T) {
	id, k := m.target(t)
	if k == nil {
		return
	}
	c, _ := m.caller(t)
	_, err := m.r.Release(context.Background(), c, id)
	want := !k.revoked && k.held && c.Kind == ident.Person && own(c, id, k, apikeys.PermRotate)
	if (err == nil) != want {
		t.Fatalf("release %s (%+v) by %s with %v: %v; want success %v", id, k, c.ID(), c.Permissions, err, want)
	}
	if err == nil {
		k.held = false
	}
}

// transfer gives a key to the other member. Who gives it must be able to hold it.
func (m *model) transfer(t *rapid.T) {
	id, k := m.target(t)
	if k == nil {
		return
	}
	c, by := m.caller(t)
	to := rapid.SampledFrom([]ident.UserID{"user_1", "user_2"}).Draw(t, "to")
	_, err := m.r.Transfer(context.Background(), c, id, to)
	if err == nil {
		if !c.May(apikeys.PermManage) || k.revoked || !m.people[to].active || !m.holds(c, by, k.declared) || m.over(k) || !m.policy.permits(k.declared) || by != nil && !m.endsFirst(k, by) {
			t.Fatalf("transfer %s %v to %s by %s with %v was allowed", id, k.declared, to, c.ID(), c.Permissions)
		}
		k.owner = to
		return
	}
	if f := fault.Of(err).Code; !slices.Contains([]fault.Code{fault.InsufficientPermissions, fault.Invalid, fault.NotFound, fault.Conflict}, f) || errors.Is(err, fault.Internal) {
		t.Fatalf("transfer: %v", err)
	}
}
