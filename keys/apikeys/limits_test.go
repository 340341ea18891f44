package apikeys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

func perMinute(n int64) apikeys.Rules {
	return apikeys.Rules{Limits: []apikeys.Limit{{Requests: n, Per: time.Minute}}}
}

// A limit counts down to nothing, refuses with the time to wait, and begins
// again with the next window. The tightest of several limits is told.
func TestLimitsCountDownAndBeginAgain(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	_, key := r.ruled(t, alice, apikeys.Rules{
		Limits: []apikeys.Limit{{Requests: 3, Per: time.Minute}, {Requests: 5, Per: time.Hour}}, Quota: apikeys.Quota{Requests: 6, Per: apikeys.Day},
	})
	const policy = "3;w=60, 5;w=3600, 6;w=86400"
	for i, want := range []int64{2, 1, 0} {
		c, err := r.Verify(t.Context(), key, origin)
		if a := c.Allowance; err != nil || a != (ident.Allowance{Limit: 3, Remaining: want, Reset: 55 * time.Second, Policy: policy}) {
			t.Fatalf("use %d: %+v, %v", i+1, a, err) // the clock shows 03:04:05
		}
	}
	for range 3 { // what is refused takes nothing from the other limits
		c, err := r.Verify(t.Context(), key, origin)
		if f := fault.Of(err); f.Code != fault.RateLimited || f.RetryAfter != 55*time.Second || c.Key != "" || c.Kind != "" || len(c.Permissions) != 0 ||
			c.Allowance != (ident.Allowance{Limit: 3, Remaining: 0, Reset: 55 * time.Second, Policy: policy}) {
			t.Fatalf("one too many: %+v, %v", c, err)
		}
	}
	d.clock.advance(55 * time.Second)
	for i, want := range []int64{1, 0} {
		if c, err := r.Verify(t.Context(), key, origin); err != nil || c.Allowance.Remaining != want || c.Allowance.Limit != 5 {
			t.Fatalf("use %d of the next minute: %+v, %v", i+1, c.Allowance, err)
		}
	}
	if _, err := r.Verify(t.Context(), key, origin); fault.Of(err).RetryAfter != 55*time.Minute {
		t.Errorf("the hour is used up: %v, after %s", err, fault.Of(err).RetryAfter)
	}
	d.clock.advance(55 * time.Minute)
	if c, err := r.Verify(t.Context(), key, origin); err != nil || c.Allowance.Remaining != 0 || c.Allowance.Limit != 6 {
		t.Errorf("the last of the day: %+v, %v", c.Allowance, err)
	}
	if _, err := r.Verify(t.Context(), key, origin); fault.Of(err).RetryAfter != 20*time.Hour {
		t.Errorf("the day is used up: %v, after %s", err, fault.Of(err).RetryAfter)
	}
	must(t, r.Flush(t.Context()))
	k := r.as2(t, alice, key)
	series, err := r.Usage(t.Context(), alice, k, apikeys.Span{})
	must(t, err)
	if n := len(series.Buckets); n != 2 || series.Buckets[0].OK != 5 || series.Buckets[0].Limited != 4 || series.Buckets[1].OK != 1 || series.Buckets[1].Limited != 1 {
		t.Errorf("counted %+v", series.Buckets)
	}
}

// as2 is the id of the key with that credential.
func (r *replica) as2(t testing.TB, caller ident.Caller, credential string) ident.APIKeyID {
	t.Helper()
	k, err := r.gate.APIKeyByLookup(t.Context(), lookupOf(credential))
	must(t, err)
	return k.ID
}

func lookupOf(credential string) string { return credential[len(credential)-46 : len(credential)-38] }

