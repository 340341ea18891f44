package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// apiKeyOf is a key whose every field is filled, of an owner in org.
func apiKeyOf(org ident.OrgID, lookup string, at time.Time) apikeys.Key {
	return apikeys.Key{
		ID: ident.NewAPIKeyID(at, rand.Reader), Lookup: lookup, Prefix: "kw_live", Name: "o'neil's", Org: org, Owner: "user_1",
		CreatedBy: apikeys.Creator{User: "user_1"}, Permissions: []scope.Permission{"metrics:read", "agents:*"},
		CreatedAt: at, ExpiresAt: at.Add(time.Hour), Revocation: apikeys.Revocation{RevokedAt: at.Add(time.Minute), RevokedBy: "user_2", HeldAt: at.Add(time.Second)},
		Rules:    allRules(),
		LastUsed: apikeys.Use{At: at.Add(time.Second), IP: netip.MustParseAddr("2001:db8::1"), UserAgent: "curl/8"},
		Secrets: []apikeys.Secret{
			{Generation: 2, Digest: []byte{0, 2}, Pepper: 1, Last4: "wxyz", CreatedAt: at, LastUsed: apikeys.Use{At: at.Add(time.Second), IP: netip.MustParseAddr("192.0.2.1")}},
			{Generation: 1, Digest: []byte{0, 1}, Pepper: 200, Last4: "abcd", CreatedAt: at.Add(-time.Hour), ValidUntil: at.Add(time.Hour)},
		},
	}
}

// usableKey is a key with one secret that never ends.
func usableKey(org ident.OrgID, lookup string, at time.Time) apikeys.Key {
	k := apiKeyOf(org, lookup, at)
	k.ExpiresAt, k.Revocation, k.LastUsed, k.Rules = time.Time{}, apikeys.Revocation{}, apikeys.Use{}, apikeys.Rules{}
	k.Secrets = []apikeys.Secret{{Generation: 1, Digest: []byte{1}, Pepper: 1, Last4: "abcd", CreatedAt: at}}
	return k
}

func insertKeys(t *testing.T, f *fixture, keys ...apikeys.Key) {
	t.Helper()
	err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
		for _, k := range keys {
			if err := tx.InsertAPIKey(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// apiKeyReading: a key comes back as it was stored, to its own organisation
// only (K15), lists are newest first and go on where they stopped.
// AK-12.
func apiKeyReading(t *testing.T, f *fixture) {
	a, b := ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)
	k, foreign := apiKeyOf(a, "AAAAaaaa", f.now), apiKeyOf(b, "aaaaAAAA", f.now)
	insertKeys(t, f, k, foreign)
	store := f.APIKeys()
	for name, read := range map[string]func() (apikeys.Key, error){
		"by lookup": func() (apikeys.Key, error) { return store.APIKeyByLookup(t.Context(), k.Lookup) },
		"by id":     func() (apikeys.Key, error) { return store.APIKey(t.Context(), tenant(a), k.ID) },
		"locked": func() (got apikeys.Key, err error) {
			err = store.InTx(t.Context(), func(tx apikeys.Tx) (err error) { got, err = tx.LockAPIKey(tenant(a), k.ID); return err })
			return got, err
		},
	} {
		if got, err := read(); err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, k)
		}
	}
	for name, read := range map[string]func() (apikeys.Key, error){
		"unknown lookup": func() (apikeys.Key, error) { return store.APIKeyByLookup(t.Context(), "AAAAAAAA") },
		"foreign id":     func() (apikeys.Key, error) { return store.APIKey(t.Context(), tenant(a), foreign.ID) },
		"no tenant":      func() (apikeys.Key, error) { return store.APIKey(t.Context(), ident.Tenant{}, k.ID) },
		"foreign lock": func() (got apikeys.Key, err error) {
			err = store.InTx(t.Context(), func(tx apikeys.Tx) error { _, err := tx.LockAPIKey(tenant(a), foreign.ID); return err })
			return got, err
		},
	} {
		if got, err := read(); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: %+v, %v; want NotFound", name, got, err)
		}
	}
	for id, want := range map[ident.APIKeyID]bool{k.ID: true, foreign.ID: true, "key_0": false} {
		if got, err := store.APIKeyExists(t.Context(), id); err != nil || got != want {
			t.Errorf("APIKeyExists(%s) = %v, %v", id, got, err)
		}
	}
}

