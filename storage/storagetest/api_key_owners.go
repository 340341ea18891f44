package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// names lists keys by what they are called.
func names(keys []apikeys.Key) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.Name
	}
	slices.Sort(out)
	return out
}

// apiKeySelections: each key is in the list of its owner and of exactly one status.
func apiKeySelections(t *testing.T, f *fixture) {
	acme, globex := f.org("acme"), f.org("globex")
	anna, bob := f.user("anna@example.com"), f.user("bob@example.com")
	bob.Status = accounts.Disabled
	f.add(t, []accounts.User{anna, bob}, []accounts.Org{acme, globex})
	f.member(t, anna, acme, "owner", f.now)
	f.member(t, bob, acme, "owner", f.now)
	bot := f.service(acme, "bot", "viewer", f.now)
	asleep := f.service(acme, "asleep", "viewer", f.now.Add(time.Second))
	asleep.Status = accounts.Disabled
	f.people(t, func(tx accounts.Tx) error {
		for _, s := range []accounts.ServiceAccount{bot, asleep} {
			if _, err := tx.InsertServiceAccount(s); err != nil {
				return err
			}
		}
		return nil
	})
	key := func(name string, owner ident.UserID, made time.Time) apikeys.Key {
		k := usableKey(acme.ID, (name + "00000000")[:8], made)
		k.Name, k.Owner = name, owner
		return k
	}
	old := f.now.Add(-100 * time.Hour)
	young, due, hers, its, gone, over := key("young", anna.ID, f.now), key("due", anna.ID, old), key("his", bob.ID, f.now), key("its", bot.ID, f.now), key("gone", anna.ID, old), key("over", anna.ID, old)
	gone.RevokedAt, over.ExpiresAt = f.now, f.now
	held := key("held", anna.ID, old)
	held.HeldAt = f.now
	insertKeys(t, f, young, due, hers, its, gone, over, held, key("idle", asleep.ID, old), key("nobody", "svc_none", f.now), key("left", "user_none", f.now))
	for name, c := range map[string]struct {
		org    ident.OrgID
		filter apikeys.Filter
		want   []string
	}{
		"all":                {acme.ID, apikeys.Filter{}, []string{"due", "gone", "held", "his", "idle", "its", "left", "nobody", "over", "young"}},
		"active":             {acme.ID, apikeys.Filter{Status: apikeys.Active}, []string{"its", "young"}},
		"due":                {acme.ID, apikeys.Filter{Status: apikeys.RotationDue}, []string{"due"}},
		"inactive":           {acme.ID, apikeys.Filter{Status: apikeys.OwnerInactive}, []string{"his", "idle", "left", "nobody"}},
		"expired":            {acme.ID, apikeys.Filter{Status: apikeys.Expired}, []string{"over"}},
		"quarantined":        {acme.ID, apikeys.Filter{Status: apikeys.Quarantined}, []string{"held"}},
		"revoked":            {acme.ID, apikeys.Filter{Status: apikeys.Revoked}, []string{"gone"}},
		"one owner's":        {acme.ID, apikeys.Filter{Owner: bot.ID}, []string{"its"}},
		"one owner's active": {acme.ID, apikeys.Filter{Owner: anna.ID, Status: apikeys.Active}, []string{"young"}},
		"elsewhere":          {globex.ID, apikeys.Filter{Owner: anna.ID}, []string{}},
	} {
		s := apikeys.Selection{Filter: c.filter, Now: f.now, RotateBefore: f.now.Add(-time.Hour)}
		keys, err := f.APIKeys().APIKeys(t.Context(), tenant(c.org), s, ident.Page{Limit: 20})
		if err != nil || !slices.Equal(names(keys), c.want) {
			t.Errorf("%s: %q, %v; want %q", name, names(keys), err, c.want)
		}
	}
	f.keysThatAPolicyEnds(t, acme, old)
	f.keysOfADisabledOrg(t, acme)
}

// keysThatAPolicyEnds: what was made then or before has expired, whatever it says itself.
func (f *fixture) keysThatAPolicyEnds(t *testing.T, o accounts.Org, then time.Time) {
	for status, want := range map[apikeys.Status][]string{
		apikeys.Expired: {"due", "held", "idle", "over"}, apikeys.RotationDue: {}, apikeys.Quarantined: {}, apikeys.Active: {"its", "young"}, apikeys.Revoked: {"gone"},
	} {
		s := apikeys.Selection{Filter: apikeys.Filter{Status: status}, Now: f.now, RotateBefore: f.now.Add(-time.Hour), EndedBefore: then}
		keys, err := f.APIKeys().APIKeys(t.Context(), tenant(o.ID), s, ident.Page{Limit: 20})
		if err != nil || !slices.Equal(names(keys), want) {
			t.Errorf("%s under a policy: %q, %v; want %q", status, names(keys), err, want)
		}
	}
}