// A quota follows the calendar of UTC, leap years and all.
func TestAMonthIsThatOfTheCalendar(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	d.clock.at.Store(time.Date(2028, 2, 28, 23, 0, 0, 0, time.FixedZone("", -3600)).UnixMicro()) // the 29th, UTC
	r := d.replica(t)
	_, key := r.ruled(t, d.person("user_alice", "org_a", engineer), apikeys.Rules{Quota: apikeys.Quota{Requests: 1, Per: apikeys.Month}})
	if c, err := r.Verify(t.Context(), key, origin); err != nil || c.Allowance.Reset != 24*time.Hour || c.Allowance.Policy != "1;w=2505600" {
		t.Errorf("%+v, %v", c.Allowance, err)
	}
	if _, err := r.Verify(t.Context(), key, origin); fault.Of(err).RetryAfter != 24*time.Hour {
		t.Errorf("%v, after %s", err, fault.Of(err).RetryAfter)
	}
	d.clock.advance(24 * time.Hour)
	must(t, r.feed.Poll(t.Context()))
	if _, err := r.Verify(t.Context(), key, origin); err != nil {
		t.Errorf("in March: %v", err)
	}
}

// What a key lacks is said before its limits are looked at, and takes nothing
// from them (the order of the specification: permissions, then limits).
// AK-30.
func TestPermissionsGoBeforeLimits(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.ruled(t, d.person("user_alice", "org_a", engineer), perMinute(1))
	lacks := func() {
		t.Helper()
		c, err := r.Verify(t.Context(), key, origin, "agents:delete")
		if f := fault.Of(err); f.Code != fault.InsufficientPermissions || len(f.Required) != 1 || f.Required[0] != "agents:delete" || c.Key == "" {
			t.Errorf("%+v, %v", c, err)
		}
	}
	lacks()
	if _, err := r.Verify(t.Context(), key, origin, "metrics:read"); err != nil {
		t.Errorf("the first: %v", err)
	}
	lacks()
	if _, err := r.Verify(t.Context(), key, origin, "metrics:read"); !errors.Is(err, fault.RateLimited) {
		t.Errorf("the second: %v", err)
	}
}

// spread makes calls from many goroutines at both replicas and returns how many
// were admitted, by replica.
func spread(t *testing.T, key string, calls int, rs ...*replica) []int64 {
	t.Helper()
	admitted := make([]int64, len(rs))
	var all sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		all.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= calls {
					return
				}
				i := n % len(rs)
				c, err := rs[i].Verify(context.Background(), key, origin)
				switch {
				case err == nil:
					atomic.AddInt64(&admitted[i], 1)
				case !errors.Is(err, fault.RateLimited):
					t.Errorf("call %d: %v", n, err)
				}
				if c.Allowance.Remaining < 0 || !c.Allowance.Limited() {
					t.Errorf("call %d: allowance %+v", n, c.Allowance)
				}
			}
		})
	}
	all.Wait()
	return admitted
}

// SEC-KEY-20: a thousand parallel calls at two replicas of a PostgreSQL never
// overshoot a limit, use it up to within 2 % even where one replica stops half
// way, and cost a statement for each chunk, not for each call.
func TestTwoReplicasShareALimit(t *testing.T) {
	t.Parallel()
	d := onPostgreSQL(t)
	a, b := d.replica(t), d.replica(t)
	alice := d.person("user_alice", "org_a", engineer)
	for _, limit := range []int64{1, 7, 100, 1000, 5000} {
		_, key := a.ruled(t, alice, perMinute(limit))
		before := a.gate.asked.Load() + b.gate.asked.Load()
		got := spread(t, key, int(limit)+1000, a, b)
		sum := got[0] + got[1]
		asked := a.gate.asked.Load() + b.gate.asked.Load() - before
		t.Logf("limit %d: %v admitted with %d statements", limit, got, asked)
		if sum > limit || sum*100 < limit*98 {
			t.Errorf("limit %d: %d admitted", limit, sum)
		}
		if most := min(limit, 100) + 40; asked > most {
			t.Errorf("limit %d: %d statements; want at most %d", limit, asked, most)
		}
		before = a.gate.asked.Load() + b.gate.asked.Load()
		spread(t, key, 200, a, b)
		if n := a.gate.asked.Load() + b.gate.asked.Load() - before; n != 0 {
			t.Errorf("limit %d: %d statements after it was used up", limit, n)
		}
		_, lonely := a.ruled(t, alice, perMinute(limit))
		half := spread(t, lonely, int(limit)/2, a)[0]
		if rest := spread(t, lonely, int(limit)+1000, b)[0]; half+rest > limit || (half+rest)*100 < limit*98 {
			t.Errorf("limit %d, one replica stops: %d + %d admitted", limit, half, rest)
		}
	}
}

