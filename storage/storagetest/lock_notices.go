package storagetest

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// notice is one of a lock at f.now.
func (f *fixture) notice(id string, identifier byte) accounts.LockNotice {
	return accounts.LockNotice{
		ID: id, Identifier: [32]byte{identifier}, User: "user_1", Org: "org_1", Scope: accounts.LockedPool, Source: netip.MustParseAddr("2001:db8::1"),
		LockedAt: f.now, Until: f.now.Add(time.Hour), DueAt: f.now,
	}
}

func (f *fixture) addNotices(t *testing.T, most int, ns ...accounts.LockNotice) {
	t.Helper()
	err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error {
		for _, n := range ns {
			if err := tx.AddLockNotice(n, f.now.Add(-time.Hour), most); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) dueNotices(t *testing.T, at time.Time) []accounts.LockNotice {
	t.Helper()
	due, err := f.LockNotices().DueLockNotices(t.Context(), at, 10)
	if err != nil {
		t.Fatal(err)
	}
	return due
}

// noticeAdding: a notice is added with its transaction, once, and no more of one
// identifier than the most.
func noticeAdding(t *testing.T, f *fixture) {
	if next, err := f.LockNotices().NextLockNotice(t.Context()); err != nil || !next.IsZero() {
		t.Errorf("the next of none: %v, %v", next, err)
	}
	undone := errors.New("undone")
	err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error {
		return errors.Join(tx.AddLockNotice(f.notice("a", 1), f.now, 9), undone)
	})
	if got := f.dueNotices(t, f.now); !errors.Is(err, undone) || len(got) != 0 {
		t.Errorf("undone (%v), and there: %+v", err, got)
	}
	a, nobody := f.notice("a", 1), f.notice("b", 2)
	nobody.User, nobody.Org, nobody.Source = "", "", netip.Addr{}
	nobody.LockedAt, nobody.DueAt = f.now.Add(-time.Minute), f.now.Add(time.Second)
	f.addNotices(t, 9, a, a, nobody)
	if got := f.dueNotices(t, f.now); !reflect.DeepEqual(got, []accounts.LockNotice{a}) {
		t.Errorf("due %+v", got)
	}
	if got := f.dueNotices(t, nobody.DueAt); !reflect.DeepEqual(got, []accounts.LockNotice{a, nobody}) {
		t.Errorf("due later %+v", got)
	}
	if oldest, err := f.LockNotices().OldestLockNotice(t.Context()); err != nil || !oldest.Equal(a.LockedAt) {
		t.Errorf("oldest of somebody %v, %v", oldest, err)
	}
	earlier := f.notice("0", 1)
	earlier.LockedAt = f.now.Add(-time.Hour) // not after since: it does not count
	f.addNotices(t, 9, earlier)
	f.addNotices(t, 3, f.notice("c", 1), f.notice("d", 1), f.notice("e", 1), f.notice("f", 3))
	want := map[string]bool{"0": true, "a": true, "c": true, "d": true, "f": true}
	for _, n := range f.dueNotices(t, f.now) {
		if !want[n.ID] {
			t.Errorf("%s is one too many", n.ID)
		}
		delete(want, n.ID)
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
}

// noticeClaims: one of many claims an attempt, and one link comes of it.
func noticeClaims(t *testing.T, f *fixture) {
	q, n := f.LockNotices(), f.notice("a", 1)
	f.addNotices(t, 9, n)
	until := f.now.Add(time.Minute)
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			l := accounts.UnlockLink{Digest: []byte(fmt.Sprint("link ", i)), Identifier: n.Identifier, User: n.User, ExpiresAt: f.now.Add(time.Hour)}
			ok, err := q.ClaimLockNotice(t.Context(), n, until, l)
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d claimed one attempt", won.Load())
	}
	links := 0
	for i := range 16 {
		l, err := f.Logins().UnlockLink(t.Context(), []byte(fmt.Sprint("link ", i)), f.now)
		switch {
		case err == nil && l.Identifier == n.Identifier && l.User == n.User && l.ExpiresAt.Equal(f.now.Add(time.Hour)):
			links++
		case !errors.Is(err, fault.NotFound):
			t.Errorf("%+v, %v", l, err)
		}
	}
	if links != 1 {
		t.Errorf("%d links of one claim", links)
	}
	claimed := n
	claimed.Attempts, claimed.DueAt = 1, until
	if got := f.dueNotices(t, until); !reflect.DeepEqual(got, []accounts.LockNotice{claimed}) {
		t.Errorf("claimed: %+v", got)
	}
}

// noticeDelivery: an attempt that ended does not undo a later one; what is
// settled is told to the audit log once and is due never again.
func noticeDelivery(t *testing.T, f *fixture) {
	q, n := f.LockNotices(), f.notice("a", 1)
	f.addNotices(t, 9, n)
	l := accounts.UnlockLink{Digest: []byte("digest"), Identifier: n.Identifier, User: n.User, ExpiresAt: f.now.Add(time.Hour)}
	claimed := n
	claimed.Attempts, claimed.DueAt = 1, f.now.Add(time.Minute)
	if ok, err := q.ClaimLockNotice(t.Context(), n, claimed.DueAt, l); err != nil || !ok {
		t.Fatal(ok, err)
	}
	stale := claimed
	stale.Attempts = 0
	later := f.now.Add(2 * time.Hour)
	if err := errors.Join(q.PostponeLockNotice(t.Context(), stale, later.Add(time.Hour)), q.PostponeLockNotice(t.Context(), claimed, later)); err != nil {
		t.Fatal(err)
	}
	if next, err := q.NextLockNotice(t.Context()); err != nil || !next.Equal(later) {
		t.Errorf("next %v, %v; want %v", next, err, later)
	}
	before := len(f.committed())
	for range 2 {
		if err := q.SettleLockNotice(t.Context(), claimed, audit.Event{Time: f.now, Name: audit.MailSent}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.PostponeLockNotice(t.Context(), claimed, later); err != nil {
		t.Fatal(err)
	}
	oldest, err := q.OldestLockNotice(t.Context())
	if got := f.dueNotices(t, later.Add(time.Hour)); len(got) != 0 || len(f.committed()) != before+1 || err != nil || !oldest.IsZero() {
		t.Errorf("settled: %+v, %d events more, oldest %v, %v", got, len(f.committed())-before, oldest, err)
	}
	f.addNotices(t, 1, f.notice("b", 1)) // what was settled still counts
	if got := f.dueNotices(t, later); len(got) != 0 {
		t.Errorf("one too many: %+v", got)
	}
	for at, want := range map[time.Time]int{f.now: 0, f.now.Add(time.Microsecond): 1} {
		if n, err := q.PruneLockNotices(t.Context(), at, 10); err != nil || n != want {
			t.Errorf("pruned %d before %v, %v; want %d", n, at, err, want)
		}
	}
}

// unlockLinks: of many uses of a link one succeeds, and none once it expired.
func unlockLinks(t *testing.T, f *fixture) {
	n := f.notice("a", 1)
	f.addNotices(t, 9, n)
	l := accounts.UnlockLink{Digest: []byte("digest"), Identifier: n.Identifier, User: n.User, ExpiresAt: f.now.Add(time.Minute)}
	if ok, err := f.LockNotices().ClaimLockNotice(t.Context(), n, f.now.Add(time.Hour), l); err != nil || !ok {
		t.Fatal(ok, err)
	}
	use := func(digest string, at time.Time) (won bool) {
		err := f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) (err error) {
			won, err = tx.UseUnlockLink([]byte(digest), at)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return won
	}
	if use("another", f.now) || use("digest", l.ExpiresAt) {
		t.Error("a link that does not exist, or expired, was used")
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if use("digest", f.now) {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d uses of one link", won.Load())
	}
	if _, err := f.Logins().UnlockLink(t.Context(), l.Digest, f.now); !errors.Is(err, fault.NotFound) {
		t.Errorf("a used link: %v", err)
	}
	if n, err := f.LockNotices().PruneLockNotices(t.Context(), l.ExpiresAt.Add(time.Microsecond), 10); err != nil || n != 1 {
		t.Errorf("pruned %d, %v", n, err)
	}
}
