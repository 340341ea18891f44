package signing_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/storage/migrated"
)

// What a revoked key signed is announced as refused, in the commit that revokes
// it, until the last of its tokens has expired.
func TestARevokedKeyIsAnnouncedUntilItsLastTokenHasExpired(t *testing.T) {
	t.Parallel()
	var c commits
	var at atomic.Int64
	db := openSQLite(t, migrated.SQLite(t), &c)
	r := moving(t, db.SigningKeys(), &at)
	var told atomic.Int32
	r.Changed = func() { told.Add(1) }
	retired := signed(t, r, "ES256")
	at.Store(int64(time.Hour))
	if _, err := r.RotateNow(t.Context(), operator); err != nil {
		t.Fatal(err)
	}
	active := signed(t, r, "ES256")
	at.Store(int64(2 * time.Hour))
	for _, revoked := range []struct {
		id    string
		until time.Time
		told  int32
	}{
		{retired, start.Add(time.Hour + retain), 1},  // it signed until then; none begins to sign
		{active, start.Add(2*time.Hour + retain), 2}, // it signed until now; another takes its place
	} {
		before := len(c.changes)
		for range 2 { // a second time nothing happens
			if err := r.Revoke(t.Context(), operator, revoked.id); err != nil {
				t.Fatal(err)
			}
		}
		var found []changes.Change
		for _, ch := range c.changes[before:] {
			if ch.Kind == changes.SigningKeyRevoked {
				found = append(found, ch)
			}
		}
		if len(found) != 1 || found[0].Key != revoked.id || !found[0].Until.Equal(revoked.until) || !found[0].At.Equal(start.Add(2*time.Hour)) {
			t.Errorf("announced %+v; want %s until %s", found, revoked.id, revoked.until)
		}
		if told.Load() != revoked.told {
			t.Errorf("others were told %d times that another key signs; want %d", told.Load(), revoked.told)
		}
	}
	// A start loads it again, as long as it matters.
	stored, _, err := db.Changes().Start(t.Context(), r.Now())
	if err != nil || len(stored) != 2 {
		t.Errorf("%d revocations are loaded at a start, %v; want both", len(stored), err)
	}
}
