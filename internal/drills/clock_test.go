package drills_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// drifting is a deployment whose second replica has a clock of its own, which is
// apart from the real one by as much as is stored.
func drifting(t *testing.T, apart *atomic.Int64) *housetest.Harness {
	return housetest.Start(t, housetest.Options{
		Postgres: true, Replicas: 2, Clock: housetest.NewClock(time.Now()),
		Config: func(c *house.Config) { c.Tokens.RefreshCooldown = 0 },
		Env: func(replica int, env *house.Env) {
			env.ClockSkew, env.Now = house.MaxClockSkew, time.Now
			if replica == 1 {
				env.Now = func() time.Time { return time.Now().Add(time.Duration(apart.Load())) }
			}
		},
	})
}

// ready is what a replica says of itself.
func ready(h *housetest.Harness, replica int) (int, string) {
	r := h.OpsAt(replica).Get("/readyz")
	return r.Status, strings.TrimSpace(string(r.Body))
}

// FLT-CLU-01: two replicas whose clocks differ by half a minute work together in
// every flow. Where one's is further off it says so and is not ready: it accepts
// nothing that may have expired, refuses nobody for being too old or too early, and
// answers what does not depend on the time; the other goes on.
func TestReplicasWhoseClocksDiffer(t *testing.T) {
	var apart atomic.Int64
	h := drifting(t, &apart)
	for _, by := range []time.Duration{30 * time.Second, -30 * time.Second} {
		apart.Store(int64(by))
		for i := range h.Replicas {
			if status, said := ready(h, i); status != http.StatusOK {
				t.Errorf("%s: replica %d: %d %s", by, i, status, said)
			}
			here, there := h.At(i), h.At(1-i)
			s := here.Login(h.Admin.Email, h.Admin.Password)
			there.As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
			next := there.Refresh(s.Refresh).Expect(http.StatusOK)
			here.As(next.Text("access_token")).Get("/api/v1/me").Expect(http.StatusOK)
			last := here.Refresh(next.Text("refresh_token")).Expect(http.StatusOK)
			id, key := here.As(s.Access).CreateKey("k", "agents:read")
			there.WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
			there.As(s.Access).Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
			there.As(last.Text("access_token")).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
			h.Follow()
			here.WithKey(key).Get("/api/v1/me").Expect(http.StatusUnauthorized)
			here.As(last.Text("access_token")).Get("/api/v1/me").Expect(http.StatusUnauthorized)
			here.Refresh(last.Text("refresh_token")).Expect(http.StatusUnauthorized)
		}
	}
	apart.Store(0)
	h.Follow()
	s := h.Login(h.Admin)
	for _, by := range []time.Duration{5 * time.Minute, -5 * time.Minute, time.Hour, -time.Hour} {
		apart.Store(int64(by))
		if status, said := ready(h, 1); status != http.StatusServiceUnavailable || said != "clock skew" {
			t.Errorf("%s: %d %s", by, status, said)
		}
		wrong := h.At(1)
		wrong.As(s.Access).Get("/api/v1/me").Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
		wrong.Refresh(s.Refresh).Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
		wrong.TryLogin(h.Admin.Email, h.Admin.Password).Problem(http.StatusServiceUnavailable, "UNAVAILABLE")
		wrong.Get("/.well-known/jwks.json").Expect(http.StatusOK)
		h.OpsAt(1).Get("/healthz").Expect(http.StatusOK)
		if status, said := ready(h, 0); status != http.StatusOK {
			t.Errorf("%s: the other: %d %s", by, status, said)
		}
		h.Client().As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
	}
	apart.Store(0)
	h.Follow() // by a clock that jumped the last word is long ago
	if status, said := ready(h, 1); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, said)
	}
	h.At(1).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
	h.At(1).Refresh(s.Refresh).Expect(http.StatusOK)
}

