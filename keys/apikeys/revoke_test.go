package apikeys_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func refused(t *testing.T, r *replica, credential string) {
	t.Helper()
	if _, err := r.Verify(context.Background(), credential, origin); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("Verify = %v; want InvalidAPIKey", err)
	}
}

// K18, O26, SEC-KEY-09: refused from the next request on, warm as it is. K25:
// the others work. K17: it is seen when and by whom.
// AK-37.
func TestARevokedKeyIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, key := r.make(t, alice, "metrics:read")
	_, other := r.make(t, alice, "metrics:read")
	r.as(t, key)
	must(t, r.Revoke(t.Context(), alice, k.ID))
	refused(t, r, key)
	r.as(t, other)
	got, err := r.Get(t.Context(), alice, k.ID)
	if err != nil || got.Status != apikeys.Revoked || !got.RevokedAt.Equal(d.clock.now()) || got.RevokedBy != "user_alice" {
		t.Errorf("the revoked key is %+v, %v", got, err)
	}
	if err := r.Revoke(t.Context(), alice, k.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("revoking it again: %v; want NotFound", err)
	}
	if _, err := r.Rename(t.Context(), alice, k.ID, "x"); !errors.Is(err, fault.NotFound) {
		t.Errorf("renaming it: %v; want NotFound", err)
	}
	if _, _, err := r.Rotate(t.Context(), alice, k.ID, 0); !errors.Is(err, fault.NotFound) {
		t.Errorf("rotating it: %v; want NotFound", err)
	}
	if events := r.named(audit.APIKeyRevoked); len(events) != 1 || events[0].Key != k.ID || events[0].Actor.ID != "user_alice" {
		t.Errorf("events = %+v", events)
	}
	refused(t, r, key)
}

// K18, SEC-KEY-09: another replica refuses when it hears of it.
func TestAKeyRevokedOnOneReplicaIsRefusedOnTheOther(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*deployment{"SQLite": onSQLite(t), "PostgreSQL": onPostgreSQL(t)} {
		t.Run(name, func(t *testing.T) {
			one, two := d.replica(t), d.replica(t)
			alice := d.person("user_alice", "org_a", engineer)
			k, key := one.make(t, alice, "metrics:read")
			_, kept := one.make(t, alice, "metrics:read")
			for range 10 {
				one.as(t, key)
				two.as(t, key)
			}
			must(t, two.Revoke(t.Context(), alice, k.ID))
			refused(t, two, key)
			must(t, one.feed.Poll(t.Context()))
			refused(t, one, key)
			one.as(t, kept)
		})
	}
}

// Revoking a key revokes what it made, and what that made, in one commit.
// AK-53.
func TestTheKeysThatAKeyMadeGoWithIt(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	all := []string{"api-keys:create", "api-keys:revoke", "metrics:read"}
	root, rootKey := r.make(t, alice, all...)
	_, aunt := r.make(t, alice, "metrics:read")
	child, childKey := r.make(t, r.as(t, rootKey), all...)
	_, grandchild := r.make(t, r.as(t, childKey), "metrics:read")
	must(t, r.Revoke(t.Context(), alice, root.ID))
	for _, key := range []string{rootKey, childKey, grandchild} {
		refused(t, r, key)
	}
	r.as(t, aunt)
	events := r.named(audit.APIKeyRevoked)
	if len(events) != 3 || events[0].Reason != "" || events[1].Reason != "maker_revoked" || events[1].Key != child.ID || events[2].Reason != "maker_revoked" {
		t.Errorf("events = %+v", events)
	}
}

func TestAKeyCanBeRevokedAlone(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	root, rootKey := r.make(t, alice, "api-keys:create", "metrics:read")
	child, childKey := r.make(t, r.as(t, rootKey), "api-keys:create", "metrics:read")
	_, grandchild := r.make(t, r.as(t, childKey), "metrics:read")
	must(t, r.RevokeAlone(t.Context(), alice, child.ID))
	refused(t, r, childKey)
	r.as(t, grandchild)
	must(t, r.Revoke(t.Context(), alice, root.ID)) // passes through the revoked child
	refused(t, r, grandchild)
}

