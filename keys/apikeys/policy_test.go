package apikeys_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// governor is an engineer who sets the policy too.
var governor = scope.Of(append(slices.Clone(keeper), "api-keys:policy", "users:create")...)

// org stores an organisation, which has a policy.
func (r *replica) org(t testing.TB, id ident.OrgID) {
	t.Helper()
	must(t, r.db.Accounts().InTx(context.Background(), func(tx accounts.Tx) error {
		_, err := tx.InsertOrg(accounts.Org{ID: id, Name: string(id), Slug: strings.ReplaceAll(string(id), "_", "-"), Status: accounts.Active, CreatedAt: r.clock.now()})
		return err
	}))
}

func only(permissions ...string) apikeys.PolicyChanges {
	return apikeys.PolicyChanges{Permissions: &permissions}
}

func within(life time.Duration) apikeys.PolicyChanges {
	return apikeys.PolicyChanges{MaxLifetime: &life}
}

func (r *replica) policy(t testing.TB, by ident.Caller, c apikeys.PolicyChanges) {
	t.Helper()
	if _, err := r.SetPolicy(context.Background(), by, c); err != nil {
		t.Fatal(err)
	}
}

// AK-29: a key may do what it was given, its owner may and the policy permits,
// at each use, at every replica from when it hears, and again when the policy is
// wider. No other organisation's key is touched.
func TestThePolicyCapsEachUse(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *deployment{"SQLite": onSQLite, "PostgreSQL": onPostgreSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			r, other := d.replica(t), d.replica(t)
			r.org(t, "org_a")
			r.org(t, "org_b")
			boss := d.person("user_boss", "org_a", governor)
			d.owner.set(bot, "org_a", engineer)
			_, wild := r.make(t, boss, "agents:*", "metrics:read")
			_, owned, err := r.Create(t.Context(), boss, apikeys.New{Name: "deploy", Permissions: []string{"agents:read", "incidents:read"}, Owner: bot})
			must(t, err)
			_, foreign := r.make(t, d.person("user_b", "org_b", engineer), "agents:*")
			may := func(credential string, want ...string) {
				t.Helper()
				for i, at := range []*replica{r, other} {
					must(t, at.feed.Poll(t.Context()))
					if got := at.as(t, credential).Permissions.Strings(); !slices.Equal(got, want) {
						t.Errorf("replica %d: %v, want %v", i, got, want)
					}
				}
			}
			may(wild, "agents:create", "agents:delete", "agents:read", "metrics:read")
			may(owned.Reveal(), "agents:read", "incidents:read")
			r.policy(t, boss, only("*:read", "agents:create"))
			may(wild, "agents:create", "agents:read", "metrics:read")
			may(foreign, "agents:create", "agents:delete", "agents:read")
			r.policy(t, boss, only("metrics:read", "incidents:*"))
			may(wild, "metrics:read")
			may(owned.Reveal(), "incidents:read")
			if _, err := other.Verify(t.Context(), wild, origin, "agents:read"); !errors.Is(err, fault.InsufficientPermissions) {
				t.Errorf("what the policy forbids: %v", err)
			}
			d.owner.set("user_boss", "org_a", scope.Of("agents:read")) // AK-28: both cap it
			may(wild)
			d.owner.set("user_boss", "org_a", governor)
			r.policy(t, boss, only("*:*"))
			may(wild, "agents:create", "agents:delete", "agents:read", "metrics:read")
		})
	}
}

// What is given to an exchange for a token, to a token's holder and to a resource
// server is within the policy too.
func TestWhatAKeyIsExchangedForIsWithinThePolicy(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.org(t, "org_a")
	boss := d.person("user_boss", "org_a", governor)
	k, key := r.make(t, boss, "agents:*", "metrics:read")
	r.as(t, key)
	r.policy(t, boss, apikeys.PolicyChanges{Permissions: &[]string{"agents:read", "api-keys:read"}, MaxLifetime: new(2 * time.Hour)})
	end := k.CreatedAt.Add(2 * time.Hour)
	x, err := r.Exchange(t.Context(), key, origin)
	if err != nil || x.Allowed.String() != "agents:read" || x.Caller.Permissions.String() != "agents:read" || !x.ExpiresAt.Equal(end) {
		t.Errorf("exchanged: %+v, %v", x, err)
	}
	h, err := r.Holder(t.Context(), "org_a", k.ID)
	if err != nil || h.Permissions.String() != "agents:read" {
		t.Errorf("its token's holder: %+v, %v", h, err)
	}
	v, err := r.VerifyFor(t.Context(), boss, apikeys.Question{Credential: key, IP: origin.IP})
	if err != nil || v.Holder.Permissions.String() != "agents:read" || !v.ExpiresAt.Equal(end) {
		t.Errorf("asked for: %+v, %v", v, err)
	}
	if _, err := r.VerifyFor(t.Context(), boss, apikeys.Question{Credential: key, IP: origin.IP, Required: []scope.Permission{"metrics:read"}}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("asked for more: %v", err)
	}
	d.clock.advance(2 * time.Hour)
	must(t, r.feed.Poll(t.Context()))
	for name, use := range map[string]func() error{
		"exchange": func() error { _, err := r.Exchange(t.Context(), key, origin); return err },
		"holder":   func() error { _, err := r.Holder(t.Context(), "org_a", k.ID); return err },
		"asked": func() error {
			_, err := r.VerifyFor(t.Context(), boss, apikeys.Question{Credential: key, IP: origin.IP})
			return err
		},
	} {
		if err := use(); !errors.Is(err, fault.InvalidAPIKey) {
			t.Errorf("%s of a key older than the policy: %v", name, err)
		}
	}
}

