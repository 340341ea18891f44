package storagetest

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// apiKeyImports: a key is found under the lookup id of its import too, which
// names one key for ever, whatever becomes of the key's secrets.
func apiKeyImports(t *testing.T, f *fixture) {
	ctx, store, org := t.Context(), f.APIKeys(), ident.NewOrgID(f.now, rand.Reader)
	some := func(want bool) {
		t.Helper()
		if got, err := store.AnyAPIKeyImported(ctx); err != nil || got != want {
			t.Errorf("any imported: %v, %v; want %v", got, err, want)
		}
	}
	some(false)
	a, b := usableKey(org, "AAAAaaaa", f.now), usableKey(org, "BBBBbbbb", f.now)
	insertKeys(t, f, a, b)
	some(false)
	insert := func(lookup string, id ident.APIKeyID) error {
		return store.InTx(ctx, func(tx apikeys.Tx) error { return tx.InsertAPIKeyImport(lookup, id) })
	}
	for lookup, id := range map[string]ident.APIKeyID{"imp_a": a.ID, "imp_b": b.ID} {
		if err := insert(lookup, id); err != nil {
			t.Fatal(err)
		}
	}
	some(true)
	if err := insert("imp_a", b.ID); !errors.Is(err, fault.Conflict) {
		t.Errorf("a lookup id that is taken: %v", err)
	}
	err := store.InTx(ctx, func(tx apikeys.Tx) error {
		fresh := apikeys.Secret{Generation: 2, Digest: []byte{2}, Pepper: 1, Last4: "zzzz", CreatedAt: f.now}
		return tx.PutAPIKeySecrets(a.ID, []apikeys.Secret{fresh})
	})
	if err != nil {
		t.Fatal(err)
	}
	for want, lookups := range map[string][]string{a.Lookup: {"imp_0", "imp_a"}, b.Lookup: {"imp_b"}} {
		if got, err := store.ImportedAPIKey(ctx, lookups); err != nil || got != want {
			t.Errorf("%v: %q, %v; want %q", lookups, got, err, want)
		}
	}
	if got, err := store.ImportedAPIKey(ctx, []string{"imp_0", "AAAAaaaa"}); !errors.Is(err, fault.NotFound) {
		t.Errorf("what was never imported: %q, %v", got, err)
	}
}