// A key without limits costs no statement, warm.
func TestAKeyWithoutLimitsCostsNoStatement(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	r := d.replica(t)
	_, key := r.ruled(t, d.person("user_alice", "org_a", engineer), apikeys.Rules{Networks: networks(t, "192.0.2.0/24")})
	if c := r.as(t, key); c.Allowance != (ident.Allowance{}) {
		t.Errorf("it has the allowance %+v", c.Allowance)
	}
	before := r.gate.calls.Load()
	for range 1000 {
		r.as(t, key)
	}
	if n := r.gate.calls.Load() - before; n != 0 {
		t.Errorf("1000 uses took %d statements", n)
	}
}

// While the database does not answer, what a replica holds is used up, and then
// the operator's choice holds: 503, or uncounted. A silent database is waited
// for once, not by everybody.
func TestALimiterThatFailsAnswersAsDeclared(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		choice apikeys.LimitFailure
		fails  func(*replica)
		passes bool
	}{
		{"", func(r *replica) { r.gate.shut.Store(true) }, false},
		{apikeys.FailClosed, func(r *replica) { r.gate.silent.Store(true) }, false},
		{apikeys.FailOpen, func(r *replica) { r.gate.shut.Store(true) }, true},
		{apikeys.FailOpen, func(r *replica) { r.gate.silent.Store(true) }, true},
	} {
		t.Run(fmt.Sprint(c.choice, c.passes), func(t *testing.T) {
			t.Parallel()
			d := onSQLite(t)
			r := d.replica(t)
			r.LimitFailure = c.choice
			_, key := r.ruled(t, d.person("user_alice", "org_a", engineer), perMinute(1000))
			for range 8 { // 1 + 2 + 4, and one of the next 8
				r.as(t, key)
			}
			asked := r.gate.asked.Load()
			c.fails(r)
			for i := range 7 {
				if _, err := r.Verify(t.Context(), key, origin); err != nil {
					t.Fatalf("use %d of what is there: %v", i, err)
				}
			}
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					got, err := r.Verify(context.Background(), key, origin)
					if c.passes && (err != nil || got.Allowance.Limited()) || !c.passes && !errors.Is(err, fault.Unavailable) {
						t.Errorf("%+v, %v", got.Allowance, err)
					}
				})
			}
			all.Wait()
			if n := r.gate.asked.Load() - asked; n != 1 {
				t.Errorf("the database was asked %d times; want once", n)
			}
			r.gate.shut.Store(false)
			r.gate.silent.Store(false)
			d.clock.advance(time.Second)
			if c := r.as(t, key); !c.Allowance.Limited() {
				t.Error("when the database is back, nothing is counted")
			}
		})
	}
}

// world is a key with limits, at replicas whose clocks differ.
type world struct {
	d        *deployment
	rs       []*replica
	skew     []time.Duration
	owner    ident.Caller
	id       ident.APIKeyID
	key      string
	rules    apikeys.Rules
	admitted map[string]int64 // by the window's limit and start
	most     map[string]int64
}

func (w *world) now(i int) time.Time { return w.d.clock.now().Add(w.skew[i]) }

// windows are those that a use at replica i counts in.
func (w *world) windows(i int) (names []string) {
	at := w.now(i)
	for _, l := range w.rules.Limits {
		name := fmt.Sprint(l.Per, at.Truncate(l.Per))
		w.most[name] = max(w.most[name], l.Requests)
		names = append(names, name)
	}
	if q := w.rules.Quota; q.Requests > 0 {
		name := "day" + at.Format("2006-01-02")
		if q.Per == apikeys.Month {
			name = "month" + at.Format("2006-01")
		}
		w.most[name] = max(w.most[name], q.Requests)
		names = append(names, name)
	}
	return names
}

