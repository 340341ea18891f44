package housetest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// offline is a resource server that reads status lists from one replica. The
// lists have the issuer's address; the replica is reached as through a load balancer.
func offline(h *housetest.Harness, replica int) *verify.Verifier {
	address := strings.TrimPrefix(h.Replicas[replica].URL, "http://")
	balancer := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	keys := &verify.RemoteKeys{URL: h.Replicas[replica].URL + "/.well-known/jwks.json", Now: h.Clock.Now}
	return &verify.Verifier{
		Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Keys: keys, Now: h.Clock.Now,
		Revoked: &verify.StatusLists{Issuer: h.Config.Issuer, Keys: keys, Now: h.Clock.Now, Client: balancer},
	}
}

// told waits until the replica's list tells of the token, and returns how long
// that took: what a verifier sees that asks at that moment.
func told(t *testing.T, h *housetest.Harness, replica int, e ended) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		_, err := offline(h, replica).Verify(t.Context(), e.token)
		took := time.Since(began)
		if errors.Is(err, verify.ErrRevoked) {
			return took
		}
		if err != nil || took > 2*bound {
			t.Errorf("%s: replica %d, after %s: %v", e.name, replica, took, err)
			return took
		}
	}
}

// spared is one token that must stay good whatever happens to the others.
type spared struct{ name, token string }

// oneByOne are the endings of single tokens, of a family that was stolen and of
// API keys, and the tokens beside them that these leave alone.
func oneByOne(h *housetest.Harness) (endings []ended, others []spared) {
	admin := h.Client().As(h.Login(h.Admin).Access)
	robot := enrol(admin, []string{"agents:read"}, map[string]any{"name": "one by one"})
	first, second := robot.token(h.Client()), robot.token(h.Client())
	id, key := admin.CreateKey("status-list", "agents:read")
	_, key2 := admin.CreateKey("another", "agents:read")
	one, two := exchanged(h.Client(), key), exchanged(h.Client(), key)
	stolen := h.Login(h.Person(h.Admin.Org, "stolen", "engineer"))
	alone := exchanged(h.Client(), key2)
	return []ended{
			{"token of a client revoked", first, func() { form(robot.by(h.Client()), "/oauth2/revoke", "token", first).Expect(http.StatusOK) }},
			{"exchanged token revoked", alone, func() {
				form(h.Client(), "/oauth2/revoke", "token", alone, "client_id", "cli_api_key").Expect(http.StatusOK)
			}},
			{"API key revoked", one, func() { admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent) }},
			{"API key revoked, its other token", two, func() {}},
			{"refresh token stolen", stolen.Access, func() {
				h.Advance(31 * time.Second) // a refresh rotates
				next := h.Client().Refresh(stolen.Refresh).Expect(http.StatusOK).Text("refresh_token")
				h.Advance(31 * time.Second)
				h.Client().Refresh(next).Expect(http.StatusOK)
				h.Advance(2 * time.Minute) // no retry comes so late
				if r := h.Client().Agent("thief").From("203.0.113.5").Refresh(stolen.Refresh); r.Text("reason") != "reuse_detected" {
					panic(r.String()) // whoever calls has the test
				}
			}},
		}, []spared{
			{"another token of the client", second}, {"another token of the other key", exchanged(h.Client(), key2)},
			{"somebody who did nothing", h.Login(h.Person(h.Admin.Org, "bystander", "engineer")).Access},
		}
}

// O17: whatever ends tokens at one replica is told by the lists of both, and
// reaches a verifier that reads lists within their ttl, whose clock is moved. It
// ends those tokens and no others.
func TestO17WhatEndsTokensReachesReadersOfStatusLists(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		var table strings.Builder
		fmt.Fprintf(&table, "\n| %-32s | list, same replica | list, other replica |\n", "event")
		all := endings(h, 2)
		more, others := oneByOne(h)
		all = append(all, more...)
		readers := []*verify.Verifier{offline(h, 0), offline(h, 1)}
		good := func(name, token string) {
			t.Helper()
			for i, r := range readers {
				if _, err := r.Verify(t.Context(), token); err != nil {
					t.Errorf("%s: reader %d: %v", name, i, err)
				}
			}
		}
		for _, e := range all {
			good(e.name, e.token)
		}
		for _, e := range all {
			e.end()
			h.Clock.Advance(time.Second) // lists are made at most once in it
			fmt.Fprintf(&table, "| %-32s |", e.name)
			for i := range readers {
				took := told(t, h, i, e)
				if took > bound {
					t.Errorf("%s: replica %d took %s", e.name, i, took)
				}
				fmt.Fprintf(&table, " %.1f ms |", float64(took.Microseconds())/1000)
			}
			table.WriteString("\n")
		}
		t.Log(table.String())
		h.Advance(tokens.DefaultStatusListTTL)
		for _, e := range all {
			for i, r := range readers {
				if _, err := r.Verify(t.Context(), e.token); !errors.Is(err, verify.ErrRevoked) {
					t.Errorf("%s: reader %d after a ttl: %v", e.name, i, err)
				}
			}
		}
		for _, s := range others {
			good(s.name, s.token)
		}
	})
}

// The lists are found by what the metadata says, and kept for as long as they say.
func TestStatusListsAreFoundAndKept(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	token := h.Login(h.Admin).Access
	reader := offline(h, 0)
	if _, err := reader.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	var lists struct {
		URIs []string `json:"status_lists"`
	}
	h.Client().Get(tokens.StatusListPath).Expect(http.StatusOK).Decode(&lists)
	status := claimsOf(t, token)["status"].(map[string]any)["status_list"].(map[string]any)
	if !slices.Contains(lists.URIs, status["uri"].(string)) {
		t.Errorf("the list of the token, %v, is not among %v", status, lists.URIs)
	}
	path := strings.TrimPrefix(status["uri"].(string), h.Config.Issuer)
	list := h.Client().Get(path).Expect(http.StatusOK)
	if list.Header.Get("Content-Type") != "application/statuslist+jwt" || list.Header.Get("Cache-Control") != "public, max-age=30" || list.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", list.Header)
	}
	h.Client().With("If-None-Match", list.Header.Get("ETag")).Get(path).Expect(http.StatusNotModified)
	h.Client().Get(tokens.StatusListPath+"/unknown1").Problem(http.StatusNotFound, "NOT_FOUND")
	var meta struct {
		At string `json:"status_list_aggregation_endpoint"`
	}
	for _, document := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		if h.Client().Get(document).Expect(http.StatusOK).Decode(&meta); meta.At != h.Config.Issuer+tokens.StatusListPath {
			t.Errorf("%s names %q", document, meta.At)
		}
	}
}