// FLT-CLU-02: the clock of one replica jumps back by an hour, forward by a year, by
// the second that a leap takes and by the hour of a summer, before anybody noticed.
// No token expires before it was issued; nothing is removed or ended for its age;
// and what was locked is open again when it should be, once the clock is right.
func TestAClockThatJumps(t *testing.T) {
	var apart atomic.Int64
	h := drifting(t, &apart)
	db := beside(t, h)
	for name, jump := range map[string]time.Duration{"back": -time.Hour, "a year": 365 * 24 * time.Hour, "a leap": time.Second, "summer": time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := h.Login(h.Admin)
			_, key := h.Client().As(s.Access).CreateKey("k", "agents:read")
			from := fmt.Sprintf("203.0.113.%d", len(name))
			apart.Store(int64(jump)) // requests arrive before the next comparison
			jumped := h.At(1).From(from)
			for i := range 6 {
				jumped.TryLogin(h.Admin.Email, fmt.Sprint("a wrong one, number ", i))
			}
			if r := h.At(1).TryLogin(h.Admin.Email, h.Admin.Password); r.Status == http.StatusOK {
				if c := member(t, r.Text("access_token"), 1); c["exp"].(float64) <= c["iat"].(float64) {
					t.Errorf("issued at %v, expires at %v", c["iat"], c["exp"])
				}
			}
			if err := h.Replicas[1].House.Tend(t.Context()); (err == nil) != (jump.Abs() <= house.MaxClockSkew) {
				t.Errorf("what the jumped replica did in the background: %v", err)
			}
			for what, query := range map[string]string{
				"sessions ended": "SELECT count(*) FROM sessions WHERE revoked_at > 0", "keys ended": "SELECT count(*) FROM api_keys WHERE revoked_at > 0",
				"signing keys retired": "SELECT count(*) FROM signing_keys WHERE retired_at > 0",
			} {
				if n := number(t, db, query); n != 0 {
					t.Errorf("%d %s", n, what)
				}
			}
			apart.Store(0)
			h.Follow()
			if status, said := ready(h, 1); status != http.StatusOK {
				t.Errorf("afterwards: %d %s", status, said)
			}
			for i := range h.Replicas {
				h.At(i).As(s.Access).Get("/api/v1/me").Expect(http.StatusOK)
				h.At(i).WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
			}
			h.At(1).Refresh(s.Refresh).Expect(http.StatusOK)
			h.At(1).Login(h.Admin.Email, h.Admin.Password)
			if jump > time.Hour { // a year's lock is none
				h.At(0).From(from).TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
			}
		})
	}
}

// FLT-CLU-07: a replica that has not heard that another one put its signing keys
// out of use looks before it signs, once it knows that it has not heard; until then
// what it signs with a key that was revoked is refused by everybody who has heard.
func TestAReplicaWithOldSigningKeys(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2, Still: true}, func(t *testing.T, h *housetest.Harness) {
		before := h.At(1).Login(h.Admin.Email, h.Admin.Password).Access
		old := member(t, before, 0)["kid"].(string)
		h.At(1).As(before).Get("/api/v1/me").Expect(http.StatusOK)
		ring := h.Replicas[0].House.Ring
		if _, err := ring.RotateNow(t.Context(), h.Operator("")); err != nil {
			t.Fatal(err)
		}
		if err := ring.Revoke(t.Context(), h.Operator(""), old); err != nil {
			t.Fatal(err)
		}
		deaf := h.At(1)
		with := func(c *housetest.Client) (string, string) {
			token := c.Login(h.Admin.Email, h.Admin.Password).Access
			return token, member(t, token, 0)["kid"].(string)
		}
		if token, kid := with(deaf); kid != old {
			t.Errorf("it heard: it signs with %s", kid)
		} else {
			h.Client().As(token).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		}
		h.Clock.Advance(11 * time.Second) // longer than it believes what it knows
		if err := h.House().Feed.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		token, kid := with(deaf)
		if kid == old {
			t.Error("it signs with a key that was revoked")
		}
		h.Client().As(token).Get("/api/v1/me").Expect(http.StatusOK)
	})
}

// member is the header (0) or the claims (1) of a token.
func member(t *testing.T, token string, part int) (out map[string]any) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	return out
}
