package apikeys_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

const (
	bot        ident.UserID = "svc_bot"
	foreignBot ident.UserID = "svc_foreign"
)

// keeper is an engineer who may keep service accounts and other people's keys.
var keeper = scope.Of(append(slices.Clone(engineer), "api-keys:manage", "service-accounts:manage")...)

// A service account owns the keys that are made for it, by whoever may do that,
// and caps them as its role does.
// AK-13, AK-55.
func TestKeysOfServiceAccounts(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	d.owner.set(bot, "org_a", scope.Of("agents:read", "agents:create"))
	d.owner.set(foreignBot, "org_b", engineer)
	alice, mallory := d.person("user_alice", "org_a", keeper), d.person("user_mallory", "org_a", engineer)
	k, plain, err := r.Create(t.Context(), alice, apikeys.New{Name: "deploy", Permissions: []string{"agents:read", "agents:create"}, Owner: bot})
	must(t, err)
	if k.Owner != bot || k.CreatedBy.User != "user_alice" {
		t.Errorf("key = %+v", k)
	}
	held := r.as(t, plain.Reveal())
	if held.User != bot || held.Key != k.ID || !slices.Equal(held.Permissions, scope.Of("agents:read", "agents:create")) {
		t.Errorf("the key is %+v", held)
	}
	d.owner.set("user_alice", "org_a", nil) // who made it leaves
	r.as(t, plain.Reveal())
	d.owner.set(bot, "org_a", scope.Of("agents:read"))
	if got := r.as(t, plain.Reveal()).Permissions; !slices.Equal(got, scope.Of("agents:read")) {
		t.Errorf("after its role shrank the key may %v", got)
	}
	for name, c := range map[string]struct {
		caller ident.Caller
		n      apikeys.New
		want   fault.Code
	}{
		"by whoever may not manage service accounts": {mallory, apikeys.New{Permissions: []string{"agents:read"}, Owner: bot}, fault.InsufficientPermissions},
		"that may do more than its role":             {alice, apikeys.New{Permissions: []string{"agents:read", "metrics:read"}, Owner: bot}, fault.Invalid},
		"that may do more than its maker":            {alice, apikeys.New{Permissions: []string{"users:create"}, Owner: bot}, fault.InsufficientPermissions},
		"of another organisation":                    {alice, apikeys.New{Permissions: []string{"agents:read"}, Owner: foreignBot}, fault.Invalid},
		"of nobody":                                  {alice, apikeys.New{Permissions: []string{"agents:read"}, Owner: "svc_none"}, fault.Invalid},
		"of another person":                          {alice, apikeys.New{Permissions: []string{"agents:read"}, Owner: "user_mallory"}, fault.Invalid},
	} {
		d.owner.set(bot, "org_a", scope.Of("agents:read", "users:create"))
		c.n.Name = "x"
		if _, _, err := r.Create(t.Context(), c.caller, c.n); !errors.Is(err, c.want) {
			t.Errorf("a key %s: %v, want %s", name, err, c.want)
		}
	}
	// A key of the service account makes keys that are the service account's.
	d.owner.set(bot, "org_a", engineer)
	_, maker, err := r.Create(t.Context(), alice, apikeys.New{Name: "maker", Permissions: []string{"agents:read", "api-keys:create"}, Owner: bot})
	must(t, err)
	for _, owner := range []ident.UserID{"", bot} {
		child, _, err := r.Create(t.Context(), r.as(t, maker.Reveal()), apikeys.New{Name: "child", Permissions: []string{"agents:read"}, Owner: owner})
		if err != nil || child.Owner != bot {
			t.Errorf("a child of the service account's key: owner %s, %v", child.Owner, err)
		}
	}
}