// SEC-KEY-11: a new key ends within the organisation's lifetime, or is refused
// with the last moment that it may; one that a key makes never outlives its maker
// under the policy, so that a line of keys does not either; imports are new keys.
func TestNoNewKeyOutlivesThePolicy(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.org(t, "org_a")
	boss := d.person("user_boss", "org_a", governor)
	_, eternal := r.make(t, boss, "agents:read", "api-keys:create")
	d.clock.advance(time.Hour)
	r.policy(t, boss, within(24*time.Hour))
	now := d.clock.now()
	byKey := r.as(t, eternal)
	operator := ident.Caller{Kind: ident.Operator, Org: "org_a", Permissions: catalogue.All()}
	for name, c := range map[string]struct {
		by    ident.Caller
		ends  time.Time
		want  string // what the refusal names; empty: none
		until time.Time
	}{
		"none named":            {by: boss, want: now.Add(24 * time.Hour).Format(time.RFC3339)},
		"a second too late":     {by: boss, ends: now.Add(24*time.Hour + time.Second), want: now.Add(24 * time.Hour).Format(time.RFC3339)},
		"the last moment":       {by: boss, ends: now.Add(24 * time.Hour), until: now.Add(24 * time.Hour)},
		"by the operator":       {by: operator, want: now.Add(24 * time.Hour).Format(time.RFC3339)},
		"in the past":           {by: boss, ends: now.Add(-time.Second), want: "must be in the future"},
		"by a key, none named":  {by: byKey, until: now.Add(23 * time.Hour)},
		"by a key, too late":    {by: byKey, ends: now.Add(24 * time.Hour), want: now.Add(23 * time.Hour).Format(time.RFC3339)},
		"by a key, in its time": {by: byKey, ends: now.Add(23 * time.Hour), until: now.Add(23 * time.Hour)},
	} {
		n := apikeys.New{Name: "n", Permissions: []string{"agents:read"}, ExpiresAt: c.ends}
		if c.by.Kind == ident.Operator {
			n.Owner = "user_boss"
		}
		k, _, err := r.Create(t.Context(), c.by, n)
		if c.want == "" {
			if err != nil || !k.ExpiresAt.Equal(c.until) {
				t.Errorf("%s: until %s, %v; want %s", name, k.ExpiresAt, err, c.until)
			}
			continue
		}
		if f := fault.Of(err); f.Code != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Name != "expires_at" || !strings.Contains(f.Fields[0].Detail, c.want) {
			t.Errorf("%s: %v, want expires_at: %s", name, err, c.want)
		}
	}
	hash := sha256.Sum256([]byte("an old key of another system"))
	imported := func(ends time.Time, p string) error {
		n := apikeys.New{Name: "old", Permissions: []string{p}, Owner: "user_boss", ExpiresAt: ends}
		problems, err := r.Import(t.Context(), operator, []apikeys.Import{{New: n, Hash: hash[:]}}, true)
		must(t, err)
		return problems[0]
	}
	if err := imported(time.Time{}, "agents:read"); !errors.Is(err, fault.Invalid) {
		t.Errorf("imported without an end: %v", err)
	}
	must(t, imported(now.Add(time.Hour), "agents:read"))
	r.policy(t, boss, only("metrics:read"))
	if err := imported(now.Add(time.Hour), "agents:read"); !errors.Is(err, fault.Invalid) {
		t.Errorf("imported beyond the ceiling: %v", err)
	}
}

