package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// apiKeyPolicies: an organisation has none at first, and one of its own from when
// it is stored; whoever changes the organisation leaves it alone.
func apiKeyPolicies(t *testing.T, f *fixture) {
	acme, globex := f.org("acme"), f.org("globex")
	f.add(t, nil, []accounts.Org{acme, globex})
	is := func(org ident.OrgID, want apikeys.Policy) {
		t.Helper()
		got, err := f.APIKeys().APIKeyPolicy(t.Context(), tenant(org))
		if err != nil || got.Permissions.String() != want.Permissions.String() || (got.Permissions == nil) != (want.Permissions == nil) || got.MaxLifetime != want.MaxLifetime {
			t.Errorf("policy of %s = %+v, %v; want %+v", org, got, err, want)
		}
	}
	put := func(p apikeys.Policy) {
		t.Helper()
		err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
			if _, err := tx.LockAPIKeyPolicy(tenant(acme.ID)); err != nil {
				return err
			}
			return tx.PutAPIKeyPolicy(tenant(acme.ID), p)
		})
		if err != nil {
			t.Fatal(err)
		}
		is(acme.ID, p)
	}
	is(acme.ID, apikeys.Policy{})
	is("org_none", apikeys.Policy{})
	narrow := apikeys.Policy{Permissions: scope.Of("agents:*", "metrics:read"), MaxLifetime: 90 * 24 * time.Hour}
	put(narrow)
	is(globex.ID, apikeys.Policy{})
	acme.Name = "Acme 2"
	f.people(t, func(tx accounts.Tx) error { return tx.UpdateOrg(acme) })
	is(acme.ID, narrow)
	for _, org := range []ident.OrgID{"org_none", ""} {
		err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error { _, err := tx.LockAPIKeyPolicy(tenant(org)); return err })
		if !errors.Is(err, fault.NotFound) {
			t.Errorf("locking the policy of %q: %v", org, err)
		}
	}
	put(apikeys.Policy{MaxLifetime: time.Hour})
	put(apikeys.Policy{Permissions: scope.Of("agents:read")})
	put(apikeys.Policy{})
}

// apiKeyPolicyTogether: of changes at once each sees what the one before left.
func apiKeyPolicyTogether(t *testing.T, f *fixture) {
	acme := f.org("acme")
	f.add(t, nil, []accounts.Org{acme})
	const writers = 8
	failed := make(chan error, writers)
	for range writers {
		go func() {
			failed <- f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
				p, err := tx.LockAPIKeyPolicy(tenant(acme.ID))
				if err != nil {
					return err
				}
				p.MaxLifetime += time.Hour
				return tx.PutAPIKeyPolicy(tenant(acme.ID), p)
			})
		}()
	}
	for range writers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if p, err := f.APIKeys().APIKeyPolicy(t.Context(), tenant(acme.ID)); err != nil || p.MaxLifetime != writers*time.Hour {
		t.Errorf("after %d additions: %s, %v", writers, p.MaxLifetime, err)
	}
}