// Who is given a key caps it from then on; who gives it needs what making it takes.
func TestAKeyIsGivenAway(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice, bob, mallory := d.person("user_alice", "org_a", engineer), d.person("user_bob", "org_a", keeper), d.person("user_mallory", "org_a", engineer)
	d.owner.set(bot, "org_a", scope.Of("agents:read"))
	d.owner.set(foreignBot, "org_b", engineer)
	k, key := r.make(t, alice, "agents:*", "metrics:read")
	given, err := r.Transfer(t.Context(), bob, k.ID, bot)
	if err != nil || given.Owner != bot {
		t.Fatalf("given to %s, %v", given.Owner, err)
	}
	if held := r.as(t, key); held.User != bot || !slices.Equal(held.Permissions, scope.Of("agents:read")) {
		t.Errorf("the key is %s's and may %v", held.User, held.Permissions)
	}
	d.owner.set("user_alice", "org_a", nil)
	r.as(t, key)
	e := r.named(audit.APIKeyTransferred)
	if len(e) != 1 || e[0].Meta["from"] != "user_alice" || e[0].Meta["to"] != string(bot) || e[0].Actor.ID != "user_bob" || e[0].Key != k.ID {
		t.Errorf("recorded %+v", e)
	}
	if _, err := r.Transfer(t.Context(), bob, k.ID, bot); err != nil || len(r.named(audit.APIKeyTransferred)) != 1 {
		t.Errorf("given to its owner: %v, and %d events", err, len(r.named(audit.APIKeyTransferred)))
	}
	weak := bob
	weak.Permissions = scope.Of("api-keys:create", "api-keys:manage", "service-accounts:manage", "agents:read")
	clerk := bob
	clerk.Permissions = slices.DeleteFunc(slices.Clone(keeper), func(p scope.Permission) bool { return p == "service-accounts:manage" })
	stranger := d.person("user_stranger", "org_b", keeper)
	for name, c := range map[string]struct {
		caller ident.Caller
		owner  ident.UserID
		want   fault.Code
	}{
		"by whoever manages no keys":             {mallory, "user_mallory", fault.InsufficientPermissions},
		"by whoever may less than the key":       {weak, "user_bob", fault.InsufficientPermissions},
		"by whoever manages no service accounts": {clerk, bot, fault.InsufficientPermissions},
		"to somebody who left":                   {bob, "user_alice", fault.Invalid},
		"to another organisation's":              {bob, foreignBot, fault.Invalid},
		"by a stranger":                          {stranger, foreignBot, fault.NotFound},
	} {
		if _, err := r.Transfer(t.Context(), c.caller, k.ID, c.owner); !errors.Is(err, c.want) {
			t.Errorf("given %s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := r.Transfer(t.Context(), clerk, k.ID, "user_bob"); err != nil {
		t.Errorf("given to a member by whoever manages keys: %v", err)
	}
	must(t, r.Revoke(t.Context(), bob, k.ID))
	if _, err := r.Transfer(t.Context(), bob, k.ID, bot); !errors.Is(err, fault.NotFound) {
		t.Errorf("given away after its end: %v", err)
	}
	short, _, err := r.Create(t.Context(), bob, apikeys.New{Name: "short", Permissions: []string{"agents:read"}, ExpiresAt: d.clock.now().Add(time.Hour)})
	must(t, err)
	d.clock.advance(time.Hour)
	if _, err := r.Transfer(t.Context(), bob, short.ID, bot); !errors.Is(err, fault.Conflict) {
		t.Errorf("given away after it expired: %v", err)
	}
}

// A key gives away what it could have made, and no more.
func TestAKeyGivesAwayWhatItCouldMake(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", keeper)
	d.owner.set(bot, "org_a", engineer)
	wide, _ := r.make(t, alice, "agents:*", "metrics:read")
	narrow, _ := r.make(t, alice, "agents:read")
	_, key := r.make(t, alice, "api-keys:manage", "service-accounts:manage", "agents:read")
	if _, err := r.Transfer(t.Context(), r.as(t, key), wide.ID, bot); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("a wider key: %v", err)
	}
	if _, err := r.Transfer(t.Context(), r.as(t, key), narrow.ID, bot); err != nil {
		t.Errorf("a narrower key: %v", err)
	}
}

// Lists are narrowed by owner and status, and say whose owner is inactive.
func TestListsSayWhoseOwnerIsInactive(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice, bob := d.person("user_alice", "org_a", engineer), d.person("user_bob", "org_a", engineer)
	mine, _ := r.make(t, alice, "agents:read")
	his, _ := r.make(t, bob, "agents:read")
	page := ident.Page{Limit: 10}
	keys, err := r.Find(t.Context(), alice, apikeys.Filter{Owner: "user_bob"}, page)
	if err != nil || len(keys) != 1 || keys[0].ID != his.ID || keys[0].Status != apikeys.Active {
		t.Errorf("bob's keys: %+v, %v", keys, err)
	}
	d.owner.set("user_bob", "org_a", nil)
	all, err := r.List(t.Context(), alice, page)
	must(t, err)
	for _, k := range all {
		if want := map[ident.APIKeyID]apikeys.Status{mine.ID: apikeys.Active, his.ID: apikeys.OwnerInactive}[k.ID]; k.Status != want {
			t.Errorf("%s's key is %s, want %s", k.Owner, k.Status, want)
		}
	}
	if k, err := r.Get(t.Context(), alice, his.ID); err != nil || k.Status != apikeys.OwnerInactive {
		t.Errorf("bob's key alone is %s, %v", k.Status, err)
	}
	if _, err := r.Find(t.Context(), alice, apikeys.Filter{Status: "asleep"}, page); !errors.Is(err, fault.Invalid) {
		t.Errorf("a status that there is not: %v", err)
	}
}