func (w *world) use(t *rapid.T) {
	i := rapid.IntRange(0, len(w.rs)-1).Draw(t, "replica")
	names := w.windows(i)
	for range rapid.SampledFrom([]int{1, 5, 40, 300}).Draw(t, "uses") {
		c, err := w.rs[i].Verify(context.Background(), w.key, origin)
		if c.Allowance.Remaining < 0 {
			t.Fatalf("%d remain", c.Allowance.Remaining)
		}
		if err != nil {
			if !errors.Is(err, fault.RateLimited) && !errors.Is(err, fault.Unavailable) {
				t.Fatal(err)
			}
			continue
		}
		for _, n := range names {
			if w.admitted[n]++; w.admitted[n] > w.most[n] {
				t.Fatalf("window %s: %d admitted, at most %d", n, w.admitted[n], w.most[n])
			}
		}
	}
}

func (w *world) fail(t *rapid.T) {
	g := w.rs[rapid.IntRange(0, len(w.rs)-1).Draw(t, "replica")].gate
	g.lost.Store(rapid.Bool().Draw(t, "lost"))
}

func (w *world) pass(t *rapid.T) {
	w.d.clock.advance(time.Duration(rapid.Int64Range(1, int64(90*time.Second)).Draw(t, "time")))
	w.hear(t)
}

func (w *world) hear(t *rapid.T) {
	for _, r := range w.rs {
		if err := r.feed.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) change(t *rapid.T) {
	rules := limitRules(t)
	changed, err := w.rs[0].Change(context.Background(), w.owner, w.id, apikeys.Changes{Limits: &rules.Limits, Quota: &rules.Quota})
	if err != nil {
		t.Fatal(err)
	}
	w.rules = changed.Rules
	w.hear(t)
}

// requests are few, or so many that replicas hold several at a time.
var requests = rapid.OneOf(rapid.Int64Range(1, 9), rapid.Int64Range(200, 450))

func limitRules(t *rapid.T) (r apikeys.Rules) {
	for _, per := range []time.Duration{time.Second, time.Minute, 7 * time.Minute} {
		if rapid.Bool().Draw(t, "limited by "+per.String()) {
			r.Limits = append(r.Limits, apikeys.Limit{Requests: requests.Draw(t, "requests"), Per: per})
		}
	}
	if len(r.Limits) == 0 || rapid.Bool().Draw(t, "quota") {
		r.Quota = apikeys.Quota{Requests: requests.Draw(t, "requests"), Per: rapid.SampledFrom([]apikeys.Calendar{apikeys.Day, apikeys.Month}).Draw(t, "per")}
	}
	return r
}

// SEC-KEY-20: whatever the order of uses at replicas whose clocks differ, of
// windows that end, of answers that are lost and of limits that change, no
// window admits more than its limit.
func TestNoInterleavingAdmitsMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	w := &world{d: d, skew: []time.Duration{0, 400 * time.Millisecond, -3 * time.Second}}
	for i := range w.skew {
		r := d.replica(t)
		r.Observe, r.Now = nil, func() time.Time { return w.now(i) }
		w.rs = append(w.rs, r)
	}
	w.owner = d.person("user_alice", "org_a", engineer)
	rapid.Check(t, func(t *rapid.T) {
		w.rules = limitRules(t)
		k, plain, err := w.rs[0].Create(context.Background(), w.owner, apikeys.New{Name: "x", Permissions: []string{"metrics:read"}, Rules: w.rules})
		if err != nil {
			t.Fatal(err)
		}
		w.id, w.key, w.admitted, w.most = k.ID, plain.Reveal(), map[string]int64{}, map[string]int64{}
		w.hear(t)
		t.Repeat(map[string]func(*rapid.T){"use": w.use, "use more": w.use, "use again": w.use, "fail": w.fail, "pass": w.pass, "change": w.change})
	})
}
