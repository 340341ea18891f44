package housetest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// party is a relying party together with the person at its browser, which is
// what the OpenID conformance suite is. It stops the test where the provider
// does otherwise than the suite allows.
type party struct {
	t       *testing.T
	h       *housetest.Harness
	browser *housetest.Browser
	user    housetest.Person
	client  partyClient
	mode    string // response_mode; left out where empty
	scope   string

	farewell housetest.Page // what the logout endpoint last showed
}

// partyClient is how the provider knows the relying party.
type partyClient struct {
	id, secret, method, redirect string
	key                          *keyHolder // for private_key_jwt
	keys                         *published // where its keys are, for jwks_uri
	manage                       registered
}

const callback = "https://rp.example/callback"

// issued is what a code or a refresh token gave.
type issued struct {
	access, refresh, id string
	scope               string
	claims              map[string]any // of the ID token
	subject             string
}

// in is the same party in another test, with a browser that knows nothing.
func (p *party) in(t *testing.T) *party {
	q := *p
	q.t, q.browser = t, p.h.Browser().For(t)
	return &q
}

// provider is what go-oidc discovers.
func (p *party) provider() *oidc.Provider {
	p.t.Helper()
	provider, err := oidc.NewProvider(p.t.Context(), p.h.Config.Issuer)
	if err != nil {
		p.t.Fatalf("discovery: %v", err)
	}
	return provider
}

func (p *party) config() *oauth2.Config {
	p.t.Helper()
	endpoint := p.provider().Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	secret := p.client.secret
	if p.client.method != "client_secret_basic" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	if p.client.method == "private_key_jwt" {
		secret = ""
	}
	return &oauth2.Config{ClientID: p.client.id, ClientSecret: secret, Endpoint: endpoint, RedirectURL: p.client.redirect, Scopes: strings.Fields(p.scope)}
}

// request is an authorization request as the suite makes it: with state and
// nonce. A change to "" leaves a parameter out.
func (p *party) request(changes map[string]string) url.Values {
	p.t.Helper()
	u, err := url.Parse(p.config().AuthCodeURL(rand.Text(), oauth2.SetAuthURLParam("nonce", rand.Text())))
	if err != nil {
		p.t.Fatal(err)
	}
	values := u.Query()
	if p.mode != "" {
		values.Set("response_mode", p.mode)
	}
	for name, v := range changes {
		if values.Set(name, v); v == "" {
			values.Del(name)
		}
	}
	return values
}

func (p *party) at(request url.Values) string {
	p.t.Helper()
	return p.provider().Endpoint().AuthURL + "?" + request.Encode()
}

// open sends the browser to the authorization endpoint.
func (p *party) open(request url.Values) housetest.Page {
	p.t.Helper()
	return p.browser.OpenFrom("https://rp.example", p.at(request))
}

// signsIn does what the pages ask of the user until the browser is sent back.
func (p *party) signsIn() *party {
	p.t.Helper()
	if p.browser.Left == nil && p.browser.Page.Has("password") {
		p.browser.Submit(map[string]string{"email": p.user.Email, "password": p.user.Password})
	}
	if p.browser.Left == nil && p.browser.Page.Has("decision") {
		p.browser.Submit(map[string]string{"decision": "allow"})
	}
	return p
}

// silent fails the test where a page is shown.
func (p *party) silent() *party {
	p.t.Helper()
	if p.browser.Left == nil && (p.browser.Page.Has("password") || p.browser.Page.Has("decision")) {
		p.t.Fatalf("a page is shown: %s", p.browser.Page)
	}
	return p
}

// asked fails the test unless the login page is shown.
func (p *party) asked() *party {
	p.t.Helper()
	if p.browser.Left != nil || !p.browser.Page.Has("password") {
		p.t.Fatalf("the login page is not shown: %s", p.browser.Page)
	}
	return p
}

// response is what the relying party reads at its redirect URI.
func (p *party) response(request url.Values) url.Values {
	p.t.Helper()
	got := p.browser.FollowsTo(p.client.redirect)
	if p.mode == "form_post" {
		registered, _, _ := strings.Cut(p.client.redirect, "#")
		if left := p.browser.Left.String(); left != registered || p.browser.Left.Fragment != "" {
			p.t.Fatalf("the form is sent to %s", left)
		}
	}
	for _, name := range []string{"state", "iss"} {
		want := map[string]string{"state": request.Get("state"), "iss": p.h.Config.Issuer}[name]
		if !slices.Equal(got[name], []string{want}) && (want != "" || got[name] != nil) {
			p.t.Fatalf("%s is %q, want %q", name, got[name], want)
		}
	}
	return got
}

// code is the code of a response that has nothing else.
func (p *party) code(request url.Values) string {
	p.t.Helper()
	got := p.response(request)
	for _, name := range slices.Collect(maps.Keys(got)) {
		if !slices.Contains([]string{"code", "state", "iss"}, name) && !strings.Contains(p.client.redirect, name+"=") {
			p.t.Fatalf("the response has %s: %v", name, got)
		}
	}
	if got.Get("code") == "" {
		p.t.Fatalf("no code: %v", got)
	}
	return got.Get("code")
}

// failure is the error of a response; the test fails unless it is one of those.
func (p *party) failure(request url.Values, want ...string) {
	p.t.Helper()
	got := p.response(request)
	if !slices.Contains(want, got.Get("error")) || got.Has("code") || strings.ContainsAny(got.Get("error_description"), "\r\n\t\"\\") {
		p.t.Fatalf("the response is %v, want an error of %q", got, want)
	}
}