func apiKeyPages(t *testing.T, f *fixture) {
	a, b := ident.NewOrgID(f.now, rand.Reader), ident.NewOrgID(f.now, rand.Reader)
	var want []ident.APIKeyID
	for i := range 5 {
		k := usableKey(a, "0000000"+string(rune('0'+i)), f.now.Add(time.Duration(i)*time.Second))
		insertKeys(t, f, k, usableKey(b, "1111111"+string(rune('0'+i)), f.now))
		want = append([]ident.APIKeyID{k.ID}, want...)
	}
	var got []ident.APIKeyID
	page := ident.Page{Limit: 2}
	for range 3 {
		keys, err := f.APIKeys().APIKeys(t.Context(), tenant(a), apikeys.Selection{}, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if got = append(got, k.ID); len(k.Secrets) != 1 {
				t.Errorf("%s has %d secrets in a list", k.ID, len(k.Secrets))
			}
		}
		page.Before = string(got[len(got)-1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages give %v, want %v", got, want)
	}
	if keys, err := f.APIKeys().APIKeys(t.Context(), tenant(a), apikeys.Selection{}, page); err != nil || len(keys) != 0 {
		t.Errorf("after the last page: %v, %v", keys, err)
	}
	if keys, err := f.APIKeys().APIKeys(t.Context(), ident.Tenant{}, apikeys.Selection{}, ident.Page{Limit: 10}); err != nil || len(keys) != 0 {
		t.Errorf("the zero tenant sees %v, %v", keys, err)
	}
}

// apiKeyWriting: a lookup id is given once, and changes are whole.
// AK-09.
func apiKeyWriting(t *testing.T, f *fixture) {
	org := ident.NewOrgID(f.now, rand.Reader)
	k := usableKey(org, "AAAAAAAA", f.now)
	insertKeys(t, f, k)
	err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
		return errors.Join(tx.Record(audit.Event{Time: f.now, Name: audit.APIKeyCreated}), tx.InsertAPIKey(usableKey(org, "AAAAAAAA", f.now)))
	})
	if !errors.Is(err, fault.Conflict) || len(f.committed()) != 0 {
		t.Errorf("a taken lookup id: %v, events %v; want Conflict and none", err, f.committed())
	}
	child, other := usableKey(org, "BBBBBBBB", f.now.Add(time.Second)), usableKey(org, "CCCCCCCC", f.now)
	child.CreatedBy = apikeys.Creator{Key: k.ID}
	insertKeys(t, f, child, other)
	fresh := apikeys.Secret{Generation: 2, Digest: []byte{2}, Pepper: 2, Last4: "2222", CreatedAt: f.now.Add(time.Minute)}
	k.Name, k.RevokedAt, k.RevokedBy, k.Rules = "new", f.now.Add(time.Minute), "user_3", allRules()
	k.Secrets[0].ValidUntil = f.now.Add(time.Hour)
	k.Secrets = []apikeys.Secret{fresh, k.Secrets[0]}
	err = f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
		if got, err := tx.LockAPIKeysMadeBy(tenant(org), k.ID); err != nil || len(got) != 1 || got[0].ID != child.ID {
			t.Errorf("made by %s: %v, %v; want %s", k.ID, got, err, child.ID)
		}
		return errors.Join(tx.UpdateAPIKey(k), tx.PutAPIKeySecrets(k.ID, k.Secrets))
	})
	if got, e := f.APIKeys().APIKey(t.Context(), tenant(org), k.ID); err != nil || e != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("after a change, %v, %v:\n got %+v\nwant %+v", err, e, got, k)
	}
	third := apikeys.Secret{Generation: 3, Digest: []byte{3}, Pepper: 2, Last4: "3333", CreatedAt: f.now.Add(time.Hour)}
	k.Secrets = []apikeys.Secret{third, fresh}
	err = f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error { return tx.PutAPIKeySecrets(k.ID, k.Secrets) })
	if got, e := f.APIKeys().APIKey(t.Context(), tenant(org), k.ID); err != nil || e != nil || !reflect.DeepEqual(got.Secrets, k.Secrets) {
		t.Errorf("after another rotation, %v, %v:\n got %+v\nwant %+v", err, e, got.Secrets, k.Secrets)
	}
	if got, err := f.APIKeys().APIKey(t.Context(), tenant(org), other.ID); err != nil || !reflect.DeepEqual(got, other) {
		t.Errorf("another key changed too: %+v, %v", got, err)
	}
}

