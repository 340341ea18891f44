package housetest_test

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// Both tests take as many samples of each kind of login as
// TOKENHOUSE_TEST_TIMING says (make test-timing: 2000, on both backends; the
// machine should have nothing else to do). An ordinary run takes few, on SQLite,
// and finds what is plain to see, such as a hash that is not computed.
//
// What is compared is taken in random order, so that whatever else the machine
// does meanwhile falls on all kinds alike.

// SEC-LOG-01, SEC-LOG-02: how long a refused login takes tells nothing: not whether the account
// exists, has a password, is disabled or is locked. All are answered at the same
// time after their start, and in the same words where they have the same status.
func TestTheTimeOfARefusedLoginTellsNothing(t *testing.T) {
	timed(t, func(t *testing.T, postgres bool, n int) {
		delay := house.Defaults().Accounts.LoginFailureDelay
		got := guessing(t, postgres, n, delay)
		for kind, took := range got.took {
			if fastest := slices.Min(took); fastest < delay {
				t.Errorf("%s: refused after %s, before its time", kind, fastest)
			}
		}
		if n < thorough { // where hashes take longer than the delay, as on a busy machine, a lock shows: in the status anyway
			got.same(t, "wrong password", "unknown", "no password", "disabled")
			got.same(t, "locked account", "locked unknown")
			return
		}
		got.same(t, "wrong password", "unknown", "no password", "disabled", "locked account", "locked unknown")
	})
}

// SEC-LOG-02: the work takes equally long too, without a time at which all are
// answered: the same reads, writes and hashes are done for nobody as for
// somebody. A lock shows, as it does in the status, but not whose it is.
func TestTheWorkOfARefusedLoginTellsNothing(t *testing.T) {
	timed(t, func(t *testing.T, postgres bool, n int) {
		got := guessing(t, postgres, n, 0)
		got.same(t, "wrong password", "unknown", "no password", "disabled")
		got.same(t, "locked account", "locked unknown")
		if d, p := apart(got.took["wrong password"], got.took["locked account"]); p > got.alpha {
			t.Errorf("the measurement sees nothing: a login that hashes and one that does not are %.3f apart (p=%.2g)", d, p)
		}
	})
}

// thorough is from how many samples on the tests are strict.
const thorough = 1000

func timed(t *testing.T, test func(t *testing.T, postgres bool, n int)) {
	text := os.Getenv("TOKENHOUSE_TEST_TIMING")
	n, err := strconv.Atoi(cmp.Or(text, "30"))
	if err != nil || n < 20 {
		t.Fatalf("TOKENHOUSE_TEST_TIMING is %q, not a number of samples", text)
	}
	if text == "" {
		t.Parallel() // it waits most of the time
		test(t, false, n)
		return
	}
	for _, backend := range []string{"sqlite", "postgres"} {
		t.Run(backend, func(t *testing.T) { test(t, backend == "postgres", n) })
	}
}

// timings are the durations of logins by kind, and the first reply of each.
type timings struct {
	alpha float64
	mu    sync.Mutex
	took  map[string][]time.Duration
	first map[string]housetest.Reply
}

// same fails the test where two of the kinds can be told apart, by their times
// or, where they have one status, by a byte of the reply.
func (g *timings) same(t *testing.T, kinds ...string) {
	t.Helper()
	pairs := float64(len(kinds) * (len(kinds) - 1) / 2)
	for i, a := range kinds {
		t.Logf("%-14s median %s, 5 %% to 95 %%: %s to %s", a, quantile(g.took[a], 0.5), quantile(g.took[a], 0.05), quantile(g.took[a], 0.95))
		for _, b := range kinds[:i] {
			alpha := g.alpha / pairs // Bonferroni: so often at most does any pair of equals fail
			d, p := apart(g.took[a], g.took[b])
			verdict, welch := t.Logf, math.Abs(welch(g.took[a], g.took[b]))
			if p < alpha || welch > 4.5 && len(g.took[a]) >= thorough {
				verdict = t.Errorf
			}
			verdict("%s and %s: %.4f apart, p=%.3g (wanted: %.1g), |t|=%.2f (wanted: 4.5); %s more would be found", b, a, d, p, alpha, welch, shift(g.took[a], g.took[b], alpha))
			if g.first[a].Status == g.first[b].Status {
				same(t, b+" and "+a, g.first[b], g.first[a])
			}
		}
	}
}

func quantile(took []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
}

// guess is a kind of refused login.
type guess struct {
	kind   string
	name   string // its addresses begin so
	locked bool
}

// guesses are all there are.
var guesses = []guess{
	{"wrong password", "present-", false},
	{"unknown", "nobody--", false},
	{"no password", "outside-", false}, // who signs in elsewhere only
	{"disabled", "barred--", false},
	{"locked account", "locked--", true},
	{"locked unknown", "lacking-", true},
}

// warm is how many rounds come first and do not count.
const warm = 4

