package housetest_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// same fails the test unless two replies are byte for byte the same, headers in
// any order, but for the request id and the date.
func same(t *testing.T, what string, a, b housetest.Reply) {
	t.Helper()
	strip := func(r housetest.Reply) ([]byte, http.Header) {
		h := maps.Clone(r.Header)
		body := r.Body
		if id := h.Get("X-Request-Id"); id != "" {
			body = bytes.ReplaceAll(body, []byte(id), []byte("req"))
		}
		delete(h, "X-Request-Id")
		delete(h, "Date")
		return body, h
	}
	bodyA, headA := strip(a)
	bodyB, headB := strip(b)
	if a.Status != b.Status || !bytes.Equal(bodyA, bodyB) || !maps.EqualFunc(headA, headB, slices.Equal) {
		t.Errorf("%s can be told apart:\n%s %v\n%s %v", what, a, headA, b, headB)
	}
}

// SEC-LOG-01, SEC-LOG-26: nobody learns from a reply whether an address has an
// account: at a login, wrong again and again until locked, or at registration.
func TestRepliesTellNothingOfAccounts(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		known := h.Person(h.Admin.Org, "known", "viewer")
		disabled := h.Person(h.Admin.Org, "barred", "viewer")
		status := accounts.Disabled
		h.Client().As(h.Login(h.Admin).Access).Patch("/api/v1/users/"+string(disabled.ID), map[string]any{"status": status}).Expect(http.StatusOK)
		for i, route := range []string{"/api/v1/auth/login", "/auth/login"} {
			c := h.Client().From(fmt.Sprintf("192.0.2.%d", i))
			for n := range []int{7, 2}[i] {
				attempt := func(email string) housetest.Reply {
					return c.Post(route, map[string]string{"email": email, "password": fmt.Sprintf("guess number %d of many", n)})
				}
				nobody := attempt("nobody@example.com")
				same(t, fmt.Sprintf("guess %d of a known and an unknown address", n), attempt(known.Email), nobody)
				same(t, fmt.Sprintf("guess %d of a disabled and an unknown address", n), attempt(disabled.Email), nobody)
				want := http.StatusUnauthorized
				if n >= 5 {
					want = http.StatusLocked
				}
				nobody.Expect(want)
				if len(nobody.Header.Values("Set-Cookie")) > 0 {
					t.Errorf("a refused login sets a cookie: %v", nobody.Header)
				}
			}
		}
		register := func(email string) housetest.Reply {
			return h.Client().Post("/api/v1/auth/register", map[string]string{"email": email, "name": "New", "password": workerPassword})
		}
		same(t, "a registration", register(known.Email), register("unknown@example.com"))
	})
}

// SEC-LOG-12: an address is believed only where the one true header gives it, and
// only from a proxy that is trusted.
func TestForgedAddressesAreNotBelieved(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprintf("trusted=%t", trusted), func(t *testing.T) {
			h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) {
				if !trusted {
					c.HTTP.TrustedProxies = nil
				}
			}})
			s := h.Login(h.Admin)
			want := func(c *housetest.Client, ip string) {
				t.Helper()
				c.As(s.Access).Get("/api/v1/users?cursor=forged").Expect(http.StatusBadRequest)
				lines := strings.Split(strings.TrimSpace(h.Logs()), "\n")
				if last := lines[len(lines)-1]; !strings.Contains(last, `"ip":"`+ip+`"`) {
					t.Errorf("not from %s: %s", ip, last)
				}
			}
			for _, header := range []string{"X_Forwarded_For", "X-Forwarded_For", "Forwarded", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Forwarded", "Client-Ip", "X-Cluster-Client-Ip"} {
				want(h.Client().With(header, "198.51.100.9"), "127.0.0.1")
			}
			if !trusted {
				want(h.Client().From("198.51.100.9"), "127.0.0.1")
				return
			}
			want(h.Client().From("198.51.100.9"), "198.51.100.9")
			want(h.Client().From("203.0.113.1, 198.51.100.9"), "198.51.100.9")
			want(h.Client().From("203.0.113.1, 127.0.0.1"), "203.0.113.1")
			want(h.Client().From("203.0.113.1, nonsense"), "127.0.0.1")
		})
	}
}

// SEC-LOG-13: of a flood of logins only as many are looked at as there are places.
// The others are told to come back, nothing is counted against them, and who
// holds a credential already notices nothing.
func TestAFloodOfLoginsIsShed(t *testing.T) {
	const flood = 150
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		p := h.Person(h.Admin.Org, "flooded", "owner")
		s := h.Login(p)
		_, key := h.Client().As(s.Access).CreateKey("k", "agents:read")
		var mu sync.Mutex
		statuses := map[int]int{}
		var all sync.WaitGroup
		for i := range flood {
			c := h.Client().For(t).From(fmt.Sprintf("10.3.%d.%d", i/200, i%200))
			all.Go(func() {
				r, err := c.Try("POST", "/api/v1/auth/login", map[string]string{"email": p.Email, "password": p.Password})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if statuses[r.Status]++; r.Status == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "1" {
					t.Errorf("no Retry-After: %s %v", r, r.Header)
				}
			})
		}
		var slowest time.Duration
		served, refresh := 0, s.Refresh
		flooded := make(chan struct{})
		go func() { defer close(flooded); all.Wait() }()
		for done := false; !done; {
			began := time.Now()
			h.Client().WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
			h.Client().As(s.Access).Get("/api/v1/agents").Expect(http.StatusOK)
			refresh = h.Client().Refresh(refresh).Expect(http.StatusOK).Text("refresh_token")
			h.Client().Get("/.well-known/jwks.json").Expect(http.StatusOK)
			served += 4
			slowest = max(slowest, time.Since(began))
			select {
			case <-flooded:
				done = true
			default:
			}
		}
		if statuses[http.StatusServiceUnavailable] == 0 || statuses[http.StatusOK] == 0 {
			t.Errorf("nothing was shed or nobody served: %v", statuses)
		}
		// Known devices and strangers alike may be told that others are at it (429), and that is all.
		for status := range statuses {
			if !slices.Contains([]int{http.StatusOK, http.StatusServiceUnavailable, http.StatusTooManyRequests}, status) {
				t.Errorf("the replies were %v", statuses)
			}
		}
		h.Client().Login(p.Email, p.Password) // nothing was counted
		t.Logf("replies %v; %d requests of others meanwhile, four of them within %s at most", statuses, served, slowest)
	})
}
