package apikeys_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// What others will believe without asking is read from the database: a replica
// that has not heard yet exchanges no key that has ended, and no secret.
func TestAReplicaThatHasNotHeardExchangesNothing(t *testing.T) {
	ctx, d := context.Background(), onSQLite(t)
	here, there := d.replica(t), d.replica(t)
	ada := d.person("user_ada", "org_a", engineer)
	for name, end := range map[string]func(id ident.APIKeyID) error{
		"revoked": func(id ident.APIKeyID) error { return here.Revoke(ctx, ada, id) },
		"rotated": func(id ident.APIKeyID) error { _, _, err := here.Rotate(ctx, ada, id, 0); return err },
	} {
		k, credential := here.make(t, ada, "agents:read")
		got, err := there.Exchange(ctx, credential, origin)
		if err != nil || got.Caller.Key != k.ID || !got.Allowed.Allows("agents:read") || got.Allowed.Allows("agents:delete") {
			t.Fatalf("%s: %+v %v", name, got, err)
		}
		must(t, end(k.ID))
		if _, err := there.Verify(ctx, credential, origin); err != nil {
			t.Fatalf("%s: the other replica has heard already (%v): this proves nothing", name, err)
		}
		if got, err := there.Exchange(ctx, credential, origin); !errors.Is(err, fault.InvalidAPIKey) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// The holder of a token is the key as it is now, and costs nothing while the key is warm.
func TestTheHolderOfATokenIsTheKeyAsItIsNow(t *testing.T) {
	ctx, d := context.Background(), onSQLite(t)
	r := d.replica(t)
	ada := d.person("user_ada", "org_a", engineer)
	k, _ := r.make(t, ada, "agents:read", "agents:delete")
	c, err := r.Holder(ctx, "org_a", k.ID)
	if err != nil || c.Kind != ident.APIKey || c.Key != k.ID || c.User != "user_ada" || !c.May("agents:delete") || c.May("incidents:read") {
		t.Fatalf("%+v %v", c, err)
	}
	before := r.gate.calls.Load()
	for range 10 {
		if _, err := r.HolderFrom(ctx, "org_a", k.ID, origin); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.gate.calls.Load() - before; n != 0 {
		t.Errorf("%d statements for a warm key", n)
	}
	d.owner.set("user_ada", "org_a", engineer[:1])
	if c, err := r.Holder(ctx, "org_a", k.ID); err != nil || c.May("agents:delete") && !engineer[:1].Allows("agents:delete") {
		t.Errorf("after a demotion: %v %v", c.Permissions, err)
	}
	for name, ask := range map[string]func() (ident.Caller, error){
		"another organisation": func() (ident.Caller, error) { return r.Holder(ctx, "org_b", k.ID) },
		"no such key":          func() (ident.Caller, error) { return r.Holder(ctx, "org_a", "key_none") },
	} {
		if _, err := ask(); !errors.Is(err, fault.InvalidAPIKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.person("user_ada", "org_a", engineer)
	must(t, r.Revoke(ctx, ada, k.ID))
	if _, err := r.Holder(ctx, "org_a", k.ID); !errors.Is(err, fault.InvalidAPIKey) {
		t.Errorf("revoked: %v", err)
	}
}