// batch is how many guesses one address of a kind takes: its pool holds 100.
const batch = 80

func (g guess) email(n int) string { return fmt.Sprintf("%s%02d@example.com", g.name, n/batch) }

// victims makes those of the guesses who exist.
func victims(t *testing.T, h *housetest.Harness, n int) {
	t.Helper()
	ctx, people := t.Context(), h.House().People
	db := database(t, h.Config.Database.URL)
	h.Person(h.Admin.Org, "model", "viewer")
	hash := texts(t, db, "SELECT password_hash FROM users WHERE email = 'model@example.com'", "SELECT password_hash FROM users WHERE email = 'model@example.com'")[0]
	for _, g := range guesses {
		if g.kind == "unknown" || g.kind == "locked unknown" {
			continue
		}
		for first := 0; first < n+warm; first += batch {
			m, err := people.CreateUser(ctx, h.Operator(h.Admin.Org), accounts.NewUser{Email: g.email(first), Name: "Victim", Role: "viewer", PasswordHash: hash})
			if err != nil {
				t.Fatal(err)
			}
			var change string
			switch g.kind {
			case "no password":
				change = "UPDATE users SET password_hash = '' WHERE id = '%s'"
			case "disabled":
				change = "UPDATE users SET status = 'disabled' WHERE id = '%s'"
			default:
				continue
			}
			if _, err := db.ExecContext(ctx, fmt.Sprintf(change, m.ID)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// attempt is one guess at one address from one network.
type attempt struct {
	guess
	email, ip string
	counted   bool
}

// guessing logs in wrongly n times in each way, as the clock goes, with refusals
// that are answered after delay.
func guessing(t *testing.T, postgres bool, n int, delay time.Duration) *timings {
	t.Helper()
	h := housetest.Start(t, housetest.Options{
		Postgres: postgres,
		Config:   func(c *house.Config) { c.Accounts.LoginFailureDelay = delay },
		Env:      func(_ int, env *house.Env) { env.Now = time.Now },
	})
	victims(t, h, n)
	out := &timings{alpha: 0.001, took: map[string][]time.Duration{}, first: map[string]housetest.Reply{}}
	workers := 1 // the work itself is measured alone
	if delay > 0 {
		workers = 8 // of which most wait
	}
	if n < thorough {
		out.alpha = 1e-6 // a busy machine must not fail the ordinary run
	}
	jobs := make(chan attempt)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			defer client.CloseIdleConnections()
			for a := range jobs {
				out.sample(t, client, h.Replicas[0].URL+"/api/v1/auth/login", a)
			}
		})
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n + warm {
		for _, k := range random.Perm(len(guesses)) {
			g := guesses[k]
			ip := fmt.Sprintf("10.%d.%d.%d", 1+k, i/250, 1+i%250) // each time another network
			if g.locked {
				ip = fmt.Sprintf("192.0.2.%d", 1+i/batch) // where that address is locked
			}
			jobs <- attempt{g, g.email(i), ip, i >= warm}
		}
	}
	close(jobs)
	all.Wait()
	t.Logf("%d samples of each kind, %d at the same time, refused after %s, seed %d", n, workers, delay, seed)
	return out
}

// sample makes one attempt. Where a lock is wanted and there is none (any more),
// it guesses until there is; only the attempt that met it counts.
func (g *timings) sample(t *testing.T, client *http.Client, url string, a attempt) {
	want := http.StatusUnauthorized
	if a.locked {
		want = http.StatusLocked
	}
	body := fmt.Sprintf(`{"email":%q,"password":"a guess that is wrong"}`, a.email)
	for range 60 {
		req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", a.ip)
		began := time.Now()
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		text, err := io.ReadAll(res.Body)
		took := time.Since(began)
		res.Body.Close()
		if err != nil {
			t.Error(err)
			return
		}
		reply := housetest.Reply{Status: res.StatusCode, Header: res.Header, Body: text}
		if reply.Status == want {
			g.add(t, a, took, reply)
			return
		}
		// Others may be making the lock at the same time (429).
		if !a.locked || reply.Status != http.StatusUnauthorized && reply.Status != http.StatusTooManyRequests {
			t.Errorf("%s: %s", a.kind, reply)
			return
		}
	}
	t.Errorf("%s is not locked, however often one guesses", a.email)
}

// add keeps a sample, whose reply must be that of the first.
func (g *timings) add(t *testing.T, a attempt, took time.Duration, r housetest.Reply) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a.locked != (r.Header.Get("Retry-After") != "") {
		t.Errorf("%s: Retry-After is %q", a.kind, r.Header.Get("Retry-After"))
	}
	r.Header.Del("Retry-After") // it counts down
	if first, ok := g.first[a.kind]; ok {
		same(t, "one reply and another to the kind "+a.kind, first, r)
	} else {
		g.first[a.kind] = r
	}
	if a.counted {
		g.took[a.kind] = append(g.took[a.kind], took)
	}
}