// A key that is older than a policy is judged by it: from its creation, rotated
// or not. It is listed as what it is, and lives again where the policy is lifted.
func TestAPolicyEndsKeysThatAreTooOld(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.org(t, "org_a")
	boss := d.person("user_boss", "org_a", governor)
	k, key := r.make(t, boss, "agents:read")
	d.clock.advance(10 * time.Hour)
	must(t, r.feed.Poll(t.Context()))
	young, youngKey := r.make(t, boss, "agents:read")
	_, plain, err := r.Rotate(t.Context(), boss, k.ID, time.Hour)
	must(t, err)
	r.as(t, key)
	r.policy(t, boss, within(10*time.Hour))
	for _, credential := range []string{key, plain.Reveal()} {
		if _, err := r.Verify(t.Context(), credential, origin); !errors.Is(err, fault.InvalidAPIKey) || r.lastResult() != "expired" {
			t.Errorf("at its end: %v, %s", err, r.lastResult())
		}
	}
	r.as(t, youngKey)
	if _, _, err := r.Rotate(t.Context(), boss, k.ID, 0); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), k.CreatedAt.Add(10*time.Hour).Format(time.RFC3339)) {
		t.Errorf("rotated after its end: %v", err)
	}
	if _, err := r.Transfer(t.Context(), boss, k.ID, "user_boss"); !errors.Is(err, fault.Conflict) {
		t.Errorf("given away after its end: %v", err)
	}
	shown, err := r.Get(t.Context(), boss, k.ID)
	if err != nil || shown.Status != apikeys.Expired || !shown.ExpiresAt.Equal(k.CreatedAt.Add(10*time.Hour)) {
		t.Errorf("shown as %s until %s, %v", shown.Status, shown.ExpiresAt, err)
	}
	listed, err := r.Find(t.Context(), boss, apikeys.Filter{Status: apikeys.Expired}, ident.Page{Limit: 5})
	if err != nil || len(listed) != 1 || listed[0].ID != k.ID || listed[0].Status != apikeys.Expired {
		t.Errorf("expired: %+v, %v", listed, err)
	}
	turned, _, err := r.Rotate(t.Context(), boss, young.ID, 0)
	if err != nil || !turned.ExpiresAt.Equal(young.CreatedAt.Add(10*time.Hour)) {
		t.Errorf("rotated in time: until %s, %v; its life counts from its creation", turned.ExpiresAt, err)
	}
	r.policy(t, boss, within(0))
	r.as(t, plain.Reveal())
}

// A key that is to be made, given away or widened is within the ceiling, with its
// wildcards; the refusal says what is beyond. To rename and rotate stays possible:
// neither lets it do more.
func TestTheCeilingOfNewKeys(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.org(t, "org_a")
	boss := d.person("user_boss", "org_a", governor)
	d.owner.set(bot, "org_a", engineer)
	k, key := r.make(t, boss, "agents:read", "metrics:read")
	must(t, func() error {
		_, err := r.Change(t.Context(), boss, k.ID, apikeys.Changes{Limits: &[]apikeys.Limit{{Requests: 5, Per: time.Minute}}})
		return err
	}())
	r.policy(t, boss, only("agents:read", "agents:create", "agents:delete", "api-keys:*"))
	beyond := func(what string, err error, names string) {
		t.Helper()
		f := fault.Of(err)
		if f.Code != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Name != "permissions" || !strings.HasSuffix(f.Fields[0].Detail, ": "+names) {
			t.Errorf("%s: %v, want permissions: %s", what, err, names)
		}
	}
	for _, c := range []struct{ asked, beyond string }{
		{"agents:read", ""}, {"api-keys:read", ""}, {"metrics:read", "metrics:read"}, {"agents:*", "agents:*"}, {"*:read", "*:read"},
	} {
		for _, owner := range []ident.UserID{"", bot} {
			_, _, err := r.Create(t.Context(), boss, apikeys.New{Name: "n", Permissions: []string{"agents:create", c.asked}, Owner: owner})
			if c.beyond == "" {
				must(t, err)
			} else if owner == "" || c.asked == "metrics:read" {
				beyond(c.asked, err, c.beyond)
			} else if !errors.Is(err, fault.Invalid) {
				t.Errorf("%s for a service account: %v", c.asked, err)
			}
		}
	}
	_, err := r.Transfer(t.Context(), boss, k.ID, bot)
	beyond("given away", err, "metrics:read")
	_, err = r.Change(t.Context(), boss, k.ID, apikeys.Changes{Limits: &[]apikeys.Limit{}})
	beyond("widened", err, "metrics:read")
	_, err = r.Rename(t.Context(), boss, k.ID, "renamed")
	must(t, err)
	_, fresh, err := r.Rotate(t.Context(), boss, k.ID, 0)
	must(t, err)
	if got := r.as(t, fresh.Reveal()).Permissions.String(); got != "agents:read" {
		t.Errorf("after its rotation it may %s", got)
	}
	if _, err := r.Verify(t.Context(), key, origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("the old one: %v", err)
	}
}

