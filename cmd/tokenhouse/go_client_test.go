package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// goClient is a program made of golang.org/x/oauth2 and coreos/go-oidc, and
// what it knows of the server: its issuer and its registration, no more.
type goClient struct {
	t        *testing.T
	issuer   string
	provider *oidc.Provider
	config   oauth2.Config
	logout   string // end_session_endpoint
	revoke   string
	inspect  string // introspection_endpoint
}

const (
	goCallback  = "https://app.example/callback"
	goLoggedOut = "https://app.example/bye"
)

// call sends a request and decodes what comes, of whatever status.
func (c *goClient) call(method, address, token string, body io.Reader, kind string) (status int, out map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, address, body)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else {
		req.SetBasicAuth(url.QueryEscape(c.config.ClientID), url.QueryEscape(c.config.ClientSecret))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(bytes.TrimSpace(read)) > 0 && json.Unmarshal(read, &out) != nil {
		c.t.Fatalf("%s %s: %s %s", method, address, res.Status, read)
	}
	return res.StatusCode, out
}

// form sends a form as the client.
func (c *goClient) form(address string, pairs url.Values) (int, map[string]any) {
	c.t.Helper()
	return c.call(http.MethodPost, address, "", strings.NewReader(pairs.Encode()), "application/x-www-form-urlencoded")
}

// newGoClient discovers the server, and has an administrator register the client.
func newGoClient(t *testing.T, issuer, password string) *goClient {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatalf("discovery: %v", err)
	}
	c := &goClient{t: t, issuer: issuer, provider: provider}
	var more struct {
		Logout  string `json:"end_session_endpoint"`
		Revoke  string `json:"revocation_endpoint"`
		Inspect string `json:"introspection_endpoint"`
	}
	if err := provider.Claims(&more); err != nil || more.Logout == "" || more.Revoke == "" || more.Inspect == "" {
		t.Fatalf("%+v, %v", more, err)
	}
	c.logout, c.revoke, c.inspect = more.Logout, more.Revoke, more.Inspect
	_, in := c.call(http.MethodPost, issuer+"/api/v1/auth/login", "none", strings.NewReader(login("admin@localhost", password)), "application/json")
	registration, err := json.Marshal(map[string]any{
		"name": "Go application", "auth_method": "client_secret_basic", "grants": []string{"authorization_code", "refresh_token"},
		"scopes":        []string{"openid", "profile", "email", "offline_access", "incidents:read"},
		"redirect_uris": []string{goCallback}, "post_logout_redirect_uris": []string{goLoggedOut},
	})
	if err != nil {
		t.Fatal(err)
	}
	access, _ := in["access_token"].(string)
	status, made := c.call(http.MethodPost, issuer+"/api/v1/clients", access, bytes.NewReader(registration), "application/json")
	if status != http.StatusCreated {
		t.Fatalf("%d %v", status, made)
	}
	c.config = oauth2.Config{
		ClientID: made["client_id"].(string), ClientSecret: made["client_secret"].(string), Endpoint: provider.Endpoint(), RedirectURL: goCallback,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess, "incidents:read"},
	}
	return c
}

// signIn is a person who signs in with the browser and allows the client.
func (c *goClient) signIn(b *housetest.Browser, who housetest.Person) (*oauth2.Token, *oidc.IDToken, string) {
	c.t.Helper()
	verifier := oauth2.GenerateVerifier()
	b.Allow(c.config.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("a nonce")), who)
	got := b.FollowsTo(goCallback)
	if got.Get("state") != "a state" || got.Get("iss") != c.issuer {
		c.t.Fatalf("the response is %v", got)
	}
	token, err := c.config.Exchange(c.t.Context(), got.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		c.t.Fatalf("the code: %v", err)
	}
	raw, _ := token.Extra("id_token").(string)
	id := c.validate(raw, token.AccessToken)
	if id.Nonce != "a nonce" {
		c.t.Fatalf("nonce %q", id.Nonce)
	}
	return token, id, raw
}

func (c *goClient) validate(raw, access string) *oidc.IDToken {
	c.t.Helper()
	id, err := c.provider.Verifier(&oidc.Config{ClientID: c.config.ClientID}).Verify(c.t.Context(), raw)
	if err == nil {
		err = id.VerifyAccessToken(access)
	}
	if err != nil {
		c.t.Fatalf("the ID token: %v", err)
	}
	return id
}

// TestAGoProgramSignsPeopleIn drives the real binary with golang.org/x/oauth2
// and coreos/go-oidc: discovery, code with PKCE, ID token, userinfo, refresh,
// introspection, revocation, logout.
func TestAGoProgramSignsPeopleIn(t *testing.T) {
	s := launch(t, tested(t))
	password := s.password(t)
	get(t, s.ops+"/readyz", http.StatusOK)
	admin := housetest.Person{Email: "admin@localhost", Password: password}
	c := newGoClient(t, s.url, password)
	b := housetest.NewBrowser(t, s.url)
	token, id, raw := c.signIn(b, admin)

	info, err := c.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil || info.Subject != id.Subject || info.Email != "admin@localhost" {
		t.Fatalf("userinfo: %+v, %v", info, err)
	}

	renewed, err := c.config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	if err != nil || renewed.AccessToken == token.AccessToken {
		t.Fatalf("refresh: %v", err)
	}
	again, _ := renewed.Extra("id_token").(string)
	if second := c.validate(again, renewed.AccessToken); second.Subject != id.Subject || second.Nonce != "" {
		t.Errorf("the second ID token is %+v", second)
	}

	if status, told := c.form(c.inspect, url.Values{"token": {renewed.AccessToken}}); status != http.StatusOK || told["active"] != true || told["client_id"] != c.config.ClientID {
		t.Errorf("introspection: %d %v", status, told)
	}
	if status, _ := c.form(c.revoke, url.Values{"token": {renewed.RefreshToken}}); status != http.StatusOK {
		t.Errorf("revocation: %d", status)
	}
	if _, told := c.form(c.inspect, url.Values{"token": {renewed.AccessToken}}); told["active"] != false {
		t.Errorf("after the revocation: %v", told)
	}
	if _, err := c.config.TokenSource(context.Background(), &oauth2.Token{RefreshToken: renewed.RefreshToken}).Token(); err == nil {
		t.Error("a revoked refresh token gives another")
	}

	c.logsOut(b, raw)
}

// logsOut ends the session at the provider, and finds the user logged out.
func (c *goClient) logsOut(b *housetest.Browser, hint string) {
	c.t.Helper()
	b.Open(c.logout + "?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {goLoggedOut}, "state": {"bye"}}.Encode())
	if got := b.FollowsTo(goLoggedOut); got.Get("state") != "bye" {
		c.t.Errorf("after the logout: %v", got)
	}
	verifier := oauth2.GenerateVerifier()
	b.Open(c.config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "none")))
	if got := b.FollowsTo(goCallback); got.Get("error") != "login_required" {
		c.t.Errorf("logged out, and %v", got)
	}
}
