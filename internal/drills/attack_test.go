package drills_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// quiet is how many minutes lie between two attacks: longer than any rule looks back.
const quiet = 20

// drill is an attacked house, with somebody in it who only wants to work.
type drill struct {
	*watch
	victim  housetest.Person
	browser *housetest.Client // the victim's own
	old     housetest.Session // the victim's, from before everything
	seen    int64             // the newest event that was looked at
}

// Whoever attacks is seen: in the metrics, in the audit log with the address and
// the reason, and by the alerts, each for its attack and none without one; and
// the victim's own browser goes on logging in. Five attacks, one after another.
func TestTheAttackDrill(t *testing.T) {
	onOne(t, housetest.Options{New: true}, func(t *testing.T, h *housetest.Harness) {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		d := &drill{watch: newWatch(h), victim: h.Person(h.Admin.Org, "victim", "owner")}
		d.browser = h.Client().WithCookies(jar).From("198.51.100.7").Agent("the victim's browser")
		d.old = d.atHome(t)
		for range 5 {
			d.minute(t)
		}
		d.expect() // nothing is wrong yet
		for _, attack := range []struct {
			name   string
			happen func(*drill, *testing.T)
			alerts []string
		}{
			{"wrong logins at one account", (*drill).guessing, []string{"TokenhouseAccountUnderAttack", "TokenhouseLoginsFail", "TokenhouseManyLocks"}},
			{"password spraying", (*drill).spraying, []string{"TokenhousePasswordSpraying"}},
			{"a stolen refresh token", (*drill).theft, []string{"TokenhouseRefreshTokenStolen"}},
			{"a leaked key", (*drill).leak, []string{"TokenhouseAPIKeyLeaked"}},
			{"a flood of expired tokens", (*drill).flood, []string{"TokenhouseBadTokens"}},
		} {
			t.Run(attack.name, func(t *testing.T) {
				d.recorded(t)
				attack.happen(d, t)
				d.expect(attack.alerts...)
				d.atHome(t)
				for range quiet {
					d.minute(t)
				}
				d.expect() // it is over, and said so
			})
		}
		d.replay(t)
		d.tally(t)
	})
}

// atHome is the victim's login in their own browser.
func (d *drill) atHome(t *testing.T) housetest.Session {
	t.Helper()
	return d.browser.For(t).Login(d.victim.Email, d.victim.Password)
}

// recorded is what the audit log got since it was last asked, by name.
func (d *drill) recorded(t *testing.T) map[audit.Name][]audit.Event {
	t.Helper()
	if err := d.h.House().Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := map[audit.Name][]audit.Event{}
	for {
		events, err := d.h.House().DB.Audit().Export(t.Context(), d.seen, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return out
		}
		for _, e := range events {
			out[e.Name] = append(out[e.Name], e)
			d.seen = e.Seq
		}
	}
}

// counts fails the test unless the last scrape shows these values.
func (d *drill) counts(t *testing.T, want map[string]int) {
	t.Helper()
	for series, n := range want {
		if got := d.value(t, series); got != strconv.Itoa(n) {
			t.Errorf("%s is %s, want %d", series, got, n)
		}
	}
}

