package storagetest

import (
	"crypto/rand"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// stands is a place of the list "aaaaaaaa" whose token lives until the time.
func stands(position uint32, until time.Time) tokens.LivePlace {
	return tokens.LivePlace{Place: tokens.Place{List: "aaaaaaaa", Position: position}, Until: until}
}

// holding opens a session whose tokens stand at the places.
func (f *fixture) holding(t testing.TB, user accounts.User, org accounts.Org, places ...tokens.LivePlace) tokens.Family {
	t.Helper()
	fam := tokens.Family{ID: ident.NewSessionID(f.now, rand.Reader), User: user.ID, Org: org.ID, Client: apiClient, Refreshable: true, CreatedAt: f.now, ExpiresAt: f.now.Add(720 * time.Hour)}
	for _, p := range places {
		fam.Chain.Live = fam.Chain.Live.With(p, f.now)
	}
	if err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(fam, f.now) }); err != nil {
		t.Fatal(err)
	}
	return fam
}

// placesOfRevocations: whatever revokes tokens announces the places of those
// that are alive in the same commit, and no other place.
func placesOfRevocations(t *testing.T, f *fixture) {
	anna, bob := f.user("anna@example.com"), f.user("bob@example.com")
	acme := f.org("acme")
	f.populate(t, []accounts.User{anna, bob}, []accounts.Org{acme})
	at, until := f.now.Add(time.Hour).Truncate(time.Second), f.now.Add(25*time.Hour)
	soon, late := at.Add(time.Minute), at.Add(time.Hour)
	one := f.holding(t, anna, acme, stands(1, at), stands(2, soon), stands(4, late)) // the first is over at the hour
	two := f.holding(t, anna, acme, stands(10, soon))
	ended := f.holding(t, anna, acme, stands(20, late))
	f.holding(t, bob, acme, stands(30, late))
	f.holding(t, anna, acme) // of an older release
	key := f.lease(t, 4, tokens.LeaseHolder{Kind: tokens.KeyHolder, ID: "key_1", User: anna.ID}, "bbbbbbbb")
	own := f.lease(t, 4, tokens.LeaseHolder{Kind: tokens.ClientHolder, ID: "cli_1"}, "cccccccc")
	f.lease(t, 4, tokens.LeaseHolder{Kind: tokens.KeyHolder, ID: "key_2", User: bob.ID}, "dddddddd")

	announce := func(kind changes.Kind, key string) func(tokens.Tx) error {
		return func(tx tokens.Tx) error {
			return tx.Announce(changes.Change{Kind: kind, Key: key, At: at, Until: until})
		}
	}
	want := map[tokens.Place]time.Time{}
	add := func(list string, position, count uint32, until time.Time) {
		for n := range count {
			want[tokens.Place{List: list, Position: position + n}] = until
		}
	}
	leaseEnds := f.now.Add(48 * time.Hour)
	for _, tt := range []struct {
		name   string
		do     func(tokens.Tx) error
		expect func()
	}{
		{"a purge", announce(changes.User, string(anna.ID)), func() {}},
		{"a token", announce(changes.TokenRevoked, "tok_1"), func() {}}, // who revokes one says where it stands
		{"a session", func(tx tokens.Tx) error {
			_, err := tx.EndSessions(tokens.Ending{User: anna.ID, Except: one.ID, Reason: "logout", At: at, Until: until})
			return err
		}, func() { add("aaaaaaaa", 10, 1, soon); add("aaaaaaaa", 20, 1, late) }},
		{"an API key", announce(changes.APIKeyRevoked, "key_1"), func() { add("bbbbbbbb", key.Position, key.Count, leaseEnds) }},
		{"a user", announce(changes.SubjectCutoff, string(anna.ID)), func() { add("aaaaaaaa", 2, 1, soon); add("aaaaaaaa", 4, 1, late) }},
		{"a user again", announce(changes.SubjectCutoff, string(anna.ID)), func() {}}, // the API key's are told again, no session's
		{"a client", announce(changes.SubjectCutoff, "cli_1"), func() { add("bbbbbbbb", own.Position, own.Count, leaseEnds) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.tellsNothingUndone(t, tt.do, want)
			tt.expect()
			f.inSession(t, tt.do)
			f.tells(t, want)
		})
	}
	if left := f.stored(t, one.ID); left.Chain.Live != "" || left.Version != one.Version+1 || !left.Ended.At.IsZero() {
		t.Errorf("the session that goes on: %+v, want no places and a new version", left)
	}
	for _, fam := range []tokens.Family{two, ended} {
		if left := f.stored(t, fam.ID); left.Ended.At.IsZero() {
			t.Errorf("%s goes on", fam.ID)
		}
	}
}

