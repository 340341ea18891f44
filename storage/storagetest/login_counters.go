package storagetest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

func loginCounters(t *testing.T, f *fixture) {
	owner := [32]byte{9}
	keys := []accounts.CounterKey{
		{Kind: accounts.SourceCounter, Hash: [32]byte{3}},
		{Kind: accounts.PairCounter, Hash: [32]byte{2}, Identifier: owner},
		{Kind: accounts.PoolCounter, Hash: [32]byte{1}, Identifier: owner},
	}
	nothing := []accounts.Counter{{CounterKey: keys[0]}, {CounterKey: keys[1]}, {CounterKey: keys[2]}}
	if got, err := f.Logins().Counters(t.Context(), keys); err != nil || !reflect.DeepEqual(got, nothing) {
		t.Fatalf("counters nobody touched = %+v, %v; want empty ones in the order of the keys", got, err)
	}
	full := []accounts.Counter{
		{
			CounterKey: keys[0], Since: f.now, Failures: 2, Failed: []uint64{1, 1<<64 - 1},
			Leases: []accounts.Lease{{Until: f.now.Add(time.Second), Tag: 1<<64 - 1}}, EndsAt: f.now.Add(time.Hour),
		},
		{CounterKey: keys[1], Since: f.now, Failures: 5, LockedUntil: f.now.Add(time.Minute), Level: 1, EndsAt: f.now.Add(2 * time.Hour)},
		{CounterKey: keys[2]}, // blank: not kept
	}
	f.saveCounters(t, keys, nothing, full)
	f.saveCounters(t, keys, full, full) // and once more over themselves
	if got, err := f.Logins().Counters(t.Context(), keys); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("counters changed in storage:\n got %+v, %v\nwant %+v", got, err, full)
	}
	for at, want := range map[time.Time]map[accounts.CounterKind]int{
		f.now:                  {accounts.PairCounter: 1},
		f.now.Add(time.Minute): {},
	} {
		if got, err := f.Logins().LockedNow(t.Context(), at); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("locked at %v = %v, %v; want %v", at, got, err, want)
		}
	}
	f.forgetsCounters(t, keys, owner)
	f.refusesToSaveNothing(t, keys)
}

