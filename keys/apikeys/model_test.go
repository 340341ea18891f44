package apikeys_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// model is what should be true of an organisation, computed the plain way.
type model struct {
	r       *replica
	org     ident.OrgID
	names   []string // of the catalogue
	people  map[ident.UserID]*member
	keys    map[ident.APIKeyID]*modelKey
	order   []ident.APIKeyID
	expired map[string]bool // credentials that ended by rotation
	policy  policy
}

type member struct {
	active bool
	role   []string // concrete
}

type modelKey struct {
	owner       ident.UserID
	maker       ident.APIKeyID
	declared    []string
	revoked     bool
	held        bool      // quarantined
	credentials []string  // that should work, were it not for the rest
	made, ends  time.Time // ends: zero for never
}

// covers tells whether pattern permits all of p, which may be one too, without
// the code under test.
func covers(pattern, p string) bool {
	a, b := strings.Split(pattern, ":"), strings.Split(p, ":")
	return (a[0] == "*" || a[0] == b[0]) && (a[1] == "*" || a[1] == b[1])
}

func anyCovers(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(q string) bool { return covers(q, p) })
}

// may is what a key should allow now.
func (m *model) may(k *modelKey) []string {
	var out []string
	for _, p := range m.names {
		if anyCovers(k.declared, p) && slices.Contains(m.people[k.owner].role, p) && anyCovers(m.policy.ceiling, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func (m *model) live(k *modelKey) bool {
	return !k.revoked && !k.held && !m.over(k) && m.people[k.owner].active
}

// caller draws a person or a live key, as the server would present it.
func (m *model) caller(t *rapid.T) (ident.Caller, *modelKey) {
	var live []ident.APIKeyID
	for _, id := range m.order {
		if m.live(m.keys[id]) {
			live = append(live, id)
		}
	}
	if len(live) > 0 && rapid.IntRange(0, 4).Draw(t, "by key") > 0 {
		k := m.keys[rapid.SampledFrom(live).Draw(t, "key")]
		c, err := m.r.Verify(context.Background(), k.credentials[0], origin)
		if err != nil {
			t.Fatalf("a live key is refused: %v", err)
		}
		return c, k
	}
	u := rapid.SampledFrom([]ident.UserID{"user_1", "user_2"}).Draw(t, "user")
	var may []scope.Permission
	if m.people[u].active {
		for _, p := range m.people[u].role {
			may = append(may, scope.Permission(p))
		}
	}
	return ident.Caller{Kind: ident.Person, Org: m.org, User: u, Permissions: scope.Of(may...), Origin: origin}, nil
}

// holds tells whether the caller may be given a key of these permissions:
// everything they cover today and, for a key, the patterns themselves.
func (m *model) holds(c ident.Caller, by *modelKey, declared []string) bool {
	for _, p := range m.names {
		if anyCovers(declared, p) && !slices.Contains(c.Permissions.Strings(), p) {
			return false
		}
	}
	if by == nil {
		return true
	}
	return !slices.ContainsFunc(declared, func(p string) bool { return !anyCovers(by.declared, p) })
}

func (m *model) create(t *rapid.T) {
	c, by := m.caller(t)
	declared := rapid.SampledFrom([][]string{
		{"agents:read"}, {"agents:*"}, {"agents:*"}, {"*:read"}, {"*:*"}, {"agents:read", "agents:create"}, {"agents:read", "agents:create"},
	}).Draw(t, "permissions")
	for _, p := range []string{"api-keys:create", "api-keys:rotate", "api-keys:manage", "api-keys:policy"} {
		if rapid.IntRange(0, 3).Draw(t, p) > 0 {
			declared = append(slices.Clone(declared), p)
		}
	}
	ends := m.drawEnd(t)
	k, plain, err := m.r.Create(context.Background(), c, apikeys.New{Name: "x", Permissions: declared, ExpiresAt: ends})
	got, fits := m.ending(by, ends)
	fits = fits && m.policy.permits(declared)
	want := c.May(apikeys.PermCreate) && m.holds(c, by, declared) && fits
	if (err == nil) != want || err != nil && !errors.Is(err, fault.InsufficientPermissions) && (fits || !errors.Is(err, fault.Invalid)) {
		t.Fatalf("create %v by %s with %v: %v; want success %v", declared, c.ID(), c.Permissions, err, want)
	}
	if err != nil {
		return
	}
	mk := &modelKey{owner: c.User, declared: declared, credentials: []string{plain.Reveal()}, made: m.r.clock.now(), ends: got}
	if by != nil {
		mk.maker = c.Key
	}
	m.keys[k.ID] = mk
	m.order = append(m.order, k.ID)
}

// target draws a key, live or not; nil while there is none.
func (m *model) target(t *rapid.T) (ident.APIKeyID, *modelKey) {
	if len(m.order) == 0 {
		return "", nil
	}
	id := rapid.SampledFrom(m.order).Draw(t, "target")
	return id, m.keys[id]
}

// own tells whether the key is the caller's to change with p.
func own(c ident.Caller, id ident.APIKeyID, k *modelKey, p scope.Permission) bool {
	mine := c.Kind == ident.Person && k.owner == c.User || c.Kind == ident.APIKey && (c.Key == id || k.maker == c.Key)
	return c.May(p) && (mine || c.May(apikeys.PermManage))
}

func (m *model) rotate(t *rapid.T) {
	id, k := m.target(t)
	if k == nil {
		return
	}
	c, by := m.caller(t)
	grace := rapid.SampledFrom([]time.Duration{0, apikeys.MaxGrace}).Draw(t, "grace")
	_, plain, err := m.r.Rotate(context.Background(), c, id, grace)
	already := c.Kind == ident.Person && k.owner == c.User || c.Key == id
	want := !k.revoked && !m.over(k) && own(c, id, k, apikeys.PermRotate) && (already || m.holds(c, by, k.declared) && m.endsFirst(k, by))
	if (err == nil) != want {
		t.Fatalf("rotate %s %v by %s with %v: %v; want success %v", id, k.declared, c.ID(), c.Permissions, err, want)
	}
	if err != nil {
		return
	}
	kept := k.credentials[:1]
	if grace == 0 || k.held { // what leaked ends at once
		kept, k.held = nil, false
	}
	for _, old := range k.credentials[len(kept):] {
		m.expired[old] = true
	}
	k.credentials = append([]string{plain.Reveal()}, kept...)
}

func (m *model) revoke(t *rapid.T) {
	id, k := m.target(t)
	if k == nil {
		return
	}
	c, _ := m.caller(t)
	cascade := rapid.Bool().Draw(t, "cascade")
	do := m.r.RevokeAlone
	if cascade {
		do = m.r.Revoke
	}
	err := do(context.Background(), c, id)
	want := !k.revoked && own(c, id, k, apikeys.PermRevoke)
	if (err == nil) != want {
		t.Fatalf("revoke %s by %s with %v: %v; want success %v", id, c.ID(), c.Permissions, err, want)
	}
	if err != nil {
		return
	}
	k.revoked = true
	for _, other := range m.order { // makers come before what they made
		if o := m.keys[other]; cascade && m.madeBy(o, id) {
			o.revoked = true
		}
	}
}

// madeBy tells whether the key id made k, or made what made it.
func (m *model) madeBy(k *modelKey, id ident.APIKeyID) bool {
	for at := k.maker; at != ""; at = m.keys[at].maker {
		if at == id {
			return true
		}
	}
	return false
}

func (m *model) setRole(t *rapid.T) {
	u := rapid.SampledFrom([]ident.UserID{"user_1", "user_2"}).Draw(t, "user")
	who := m.people[u]
	who.active = rapid.IntRange(0, 9).Draw(t, "disabled") > 0
	who.role = nil
	for _, p := range m.names {
		if rapid.IntRange(0, 11).Draw(t, p) > 0 {
			who.role = append(who.role, p)
		}
	}
	m.publish(u)
}

func (m *model) publish(u ident.UserID) {
	who := m.people[u]
	var may scope.Set
	if who.active {
		may = scope.Set{}
		for _, p := range who.role {
			may = append(may, scope.Permission(p))
		}
	}
	m.r.clock.advance(time.Millisecond)
	m.r.Owners.(*people).set(u, m.org, scope.Of(may...))
	if !who.active {
		m.r.Owners.(*people).set(u, m.org, nil)
	}
}

// grow adds a permission to the catalogue and to somebody's role.
func (m *model) grow(t *rapid.T) {
	p := fmt.Sprintf("agents:new%d", len(m.names))
	m.names = append(m.names, p)
	larger, err := scope.NewCatalogue(m.names...)
	if err != nil {
		t.Fatal(err)
	}
	m.r.Catalogue = larger
	m.r.Forget() // a catalogue changes with a restart
	u := rapid.SampledFrom([]ident.UserID{"user_1", "user_2"}).Draw(t, "user")
	m.people[u].role = append(m.people[u].role, p)
	m.publish(u)
}

// check: every credential ever given does exactly what it should, so never
// more than its owner may, nor than the keys that it descends from were given.
func (m *model) check(t *rapid.T) {
	for _, id := range m.order {
		k := m.keys[id]
		for _, credential := range k.credentials {
			c, err := m.r.Verify(context.Background(), credential, origin)
			if (err == nil) != m.live(k) {
				t.Fatalf("key %s (%+v): %v; want accepted %v", id, k, err, m.live(k))
			}
			if err != nil {
				continue
			}
			if got := c.Permissions.Strings(); !slices.Equal(got, m.may(k)) {
				t.Fatalf("key %s may %v; want %v", id, got, m.may(k))
			}
			for at := k.maker; at != ""; at = m.keys[at].maker {
				if made := m.keys[at]; m.ended(made) {
					t.Fatalf("key %s outlives %s, that it descends from", id, at)
				}
				for _, p := range c.Permissions.Strings() {
					if !anyCovers(m.keys[at].declared, p) {
						t.Fatalf("key %s may %s, which %s, that it descends from, was never given", id, p, at)
					}
				}
			}
		}
	}
	for credential := range m.expired {
		if _, err := m.r.Verify(context.Background(), credential, origin); !errors.Is(err, fault.InvalidAPIKey) {
			t.Fatalf("a credential that was rotated away: %v", err)
		}
	}
}

// INV-08, SEC-KEY-08: no sequence of making, delegating, rotating, demoting,
// revoking, giving away, reporting as leaked, releasing and changing the policy lets a key do what its owner, its
// makers and the policy cannot, or live longer. AK-29, SEC-KEY-11, AK-50, AK-52, AK-53, AK-56.
func TestNoSequenceOfChangesLetsAKeyDoMore(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.Observe = nil
	n := 0
	// Few permissions, so that a list can cover all that a wildcard does today.
	small, err := scope.NewCatalogue("agents:read", "agents:create", "metrics:read", "api-keys:create", "api-keys:revoke", "api-keys:rotate", "api-keys:manage", "api-keys:policy")
	must(t, err)
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		n++
		r.Catalogue = small
		r.Forget()
		m := &model{
			r: r, org: ident.OrgID(fmt.Sprintf("org_%d", n)), names: small.All().Strings(),
			people: map[ident.UserID]*member{"user_1": {}, "user_2": {}}, keys: map[ident.APIKeyID]*modelKey{}, expired: map[string]bool{}, policy: policy{ceiling: []string{"*:*"}},
		}
		r.org(outer, m.org)
		for u, who := range m.people {
			who.active, who.role = true, slices.Clone(m.names)
			m.publish(u)
		}
		if err := r.feed.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": m.create, "delegate": m.create, "delegate again": m.create, "rotate": m.rotate, "revoke": m.revoke, "role": m.setRole, "catalogue": m.grow,
			"leak": m.leak, "release": m.release, "transfer": m.transfer, "policy": m.setPolicy, "lift": m.operatorWidens, "time": m.pass, "": m.check,
		})
	})
}
