package examples_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// product is how a product with a generic form asks, as its source says.
type product struct {
	name        string
	redirect    string
	pkce, nonce bool
}

// in the order of the guide
var products = []product{
	{"Grafana", "https://grafana.example.com/login/generic_oauth", true, false},
	{"oauth2-proxy", "https://app.example.com/oauth2/callback", true, true},
	{"Gitea", "https://git.example.com/user/oauth2/tokenhouse/callback", false, false},
	{"Apache", "https://app.example.com/oidc/callback", true, true},
}

// The generic guide registers its clients as it is printed, and lets in who asks
// as the products do.
func TestTheGenericGuide(t *testing.T) {
	c := newClone(t)
	s := c.follow("README.md", "generic.md")
	s.finish()
	said := strings.Join(s.said, "\n")
	ids := regexp.MustCompile(`(?m)^client_id +(\S+)`).FindAllStringSubmatch(said, -1)
	secrets := regexp.MustCompile(`(?m)^client_secret +(\S+)`).FindAllStringSubmatch(said, -1)
	if len(ids) != len(products) || len(secrets) != len(products) {
		t.Fatalf("the guide registers %d clients with %d secrets\n%s", len(ids), len(secrets), said)
	}
	issuer := "http://" + c.house
	house, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range products {
		t.Run(p.name, func(t *testing.T) {
			conf := oauth2.Config{
				ClientID: ids[i][1], ClientSecret: secrets[i][1], Endpoint: house.Endpoint(), RedirectURL: p.redirect, Scopes: []string{"openid", "profile", "email"},
			}
			verifier := oauth2.GenerateVerifier()
			asked, redeemed := p.options(verifier)
			b := housetest.NewBrowser(t, issuer)
			ada := housetest.Person{Email: adaEmail, Password: adaPassword}
			b.Allow(conf.AuthCodeURL("state", asked...), ada)
			token, err := conf.Exchange(t.Context(), b.FollowsTo(p.redirect).Get("code"), redeemed...)
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := token.Extra("id_token").(string)
			id, err := house.Verifier(&oidc.Config{ClientID: conf.ClientID}).Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			person, err := house.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
			if err != nil || person.Email != adaEmail || person.Subject != id.Subject {
				t.Errorf("userinfo: %+v %v", person, err)
			}
			if p.pkce {
				b.Open(conf.AuthCodeURL("state"))
				if got := b.FollowsTo(p.redirect).Get("error"); got != "invalid_request" {
					t.Errorf("without a code challenge the answer is %q", got)
				}
			}
		})
	}
}

// options are what the product adds to an authorization request, and to a token request.
func (p product) options(verifier string) (asked, redeemed []oauth2.AuthCodeOption) {
	if p.pkce {
		asked, redeemed = append(asked, oauth2.S256ChallengeOption(verifier)), append(redeemed, oauth2.VerifierOption(verifier))
	}
	if p.nonce {
		asked = append(asked, oidc.Nonce("a nonce"))
	}
	return asked, redeemed
}

// Every address that the generic guide names is in the discovery document, or is
// the issuer.
func TestTheGenericGuideNamesRealAddresses(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	res, err := http.Get(h.Config.Issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var document map[string]any
	if err := json.NewDecoder(res.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	known := []string{"", "/.well-known/openid-configuration"}
	for _, v := range document {
		if address, ok := v.(string); ok {
			known = append(known, strings.TrimPrefix(address, h.Config.Issuer))
		}
	}
	text, err := os.ReadFile("../clients/generic.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("https://login\\.example\\.com([^\\s`\"?]*)").FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(known, m[1]) {
			t.Errorf("the guide names %s, and the discovery document does not", m[0])
		}
	}
}
