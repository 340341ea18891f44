package housetest_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// single is a public client of the first organisation whose users are not
// asked, with a person in a browser.
func single(t *testing.T, h *housetest.Harness) *party {
	t.Helper()
	r := oauth.Registered{
		ID: ident.NewClientID(h.Clock.Now(), rand.Reader), Org: h.Admin.Org, Name: "Single-page", AuthMethod: oauth.AuthNone, Status: oauth.ClientActive,
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken},
		RedirectURIs: []string{callback}, CreatedAt: h.Clock.Now(), CreatedBy: "operator", Settings: oauth.ClientSettings{SkipConsent: true},
	}
	err := h.House().DB.Clients().InClientTx(t.Context(), func(tx oauth.ClientTx) error { return tx.InsertClient(r) })
	if err != nil {
		t.Fatal(err)
	}
	p := &party{h: h, scope: "openid", user: h.Admin, client: partyClient{id: string(r.ID), method: "none", redirect: callback}}
	return p.in(t)
}

// freshCode is a code and the form that redeems it.
func (p *party) freshCode() string {
	p.t.Helper()
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	request := url.Values{
		"response_type": {"code"}, "client_id": {p.client.id}, "redirect_uri": {callback}, "scope": {p.scope}, "state": {rand.Text()}, "nonce": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	p.browser.OpenFrom("https://rp.example", p.h.Config.Issuer+"/oauth2/authorize?"+request.Encode())
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {p.signsIn().code(request)}, "redirect_uri": {callback},
		"client_id": {p.client.id}, "code_verifier": {verifier},
	}.Encode()
}

// SEC-OAU-11, SEC-OAU-12, INV-05: of 50 who redeem one code in the same moment exactly
// one is given tokens, the others are told invalid_grant, none anything else;
// and what the one was given has ended, on every replica within a second.
func TestFiftyRedeemOneCode(t *testing.T) {
	const together = 50
	for name, o := range map[string]housetest.Options{
		"sqlite": {}, "postgres": {Postgres: true}, "postgres with two replicas": {Postgres: true, Replicas: 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := housetest.Start(t, o)
			form := single(t, h).freshCode()
			var barrier, all sync.WaitGroup
			barrier.Add(1)
			replies := make([]housetest.Reply, together)
			failures := make([]error, together)
			for i := range together {
				c := h.At(i%len(h.Replicas)).With("Content-Type", "application/x-www-form-urlencoded")
				all.Go(func() {
					barrier.Wait()
					replies[i], failures[i] = c.Try(http.MethodPost, "/oauth2/token", form)
				})
			}
			barrier.Done()
			all.Wait()
			if err := errors.Join(failures...); err != nil {
				t.Fatal(err)
			}
			var won []housetest.Reply
			for _, r := range replies {
				switch {
				case r.Status == http.StatusOK:
					won = append(won, r)
				case r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant":
					t.Errorf("a loser is told %d %s", r.Status, r.Body)
				}
			}
			if len(won) != 1 {
				t.Fatalf("%d of %d were given tokens", len(won), together)
			}
			access, refresh := won[0].Text("access_token"), won[0].Text("refresh_token")
			ended := time.Now()
			for i := range h.Replicas {
				c := h.At(i)
				for c.As(access).Get("/api/v1/me").Status != http.StatusUnauthorized {
					if time.Since(ended) > time.Second {
						t.Fatalf("replica %d still takes the access token", i)
					}
				}
				again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {mustQuery(t, form).Get("client_id")}}
				r := c.With("Content-Type", "application/x-www-form-urlencoded").Post("/oauth2/token", again.Encode())
				if r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant" {
					t.Errorf("replica %d refreshes: %d %s", i, r.Status, r.Body)
				}
			}
		})
	}
}

func mustQuery(t *testing.T, text string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