// tells expects these places to be announced as revoked, and no others.
func (f *fixture) tells(t *testing.T, want map[tokens.Place]time.Time) {
	t.Helper()
	if got := f.revokedPlaces(t); !maps.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("announced are\n%v, want\n%v", got, want)
	}
}

// tellsNothingUndone does something that is then rolled back.
func (f *fixture) tellsNothingUndone(t *testing.T, do func(tokens.Tx) error, want map[tokens.Place]time.Time) {
	t.Helper()
	broken := errors.New("rolled back")
	if err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return errors.Join(do(tx), broken) }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	f.tells(t, want)
}

// placesOvertaken: a token that is issued while its user's are revoked is
// revoked as well, or its session begins too late to need it.
func placesOvertaken(t *testing.T, f *fixture) {
	anna, acme := f.user("anna@example.com"), f.org("acme")
	f.populate(t, []accounts.User{anna}, []accounts.Org{acme})
	for i := range uint32(24) {
		cut := f.now.Add(time.Duration(i+1) * time.Second)
		late := cut.Add(time.Hour)
		old := f.holding(t, anna, acme, stands(1000+i, late))
		next := old
		next.Chain.Live = old.Chain.Live.With(stands(2000+i, late), f.now)
		opened := old
		opened.ID, opened.CreatedAt, opened.Chain.Live = ident.NewSessionID(cut, rand.Reader), cut, tokens.Live("").With(stands(3000+i, late), f.now)
		var won bool
		var together sync.WaitGroup
		together.Go(func() {
			err := f.Accounts().InTx(t.Context(), func(tx accounts.Tx) error {
				_, err := tx.LockUser(anna.ID)
				return errors.Join(err, tx.Announce(changes.Change{Kind: changes.SubjectCutoff, Key: string(anna.ID), At: cut, Until: late}))
			})
			if err != nil {
				t.Error(err)
			}
		})
		together.Go(func() {
			var err error
			if won, err = f.Sessions().Advance(t.Context(), old, next); err != nil {
				t.Error(err)
			}
		})
		together.Go(func() {
			err := f.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(opened, cut) })
			if err != nil {
				t.Error(err)
			}
		})
		together.Wait()
		told := f.revokedPlaces(t)
		for position, want := range map[uint32]bool{1000 + i: true, 2000 + i: won, 3000 + i: true} {
			if _, ok := told[stands(position, late).Place]; ok != want {
				t.Fatalf("round %d: place %d announced %v, want %v", i, position, ok, want)
			}
		}
	}
	after := f.now.Add(time.Hour)
	f.inSession(t, func(tx tokens.Tx) error {
		fam := tokens.Family{ID: ident.NewSessionID(after, rand.Reader), User: anna.ID, Org: acme.ID, CreatedAt: after, ExpiresAt: after.Add(time.Hour)}
		fam.Chain.Live = fam.Chain.Live.With(stands(1, after.Add(time.Hour)), after)
		return tx.InsertFamily(fam, after)
	})
	if _, ok := f.revokedPlaces(t)[stands(1, after).Place]; ok {
		t.Error("a token that was issued after all revocations is announced")
	}
}
