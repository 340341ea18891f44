package storagetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

func signingKey(t *testing.T, id, algorithm string, state signing.State, at time.Time) signing.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	k := signing.Key{
		ID: id, Algorithm: algorithm, State: state, CreatedAt: at, ActivatedAt: at.Add(time.Second), RetiredAt: at.Add(time.Hour), Sealed: []byte{0, 1, 255},
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	jwk := fmt.Sprintf(`{"kty":"EC","crv":"P-256","use":"sig","kid":%q,"alg":%q,"x":%q,"y":%q}`, id, algorithm, x, y)
	if err := k.Public.UnmarshalJSON([]byte(jwk)); err != nil {
		t.Fatal(err)
	}
	return k
}

// signingKeys: keys come back as they were stored, oldest first, with one
// active key for each algorithm.
func signingKeys(t *testing.T, f *fixture) {
	store := f.SigningKeys()
	add := func(k signing.Key) error {
		return store.InTx(t.Context(), func(tx signing.Tx) error {
			return errors.Join(tx.AddSigningKey(k), tx.Record(audit.Event{Time: f.now, Name: audit.SigningKeyAdded}), tx.Announce(changes.Change{Kind: changes.SigningKeys, At: f.now}))
		})
	}
	young, old := signingKey(t, "young", "ES256", signing.Active, f.now), signingKey(t, "old", "ES256", signing.Retiring, f.now.Add(-time.Hour))
	for _, k := range []signing.Key{young, old} {
		if err := add(k); err != nil {
			t.Fatal(err)
		}
	}
	for name, k := range map[string]signing.Key{
		"a second active key of ES256": signingKey(t, "second", "ES256", signing.Active, f.now),
		"a key of a taken id":          signingKey(t, "young", "RS256", signing.Active, f.now),
	} {
		if err := add(k); !errors.Is(err, fault.Conflict) {
			t.Errorf("%s: %v; want Conflict", name, err)
		}
	}
	if err := add(signingKey(t, "other", "RS256", signing.Active, f.now.Add(time.Second))); err != nil {
		t.Errorf("an active key of another algorithm: %v", err)
	}
	got, err := store.SigningKeys(t.Context())
	if err != nil || len(got) != 3 {
		t.Fatalf("%d keys, %v; want 3", len(got), err)
	}
	if got[2].ID != "other" {
		t.Errorf("the youngest key is %s", got[2].ID)
	}
	for i, want := range []signing.Key{old, young} {
		g, _ := got[i].Public.MarshalJSON()
		w, err := want.Public.MarshalJSON()
		if err != nil || string(g) != string(w) {
			t.Errorf("public key %s became %s, %v", w, g, err)
		}
		got[i].Public, want.Public = signing.Key{}.Public, signing.Key{}.Public
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("key changed in storage:\n got %+v\nwant %+v", got[i], want)
		}
	}
	if n := len(f.committed()); n != 3 {
		t.Errorf("%d events of 3 commits: what failed was recorded", n)
	}
	replacedSigningKeys(t, f)
}

// replacedSigningKeys: an active key retires once, which makes room for
// another, and a key is forgotten once. It goes on where signingKeys ended.
func replacedSigningKeys(t *testing.T, f *fixture) {
	store, at := f.SigningKeys(), f.now.Add(2*time.Second)
	next := signingKey(t, "next", "ES256", signing.Active, f.now.Add(time.Hour))
	replace := func(old string, k signing.Key) error {
		return store.InTx(t.Context(), func(tx signing.Tx) error {
			if err := tx.MoveSigningKey(old, signing.Active, signing.Retiring, at); err != nil {
				return err
			}
			return tx.AddSigningKey(k)
		})
	}
	if err := replace("young", next); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"young", "old", "nobody"} {
		if err := replace(id, signingKey(t, "third", "ES256", signing.Active, f.now)); !errors.Is(err, fault.Conflict) {
			t.Errorf("retiring %s, which is not active: %v; want Conflict", id, err)
		}
	}
	forget := func(id string) error {
		return store.InTx(t.Context(), func(tx signing.Tx) error { return tx.DeleteSigningKey(id) })
	}
	if err := forget("old"); err != nil {
		t.Fatal(err)
	}
	if err := forget("old"); !errors.Is(err, fault.NotFound) {
		t.Errorf("forgetting a key twice: %v; want NotFound", err)
	}
	keys, err := store.SigningKeys(t.Context())
	states := map[string]signing.State{}
	for _, k := range keys {
		states[k.ID] = k.State
		if k.ID == "young" && !k.RetiredAt.Equal(at) {
			t.Errorf("the key retired at %s, not at %s", k.RetiredAt, at)
		}
	}
	want := map[string]signing.State{"young": signing.Retiring, "other": signing.Active, "next": signing.Active}
	if err != nil || !reflect.DeepEqual(states, want) {
		t.Errorf("keys are %v, %v; want %v", states, err, want)
	}
}

// sealedSecrets: all are added or none, once.
func sealedSecrets(t *testing.T, f *fixture) {
	store := f.SealedSecrets()
	one := sealing.Sealed{Purpose: sealing.RefreshMAC, ID: 1, Sealed: []byte{0, 1, 255}, CreatedAt: f.now}
	two := sealing.Sealed{Purpose: sealing.CursorKey, ID: 2, Sealed: []byte("x"), CreatedAt: f.now}
	if err := store.AddSealedSecrets(t.Context(), []sealing.Sealed{one}); err != nil {
		t.Fatal(err)
	}
	if err := store.AddSealedSecrets(t.Context(), []sealing.Sealed{two, one}); !errors.Is(err, fault.Conflict) {
		t.Errorf("one of two is there: %v; want Conflict", err)
	}
	if got, err := store.SealedSecrets(t.Context()); err != nil || !reflect.DeepEqual(got, []sealing.Sealed{one}) {
		t.Errorf("secrets = %+v, %v; want the first only", got, err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = store.AddSealedSecrets(t.Context(), []sealing.Sealed{two}) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, fault.Conflict):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d that raced added it; want 1", won, len(errs))
	}
}