// keysOfADisabledOrg: nobody of a disabled organisation is an active owner.
func (f *fixture) keysOfADisabledOrg(t *testing.T, o accounts.Org) {
	o.Status = accounts.Disabled
	f.people(t, func(tx accounts.Tx) error { return tx.UpdateOrg(o) })
	s := apikeys.Selection{Filter: apikeys.Filter{Status: apikeys.Active}, Now: f.now, RotateBefore: f.now.Add(-time.Hour)}
	if keys, err := f.APIKeys().APIKeys(t.Context(), tenant(o.ID), s, ident.Page{Limit: 20}); err != nil || len(keys) > 0 {
		t.Errorf("active in a disabled organisation: %q, %v", names(keys), err)
	}
}

// apiKeyNotices: who is to be told of what is found once, and marked by one alone.
func apiKeyNotices(t *testing.T, f *fixture) {
	a := f.org("acme")
	lead := 24 * time.Hour
	expiring := func(name string, life, left time.Duration) apikeys.Key {
		k := usableKey(a.ID, (name + "00000000")[:8], f.now.Add(left-life))
		k.Name, k.ExpiresAt = name, f.now.Add(left)
		return k
	}
	soon, sooner := expiring("soon", 48*time.Hour, 24*time.Hour), expiring("sooner", 48*time.Hour, time.Hour)
	ended := expiring("ended", 48*time.Hour, time.Hour)
	ended.RevokedAt = f.now
	insertKeys(t, f, soon, sooner, ended, expiring("short", 24*time.Hour, time.Hour), expiring("later", 48*time.Hour, 25*time.Hour), expiring("over", 48*time.Hour, 0), usableKey(a.ID, "EVER0000", f.now))
	n := apikeys.Notice{Number: 2, Lead: lead}
	find := func(n apikeys.Notice, after time.Time, limit int, want ...string) {
		t.Helper()
		keys, err := f.APIKeys().APIKeysToNotice(t.Context(), n, after, f.now, limit)
		if got := names(keys); err != nil || !slices.Equal(got, want) {
			t.Errorf("to be told of %d: %q, %v; want %q", n.Number, got, err, want)
		}
	}
	find(n, f.now, 10, "soon", "sooner")
	find(n, f.now, 1, "sooner")
	find(apikeys.Notice{Number: 3}, f.now.Add(-time.Hour), 10, "over")
	mark := func(k apikeys.Key, n apikeys.Notice, want bool) {
		t.Helper()
		err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
			got, err := tx.MarkAPIKeyNotice(k, n)
			if got != want {
				t.Errorf("%s marked: %t, want %t", k.Name, got, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	mark(sooner, n, true)
	mark(sooner, n, false)
	mark(sooner, apikeys.Notice{Number: 1}, false) // a later one was given
	mark(ended, n, false)
	find(n, f.now, 10, "soon")
	if got, err := f.APIKeys().CountExpiringAPIKeys(t.Context(), f.now, f.now.Add(lead)); got != 3 || err != nil {
		t.Errorf("%d keys expire, %v; want 3", got, err)
	}
}

// apiKeyFamilies: what keys made is found and ended together, in one organisation.
func apiKeyFamilies(t *testing.T, f *fixture) {
	acme, globex := f.org("acme"), f.org("globex")
	root, other := usableKey(acme.ID, "ROOT0000", f.now), usableKey(acme.ID, "ROOT1111", f.now)
	var family []apikeys.Key
	for i, maker := range []apikeys.Key{root, root, other} {
		k := usableKey(acme.ID, "CHILD00"+string(rune('0'+i)), f.now.Add(time.Duration(i)*time.Second))
		k.CreatedBy = apikeys.Creator{Key: maker.ID}
		family = append(family, k)
	}
	foreign := usableKey(globex.ID, "FOREIGN0", f.now)
	foreign.CreatedBy = apikeys.Creator{Key: root.ID}
	insertKeys(t, f, append(family, root, other, foreign)...)
	err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error {
		for _, c := range []struct {
			makers []ident.APIKeyID
			want   int
		}{{nil, 0}, {[]ident.APIKeyID{root.ID}, 2}, {[]ident.APIKeyID{root.ID, other.ID}, 3}, {[]ident.APIKeyID{family[0].ID}, 0}} {
			made, err := tx.LockAPIKeysMadeBy(tenant(acme.ID), c.makers...)
			if err != nil || len(made) != c.want {
				t.Errorf("made by %d keys: %d, %v; want %d", len(c.makers), len(made), err, c.want)
			}
		}
		if err := tx.SetAPIKeyOwner(other.ID, "svc_1"); err != nil {
			return err
		}
		return tx.RevokeAPIKeys([]ident.APIKeyID{family[0].ID, family[2].ID}, apikeys.Revocation{RevokedAt: f.now, RevokedBy: "user_9"})
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range append(family, other) {
		got, err := f.APIKeys().APIKey(t.Context(), tenant(acme.ID), k.ID)
		ended := i == 0 || i == 2
		if err != nil || got.RevokedAt.IsZero() == ended || ended && got.RevokedBy != "user_9" || (got.Owner == "svc_1") != (k.ID == other.ID) {
			t.Errorf("key %d: %+v, %v", i, got, err)
		}
	}
}
