package housetest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// registered is where a client that registered itself manages its registration.
type registered struct{ uri, token string }

// TestOIDCCDynamic is the Dynamic plan but for oidcc-server-rotate-keys and the
// discovery document: each module's client registers itself, with
// private_key_jwt.
func TestOIDCCDynamic(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: openRegistration}, func(t *testing.T, h *housetest.Harness) {
		p := &party{h: h, scope: "openid", user: h.Person(h.Admin.Org, "member", "viewer")}
		for _, m := range dynamicModules {
			t.Run(m.name, func(t *testing.T) { m.run(p.in(t)) })
		}
	})
}

// openRegistration lets anybody register a client, as many as the suite needs.
func openRegistration(c *house.Config) {
	c.Clients.Mode, c.Clients.Limit, c.Clients.Hourly = "open", 1000, 1000
}

// newRSA makes a key of a client's.
func newRSA(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "RS256", Use: "sig"}
}

func setOf(keys ...jose.JSONWebKey) jose.JSONWebKeySet {
	var out jose.JSONWebKeySet
	for _, k := range keys {
		out.Keys = append(out.Keys, k.Public())
	}
	return out
}

// tryRegister sends metadata to the registration endpoint. The suite's own come
// first, then the change; nil takes one away.
func (p *party) tryRegister(key jose.JSONWebKey, change map[string]any) housetest.Reply {
	p.t.Helper()
	body := map[string]any{
		"client_name": "Suite " + p.t.Name(), "grant_types": []string{"authorization_code"}, "response_types": []string{"code"},
		"redirect_uris": []string{callback}, "jwks": setOf(key), "token_endpoint_auth_method": "private_key_jwt",
		"contacts": []string{"certification@rp.example"},
	}
	for name, v := range change {
		if body[name] = v; v == nil {
			delete(body, name)
		}
	}
	u, err := url.Parse(p.discover().Register)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.h.Client().For(p.t).Post(u.Path, body)
}

// registers registers the party's client, and holds the answer to RFC 7591 §3.2.1.
func (p *party) registers(change map[string]any) *party {
	p.t.Helper()
	key := newRSA(p.t, "") // the suite gives a key a kid only where it rotates
	if change["jwks_uri"] != nil {
		key.KeyID = rand.Text()
	}
	r := p.tryRegister(key, change).Expect(http.StatusCreated)
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" || r.Text("client_id") == "" {
		p.t.Fatal(r)
	}
	for name, want := range change {
		text, err := json.Marshal(want)
		if s, ok := want.(string); ok {
			text = []byte(s)
		}
		if got := r.Text(name); err == nil && want != nil && got != string(text) && !(name == "jwks" && r.Has(name)) {
			p.t.Errorf("%s is registered as %s, want %s", name, got, text)
		}
	}
	q := *p
	q.client = partyClient{
		id: r.Text("client_id"), secret: r.Text("client_secret"), method: r.Text("token_endpoint_auth_method"),
		redirect: r.Text("redirect_uris.0"), manage: registered{r.Text("registration_client_uri"), r.Text("registration_access_token")},
	}
	q.client.key = &keyHolder{
		serviceClient: serviceClient{id: q.client.id}, alg: jose.RS256, key: key, issuer: p.h.Config.Issuer, clock: p.h.Clock,
	}
	return &q
}

func (p *party) signingKey() jose.JSONWebKey { return p.client.key.key.(jose.JSONWebKey) }

// refusesRegistration fails the test unless the registration is refused with that error.
func (p *party) refusesRegistration(name string, change map[string]any) {
	p.t.Helper()
	r := p.tryRegister(newRSA(p.t, "rp"), change).Expect(http.StatusBadRequest)
	if r.Text("error") != name || r.Header.Get("Content-Type") != "application/json" {
		p.t.Errorf("%s, want %s", r, name)
	}
}

