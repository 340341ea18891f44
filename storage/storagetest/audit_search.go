package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// auditSearch: one search looks at a stretch of the log, says where the next goes
// on, and the searches one after another find everything once.
func auditSearch(t *testing.T, f *fixture) {
	const many = audit.SearchSpan + 1200
	org := ident.OrgID("org_a")
	events := make([]audit.Event, many)
	for i := range events {
		events[i] = audit.Event{Time: f.now.Add(time.Duration(i) * time.Second), Name: audit.APIKeyUsed, Org: org, Outcome: audit.Success}
		if i%1000 == 7 {
			events[i].Name, events[i].Targets = audit.LoginFailed, []audit.Target{{Type: "user", ID: "user_1"}}
		}
	}
	events[many-1].Org = "org_b"
	if err := f.Recorder().RecordAll(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	walk := func(filter audit.Filter, limit int) (found []time.Duration, searches int) {
		t.Helper()
		for before := int64(0); searches == 0 || before > 0; searches++ {
			got, err := f.AuditSearch().Search(t.Context(), tenant(org), filter, before, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range got.Events {
				found = append(found, e.Time.Sub(f.now)/time.Second)
			}
			if got.Before > 0 && (got.Back.IsZero() || before > 0 && got.Before >= before) {
				t.Fatalf("from %d it goes on at %d, %s", before, got.Before, got.Back)
			}
			before = got.Before
		}
		return found, searches
	}
	rare := []time.Duration{6007, 5007, 4007, 3007, 2007, 1007, 7}
	for limit, want := range map[int]int{10: 2, 2: 4} {
		if got, n := walk(audit.Filter{Name: audit.LoginFailed}, limit); !slices.Equal(got, rare) || n != want {
			t.Errorf("by name, %d at a time: %v in %d searches, want %d", limit, got, n, want)
		}
	}
	if got, n := walk(audit.Filter{User: "user_1"}, 10); !slices.Equal(got, rare) || n != 1 {
		t.Errorf("by person: %v in %d searches", got, n)
	}
	one, err := f.AuditSearch().Search(t.Context(), tenant(org), audit.Filter{Name: audit.LoginFailed}, 0, 1)
	if err != nil || len(one.Events) != 1 {
		t.Fatal(one, err)
	}
	for of, want := range map[ident.OrgID]int{org: 1, "org_b": 0} {
		if got, err := f.AuditSearch().Search(t.Context(), tenant(of), audit.Filter{Event: one.Events[0].ID}, 0, 5); err != nil || len(got.Events) != want || got.Before != 0 {
			t.Errorf("by identifier in %s: %v, %v", of, got, err)
		}
	}
	at := func(n int) time.Time { return f.now.Add(time.Duration(n) * time.Second) }
	if got, _ := walk(audit.Filter{Since: at(6195)}, 10); !slices.Equal(got, []time.Duration{6198, 6197, 6196, 6195}) {
		t.Errorf("since: %v", got)
	}
	if got, n := walk(audit.Filter{Until: at(3), Outcome: audit.Success}, 2); !slices.Equal(got, []time.Duration{2, 1, 0}) || n > 3 {
		t.Errorf("until: %v in %d searches", got, n)
	}
	if got, n := walk(audit.Filter{Since: at(9999)}, 10); len(got) != 0 || n != 1 {
		t.Errorf("after the last: %v in %d searches", got, n)
	}
}

// lockedPeople: the locks of an organisation in the order of its log, and the
// counters that are still locked.
func lockedPeople(t *testing.T, f *fixture) {
	org := ident.OrgID("org_a")
	record := func(name audit.Name, org ident.OrgID, at time.Time) {
		t.Helper()
		if err := f.Recorder().RecordAll(t.Context(), audit.Event{Time: at, Name: name, Org: org, Reason: "pair"}); err != nil {
			t.Fatal(err)
		}
	}
	record(audit.LoginLocked, org, f.now.Add(-time.Hour))
	for range 3 {
		record(audit.LoginLocked, org, f.now)
	}
	record(audit.LoginFailed, org, f.now)
	record(audit.LoginLocked, "org_b", f.now)
	first, err := f.Locks().LockEvents(t.Context(), tenant(org), f.now.Add(-time.Minute), 0, 2)
	if err != nil || len(first) != 2 || first[0].Seq <= first[1].Seq {
		t.Fatalf("the newest two: %v, %v", first, err)
	}
	if rest, err := f.Locks().LockEvents(t.Context(), tenant(org), f.now.Add(-time.Minute), first[1].Seq, 2); err != nil || len(rest) != 1 {
		t.Errorf("the rest: %v, %v", rest, err)
	}
	key := func(n byte, kind accounts.CounterKind) accounts.CounterKey {
		return accounts.CounterKey{Kind: kind, Hash: [32]byte{n}, Identifier: [32]byte{n / 10}}
	}
	counters := []accounts.Counter{
		{CounterKey: key(10, accounts.PairCounter), Failures: 5, Level: 1, LockedUntil: f.now.Add(time.Minute)},
		{CounterKey: key(11, accounts.PairCounter), Failures: 5, Level: 1, LockedUntil: f.now},
		{CounterKey: key(12, accounts.PoolCounter), Failures: 1},
		{CounterKey: key(20, accounts.PoolCounter), Failures: 5, Level: 1, LockedUntil: f.now.Add(time.Minute)},
	}
	err = f.Logins().InLoginTx(t.Context(), func(tx accounts.LoginTx) error { return tx.SaveCounters(counters) })
	if err != nil {
		t.Fatal(err)
	}
	locked, err := f.Locks().LockedCounters(t.Context(), [][32]byte{{1}, {3}}, f.now)
	if err != nil || len(locked) != 1 || locked[0].Hash != counters[0].Hash || !locked[0].LockedUntil.Equal(counters[0].LockedUntil) {
		t.Errorf("locked: %v, %v", locked, err)
	}
	if none, err := f.Locks().LockedCounters(t.Context(), nil, f.now); err != nil || len(none) != 0 {
		t.Errorf("of nobody: %v, %v", none, err)
	}
}
