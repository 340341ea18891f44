package apikeys_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func networks(t testing.TB, texts ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range texts {
		p, err := apikeys.ParseNetwork(s)
		must(t, err)
		out = append(out, p)
	}
	return out
}

// ruled makes a key with rules, which must succeed.
func (r *replica) ruled(t testing.TB, caller ident.Caller, rules apikeys.Rules) (apikeys.Key, string) {
	t.Helper()
	k, plain, err := r.Create(t.Context(), caller, apikeys.New{Name: "ruled", Permissions: []string{"metrics:read", "api-keys:create"}, Rules: rules})
	must(t, err)
	return k, plain.Reveal()
}

// A network has one spelling, whatever was written.
func TestNetworksAreCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "192.0.2.7/24": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.0/120": "192.0.2.0/24",
		"2001:DB8::1": "2001:db8::1/128", "2001:db8:ffff::/32": "2001:db8::/32", "0.0.0.0/0": "0.0.0.0/0", "::/0": "::/0",
	} {
		if got, err := apikeys.ParseNetwork(in); err != nil || got.String() != want {
			t.Errorf("%s is %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "192.0.2.0/33", "fe80::1%eth0", "192.0.2", "example.com", "::ffff:0:0/90", "192.0.2.0/24 ", "192.0.2.1-192.0.2.9", "010.0.0.1"} {
		if got, err := apikeys.ParseNetwork(in); err == nil {
			t.Errorf("%q is %s", in, got)
		}
	}
}

// A key is good from its networks only, IPv4 and IPv6, and the refusal is that
// of a key that does not exist; the log says which it was.
// AK-27.
func TestAKeyIsGoodInItsNetworksOnly(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, key := r.ruled(t, alice, apikeys.Rules{Networks: networks(t, "192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "203.0.113.9")})
	if want := networks(t, "192.0.2.0/24", "203.0.113.9", "2001:db8::/32"); !slices.Equal(k.Rules.Networks, want) {
		t.Errorf("stored %v; want %v", k.Rules.Networks, want)
	}
	for ip, good := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.200": true, "192.0.3.1": false, "203.0.113.9": true, "203.0.113.8": false, "2001:db8:1::1": true, "2001:db9::1": false, "::1": false,
	} {
		c, err := r.Verify(t.Context(), key, from(ip))
		if (err == nil) != good || good && c.Key != k.ID {
			t.Errorf("from %s: %+v, %v; want accepted %v", ip, c, err, good)
		}
		if good {
			continue
		}
		_, unknown := r.Verify(t.Context(), anotherLookup(key), from(ip))
		if !errors.Is(err, fault.InvalidAPIKey) || err.Error() != unknown.Error() {
			t.Errorf("from %s: %v; an unknown key: %v", ip, err, unknown)
		}
	}
	if _, err := r.Verify(t.Context(), key, ident.Origin{}); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("from nowhere: %v", err)
	}
	must(t, r.Flush(t.Context()))
	events := r.named(audit.APIKeyRefused)
	if i := slices.IndexFunc(events, func(e audit.Event) bool { return e.Reason == "network" && e.Key == k.ID }); i < 0 {
		t.Errorf("not recorded: %+v", events)
	}
	// The resource server says where the key came from; where it does not, the key is refused.
	for ip, good := range map[string]bool{"192.0.2.1": true, "192.0.3.1": false, "": false} {
		q := apikeys.Question{Credential: key}
		if ip != "" {
			q.IP = netip.MustParseAddr(ip)
		}
		if _, err := r.VerifyFor(t.Context(), alice, q); (err == nil) != good {
			t.Errorf("a resource server asks about %q: %v", ip, err)
		}
	}
}

// Rules that cannot be are refused by name.
func TestImpossibleRulesAreRefused(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	minute := apikeys.Limit{Requests: 1, Per: time.Minute}
	for field, rules := range map[string]apikeys.Rules{
		"networks":           {Networks: make([]netip.Prefix, 51)},
		"networks[0]":        {Networks: make([]netip.Prefix, 1)},
		"limits":             {Limits: make([]apikeys.Limit, 6)},
		"limits[0].requests": {Limits: []apikeys.Limit{{Per: time.Second}}},
		"limits[0].per":      {Limits: []apikeys.Limit{{Requests: 1, Per: 1500 * time.Millisecond}}},
		"limits[1].per":      {Limits: []apikeys.Limit{minute, minute}},
		"quota.requests":     {Quota: apikeys.Quota{Requests: -1, Per: apikeys.Day}},
		"quota.per":          {Quota: apikeys.Quota{Requests: 1, Per: "week"}},
	} {
		_, _, err := r.Create(t.Context(), alice, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, Rules: rules})
		if !errors.Is(err, fault.Invalid) || !slices.ContainsFunc(fault.Of(err).Fields, func(f fault.Field) bool { return f.Name == field }) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// What a key makes stays within its own rules, and has them where nothing is said.
func TestAChildStaysWithinTheRulesOfItsMaker(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	rules := apikeys.Rules{
		Networks: networks(t, "192.0.2.0/24"), Limits: []apikeys.Limit{{Requests: 100, Per: time.Minute}}, Quota: apikeys.Quota{Requests: 1000, Per: apikeys.Day},
	}
	parent, key := r.ruled(t, alice, rules)
	maker := r.as(t, key)
	child := func(rules apikeys.Rules) (apikeys.Key, error) {
		k, _, err := r.Create(t.Context(), maker, apikeys.New{Name: "child", Permissions: []string{"metrics:read"}, Rules: rules})
		return k, err
	}
	heir, err := child(apikeys.Rules{})
	must(t, err)
	if len(heir.Rules.Exceeds(rules)) > 0 || len(rules.Exceeds(heir.Rules)) > 0 {
		t.Errorf("inherited %+v; want %+v", heir.Rules, rules)
	}
	for name, c := range map[string]struct {
		rules apikeys.Rules
		field string
	}{
		"a part of the network":           {rules: apikeys.Rules{Networks: networks(t, "192.0.2.128/25", "192.0.2.1")}},
		"tighter limits":                  {rules: apikeys.Rules{Limits: []apikeys.Limit{{Requests: 5, Per: time.Second}, {Requests: 99, Per: time.Hour}}}},
		"a tighter quota, over longer":    {rules: apikeys.Rules{Quota: apikeys.Quota{Requests: 1000, Per: apikeys.Month}}},
		"a larger network":                {apikeys.Rules{Networks: networks(t, "192.0.0.0/16")}, "networks[0]"},
		"one network too many":            {apikeys.Rules{Networks: networks(t, "192.0.2.1", "203.0.113.1")}, "networks[1]"},
		"more requests":                   {apikeys.Rules{Limits: []apikeys.Limit{{Requests: 101, Per: time.Minute}}}, "limits"},
		"as many in a shorter time":       {apikeys.Rules{Limits: []apikeys.Limit{{Requests: 100, Per: time.Second}}}, "limits"},
		"a larger quota":                  {apikeys.Rules{Quota: apikeys.Quota{Requests: 1001, Per: apikeys.Day}}, "quota"},
		"another family, IPv4 everywhere": {apikeys.Rules{Networks: networks(t, "::/0")}, "networks[0]"},
	} {
		_, err := child(c.rules)
		if c.field == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.field != "" && (!errors.Is(err, fault.Invalid) || fault.Of(err).Fields[0].Name != c.field) {
			t.Errorf("%s: %v; want %s refused", name, err, c.field)
		}
	}
	// Neither may the maker become narrower than what it made, nor that wider than it.
	narrow := networks(t, "192.0.2.1")
	if _, err := r.Change(t.Context(), alice, parent.ID, apikeys.Changes{Networks: &narrow}); !errors.Is(err, fault.Conflict) {
		t.Errorf("narrower than its children: %v", err)
	}
	var everywhere []netip.Prefix
	if _, err := r.Change(t.Context(), alice, heir.ID, apikeys.Changes{Networks: &everywhere}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a child wider than its maker, by its owner: %v", err)
	}
}

// An owner may narrow the rules of a key. To widen them takes what making such a
// key takes, so that no key widens itself; the log has what was and what is, and
// every replica hears of it.
func TestWhoMayChangeRules(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r, other := d.replica(t), d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, key := r.ruled(t, alice, apikeys.Rules{Networks: networks(t, "192.0.2.0/24")})
	other.as(t, key)
	self := r.as(t, key)
	wide, narrow := networks(t, "192.0.0.0/16"), networks(t, "192.0.2.7")
	if _, err := r.Change(t.Context(), self, k.ID, apikeys.Changes{Networks: &wide}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a key widens itself: %v", err)
	}
	got, err := r.Change(t.Context(), self, k.ID, apikeys.Changes{Networks: &narrow, Limits: &[]apikeys.Limit{{Requests: 3, Per: time.Hour}}})
	if err != nil || !slices.Equal(got.Rules.Networks, narrow) || len(got.Rules.Limits) != 1 || got.Name != k.Name {
		t.Fatalf("a key narrows itself: %+v, %v", got, err)
	}
	must(t, other.feed.Poll(t.Context()))
	if _, err := other.Verify(t.Context(), key, from("192.0.2.8")); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("another replica, from outside the new network: %v", err)
	}
	events := r.named(audit.APIKeyUpdated)
	if n := len(events); n != 1 || events[0].Meta["networks_before"] != "192.0.2.0/24" || events[0].Meta["networks_after"] != "192.0.2.7/32" ||
		events[0].Meta["limits_before"] != "" || events[0].Meta["limits_after"] != "3/1h" {
		t.Errorf("recorded %+v", events)
	}
	// Demoted, the owner may narrow it still, and no longer widen it.
	demoted := alice
	demoted.Permissions = slices.DeleteFunc(slices.Clone(alice.Permissions), func(p scope.Permission) bool { return p == "metrics:read" })
	if _, err := r.Change(t.Context(), demoted, k.ID, apikeys.Changes{Networks: &wide}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("a demoted owner widens: %v", err)
	}
	if _, err := r.Change(t.Context(), demoted, k.ID, apikeys.Changes{Quota: &apikeys.Quota{Requests: 9, Per: apikeys.Month}}); err != nil {
		t.Errorf("a demoted owner narrows: %v", err)
	}
	got, err = r.Change(t.Context(), alice, k.ID, apikeys.Changes{Networks: &wide, Limits: &[]apikeys.Limit{}, Quota: &apikeys.Quota{}})
	if err != nil || len(got.Rules.Limits) != 0 || got.Rules.Quota != (apikeys.Quota{}) {
		t.Errorf("the owner widens: %+v, %v", got.Rules, err)
	}
	bob := d.person("user_bob", "org_a", engineer)
	if _, err := r.Change(t.Context(), bob, k.ID, apikeys.Changes{Networks: &narrow}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("a colleague without api-keys:manage: %v", err)
	}
	if _, err := r.Change(t.Context(), alice, k.ID, apikeys.Changes{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("no change at all: %v", err)
	}
}

// SEC-KEY-11: no key outlives what keys may live here. One that names no end has
// the latest there is; one made by another still ends with that.
func TestKeysExpireWithinTheLongestLife(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.MaxLifetime = 24 * time.Hour
	alice := d.person("user_alice", "org_a", engineer)
	made := func(caller ident.Caller, life time.Duration) (apikeys.Key, string, error) {
		n := apikeys.New{Name: "x", Permissions: []string{"metrics:read", "api-keys:create"}}
		if life != 0 {
			n.ExpiresAt = d.clock.now().Add(life)
		}
		k, plain, err := r.Create(t.Context(), caller, n)
		return k, plain.Reveal(), err
	}
	for _, life := range []time.Duration{24*time.Hour + time.Second, 1000 * time.Hour, -time.Second} {
		if _, _, err := made(alice, life); !errors.Is(err, fault.Invalid) || fault.Of(err).Fields[0].Name != "expires_at" {
			t.Errorf("a life of %s: %v", life, err)
		}
	}
	k, _, err := made(alice, 0)
	if latest := d.clock.now().Add(24 * time.Hour); err != nil || !k.ExpiresAt.Equal(latest) {
		t.Errorf("a key that names no end expires at %v, %v; want %v", k.ExpiresAt, err, latest)
	}
	parent, key, err := made(alice, time.Hour)
	must(t, err)
	child, _, err := made(r.as(t, key), 0)
	if err != nil || !child.ExpiresAt.Equal(parent.ExpiresAt) {
		t.Errorf("a child of a key that ends at %v ends at %v, %v", parent.ExpiresAt, child.ExpiresAt, err)
	}
}