// attempts sends so many wrong logins from each of the addresses, which act at
// the same time, and counts the answers by status.
func (d *drill) attempts(t *testing.T, each int, addresses []string, statuses map[int]int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, ip := range addresses {
		c := d.h.Client().For(t).From(ip).Agent("hydra")
		all.Go(func() {
			for i := range each {
				r, err := c.Try("POST", "/api/v1/auth/login", map[string]string{"email": d.victim.Email, "password": fmt.Sprintf("guess number %d", i)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				statuses[r.Status]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// sum adds up series of the last scrape.
func (d *drill) sum(t *testing.T, series ...string) (total int) {
	t.Helper()
	for _, s := range series {
		n, err := strconv.Atoi(d.value(t, s))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

const (
	failures = `tokenhouse_login_attempts_total{method="password",result="failure"}`
	refusals = `tokenhouse_login_attempts_total{method="password",result="refused"}`
)

// guessing: thousands of wrong passwords at one account, from a hundred
// addresses, cost a hundred looks at a password. SEC-LOG-01, SEC-OBS-02.
func (d *drill) guessing(t *testing.T) {
	const addresses = 100
	n := sized(1000, 10_000)
	before := d.sum(t, failures, refusals)
	statuses := map[int]int{}
	for tens := range 10 { // ten addresses in each of ten minutes
		var now []string
		for a := range 10 {
			now = append(now, fmt.Sprintf("203.0.113.%d", 10*tens+a))
		}
		d.attempts(t, n/addresses, now, statuses)
		d.minute(t)
	}
	if statuses[http.StatusUnauthorized] > 100 || statuses[http.StatusUnauthorized] < 90 {
		t.Errorf("%d passwords were looked at, want a hundred at most", statuses[http.StatusUnauthorized])
	}
	if others := n - statuses[http.StatusUnauthorized] - statuses[http.StatusLocked] - statuses[http.StatusTooManyRequests]; others != 0 {
		t.Errorf("the answers were %v", statuses)
	}
	if got := d.sum(t, failures, refusals) - before; got != n {
		t.Errorf("the metrics count %d attempts, want %d", got, n)
	}
	d.h.Client().For(t).From("192.0.2.1").TryLogin(d.victim.Email, d.victim.Password).Problem(http.StatusLocked, "ACCOUNT_LOCKED")
	events := d.recorded(t)
	tried := slices.Concat(events[audit.LoginFailed], events[audit.LoginRefused])
	if len(tried) != n+1 { // and the one from 192.0.2.1
		t.Errorf("%d attempts are in the audit log, want %d", len(tried), n+1)
	}
	from := map[string]int{}
	for _, e := range tried {
		from[e.Origin.IP.String()]++
		if e.Reason != "wrong_password" && e.Reason != "locked" && e.Reason != "concurrent" {
			t.Errorf("an attempt was recorded with the reason %q", e.Reason)
		}
	}
	if len(from) != addresses+1 {
		t.Errorf("the audit log knows %d addresses, want %d", len(from), addresses+1)
	}
	pools := slices.DeleteFunc(events[audit.LoginLocked], func(e audit.Event) bool { return e.Reason != "pool" })
	if len(pools) != 1 || !pools[0].Origin.IP.IsValid() {
		t.Errorf("the lock of the account was recorded as %+v", pools)
	}
	t.Logf("%d wrong logins from %d addresses: %v", n, addresses, statuses)
}

// spraying: one address tries one password at many accounts, most of which are
// nobody's.
func (d *drill) spraying(t *testing.T) {
	const accounts = 40
	c := d.h.Client().For(t).From("203.0.113.200").Agent("spray")
	statuses := map[int]int{}
	for i := range accounts {
		email := fmt.Sprintf("person-%d@example.com", i)
		if i%10 == 3 {
			email = d.h.Admin.Email
		}
		statuses[c.TryLogin(email, "Summer2027! Summer2027!").Status]++
	}
	d.minute(t)
	if len(statuses) != 2 || statuses[http.StatusTooManyRequests] == 0 || statuses[http.StatusUnauthorized] > 23 {
		t.Errorf("the answers were %v", statuses)
	}
	d.counts(t, map[string]int{`tokenhouse_lockouts_total{scope="source"}`: 1})
	events := d.recorded(t)
	if n := len(events[audit.LoginFailed]) + len(events[audit.LoginRefused]); n != accounts {
		t.Errorf("%d attempts are in the audit log, want %d", n, accounts)
	}
	d.all(t, events[audit.LoginRefused], "203.0.113.200", "throttled")
	d.all(t, events[audit.LoginLocked], "203.0.113.200", "source")
}

// all fails the test unless there are such events, each of that address and reason.
func (d *drill) all(t *testing.T, events []audit.Event, ip, reason string) {
	t.Helper()
	if len(events) == 0 {
		t.Errorf("nothing was recorded of %s", reason)
	}
	for _, e := range events {
		if e.Origin.IP.String() != ip || e.Reason != reason || e.Origin.UserAgent == "" {
			t.Errorf("%s was recorded with address %s and reason %q, want %s and %q", e.Name, e.Origin.IP, e.Reason, ip, reason)
		}
	}
}

// theft: a refresh token that the victim has used and replaced is presented by
// somebody else.
func (d *drill) theft(t *testing.T) {
	s := d.atHome(t)
	stolen := s.Refresh
	for range 2 {
		d.minute(t)
		s.Refresh = d.browser.For(t).Refresh(s.Refresh).Expect(http.StatusOK).Text("refresh_token")
	}
	d.minute(t)
	d.recorded(t)
	d.h.Client().For(t).From("203.0.113.66").Agent("thief").Refresh(stolen).Expect(http.StatusUnauthorized)
	d.h.Client().For(t).As(s.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	d.minute(t)
	d.counts(t, map[string]int{`tokenhouse_refreshes_total{result="reuse_detected"}`: 1})
	events := d.recorded(t)
	d.all(t, events[audit.RefreshReused], "203.0.113.66", "reuse_detected")
	if e := events[audit.RefreshReused]; len(e) != 1 || e[0].Session == "" {
		t.Errorf("the theft was recorded as %+v", e)
	}
}

// leak: a key is used by a stranger, found in public, reported, and tried again.
func (d *drill) leak(t *testing.T) {
	_, key := d.h.Client().For(t).As(d.atHome(t).Access).CreateKey("leaked", "agents:read")
	stranger := d.h.Client().For(t).From("203.0.113.77").Agent("stranger").WithKey(key)
	stranger.Get("/api/v1/me").Expect(http.StatusOK)
	d.h.Client().For(t).From("192.0.2.80").Agent("scanner").Post("/api/v1/leaked-keys",
		map[string]any{"keys": []string{key}, "source": "a scanner", "url": "https://paste.example/1"}).Expect(http.StatusAccepted)
	d.recorded(t)
	const tries = 5
	for range tries {
		stranger.Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
	}
	d.minute(t)
	d.counts(t, map[string]int{
		`tokenhouse_leaked_api_keys_total{result="revoked"}`: 1, `tokenhouse_api_key_verifications_total{result="revoked"}`: tries,
	})
	refused := d.recorded(t)[audit.APIKeyRefused]
	d.all(t, refused, "203.0.113.77", "revoked")
	if len(refused) != tries {
		t.Errorf("%d refusals are in the audit log, want %d", len(refused), tries)
	}
	if leaked := d.history(t, audit.APIKeyLeaked); len(leaked) != 1 || leaked[0].Origin.IP.String() != "192.0.2.80" || leaked[0].Meta["url"] == "" {
		t.Errorf("the report was recorded as %+v", leaked)
	}
}

// history is every event of that name from the beginning.
func (d *drill) history(t *testing.T, name audit.Name) (out []audit.Event) {
	t.Helper()
	for _, e := range d.everything(t) {
		if e.Name == name {
			out = append(out, e)
		}
	}
	return out
}

func (d *drill) everything(t *testing.T) (out []audit.Event) {
	t.Helper()
	for after := int64(0); ; after = out[len(out)-1].Seq {
		events, err := d.h.House().DB.Audit().Export(t.Context(), after, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return out
		}
		out = append(out, events...)
	}
}

// flood: a token that expired long ago, again and again. One event tells of a
// source and a minute, with how many there were.
func (d *drill) flood(t *testing.T) {
	n := sized(800, 10_000)
	const addresses = 20
	for i := range n {
		d.h.Client().For(t).From(fmt.Sprintf("203.0.113.%d", i%addresses)).As(d.old.Access).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		if i == n/2 {
			d.minute(t)
		}
	}
	d.minute(t)
	d.counts(t, map[string]int{`tokenhouse_token_verifications_total{kind="access_token",result="expired"}`: n})
	from, told := map[string]int{}, 0
	events := d.recorded(t)[audit.AccessTokenRefused]
	for _, e := range events {
		k, err := strconv.Atoi(e.Meta["expired"])
		if err != nil || e.Reason != "expired" || e.Meta["source"] != e.Origin.IP.String()+"/32" {
			t.Errorf("a minute of the flood was recorded as %+v", e)
		}
		from[e.Origin.IP.String()] += k
		told += k
	}
	if told != n || len(from) != addresses || len(events) > 3*addresses {
		t.Errorf("%d events tell of %d requests from %d addresses; there were %d from %d", len(events), told, len(from), n, addresses)
	}
}

// tally compares the whole log with the counter of events (INV-18).
func (d *drill) tally(t *testing.T) {
	t.Helper()
	d.recorded(t)
	d.scrape(t)
	logged := map[string]int{}
	for _, e := range d.everything(t) {
		logged[fmt.Sprintf(`tokenhouse_audit_events_total{event="%s",outcome="%s"}`, e.Name, e.Outcome)]++
	}
	for series, n := range logged {
		if got := d.value(t, series); got != strconv.Itoa(n) {
			t.Errorf("%s is %s, and the log has %d", series, got, n)
		}
	}
	kinds := slices.Sorted(maps.Keys(logged))
	t.Logf("%d kinds of event: %s", len(kinds), strings.Join(kinds, " "))
}