// SEC-KEY-04, K15, O26: a key of another organisation does not exist, and
// asking for it is recorded.
func TestAnotherOrganisationsKeyIsNotThere(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	k, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	mallory := d.person("user_mallory", "org_b", catalogue.All())
	ask := map[string]func(ident.APIKeyID) error{
		"get":    func(id ident.APIKeyID) error { _, err := r.Get(t.Context(), mallory, id); return err },
		"rename": func(id ident.APIKeyID) error { _, err := r.Rename(t.Context(), mallory, id, "mine"); return err },
		"rotate": func(id ident.APIKeyID) error { _, _, err := r.Rotate(t.Context(), mallory, id, 0); return err },
		"revoke": func(id ident.APIKeyID) error { return r.Revoke(t.Context(), mallory, id) },
	}
	for name, do := range ask {
		foreign, unknown := fault.Of(do(k.ID)), fault.Of(do("key_00000000000000000000000000"))
		if foreign.Code != fault.NotFound || foreign.Error() != unknown.Error() {
			t.Errorf("%s: %v for a foreign key, %v for none", name, foreign, unknown)
		}
	}
	events := r.named(audit.CrossOrgDenied)
	if len(events) != len(ask) {
		t.Fatalf("%d events of %d attempts: %+v", len(events), len(ask), events)
	}
	for _, e := range events {
		if e.Outcome != audit.Denied || e.Actor.ID != "user_mallory" || e.Org != "org_b" || e.Targets[0].ID != string(k.ID) {
			t.Errorf("event = %+v", e)
		}
	}
	if keys, err := r.List(t.Context(), mallory, ident.Page{Limit: 10}); err != nil || len(keys) != 0 {
		t.Errorf("the other organisation's list: %v, %v", keys, err)
	}
	r.as(t, key)
}

// Other people's keys of the organisation are seen (O25) but not touched
// without api-keys:manage.
func TestOtherPeoplesKeysTakeMorePermission(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	k, _ := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read", "agents:read")
	bob := d.person("user_bob", "org_a", engineer)
	bobs, bobsKey := r.make(t, bob, "api-keys:read", "api-keys:revoke", "api-keys:rotate", "api-keys:create")
	sibling, _ := r.make(t, bob, "metrics:read")
	if keys, err := r.List(t.Context(), bob, ident.Page{Limit: 10}); err != nil || len(keys) != 3 {
		t.Errorf("the list has %d keys, %v; want every key of the organisation", len(keys), err)
	}
	for name, c := range map[string]struct {
		caller ident.Caller
		id     ident.APIKeyID
	}{"a colleague": {bob, k.ID}, "a colleague's key": {r.as(t, bobsKey), k.ID}, "a key, of a sibling": {r.as(t, bobsKey), sibling.ID}} {
		_, renamed := r.Rename(t.Context(), c.caller, c.id, "x")
		_, _, rotated := r.Rotate(t.Context(), c.caller, c.id, 0)
		for do, err := range map[string]error{"rename": renamed, "rotate": rotated, "revoke": r.Revoke(t.Context(), c.caller, c.id)} {
			if !errors.Is(err, fault.InsufficientPermissions) || !slices.Equal(fault.Of(err).Required, []string{"api-keys:manage"}) {
				t.Errorf("%s, %s: %v; want api-keys:manage", name, do, err)
			}
		}
	}
	if denied := r.named(audit.PermissionDenied); len(denied) != 9 || denied[0].Outcome != audit.Denied || denied[0].Targets[0].Type != "api_key" {
		t.Errorf("refusals recorded: %+v; want nine", denied)
	}
	admin := d.person("user_admin", "org_a", catalogue.All())
	if got, err := r.Rename(t.Context(), admin, k.ID, " renamed "); err != nil || got.Name != "renamed" {
		t.Errorf("Rename = %+v, %v", got, err)
	}
	must(t, r.Revoke(t.Context(), admin, k.ID))
	must(t, r.Revoke(t.Context(), r.as(t, bobsKey), bobs.ID)) // a key may end itself
	for name, err := range map[string]error{
		"list":   errOf(r.List(t.Context(), d.person("user_v", "org_a", scope.Of("metrics:read")), ident.Page{Limit: 1})),
		"get":    errOf(r.Get(t.Context(), d.person("user_v", "org_a", scope.Of("metrics:read")), k.ID)),
		"revoke": r.Revoke(t.Context(), d.person("user_v", "org_a", scope.Of("api-keys:read")), k.ID),
	} {
		if !errors.Is(err, fault.InsufficientPermissions) {
			t.Errorf("%s without its permission: %v", name, err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// A key being made while its maker is revoked is either not made or revoked too.
func TestNoChildSurvivesTheRevocationOfItsMaker(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*deployment{"SQLite": onSQLite(t), "PostgreSQL": onPostgreSQL(t)} {
		t.Run(name, func(t *testing.T) {
			r := d.replica(t)
			alice := d.person("user_alice", "org_a", engineer)
			for range 5 {
				parent, key := r.make(t, alice, "api-keys:create", "metrics:read")
				caller := r.as(t, key)
				children := make([]string, 6)
				var wg sync.WaitGroup
				for i := range children {
					wg.Go(func() {
						_, plain, err := r.Create(context.Background(), caller, apikeys.New{Name: "child", Permissions: []string{"metrics:read"}})
						if err != nil && !errors.Is(err, fault.InvalidAPIKey) {
							t.Error(err)
						}
						children[i] = plain.Reveal()
					})
				}
				wg.Go(func() {
					if err := r.Revoke(context.Background(), alice, parent.ID); err != nil {
						t.Error(err)
					}
				})
				wg.Wait()
				for _, child := range children {
					if child != "" {
						refused(t, r, child)
					}
				}
			}
		})
	}
}