// page fails the test unless our error page is shown, and the browser sent nowhere.
func (p *party) page() {
	p.t.Helper()
	if p.browser.Left != nil || p.browser.Page.Header.Get("Location") != "" {
		p.t.Fatalf("the browser was sent to %s", p.browser.Left)
	}
	p.browser.Page.Shows("Error").Expect(http.StatusBadRequest)
}

// recorder keeps the last answer of a token endpoint.
type recorder struct{ last *http.Response }

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	r.last = res
	return res, err
}

// tryCode presents a code to the token endpoint.
func (p *party) tryCode(code string, options ...oauth2.AuthCodeOption) (issued, error) {
	p.t.Helper()
	seen := &recorder{}
	ctx := context.WithValue(p.t.Context(), oauth2.HTTPClient, &http.Client{Transport: seen})
	for name, values := range p.proof(nil) {
		options = append(options, oauth2.SetAuthURLParam(name, values[0]))
	}
	got, err := p.config().Exchange(ctx, code, options...)
	if err != nil {
		return issued{}, err
	}
	if seen.last.Header.Get("Cache-Control") != "no-store" || got.Type() != "Bearer" || got.ExpiresIn <= 0 {
		p.t.Fatalf("the token response: %v %v", seen.last.Header, got)
	}
	id, _ := got.Extra("id_token").(string)
	scope, _ := got.Extra("scope").(string)
	return issued{access: got.AccessToken, refresh: got.RefreshToken, id: id, scope: scope}, nil
}

// proof is what the client shows in a form besides what x/oauth2 does.
func (p *party) proof(claims map[string]any) url.Values {
	if p.client.method != "private_key_jwt" {
		return nil
	}
	return url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {p.client.key.sign(p.t, claims)},
	}
}

// redeem redeems a code and validates the ID token.
func (p *party) redeem(code string, request url.Values, options ...oauth2.AuthCodeOption) issued {
	p.t.Helper()
	got, err := p.tryCode(code, options...)
	if err != nil {
		p.t.Fatalf("redeem the code: %v", err)
	}
	p.validate(&got)
	if nonce, _ := got.claims["nonce"].(string); nonce != request.Get("nonce") {
		p.t.Fatalf("nonce is %q, want %q", nonce, request.Get("nonce"))
	}
	return got
}

// validate holds an ID token to OpenID Connect Core 1.0 §3.1.3.7.
func (p *party) validate(got *issued) {
	p.t.Helper()
	config := &oidc.Config{ClientID: p.client.id, Now: p.h.Clock.Now}
	token, err := p.provider().VerifierContext(p.t.Context(), config).Verify(p.t.Context(), got.id)
	if err != nil {
		p.t.Fatalf("the ID token: %v", err)
	}
	if err := token.VerifyAccessToken(got.access); err != nil {
		p.t.Fatalf("at_hash: %v", err)
	}
	if err := token.Claims(&got.claims); err != nil {
		p.t.Fatal(err)
	}
	age := p.h.Clock.Now().Sub(token.IssuedAt)
	if token.Subject == "" || len(token.Subject) > 255 || age < 0 || age > time.Minute {
		p.t.Fatalf("the ID token is %v", got.claims)
	}
	if acr, ok := got.claims["acr"]; ok && acr != acrPassword {
		p.t.Fatalf("acr is %v", acr)
	}
	p.signedByPublished(got.id)
	got.subject = token.Subject
}

// acrPassword is the class of a login with a password.
const acrPassword = "urn:tokenhouse:acr:password"

// userinfo asks with the access token, and holds the answer to the ID token's sub.
func (p *party) userinfo(got issued) housetest.Reply {
	p.t.Helper()
	r := p.h.Client().For(p.t).As(got.access).Get("/oauth2/userinfo").Expect(http.StatusOK)
	if r.Text("sub") != got.subject {
		p.t.Fatalf("userinfo is about %q, the ID token about %q", r.Text("sub"), got.subject)
	}
	standardClaims(p.t, r)
	return r
}

// happy is one authorization from its beginning to userinfo.
func (p *party) happy(changes map[string]string) issued {
	p.t.Helper()
	request := p.request(changes)
	p.open(request)
	got := p.signsIn().redeem(p.code(request), request)
	p.userinfo(got)
	return got
}

// post sends a form to one of our endpoints as the client.
func (p *party) post(path string, pairs ...string) housetest.Reply {
	p.t.Helper()
	c := p.h.Client().For(p.t)
	for name, values := range p.proof(nil) {
		pairs = append(pairs, name, values[0])
	}
	switch p.client.method {
	case "client_secret_basic":
		c = serviceClient{p.client.id, p.client.secret}.by(c)
	case "client_secret_post":
		pairs = append(pairs, "client_id", p.client.id, "client_secret", p.client.secret)
	case "none":
		pairs = append(pairs, "client_id", p.client.id)
	}
	return form(c, path, pairs...)
}

// authTime is when the ID token says that the user logged in.
func (got issued) authTime(t *testing.T) time.Time {
	t.Helper()
	seconds, ok := got.claims["auth_time"].(float64)
	if !ok {
		t.Fatalf("auth_time is %v", got.claims["auth_time"])
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// fetch reads a document that somebody published.
func fetch(t *testing.T, address string, into any) http.Header {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", address, res.Status, err, body)
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(into); err != nil {
		t.Fatalf("%s: %v\n%s", address, err, body)
	}
	return res.Header
}
