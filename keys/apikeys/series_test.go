package apikeys_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// A series covers whole hours or days of UTC and is bounded; who may not read
// keys is not told, nor is another organisation.
func TestASeriesIsBoundedAndWhole(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	k, key := r.make(t, alice, "metrics:read")
	for range 3 {
		r.as(t, key)
		d.clock.advance(time.Hour)
	}
	must(t, r.Flush(t.Context()))
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 1, day, hour, minute, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		span     apikeys.Span
		from, to time.Time
		ok       int64
	}{
		"what is usual by the hour": {apikeys.Span{}, at(1, 7, 0), at(2, 7, 0), 3}, // the clock shows 06:04
		"what is usual by the day":  {apikeys.Span{Step: apikeys.Daily}, at(3, 0, 0).AddDate(0, 0, -30), at(3, 0, 0), 3},
		"rounded outwards":          {apikeys.Span{From: at(2, 4, 59), To: at(2, 5, 1)}, at(2, 4, 0), at(2, 6, 0), 2},
		"an hour":                   {apikeys.Span{From: at(2, 3, 0), To: at(2, 4, 0)}, at(2, 3, 0), at(2, 4, 0), 1},
		"from a time until now":     {apikeys.Span{From: at(2, 5, 30)}, at(2, 5, 0), at(2, 7, 0), 1},
		"a year":                    {apikeys.Span{From: at(1, 0, 0).AddDate(-1, 0, 1), To: at(2, 0, 0), Step: apikeys.Daily}, at(1, 0, 0).AddDate(-1, 0, 1), at(2, 0, 0), 0},
		"another zone": {
			apikeys.Span{From: at(2, 3, 0).In(time.FixedZone("", 19800)), To: at(2, 4, 0).In(time.FixedZone("", 19800))}, at(2, 3, 0), at(2, 4, 0), 1,
		},
	} {
		got, err := r.Usage(t.Context(), alice, k.ID, c.span)
		var sum int64
		for _, b := range got.Buckets {
			sum += b.OK
		}
		if err != nil || got.From != c.from || got.To != c.to || sum != c.ok {
			t.Errorf("%s: %v to %v, %d uses, %v; want %v to %v, %d", name, got.From, got.To, sum, err, c.from, c.to, c.ok)
		}
	}
	for name, span := range map[string]apikeys.Span{
		"backwards":           {From: at(2, 5, 0), To: at(2, 4, 0)},
		"in the future":       {From: at(9, 0, 0)},
		"too long by hours":   {From: at(1, 0, 0), To: at(1, 1, 0).AddDate(0, 0, 31)},
		"too long by days":    {From: at(1, 0, 0), To: at(1, 0, 0).AddDate(0, 0, 367), Step: apikeys.Daily},
		"of an unknown steps": {Step: "week"},
	} {
		if _, err := r.Usage(t.Context(), alice, k.ID, span); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	blind := d.person("user_bob", "org_a", engineer.Lacks(nil))
	if _, err := r.Usage(t.Context(), blind, k.ID, apikeys.Span{}); !errors.Is(err, fault.InsufficientPermissions) {
		t.Errorf("without api-keys:read: %v", err)
	}
	if _, err := r.Usage(t.Context(), d.person("user_eve", "org_b", engineer), k.ID, apikeys.Span{}); !errors.Is(err, fault.NotFound) {
		t.Errorf("another organisation: %v", err)
	}
}

// What is older than is kept is removed, and nothing else.
func TestOldUseIsForgotten(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	r.UsageRetention = 49 * time.Hour
	alice := d.person("user_alice", "org_a", engineer)
	k, key := r.ruled(t, alice, apikeys.Rules{Limits: []apikeys.Limit{{Requests: 1, Per: time.Second}}, Quota: apikeys.Quota{Requests: 9, Per: apikeys.Month}})
	for range 3 {
		must(t, r.feed.Poll(t.Context()))
		r.as(t, key)
		must(t, r.Flush(t.Context()))
		must(t, r.Prune(t.Context()))
		d.clock.advance(24 * time.Hour)
	}
	must(t, r.Prune(t.Context()))
	must(t, r.feed.Poll(t.Context()))
	series, err := r.Usage(t.Context(), alice, k.ID, apikeys.Span{Step: apikeys.Daily})
	if err != nil || len(series.Buckets) != 2 {
		t.Errorf("kept %+v, %v; want two days", series.Buckets, err)
	}
	if c := r.as(t, key); c.Allowance.Policy == "" {
		t.Errorf("the limits went with it: %+v", c.Allowance)
	}
	other := d.replica(t) // the month is counted still
	for range 5 {
		d.clock.advance(time.Second)
		other.as(t, key)
	}
	d.clock.advance(time.Second)
	if _, err := other.Verify(t.Context(), key, origin); !errors.Is(err, fault.RateLimited) {
		t.Errorf("the tenth of nine: %v", err)
	}
}