// Nobody widens the policy who may not set it, and no key widens what binds it.
// What is changed is recorded, before and after; what is refused as well.
func TestWhoSetsThePolicy(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.org(t, "org_a")
	boss, mallory := d.person("user_boss", "org_a", governor), d.person("user_mallory", "org_a", keeper)
	_, key := r.make(t, boss, "api-keys:policy", "api-keys:read", "agents:read")
	_, weak := r.make(t, boss, "api-keys:manage", "api-keys:create", "agents:read")
	r.policy(t, boss, apikeys.PolicyChanges{Permissions: &[]string{"api-keys:*", "agents:*"}, MaxLifetime: new(100 * time.Hour)})
	set := r.named(audit.APIKeyPolicySet)
	if len(set) != 1 || set[0].Actor.ID != "user_boss" || set[0].Org != "org_a" || set[0].Targets[0].ID != "org_a" ||
		set[0].Meta["permissions_before"] != "*:*" || set[0].Meta["permissions_after"] != "agents:* api-keys:*" || set[0].Meta["max_lifetime_before"] != "" || set[0].Meta["max_lifetime_after"] != "100h" {
		t.Errorf("recorded %+v", set)
	}
	r.policy(t, boss, within(100*time.Hour)) // as it is
	token := r.as(t, key)
	token.Token = "jti_1"
	for name, c := range map[string]struct {
		by     ident.Caller
		change apikeys.PolicyChanges
		want   fault.Code
	}{
		"a member without the permission":   {mallory, only("*:*"), fault.InsufficientPermissions},
		"a member who would narrow it":      {mallory, only("agents:read"), fault.InsufficientPermissions},
		"a key without the permission":      {r.as(t, weak), only("*:*"), fault.InsufficientPermissions},
		"a key that widens the ceiling":     {r.as(t, key), only("api-keys:*", "agents:*", "metrics:read"), fault.InsufficientPermissions},
		"a key that takes the ceiling away": {r.as(t, key), only("*:*"), fault.InsufficientPermissions},
		"a key that lengthens lives":        {r.as(t, key), within(101 * time.Hour), fault.InsufficientPermissions},
		"a key that unbounds lives":         {r.as(t, key), within(0), fault.InsufficientPermissions},
		"a token of that key":               {token, within(0), fault.InsufficientPermissions},
		"nothing to change":                 {boss, apikeys.PolicyChanges{}, fault.Invalid},
		"no permission at all":              {boss, only(), fault.Invalid},
		"a permission that there is not":    {boss, only("planes:fly"), fault.Invalid},
		"a malformed permission":            {boss, only("agents"), fault.Invalid},
		"a life too short":                  {boss, within(time.Hour - time.Second), fault.Invalid},
		"a life too long":                   {boss, within(apikeys.MaxPolicyLifetime + time.Second), fault.Invalid},
		"a life below zero":                 {boss, within(-time.Hour), fault.Invalid},
		"half a second":                     {boss, within(time.Hour + time.Second/2), fault.Invalid},
	} {
		if _, err := r.SetPolicy(t.Context(), c.by, c.change); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	p, err := r.Policy(t.Context(), boss)
	if err != nil || p.Permissions.String() != "agents:* api-keys:*" || p.MaxLifetime != 100*time.Hour || len(r.named(audit.APIKeyPolicySet)) != 1 {
		t.Errorf("it is %+v, %v, set %d times", p, err, len(r.named(audit.APIKeyPolicySet)))
	}
	if n := len(r.named(audit.PermissionDenied)); n != 5 { // those that the permission of the route lets pass
		t.Errorf("%d refusals are recorded, want 5", n)
	}
	narrower, err := r.SetPolicy(t.Context(), r.as(t, key), only("api-keys:policy", "agents:read"))
	if err != nil || narrower.MaxLifetime != 100*time.Hour {
		t.Errorf("narrowed by the key: %+v, %v", narrower, err)
	}
	if _, err := r.Policy(t.Context(), ident.Caller{Kind: ident.Person, Org: "org_a"}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("read without a permission: %v", err)
	}
}

// AK-31: while key and policy are remembered, a use costs no statement; and
// where the policy cannot be learnt, no key is good.
func TestAWarmKeyAsksNobodyForThePolicy(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.org(t, "org_a")
	boss := d.person("user_boss", "org_a", governor)
	r.policy(t, boss, only("agents:*"))
	_, key := r.make(t, boss, "agents:read")
	r.as(t, key)
	before := r.gate.calls.Load()
	for range 100 {
		r.as(t, key)
	}
	if n := r.gate.calls.Load() - before; n != 0 {
		t.Errorf("%d statements for 100 uses", n)
	}
	r.Forget()
	r.gate.policies.Store(true)
	if _, err := r.Verify(t.Context(), key, origin); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without a policy to go by: %v", err)
	}
	r.gate.policies.Store(false)
	r.as(t, key)
}
