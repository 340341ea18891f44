package apikeys_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// questions counts every question about a credential.
type questions struct {
	apikeys.Store
	asked atomic.Int64
}

func (q *questions) APIKeyByLookup(ctx context.Context, lookup string) (apikeys.Key, error) {
	q.asked.Add(1)
	return q.Store.APIKeyByLookup(ctx, lookup)
}

func (q *questions) AnyAPIKeyImported(ctx context.Context) (bool, error) {
	q.asked.Add(1)
	return q.Store.AnyAPIKeyImported(ctx)
}

func (q *questions) ImportedAPIKey(ctx context.Context, lookups []string) (string, error) {
	q.asked.Add(1)
	return q.Store.ImportedAPIKey(ctx, lookups)
}

// AK-21: what has not the form of a key, or not its checksum, is not looked up.
// Where keys of other systems are accepted it might be one of those, and whether
// there are any at all is asked once.
func TestWhatIsNoKeyIsNotLookedUp(t *testing.T) {
	t.Parallel()
	for accepted, want := range map[bool]int64{false: 0, true: 1} {
		d := onSQLite(t)
		r := d.replica(t)
		_, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
		store := &questions{Store: r.Store}
		r.Store, r.RefuseImported = store, !accepted
		wrong := []string{"", "kw_live", key[1:], key[:len(key)-1], key + "0", strings.ToUpper(key)}
		for i := range key {
			wrong = append(wrong, key[:i]+flip(key[i])+key[i+1:])
		}
		for _, credential := range wrong {
			r.refuses(t, credential, "malformed")
		}
		if got := store.asked.Load(); got != want {
			t.Errorf("keys of other systems accepted %v: %d questions for %d credentials, want %d", accepted, got, len(wrong), want)
		}
		if r.as(t, key); store.asked.Load() == want {
			t.Error("the real key was not looked up: the test counts nothing")
		}
	}
}

// AK-33: where several things are wrong, the one that is judged first is told:
// the secret, the key and its owner, where it comes from, what it may, its limits.
func TestTheFirstReasonDecides(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice, bob := d.person("user_alice", "org_a", engineer), d.person("user_bob", "org_a", engineer)
	rules := perMinute(1)
	rules.Networks = networks(t, "192.0.2.0/24")
	inside, outside := from("192.0.2.7"), from("203.0.113.9")
	revoked, revokedKey := r.ruled(t, bob, rules)
	_, orphan := r.ruled(t, bob, rules)
	_, good := r.ruled(t, alice, rules)
	must(t, r.Revoke(t.Context(), bob, revoked.ID))
	d.owner.set("user_bob", "org_a", nil)
	for i, c := range []struct {
		credential string
		from       ident.Origin
		may        bool
		want       fault.Code
		result     string
	}{
		{revokedKey + "x", outside, false, fault.InvalidAPIKey, "malformed"},
		{anotherSecret(revokedKey), outside, false, fault.InvalidAPIKey, "mismatch"},
		{revokedKey, outside, false, fault.InvalidAPIKey, "revoked"},
		{orphan, outside, false, fault.InvalidAPIKey, "owner_inactive"},
		{good, outside, false, fault.InvalidAPIKey, "network"},
		{good, inside, false, fault.InsufficientPermissions, "ok"},
		{good, inside, true, "", "ok"}, // nothing before this one took from the limit
		{good, inside, false, fault.InsufficientPermissions, "ok"},
		{good, inside, true, fault.RateLimited, "rate_limited"},
		{good, outside, true, fault.InvalidAPIKey, "network"},
	} {
		need := map[bool]string{true: "metrics:read", false: "users:create"}[c.may]
		_, err := r.Verify(t.Context(), c.credential, c.from, scope.Permission(need))
		if got := fault.Of(err); err == nil && c.want != "" || err != nil && got.Code != c.want || r.lastResult() != c.result {
			t.Errorf("case %d: %v, %s; want %s, %s", i, err, r.lastResult(), c.want, c.result)
		}
	}
}