// apiKeyUsage: the first success of an hour is told to one of those that count
// at the same time; last-used times never go back.
func apiKeyUsage(t *testing.T, f *fixture) {
	org := ident.NewOrgID(f.now, rand.Reader)
	k := usableKey(org, "AAAAAAAA", f.now)
	insertKeys(t, f, k)
	hour := f.now.Truncate(time.Hour)
	count := func(uses ...apikeys.Uses) []bool {
		var first []bool
		err := f.APIKeys().InTx(context.Background(), func(tx apikeys.Tx) (err error) { first, err = tx.CountAPIKeyUses(uses); return err })
		if err != nil {
			t.Error(err)
		}
		return first
	}
	late := apikeys.Use{At: f.now.Add(time.Minute), IP: netip.MustParseAddr("192.0.2.9"), UserAgent: "late"}
	ok := apikeys.Uses{Key: k.ID, Generation: 1, Hour: hour, OK: 2, Last: late}
	refused := apikeys.Uses{Key: k.ID, Hour: hour, Refused: 3}
	if got := count(refused); got[0] {
		t.Error("a refusal is the first success")
	}
	var wg sync.WaitGroup
	firsts := make([]bool, 8)
	for i := range firsts {
		wg.Go(func() {
			if got := count(ok, refused); len(got) == 2 {
				firsts[i] = got[0]
			}
		})
	}
	wg.Wait()
	if n := len(slices.DeleteFunc(slices.Clone(firsts), func(b bool) bool { return !b })); n != 1 {
		t.Errorf("%d of %d that raced were first; want 1", n, len(firsts))
	}
	early := ok
	early.Last = apikeys.Use{At: f.now.Add(time.Second), UserAgent: "early"}
	if got := count(early); got[0] {
		t.Error("first twice")
	}
	next := ok
	next.Hour, next.Last = hour.Add(time.Hour), apikeys.Use{}
	next.Last.At = late.At
	if got := count(next); !got[0] {
		t.Error("the first of the next hour is not first")
	}
	got, err := f.APIKeys().APIKey(t.Context(), tenant(org), k.ID)
	if err != nil || got.LastUsed != late || got.Secrets[0].LastUsed != late {
		t.Errorf("last used %+v, of the secret %+v, %v; want %+v", got.LastUsed, got.Secrets[0].LastUsed, err, late)
	}
}

// apiKeysDue: usable keys with an old current secret, each marked once.
func apiKeysDue(t *testing.T, f *fixture) {
	org := ident.NewOrgID(f.now, rand.Reader)
	old := f.now.Add(-100 * time.Hour)
	due, older, rotated, revoked, expired, young := usableKey(org, "AAAAAAA1", old), usableKey(org, "AAAAAAA2", old.Add(-time.Hour)),
		usableKey(org, "AAAAAAA3", old), usableKey(org, "AAAAAAA4", old), usableKey(org, "AAAAAAA5", old), usableKey(org, "AAAAAAA6", f.now)
	rotated.Secrets = []apikeys.Secret{{Generation: 2, Digest: []byte{2}, CreatedAt: f.now}, rotated.Secrets[0]}
	revoked.RevokedAt, expired.ExpiresAt = f.now, f.now
	insertKeys(t, f, due, older, rotated, revoked, expired, young)
	before := f.now.Add(-90 * time.Hour)
	keys, n, err := f.APIKeys().DueAPIKeys(t.Context(), before, f.now, 10)
	if err != nil || n != 2 || len(keys) != 2 || keys[0].ID != older.ID || keys[1].ID != due.ID || len(keys[0].Secrets) != 1 {
		t.Fatalf("due = %+v (%d), %v; want the two old ones, oldest first", keys, n, err)
	}
	for i, want := range []bool{true, false} {
		var marked bool
		err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) (err error) {
			marked, err = tx.MarkAPIKeyDue(older.ID, 1, f.now)
			return errors.Join(err, tx.Announce(changes.Change{Kind: changes.APIKey, Key: older.Lookup, At: f.now}))
		})
		if err != nil || marked != want {
			t.Errorf("marking it, time %d: %v, %v; want %v", i+1, marked, err, want)
		}
	}
	keys, n, err = f.APIKeys().DueAPIKeys(t.Context(), before, f.now, 10)
	if err != nil || n != 2 || len(keys) != 1 || keys[0].ID != due.ID {
		t.Errorf("after marking one: %+v (%d), %v; want the other, and a count of two", keys, n, err)
	}
	if keys, _, err := f.APIKeys().DueAPIKeys(t.Context(), before, f.now, 0); err != nil || len(keys) != 0 {
		t.Errorf("with limit 0: %v, %v", keys, err)
	}
}
