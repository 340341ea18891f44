package housetest_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/storage/faulty"
)

// A client that cannot be told is tried again 1 s, 5 s, 30 s, 2 min, 10 min and
// 1 h later, each time with the same jti, and then given up.
func TestATellingThatFailsIsRepeated(t *testing.T) {
	retries := []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		for _, c := range []struct {
			what   string
			fails  int // how often, before 200
			status int
			event  audit.Name
			reason string
		}{
			{"twice", 2, http.StatusInternalServerError, audit.LogoutDelivered, ""},
			{"for ever", 7, http.StatusServiceUnavailable, audit.LogoutFailed, "answer"},
			{"by a redirect, which nobody follows", 7, http.StatusFound, audit.LogoutFailed, "answer"},
		} {
			t.Run(c.what, func(t *testing.T) {
				rp := hears(t)
				client, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
				s := stays(t, h, h.Admin, client, false)
				rp.status.Store(int64(c.status))
				s.ends(t, h)
				jti := logoutSaid(t, h, rp.next(t))["jti"]
				for i := range c.fails {
					if i == len(retries) {
						break
					}
					due := h.Clock.Now().Add(retries[i])
					eventually(t, "the next attempt is put down", func() bool { return nextLogout(t, h).Equal(due) })
					h.Clock.Advance(retries[i] - time.Microsecond)
					tellsNow(t, h, 0)
					rp.nothing(t)
					if i == c.fails-1 {
						rp.status.Store(http.StatusNoContent)
					}
					h.Clock.Advance(time.Microsecond)
					tellsNow(t, h, 0)
					if got := logoutSaid(t, h, rp.next(t))["jti"]; got != jti {
						t.Errorf("attempt %d has the jti %v, the first %v", i+2, got, jti)
					}
				}
				settled(t, h)
				h.Clock.Advance(24 * time.Hour)
				tellsNow(t, h, 0)
				rp.nothing(t)
				said := slices.DeleteFunc(eventsOf(t, h, c.event), func(e audit.Event) bool { return e.Session != s.child.ID })
				if len(said) != 1 || said[0].Reason != c.reason {
					t.Errorf("the audit log says %+v", said)
				}
			})
		}
		metrics := string(h.OpsClient().Get("/metrics").Expect(http.StatusOK).Body)
		for result, n := range map[string]string{"delivered": "1", "retried": "14", "given_up": "2", "refused": "0"} {
			if !strings.Contains(metrics, `tokenhouse_backchannel_logouts_total{result="`+result+`"} `+n+"\n") {
				t.Errorf("%s is not %s", result, n)
			}
		}
	})
}

// A client that answers 400 takes no such token, now or later (OpenID Connect
// Back-Channel Logout 1.0 §2.8).
func TestAClientMayRefuseToHear(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		rp := hears(t)
		rp.status.Store(http.StatusBadRequest)
		client, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
		stays(t, h, h.Admin, client, false).ends(t, h)
		rp.next(t)
		settled(t, h)
		h.Clock.Advance(24 * time.Hour)
		tellsNow(t, h, 0)
		rp.nothing(t)
		if said := eventsOf(t, h, audit.LogoutFailed); len(said) != 1 || said[0].Reason != "refused" || said[0].Outcome != audit.Failure {
			t.Errorf("the audit log says %+v", said)
		}
	})
}

// Of many replicas that want to tell the same, one does.
func TestReplicasShareTheTelling(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		const stayed = 30
		rp := hears(t)
		client, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
		s := stays(t, h, h.Admin, client, false)
		for range stayed - 1 {
			s.alsoAt(t, h, client, false)
		}
		var all sync.WaitGroup
		all.Go(func() { s.ends(t, h) })
		for replica := range h.Replicas {
			for range 4 {
				all.Go(func() { tellsNow(t, h, replica) })
			}
		}
		all.Wait()
		told := map[any]int{}
		for range stayed {
			told[logoutSaid(t, h, rp.next(t))["sid"]]++
		}
		settled(t, h)
		rp.nothing(t)
		if len(told) != stayed {
			t.Errorf("%d of %d were told: %v", len(told), stayed, told)
		}
		if said := eventsOf(t, h, audit.LogoutDelivered); len(said) != stayed {
			t.Errorf("%d events", len(said))
		}
	})
}

