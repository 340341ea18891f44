package housetest_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// reused is a token of a session whose first refresh token comes back.
func reused(t *testing.T, h *housetest.Harness) ended {
	t.Helper()
	stolen := h.Person(h.Admin.Org, "stolen", "engineer")
	s := h.Login(stolen)
	next := h.Client().Refresh(s.Refresh).Expect(http.StatusOK)
	next = h.Client().Refresh(next.Text("refresh_token")).Expect(http.StatusOK) // else a reply might have been lost
	return ended{"reuse detected", next.Text("access_token"), func() {
		thief := h.Client().Agent("thief").From("203.0.113.5")
		if r := thief.Refresh(s.Refresh).Expect(http.StatusUnauthorized); r.Text("reason") != "reuse_detected" {
			t.Errorf("not the reuse of a token: %s", r)
		}
	}}
}

// keyEnded is a token for which an API key was exchanged that is revoked.
func keyEnded(h *housetest.Harness) ended {
	admin := h.Client().As(h.Login(h.Admin).Access)
	keyID, key := admin.CreateKey("exchanged", "agents:read")
	return ended{"API key revoked (its tokens)", exchanged(h.Client(), key), func() {
		admin.Delete("/api/v1/api-keys/" + keyID).Expect(http.StatusNoContent)
	}}
}

// signatureEnded is a token whose signing key is revoked, like every other that is left.
func signatureEnded(h *housetest.Harness) ended {
	admin := h.Login(h.Admin).Access
	return ended{"signing key revoked", h.Login(h.Admin).Access, func() {
		h.Client().As(admin).Post("/api/v1/signing-keys/"+activeKey(h.House(), "ES256")+"/revoke", nil).Expect(http.StatusNoContent)
	}}
}

// INV-02, FLT-CLU-17: whatever ends a token is refused by the replica that did
// it before the reply, by the other one within two seconds, as its metric says
// too, and by resource servers that follow the other one's feed. The times are
// those of docs/revocation.md.
// AK-37, AK-40, AK-41.
func TestTimesOfRevocation(t *testing.T) {
	options := housetest.Options{Replicas: 2, Config: func(c *house.Config) { c.Tokens.RefreshGrace, c.Tokens.RefreshCooldown = 0, 0 }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		all := append(endings(h, 7), keyEnded(h), reused(t, h))
		admin := h.Client().As(h.Login(h.Admin).Access)
		keyID, key := admin.CreateKey("timed", "agents:read")
		runClock(t, h)
		stream, poll := consume(t, h, 1, verify.FeedStream), consume(t, h, 1, verify.FeedLongPoll)
		var table strings.Builder
		fmt.Fprintf(&table, "\n| %-28s | other replica | feed, stream | feed, long poll |\n|---|---|---|---|\n", "event")
		row := func(name string, times ...time.Duration) {
			fmt.Fprintf(&table, "| %-28s |", name)
			for _, took := range times {
				if took > bound {
					t.Errorf("%s took %s", name, took)
				}
				fmt.Fprintf(&table, " %d ms |", took.Milliseconds())
			}
			table.WriteString("\n")
		}
		end := func(e ended) {
			for i := range h.Replicas {
				h.At(i).As(e.token).Get("/api/v1/agents").Expect(http.StatusOK)
			}
			e.end()
			replied := time.Now()
			if r := h.At(0).As(e.token).Get("/api/v1/agents"); r.Status != http.StatusUnauthorized {
				t.Errorf("%s: where it happened the token is still good: %s", e.name, r)
			}
			other := until(t, replied, func() bool { return h.At(1).As(e.token).Get("/api/v1/agents").Status == http.StatusUnauthorized })
			row(e.name, other, stream.refusal(t, e.token, replied), poll.refusal(t, e.token, replied))
		}
		for _, e := range all {
			end(e)
		}
		h.At(1).WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
		admin.Delete("/api/v1/api-keys/" + keyID).Expect(http.StatusNoContent)
		replied := time.Now()
		h.At(0).WithKey(key).Get("/api/v1/agents").Expect(http.StatusUnauthorized)
		row("API key revoked", until(t, replied, func() bool { return h.At(1).WithKey(key).Get("/api/v1/agents").Status == http.StatusUnauthorized }))
		last := signatureEnded(h)
		stream.gone, poll.gone = kidOf(t, last.token), kidOf(t, last.token)
		end(last)
		t.Log(table.String())
		judgePropagation(t, h, len(all))
	})
}

// until repeats ask until it is true, and returns how long after began that was.
func until(t *testing.T, began time.Time, ask func() bool) time.Duration {
	t.Helper()
	eventually(t, "refused", ask)
	return time.Since(began)
}

// judgePropagation holds the other replica's own measurement to the bound.
func judgePropagation(t *testing.T, h *housetest.Harness, least int) {
	t.Helper()
	metrics := string(h.OpsAt(1).Get("/metrics").Expect(http.StatusOK).Body)
	value := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`).FindStringSubmatch(metrics)
		if m == nil {
			t.Fatalf("no metric %s", name)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const name = "tokenhouse_revocation_propagation_seconds"
	within, count := value(name+`_bucket{le="2"}`), value(name+"_count")
	if within != count || count < least {
		t.Errorf("the metric tells of %d revocations, %d of them within two seconds; want at least %d, all of them", count, within, least)
	}
}
