package housetest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// consumer is a resource server that follows one replica's feed.
type consumer struct {
	*verify.Verifier
	heard chan struct{}
	gone  string // a key that is no longer published, where one is revoked
}

func consume(t *testing.T, h *housetest.Harness, replica int, mode verify.FeedMode) *consumer {
	t.Helper()
	c := &consumer{heard: make(chan struct{}, 1)}
	keys := &verify.RemoteKeys{URL: h.Replicas[replica].URL + "/.well-known/jwks.json", Now: h.Clock.Now}
	follow := &verify.RemoteRevocations{
		URL: h.Replicas[replica].URL + "/.well-known/revocations", Issuer: h.Config.Issuer, Keys: keys, Now: h.Clock.Now, Mode: mode, Random: rand.Reader,
		Interval: time.Hour, // so that nothing is learnt by polling
		Report:   func(err error) { t.Errorf("the consumer at replica %d: %v", replica, err) },
		Heard: func() {
			select {
			case c.heard <- struct{}{}:
			default:
			}
		},
	}
	c.Verifier = &verify.Verifier{Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Keys: keys, Now: h.Clock.Now, Revoked: follow}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); follow.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	select {
	case <-c.heard:
	case <-time.After(bound):
		t.Fatalf("replica %d told nothing at all", replica)
	}
	return c
}

// refusal waits until the token is refused, and returns how long that took.
func (c *consumer) refusal(t *testing.T, token string, since time.Time) time.Duration {
	t.Helper()
	late := time.NewTimer(5 * time.Second)
	defer late.Stop()
	for {
		_, err := c.Verify(t.Context(), token)
		if errors.Is(err, verify.ErrRevoked) || c.gone != "" && kidOf(t, token) == c.gone && errors.Is(err, verify.ErrInvalid) {
			return time.Since(since)
		}
		if err != nil && !errors.Is(err, verify.ErrUnavailable) { // the clock was moved: it must be told first
			t.Fatalf("neither good nor revoked: %v", err)
		}
		select {
		case <-c.heard:
		case <-late.C:
			t.Error("the consumer still accepts the token")
			return 5 * time.Second
		}
	}
}

// ended is one way that tokens end before their time.
type ended struct {
	name  string
	token string
	end   func()
}

func endings(h *housetest.Harness, n int) []ended {
	admin := h.Client().As(h.Login(h.Admin).Access)
	person := func(what string) (housetest.Person, housetest.Session) {
		p := h.Person(h.Admin.Org, fmt.Sprintf("%s-%d", what, n), "engineer")
		return p, h.Login(p)
	}
	_, out := person("logout")
	_, gone := person("session")
	barred, barredSession := person("barred")
	changed, changedSession := person("password")
	lowered, loweredSession := person("role")
	robot := enrol(admin, []string{"agents:read"}, nil)
	return []ended{
		{"logout", out.Access, func() { h.Client().As(out.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent) }},
		{"session revoked", gone.Access, func() {
			var mine struct{ Data []struct{ ID string } }
			own := h.Client().As(gone.Access)
			own.Get("/api/v1/sessions").Expect(http.StatusOK).Decode(&mine)
			own.Delete("/api/v1/sessions/" + mine.Data[0].ID).Expect(http.StatusNoContent)
		}},
		{"user disabled", barredSession.Access, func() {
			admin.Patch("/api/v1/users/"+string(barred.ID), map[string]string{"status": "disabled"}).Expect(http.StatusOK)
		}},
		{"password changed", changedSession.Access, func() {
			h.Client().As(h.Login(changed).Access).Post("/api/v1/me/password", map[string]string{
				"current_password": changed.Password, "new_password": "another sentence, and longer"}).Expect(http.StatusNoContent)
		}},
		{"role changed", loweredSession.Access, func() {
			admin.Patch("/api/v1/memberships/"+string(lowered.ID), map[string]string{"role": "viewer"}).Expect(http.StatusOK)
		}},
		{"client disabled", robot.token(h.Client()), func() {
			admin.Patch("/api/v1/clients/"+robot.id, map[string]string{"status": "disabled"}).Expect(http.StatusOK)
		}},
	}
}

// O17: whatever ends tokens at one replica reaches a verifier that follows the
// other one's stream within two seconds of the reply; and long polls too.
func TestO17WhatEndsTokensReachesConsumersOfTheFeed(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		var table strings.Builder
		fmt.Fprintf(&table, "\n| %-20s | stream, same replica | stream, other replica | long poll, other replica |\n", "event")
		consumers := []*consumer{consume(t, h, 0, verify.FeedStream), consume(t, h, 1, verify.FeedStream), consume(t, h, 1, verify.FeedLongPoll)}
		for _, e := range endings(h, 1) {
			for i, c := range consumers {
				if _, err := c.Verify(t.Context(), e.token); err != nil {
					t.Fatalf("%s: consumer %d refuses it beforehand: %v", e.name, i, err)
				}
			}
			e.end()
			replied := time.Now()
			fmt.Fprintf(&table, "| %-20s |", e.name)
			for i, c := range consumers {
				took := c.refusal(t, e.token, replied)
				if took > bound {
					t.Errorf("%s: consumer %d took %s", e.name, i, took)
				}
				fmt.Fprintf(&table, " %.1f ms |", float64(took.Microseconds())/1000)
			}
			table.WriteString("\n")
		}
		t.Log(table.String())
	})
}

// A replica that stops lets go of its readers at once.
func TestStreamsEndWhenTheReplicaStops(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.Replicas[0].URL+"/.well-known/revocations", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("X-Accel-Buffering") != "no" {
			t.Errorf("%v", res.Header)
		}
	}
	began := time.Now()
	if err := h.Replicas[0].Stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > bound {
		t.Errorf("it took %s", took)
	}
}