// saveCounters writes next where the locked counters read as prev.
func (f *fixture) saveCounters(t *testing.T, keys []accounts.CounterKey, prev, next []accounts.Counter) {
	t.Helper()
	err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error {
		got, err := tx.LockCounters(keys)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(got, prev) {
			t.Errorf("locked %+v, want %+v", got, prev)
		}
		return tx.SaveCounters(next)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) forgetsCounters(t *testing.T, keys []accounts.CounterKey, owner [32]byte) {
	t.Helper()
	err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error {
		if n, err := tx.PruneCounters(f.now.Add(time.Hour), 10); err != nil || n != 0 {
			t.Errorf("pruned %d, %v before any ended", n, err)
		}
		if n, err := tx.PruneCounters(f.now.Add(time.Hour+time.Microsecond), 10); err != nil || n != 1 {
			t.Errorf("pruned %d, %v; want the one that ended", n, err)
		}
		if n, err := tx.ForgetCounters(owner); err != nil || n != 1 {
			t.Errorf("forgot %d, %v; want the identifier's one", n, err)
		}
		if n, err := tx.ForgetCounters(owner); err != nil || n != 0 {
			t.Errorf("forgot %d, %v the second time", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Logins().Counters(t.Context(), keys); err != nil || !got[0].Blank() || !got[1].Blank() {
		t.Errorf("after forgetting all: %+v, %v", got, err)
	}
}

// refusesToSaveNothing: an error takes the counters and the events back.
func (f *fixture) refusesToSaveNothing(t *testing.T, keys []accounts.CounterKey) {
	t.Helper()
	before := len(f.committed())
	broken := errors.New("broken")
	err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error {
		cs, err := tx.LockCounters(keys)
		if err != nil {
			return err
		}
		cs[0].Failures = 1
		return errors.Join(tx.SaveCounters(cs), tx.Record(audit.Event{Time: f.now, Name: audit.LoginFailed}), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("error = %v, want what fn returned", err)
	}
	if got, err := f.Logins().Counters(t.Context(), keys); err != nil || got[0].Failures != 0 || len(f.committed()) != before {
		t.Errorf("after an error: %+v, %v, events %v", got[0], err, f.committed())
	}
}

// lockedCounters: of many that lock a counter which does not exist yet, one at
// a time goes on, and none misses what the one before wrote (INV-10).
func lockedCounters(t *testing.T, f *fixture) {
	keys := []accounts.CounterKey{{Kind: accounts.PairCounter, Hash: [32]byte{7}}, {Kind: accounts.PoolCounter, Hash: [32]byte{6}}}
	const many = 24
	var wg sync.WaitGroup
	barrier := make(chan struct{})
	for range many {
		wg.Go(func() {
			<-barrier
			err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error {
				cs, err := tx.LockCounters(keys)
				if err != nil {
					return err
				}
				for i := range cs {
					cs[i].Failures++
				}
				return tx.SaveCounters(cs)
			})
			if err != nil {
				t.Errorf("one of many: %v", err)
			}
		})
	}
	close(barrier)
	wg.Wait()
	got, err := f.Logins().Counters(t.Context(), keys)
	if err != nil || got[0].Failures != many || got[1].Failures != many {
		t.Errorf("%d increments gave %+v, %v", many, got, err)
	}
}

// exchanges: a login is one commit, and only of a user who still is who logged in.
func exchanges(t *testing.T, f *fixture) {
	user := accounts.User{
		ID: ident.NewUserID(f.now, rand.Reader), Email: "A@example.com", Canonical: "a@example.com",
		Status: accounts.Active, PasswordHash: "old", CreatedAt: f.now,
	}
	org := f.org("acme")
	f.populate(t, []accounts.User{user}, []accounts.Org{org})
	first := f.familyOf(user, org)
	for _, tt := range []struct {
		name, hash, next string
		family           tokens.Family
		held             bool
	}{
		{"another password", "other", "", f.familyOf(user, org), false},
		{"the password", "old", "", first, true},
		{"the password, computed anew", "old", "new", f.familyOf(user, org), true},
		{"the old hash afterwards", "old", "", f.familyOf(user, org), false},
		{"the new hash afterwards", "new", "", f.familyOf(user, org), true},
	} {
		held, err := f.login(t, tt.family, tt.hash, tt.next)
		if err != nil || held != tt.held {
			t.Errorf("%s: held %v, %v; want %v", tt.name, held, err, tt.held)
		}
		if _, err := f.Sessions().Family(t.Context(), tt.family.ID); (err == nil) != tt.held {
			t.Errorf("%s: its session: %v", tt.name, err)
		}
	}
	if _, err := f.login(t, first, "new", "newer"); err == nil {
		t.Error("a session that exists was opened again")
	}
	if u, err := f.Accounts().User(t.Context(), user.ID); err != nil || u.PasswordHash != "new" {
		t.Errorf("hash %q, %v after a login that failed; want the one before", u.PasswordHash, err)
	}
	f.disable(t, user)
	if held, err := f.login(t, f.familyOf(user, org), "new", ""); err != nil || held {
		t.Errorf("a disabled user's password is held: %v, %v", held, err)
	}
	err := f.Exchanges().InExchangeTx(t.Context(), func(tx oauth.Tx) error { return tx.InsertFamily(f.familyOf(user, org), time.Time{}) })
	if !errors.Is(err, fault.AccountDisabled) {
		t.Errorf("a disabled user's session: %v, want fault.AccountDisabled", err)
	}
}

// login opens a session where the user's hash is still hash.
func (f *fixture) login(t *testing.T, fam tokens.Family, hash, next string) (held bool, err error) {
	err = f.Exchanges().InExchangeTx(t.Context(), func(tx oauth.Tx) (err error) {
		if held, err = tx.HoldPassword(fam.User, hash, next); err != nil || !held {
			return err
		}
		return errors.Join(tx.InsertFamily(fam, time.Time{}), tx.Record(audit.Event{Time: f.now, Name: audit.LoginSucceeded}))
	})
	return held, err
}

func (f *fixture) familyOf(u accounts.User, o accounts.Org) tokens.Family {
	return tokens.Family{
		ID: ident.NewSessionID(f.now, rand.Reader), User: u.ID, Org: o.ID, Client: "cli_api",
		Method: "password", CreatedAt: f.now, ExpiresAt: f.now.Add(time.Hour),
	}
}

func (f *fixture) disable(t *testing.T, user accounts.User) {
	t.Helper()
	user.Status = accounts.Disabled
	if err := f.Accounts().InTx(t.Context(), func(tx accounts.Tx) error { return tx.UpdateUser(user) }); err != nil {
		t.Fatal(err)
	}
}