var dynamicModules = []module{
	{"oidcc-idtoken-rs256", func(p *party) {
		q := p.registers(map[string]any{"id_token_signed_response_alg": "RS256"})
		if header, _ := q.signedByPublished(q.happy(nil).id); header.Algorithm != "RS256" {
			p.t.Errorf("signed with %s", header.Algorithm)
		}
	}},
	{"oidcc-idtoken-unsigned", func(p *party) {
		p.refusesRegistration("invalid_client_metadata", map[string]any{"id_token_signed_response_alg": "none"})
	}},
	{"oidcc-userinfo-rs256", func(p *party) { p.registers(map[string]any{"userinfo_signed_response_alg": "RS256"}).signedUserinfo() }},
	{"oidcc-ensure-redirect-uri-in-authorization-request", func(p *party) {
		q := p.registers(nil)
		q.open(q.request(map[string]string{"redirect_uri": ""}))
		q.page()
	}},
	{"oidcc-redirect-uri-query-OK", func(p *party) {
		q := p.registers(map[string]any{"redirect_uris": []string{callback + "?foo=bar"}})
		if q.happy(nil); q.browser.Left.Query().Get("foo") != "bar" {
			p.t.Errorf("the browser was sent to %s", q.browser.Left)
		}
	}},
	{"oidcc-redirect-uri-query-mismatch", func(p *party) {
		q := p.registers(map[string]any{"redirect_uris": []string{callback + "?foo=bar"}})
		q.open(q.request(map[string]string{"redirect_uri": callback + "?bar=foo"}))
		q.page()
	}},
	{"oidcc-redirect-uri-query-added", func(p *party) {
		q := p.registers(nil)
		q.open(q.request(map[string]string{"redirect_uri": callback + "?foo=bar"}))
		q.page()
	}},
	{"oidcc-redirect-uri-regfrag", func(p *party) {
		p.refusesRegistration("invalid_redirect_uri", map[string]any{"redirect_uris": []string{callback + "#foobar"}})
	}},
	{"oidcc-server", func(p *party) {
		q := p.registers(nil)
		q.happy(nil)
		q.unregisters()
	}},
	{"oidcc-registration-logo-uri", func(p *party) { // docs/certification.md says why it is not shown
		q := p.registers(map[string]any{"logo_uri": "https://rp.example/logo.png"})
		q.open(q.request(nil))
		if page := q.asked().browser.Page; strings.Contains(string(page.Body), "<img") || !strings.Contains(page.Words, "Suite "+p.t.Name()) {
			p.t.Errorf("the login page: %s", page)
		}
	}},
	{"oidcc-registration-policy-uri", func(p *party) { p.leadsTo("policy_uri", "https://rp.example/policy") }},
	{"oidcc-registration-tos-uri", func(p *party) { p.leadsTo("tos_uri", "https://rp.example/terms") }},
	{"oidcc-registration-jwks-uri", func(p *party) { p.publishesKeys(nil).happy(nil) }},
	{"oidcc-registration-sector-uri", func(p *party) {
		q := p.registers(p.sector(callback, "https://rp.example/another"))
		sub := q.happy(nil).subject
		if sub == string(p.user.ID) {
			p.t.Error("the sub is the user's id")
		}
	}},
	{"oidcc-registration-sector-bad", func(p *party) {
		p.refusesRegistration("invalid_client_metadata", p.sector("https://rp.example/another"))
	}},
	{"oidcc-refresh-token-rp-key-rotation", func(p *party) {
		q := p.publishesKeys(map[string]any{"grant_types": []string{"authorization_code", "refresh_token"}})
		q.scope = "openid offline_access"
		first := q.happy(map[string]string{"prompt": "consent"})
		q.rotates()
		p.h.Advance(time.Minute)
		q.refresh(first, true)
	}},
	{"oidcc-request-uri-unsigned", func(p *party) {
		site := publisher(p)
		q := p.registers(map[string]any{"request_uris": []string{site.url}})
		q.refusesObject("request_uri", func(object map[string]any) string { return site.publish(q.unsigned(object)) })
	}},
	{"oidcc-request-uri-signed-rs256", func(p *party) {
		site := publisher(p)
		q := p.registers(map[string]any{"request_uris": []string{site.url}, "request_object_signing_alg": "RS256"})
		q.obeysObject("request_uri", func(object map[string]any) string {
			return site.publish(signed(p.t, jose.RS256, q.signingKey(), object)) // without any date, as the suite does
		})
	}},
	{"oidcc-ensure-request-object-with-redirect-uri", func(p *party) {
		q := p.registers(nil)
		sign := signedBy(q, jose.RS256, q.signingKey())
		q.obeysObject("request", sign)
		q.browser = p.h.Browser().For(p.t)
		q.wrongRedirectBeside(sign)
	}},
	{"oidcc-refresh-token", func(p *party) {
		refreshing := map[string]any{"grant_types": []string{"authorization_code", "refresh_token"}}
		p.registers(refreshing).refreshes(p.registers(refreshing))
	}},
	{"oidcc-ensure-client-assertion-with-iss-aud-succeeds", func(p *party) { // every assertion here has the issuer as its aud
		p.registers(nil).happy(nil)
	}},
}

