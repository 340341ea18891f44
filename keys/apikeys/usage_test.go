package apikeys_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func from(ip string) ident.Origin {
	return ident.Origin{IP: netip.MustParseAddr(ip), UserAgent: "agent/" + ip}
}

// K24's list and O37: each credential says when it was last used, and from where.
// AK-16.
func TestTheLastUseOfEachCredentialIsKept(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, old := r.make(t, alice, "metrics:read")
	_, plain, err := r.Rotate(t.Context(), alice, k.ID, time.Hour)
	must(t, err)
	use := func(credential string, o ident.Origin) apikeys.Use {
		d.clock.advance(time.Minute)
		must(t, r.feed.Poll(t.Context()))
		_, err := r.Verify(t.Context(), credential, o)
		must(t, err)
		return apikeys.Use{At: d.clock.now(), IP: o.IP, UserAgent: o.UserAgent}
	}
	use(old, from("192.0.2.1"))
	byNew := use(plain.Reveal(), from("2001:db8::2"))
	byOld := use(old, from("192.0.2.3"))
	must(t, r.Flush(t.Context()))
	got, err := r.Get(t.Context(), alice, k.ID)
	must(t, err)
	if got.LastUsed != byOld || got.Secrets[0].LastUsed != byNew || got.Secrets[1].LastUsed != byOld {
		t.Errorf("last used %+v, %+v, %+v; want %+v, %+v, %+v", got.LastUsed, got.Secrets[0].LastUsed, got.Secrets[1].LastUsed, byOld, byNew, byOld)
	}
}

// O37: the first use of an hour is an event, once, on whichever replica.
func TestTheFirstUseOfAnHourIsRecordedOnce(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*deployment{"SQLite": onSQLite(t), "PostgreSQL": onPostgreSQL(t)} {
		t.Run(name, func(t *testing.T) {
			replicas := []*replica{d.replica(t), d.replica(t)}
			k, key := replicas[0].make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
			for hour := range 3 {
				for range 4 {
					var wg sync.WaitGroup
					for _, r := range replicas {
						wg.Go(func() {
							for range 5 {
								if _, err := r.Verify(context.Background(), key, origin); err != nil {
									t.Error(err)
								}
							}
							if err := r.Flush(context.Background()); err != nil {
								t.Error(err)
							}
						})
					}
					wg.Wait()
				}
				events := append(replicas[0].named(audit.APIKeyUsed), replicas[1].named(audit.APIKeyUsed)...)
				if len(events) != hour+1 || events[0].Key != k.ID || events[0].Origin != origin || events[0].Org != "org_a" {
					t.Fatalf("in hour %d: events %+v", hour, events)
				}
				d.clock.advance(time.Hour)
				for _, r := range replicas {
					must(t, r.feed.Poll(t.Context()))
				}
			}
		})
	}
}

// SEC-KEY-20: nothing is written by a verification and nothing of it is lost.
// AK-31.
func TestUseIsCountedWithoutWriting(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	k, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	r.as(t, key)
	before := r.gate.calls.Load()
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := r.Verify(context.Background(), key, origin); err != nil {
				t.Error(err)
			}
			_, _ = r.Verify(context.Background(), anotherSecret(key), origin)
		})
	}
	wg.Wait()
	if n := r.gate.calls.Load() - before; n != 0 {
		t.Errorf("2000 verifications took %d statements", n)
	}
	// The database goes away and comes back: what was counted is kept.
	r.gate.shut.Store(true)
	if err := r.Flush(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Flush = %v; want Unavailable", err)
	}
	r.gate.shut.Store(false)
	r.as(t, key)
	must(t, r.Flush(t.Context()))
	must(t, r.Flush(t.Context()))
	ok, refused := r.buckets(t, k.ID)
	if ok != 1002 || refused != 1000 {
		t.Errorf("counted %d and %d refused; want 1002 and 1000", ok, refused)
	}
	if n := len(r.named(audit.APIKeyRefused)); n != 1000 {
		t.Errorf("%d refusals of a known key are recorded; want each of 1000", n)
	}
	if n := len(r.named(audit.APIKeyUsed)); n != 1 {
		t.Errorf("%d first uses of the hour", n)
	}
}

// buckets reads what was counted, as the store adds it up.
func (r *replica) buckets(t *testing.T, id ident.APIKeyID) (ok, refused int64) {
	t.Helper()
	row := openReadOnly(t, r.dir+"/tokenhouse.db").QueryRowContext(t.Context(), "SELECT SUM(ok), SUM(refused) FROM api_key_usage WHERE key_id = ?", string(id))
	must(t, row.Scan(&ok, &refused))
	return ok, refused
}

// A flood of made-up keys is one event for each source and minute.
func TestRefusalsOfUnknownKeysAreRecordedBySourceAndMinute(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	flood := func(o ident.Origin, n int) {
		for range n {
			_, _ = r.Verify(t.Context(), anotherLookup(key), o)
			_, _ = r.Verify(t.Context(), "nonsense", o)
		}
	}
	flood(from("192.0.2.1"), 50)
	flood(from("2001:db8::1"), 3)
	flood(from("2001:db8::ffff"), 4) // the same /64
	must(t, r.Flush(t.Context()))
	if n := len(r.named(audit.APIKeyRefused)); n != 0 {
		t.Errorf("%d events before the minute ended", n)
	}
	d.clock.advance(time.Minute)
	flood(from("192.0.2.1"), 1)
	must(t, r.Flush(t.Context()))
	meta := map[string]map[string]string{}
	for _, e := range r.named(audit.APIKeyRefused) {
		if meta[e.Meta["source"]] != nil || e.Key != "" || e.Org != "" || !e.Origin.IP.IsValid() {
			t.Errorf("event = %+v", e)
		}
		meta[e.Meta["source"]] = e.Meta
	}
	if len(meta) != 2 || meta["192.0.2.1/32"]["unknown"] != "50" || meta["192.0.2.1/32"]["malformed"] != "50" || meta["2001:db8::/64"]["unknown"] != "7" {
		t.Errorf("recorded %v", meta)
	}
	must(t, r.Close(t.Context()))
	if n := len(r.named(audit.APIKeyRefused)); n != 3 {
		t.Errorf("%d events after Close; want the last minute's too", n)
	}
}

// Beyond the bound refusals are counted, not lost and not kept one by one.
func TestAFloodAtAKnownKeyIsBounded(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	k, key := r.make(t, d.person("user_alice", "org_a", engineer), "metrics:read")
	wrong := anotherSecret(key)
	const n = 5000
	for range n {
		_, _ = r.Verify(t.Context(), wrong, origin)
	}
	must(t, r.Close(t.Context()))
	events := r.named(audit.APIKeyRefused)
	if len(events) != 4097 || events[len(events)-1].Meta["mismatch"] != "904" {
		t.Errorf("%d events, the last %+v; want 4096 and one that counts the other 904", len(events), events[len(events)-1])
	}
	if _, refused := r.buckets(t, k.ID); refused != n {
		t.Errorf("counted %d; want %d", refused, n)
	}
	r.as(t, key)
}