// A replica that dies between telling and writing that down makes another tell
// again, with the same jti: at least once, not exactly once.
func TestATellingThatWasForgottenIsRepeated(t *testing.T) {
	var plan faulty.Plan
	housetest.Both(t, housetest.Options{Env: func(_ int, env *house.Env) { env.Hooks.Before = plan.Before }}, func(t *testing.T, h *housetest.Harness) {
		rp := hears(t)
		client, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
		s := stays(t, h, h.Admin, client, false)
		broken := plan.FailAll
		rp.during.Store(&broken)
		s.ends(t, h)
		jti := logoutSaid(t, h, rp.next(t))["jti"]
		eventually(t, "the replica cannot write it down", func() bool { return strings.Contains(h.Logs(), "logouts could not be delivered") })
		rp.during.Store(nil)
		plan.Heal()
		tellsNow(t, h, 0)
		rp.nothing(t) // whoever began has time to end
		h.Clock.Advance(30 * time.Second)
		tellsNow(t, h, 0)
		if again := logoutSaid(t, h, rp.next(t))["jti"]; again != jti {
			t.Errorf("told %v, then %v", jti, again)
		}
		settled(t, h)
		if said := eventsOf(t, h, audit.LogoutDelivered); len(said) != 1 {
			t.Errorf("%d events", len(said))
		}
	})
}

// A replica that is stopped ends what it began.
func TestAStoppedReplicaFinishesItsTelling(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		rp := hears(t)
		client, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
		s := stays(t, h, h.Admin, client, false)
		begun, release := make(chan struct{}), make(chan struct{})
		wait := func() { close(begun); <-release }
		rp.during.Store(&wait)
		s.ends(t, h)
		<-begun
		stopped := make(chan error, 1)
		go func() { stopped <- h.Replicas[0].Stop() }()
		eventually(t, "the replica is being stopped", func() bool {
			_, err := h.At(0).Try(http.MethodGet, "/.well-known/jwks.json", nil)
			return err != nil
		})
		close(release)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		rp.next(t)
		other := h.Replicas[1].House
		if next, err := other.DB.Logouts().NextLogout(t.Context()); err != nil || !next.IsZero() {
			t.Errorf("%v, %v is left to be done", next, err)
		}
		if events, err := other.DB.Audit().Export(t.Context(), 0, 1000); err != nil || events[len(events)-1].Name != audit.LogoutDelivered {
			t.Errorf("%v, %v", events, err)
		}
	})
}

// Outside development, no client makes us speak to our own machine or network.
func TestNoClientLeadsATellingIntoOurNetwork(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: func(c *house.Config) { c.Issuer = "https://id.example.com" }}, func(t *testing.T, h *housetest.Harness) {
		var asked atomic.Int64
		site := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		site.Config.ConnState = func(net.Conn, http.ConnState) { asked.Add(1) }
		t.Cleanup(site.Close)
		for _, at := range []string{site.URL + "/logout", strings.Replace(site.URL, "127.0.0.1", "localhost", 1), "https://169.254.169.254/latest/meta-data", "https://[::1]/logout", "https://10.0.0.1/logout"} {
			client, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = at })
			before := strings.Count(h.Logs(), `"reason":"address"`)
			s := stays(t, h, h.Admin, client, false)
			s.ends(t, h)
			eventually(t, "the address is refused", func() bool { return strings.Count(h.Logs(), `"reason":"address"`) > before })
		}
		if n := asked.Load(); n != 0 {
			t.Errorf("our own machine was asked %d times", n)
		}
	})
}

// A pairwise client is told of its own sub, never of the user's id.
func TestATellingNamesTheSubOfTheClient(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	rp := hears(t)
	pairwise := func(n *oauth.Registration) {
		n.Logout.BackchannelURI, n.Settings.Subject.Pairwise = rp.url, true
		n.Settings.Signing.IDToken = "ES256"
	}
	one, _ := enrolled(t, h, pairwise)
	two, _ := enrolled(t, h, pairwise)
	other, _ := enrolled(t, h, func(n *oauth.Registration) {
		pairwise(n)
		n.RedirectURIs = []string{"https://another.example/callback"}
	})
	stays(t, h, h.Admin, one, false).alsoAt(t, h, two, false).alsoAt(t, h, other, false).ends(t, h)
	subs := map[any]any{}
	for range 3 {
		claims := logoutSaid(t, h, rp.next(t))
		if subs[claims["aud"]] = claims["sub"]; claims["alg"] != "ES256" {
			t.Errorf("signed with %v", claims["alg"])
		}
	}
	a, b, c := subs[string(one.ID)], subs[string(two.ID)], subs[string(other.ID)]
	if a != b || a == c || a == string(h.Admin.ID) || c == string(h.Admin.ID) || a == nil || c == nil {
		t.Errorf("the subs are %v", subs)
	}
}