// signedUserinfo is oidcc-userinfo-rs256.
func (p *party) signedUserinfo() {
	p.t.Helper()
	request := p.request(nil)
	p.open(request)
	got := p.signsIn().redeem(p.code(request), request)
	r := p.h.Client().For(p.t).As(got.access).Get("/oauth2/userinfo").Expect(http.StatusOK)
	if ct := r.Header.Get("Content-Type"); ct != "application/jwt" {
		p.t.Fatalf("content type %q", ct)
	}
	header, claims := p.signedByPublished(string(r.Body))
	if header.Algorithm != "RS256" || claims["sub"] != got.subject || claims["iss"] != p.h.Config.Issuer || claims["aud"] != p.client.id || claims["nonce"] != nil {
		p.t.Errorf("%v %v", header, claims)
	}
	// And go-oidc, which verifies it too.
	info, err := p.provider().UserInfo(p.t.Context(), static(got.access))
	if err != nil || info.Subject != got.subject {
		p.t.Errorf("go-oidc: %+v, %v", info, err)
	}
}

// unregisters deletes the registration (RFC 7592 §2.3): the client is no more.
func (p *party) unregisters() {
	p.t.Helper()
	u, err := url.Parse(p.client.manage.uri)
	if err != nil || !strings.HasPrefix(p.client.manage.uri, p.h.Config.Issuer+"/") {
		p.t.Fatalf("registration_client_uri %q", p.client.manage.uri)
	}
	manage := p.h.Client().For(p.t).As(p.client.manage.token)
	if r := manage.Get(u.RequestURI()).Expect(http.StatusOK); r.Text("client_id") != p.client.id {
		p.t.Error(r)
	}
	manage.Delete(u.RequestURI()).Expect(http.StatusNoContent)
	manage.Get(u.RequestURI()).Expect(http.StatusUnauthorized)
	p.open(p.request(nil))
	p.page()
}

// leadsTo registers an address, and looks for a link to it where the user is
// asked to allow the client.
func (p *party) leadsTo(name, address string) {
	p.t.Helper()
	q := p.registers(map[string]any{name: address})
	q.open(q.request(nil))
	page := q.asked().browser.Submit(map[string]string{"email": q.user.Email, "password": q.user.Password})
	if !page.Has("decision") || !slices.ContainsFunc(page.Links, func(u *url.URL) bool { return u.String() == address }) {
		p.t.Errorf("the page does not lead to %s: %s", address, page)
	}
}

// publishesKeys registers a client whose keys are at an address of its own.
func (p *party) publishesKeys(change map[string]any) *party {
	p.t.Helper()
	site := publisher(p)
	site.kind = "application/json"
	all := map[string]any{"jwks": nil, "jwks_uri": site.url}
	for name, v := range change {
		all[name] = v
	}
	q := p.registers(all)
	q.client.keys = site
	site.publishKeys(p.t, q.signingKey())
	return q
}

// rotates puts a new key in the place of the old one.
func (p *party) rotates() {
	p.t.Helper()
	key := newRSA(p.t, "rp-"+rand.Text())
	p.client.key.key = key
	p.client.keys.publishKeys(p.t, key)
}

func (d *published) publishKeys(t *testing.T, key jose.JSONWebKey) {
	t.Helper()
	b, err := json.Marshal(setOf(key))
	if err != nil {
		t.Fatal(err)
	}
	d.publish(string(b))
}

// sector is the metadata of a pairwise client whose sector lists those redirect URIs.
func (p *party) sector(uris ...string) map[string]any {
	p.t.Helper()
	site := publisher(p)
	site.kind = "application/json"
	b, err := json.Marshal(uris)
	if err != nil {
		p.t.Fatal(err)
	}
	return map[string]any{"subject_type": "pairwise", "sector_identifier_uri": site.publish(string(b))}
}
