package storagetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// activityHours: every event of the log is counted once however many count, and an
// organisation is told its own hours.
func activityHours(t *testing.T, f *fixture) {
	mine, other := f.org("mine"), f.org("other")
	f.add(t, nil, []accounts.Org{mine, other})
	hour := f.now.Truncate(time.Hour)
	now := func() time.Time { return f.now }
	record := func(n int, e audit.Event) {
		for range n {
			if err := f.Recorder().RecordAll(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	record(3, audit.Event{Time: f.now, Name: audit.LoginSucceeded, Org: mine.ID})
	record(2, audit.Event{Time: f.now, Name: audit.LoginFailed, Reason: "wrong_password", Org: mine.ID})
	record(1, audit.Event{Time: f.now.Add(time.Hour), Name: audit.LoginLocked, Reason: "pair", Org: mine.ID})
	record(1, audit.Event{Time: f.now, Name: audit.LoginSucceeded, Org: other.ID})
	record(1, audit.Event{Time: f.now, Name: audit.OrgUpdated, Org: mine.ID})
	replicas := []*activity.Service{{Store: f.Activity(), Now: now}, {Store: f.Activity(), Now: now}, {Store: f.Activity(), Now: now}}
	if err := replicas[0].Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.hours(t, mine.ID, time.Hour); len(got) != 0 {
		t.Errorf("before anything has its place: %v", got)
	}
	f.seal(t)
	var all sync.WaitGroup
	for _, r := range replicas {
		all.Go(func() {
			if err := r.Read(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	bucket := func(start time.Time, k activity.Kind, label string, n int64) activity.Bucket {
		return activity.Bucket{Org: mine.ID, Start: start, Kind: k, Label: label, Count: n}
	}
	want := []activity.Bucket{bucket(hour, activity.Failures, "wrong_password", 2), bucket(hour, activity.Logins, "", 3), bucket(hour.Add(time.Hour), activity.Lockouts, "pair", 1)}
	if got := f.hours(t, mine.ID, time.Hour); !slices.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	f.moreActivity(t, mine.ID, other.ID)
}

// moreActivity adds to hours that are there, and takes away old ones.
func (f *fixture) moreActivity(t *testing.T, mine, other ident.OrgID) {
	t.Helper()
	hour, day := f.now.Truncate(time.Hour), f.now.Truncate(24*time.Hour)
	if won, err := f.Activity().CountEvents(t.Context(), 0, 99, []activity.Bucket{{Org: mine, Start: hour, Kind: activity.Logins, Count: 1}}); won || err != nil {
		t.Errorf("who comes late counts: %v, %v", won, err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			add := []activity.Bucket{{Org: mine, Start: hour, Kind: activity.Logins, Count: 1}, {Org: mine, Start: hour, Kind: activity.Tokens, Label: "password", Count: 2}}
			if err := f.Activity().AddActivity(t.Context(), add); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	a, b, c := usableKey(mine, "AAAAAAAA", f.now), usableKey(mine, "BBBBBBBB", f.now), usableKey(other, "CCCCCCCC", f.now)
	insertKeys(t, f, a, b, c)
	uses := []apikeys.Uses{{Key: a.ID, Org: mine, Hour: hour, OK: 2, Refused: 1}, {Key: b.ID, Org: mine, Hour: hour, OK: 5, Limited: 4}, {Key: c.ID, Org: other, Hour: hour, OK: 7}}
	if err := f.APIKeys().InTx(t.Context(), func(tx apikeys.Tx) error { _, err := tx.CountAPIKeyUses(uses); return err }); err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, b := range f.hours(t, mine, 24*time.Hour) {
		if !b.Start.Equal(day) || b.Org != mine {
			t.Errorf("by the day: %v", b)
		}
		found[string(b.Kind)+" "+b.Label] = b.Count
	}
	for what, n := range map[string]int64{"logins ": 11, "tokens password": 16, "failures wrong_password": 2, "lockouts pair": 1, "key_use ok": 7, "key_use refused": 1, "key_use limited": 4} {
		if found[what] != n {
			t.Errorf("%s: %d, want %d", what, found[what], n)
		}
	}
	if n, err := f.Activity().PruneActivity(t.Context(), hour.Add(time.Hour), 100); err != nil || n < 5 {
		t.Errorf("%d are pruned, %v", n, err)
	}
	if got := f.hours(t, mine, time.Hour); len(got) != 1 || got[0].Kind != activity.Lockouts {
		t.Errorf("what is left: %v", got)
	}
}

// hours are those of an organisation, two days around now.
func (f *fixture) hours(t *testing.T, org ident.OrgID, step time.Duration) []activity.Bucket {
	t.Helper()
	day := f.now.Truncate(24 * time.Hour)
	got, err := f.Activity().Activity(t.Context(), tenant(org), day.Add(-24*time.Hour), day.Add(24*time.Hour), step)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
