package housetest_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// SEC-OAU-33, INV-19: a reply was lost, and the client asks again with the same
// token, at either replica: it gets the same successor, and is not signed out.
func TestALostReplyIsAskedForAgain(t *testing.T) {
	options := housetest.Options{Replicas: 2, Config: func(c *house.Config) { c.Tokens.RefreshCooldown = 0 }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		successor := h.At(0).Refresh(s.Refresh).Expect(http.StatusOK).Text("refresh_token")
		if successor == s.Refresh {
			t.Fatal("nothing was rotated")
		}
		for i := range 6 {
			h.Advance(5 * time.Second)
			if again := h.At(i % 2).Refresh(s.Refresh).Expect(http.StatusOK).Text("refresh_token"); again != successor {
				t.Errorf("retry %d got another successor", i)
			}
		}
		h.At(1).Refresh(successor).Expect(http.StatusOK)
	})
}

// INV-03: the thief of one session ends that session and no other, of nobody.
func TestATheftEndsOneSession(t *testing.T) {
	options := housetest.Options{Replicas: 2, Config: func(c *house.Config) { c.Tokens.RefreshCooldown = 0 }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		stolen, mine, theirs := h.Login(h.Admin), h.Login(h.Admin), h.Login(h.Person(h.Admin.Org, "bystander", "viewer"))
		next := h.Client().Refresh(stolen.Refresh).Expect(http.StatusOK).Text("refresh_token")
		last := h.Client().Refresh(next).Expect(http.StatusOK)
		h.Advance(2 * time.Minute)
		r := h.At(1).Agent("thief").From("203.0.113.5").Refresh(stolen.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		if r.Text("reason") != "reuse_detected" {
			t.Errorf("the reason is %q", r.Text("reason"))
		}
		h.Follow()
		for i := range h.Replicas {
			h.At(i).Refresh(last.Text("refresh_token")).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
			for _, dead := range []string{stolen.Access, last.Text("access_token")} {
				h.At(i).As(dead).Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
			}
			for _, s := range []housetest.Session{mine, theirs} {
				h.At(i).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
			}
		}
		for _, s := range []housetest.Session{mine, theirs} {
			h.Client().Refresh(s.Refresh).Expect(http.StatusOK)
		}
	})
}

// SEC-OAU-38, INV-02: whoever refreshes while the session is being ended, at
// either replica, has nothing that is good once the end was acknowledged.
func TestNothingSurvivesTheEndOfASession(t *testing.T) {
	options := housetest.Options{Replicas: 2, Config: func(c *house.Config) { c.Tokens.RefreshCooldown = 0 }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		for round := range 12 {
			s := h.Login(h.Admin)
			var mu sync.Mutex
			got := []string{s.Refresh}
			access := []string{s.Access}
			var ready, all sync.WaitGroup
			for i := range 4 {
				c := h.At(i % 2).For(t)
				ready.Add(1)
				all.Go(func() {
					token := s.Refresh
					ready.Done()
					for {
						r, err := c.Try("POST", "/api/v1/auth/refresh", map[string]string{"refresh_token": token})
						if err != nil || r.Status != http.StatusOK {
							return // the session has ended
						}
						token = r.Text("refresh_token")
						mu.Lock()
						got, access = append(got, token), append(access, r.Text("access_token"))
						mu.Unlock()
					}
				})
			}
			ready.Wait()
			h.At(round%2).As(s.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
			all.Wait()
			h.Follow()
			for i := range h.Replicas {
				h.At(i).Refresh(got[len(got)-1]).Expect(http.StatusUnauthorized)
				h.At(i).Refresh(got[0]).Expect(http.StatusUnauthorized)
				for _, a := range access {
					h.At(i).As(a).Get("/api/v1/me").Expect(http.StatusUnauthorized)
				}
			}
		}
	})
}

// INV-12: every token verifies offline, with the keys that were published before
// it was made.
func TestTokensVerifyOffline(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		keys := &verify.RemoteKeys{URL: h.Replicas[1].URL + "/.well-known/jwks.json", Now: h.Clock.Now}
		v := &verify.Verifier{Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Keys: keys, Now: h.Clock.Now}
		if _, err := v.Verify(t.Context(), minted(t, h, func(*tokens.Claims) {})); err != nil { // fetches the keys
			t.Fatal(err)
		}
		s := h.Login(h.Admin)
		list := []string{s.Access, h.Client().SessionLogin(h.Admin.Email, h.Admin.Password).Access}
		for i := range 10 {
			h.Advance(time.Minute)
			r := h.At(i % 2).Refresh(s.Refresh).Expect(http.StatusOK)
			list, s.Refresh = append(list, r.Text("access_token")), r.Text("refresh_token")
		}
		for i, token := range list {
			claims, err := v.Verify(t.Context(), token)
			if err != nil || claims.Subject != string(h.Admin.ID) || claims.OrgID != string(h.Admin.Org) {
				t.Errorf("token %d: %+v, %v", i, claims, err)
			}
		}
	})
}

// SEC-WEB-17, SEC-OAU-37: a session ends after its idle time and, used
// or not, after its absolute time; a clock that jumps back prolongs neither.
func TestSessionsEndInTime(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		idle, busy := h.Login(h.Admin), h.Login(h.Admin)
		for range 4 { // 4 × 7 days, less an hour each: busy all the time
			h.Advance(h.Config.Tokens.RefreshIdle - time.Hour)
			busy.Refresh = h.Client().Refresh(busy.Refresh).Expect(http.StatusOK).Text("refresh_token")
			h.Clock.Advance(-30 * time.Minute) // the clock jumps back
			h.Follow()
			h.Client().Refresh(busy.Refresh).Expect(http.StatusOK)
			h.Advance(30 * time.Minute)
		}
		h.Client().Refresh(idle.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Advance(3 * 24 * time.Hour) // day 31
		r := h.Client().Refresh(busy.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		if r.Text("detail") != "Refresh token has expired" {
			t.Errorf("the detail is %q", r.Text("detail"))
		}
		h.Clock.Advance(-time.Hour) // back, though not before the end
		h.Follow()
		h.Client().Refresh(busy.Refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		s := h.Login(h.Admin) // a token that was made before a jump back still expires
		claims := claimsOf(t, s.Access)
		if claims["exp"].(float64)-claims["iat"].(float64) != 3600 || claims["iat"].(float64) != float64(h.Clock.Now().Unix()) {
			t.Errorf("iat %v, exp %v", claims["iat"], claims["exp"])
		}
	})
}

// SEC-OBS-09: events of two replicas have one order, and no number twice.
func TestEventsOfReplicasHaveOneOrder(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		var all sync.WaitGroup
		for i := range 8 {
			c := h.At(i % 2).For(t).As(s.Access)
			all.Go(func() {
				for range 5 {
					r, err := c.Try("POST", "/api/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"agents:read"}})
					if err != nil || r.Status != http.StatusCreated {
						t.Errorf("%v %s", err, r)
					}
				}
			})
		}
		all.Wait()
		for i := range h.Replicas { // both tell the same story
			events, err := h.Replicas[i].House.DB.Audit().Export(t.Context(), 0, 10_000)
			if err != nil || len(events) < 40 {
				t.Fatalf("%d events, %v", len(events), err)
			}
			for n := 1; n < len(events); n++ {
				if events[n].Seq <= events[n-1].Seq || events[n].ID == events[n-1].ID {
					t.Errorf("event %d follows event %d", events[n].Seq, events[n-1].Seq)
				}
			}
		}
	})
}
