package housetest_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// module is a test module of the conformance suite: its name there, and the
// same done here.
type module struct {
	name string
	run  func(p *party)
}

// TestOIDCCBasic is the Basic plan and the form-post Basic plan, with two
// clients that an administrator registered. docs/certification.md says of each
// module what it checks.
func TestOIDCCBasic(t *testing.T) {
	for _, plan := range []struct {
		name, mode string
		postgres   bool
	}{{"basic/sqlite", "", false}, {"basic/postgres", "", true}, {"form_post/sqlite", "form_post", false}} {
		t.Run(plan.name, func(t *testing.T) {
			h := housetest.Start(t, housetest.Options{Postgres: plan.postgres})
			p := &party{h: h, mode: plan.mode, scope: "openid", user: h.Person(h.Admin.Org, "member", "viewer")}
			admin := h.Client().As(h.Login(h.Admin).Access)
			for _, m := range slices.Concat(basicModules, basicRequestModules) {
				t.Run(m.name, func(t *testing.T) {
					q := p.in(t)
					q.client = web(admin.For(t), nil)
					m.run(q)
				})
			}
		})
	}
}

// web registers a confidential client that people sign in to, as an administrator.
func web(admin *housetest.Client, change map[string]any) partyClient {
	body := map[string]any{
		"grants": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{callback}, "name": "Suite",
		"pkce": "optional",
	}
	for name, v := range change {
		body[name] = v
	}
	c := enrol(admin, []string{"openid", "profile", "email", "offline_access"}, body)
	method, _ := body["auth_method"].(string)
	if method == "" {
		method = "client_secret_basic"
	}
	return partyClient{id: c.id, secret: c.secret, method: method, redirect: body["redirect_uris"].([]string)[0]}
}

// other is another registered client of the same user's, in the same browser.
func (p *party) other(change map[string]any) *party {
	q := *p
	q.client = web(p.h.Client().For(p.t).As(p.h.Login(p.h.Admin).Access), change)
	return &q
}

// withScope asks for these scopes.
func (p *party) withScope(scope string) *party { q := *p; q.scope = scope; return &q }

var basicModules = []module{
	{"oidcc-server", func(p *party) { p.happy(nil) }},
	{"oidcc-response-type-missing", func(p *party) {
		request := p.request(map[string]string{"response_type": "", "response_mode": ""})
		p.open(request)
		p.mode = ""
		p.failure(request, "invalid_request")
	}},
	{"oidcc-idtoken-signature", func(p *party) {
		if header, _ := p.signedByPublished(p.happy(nil).id); header.Algorithm != "RS256" {
			p.t.Errorf("signed with %s", header.Algorithm)
		}
	}},
	{"oidcc-idtoken-unsigned", func(p *party) {
		if algs := p.discover().IDTokenAlgs; slices.Contains(algs, "none") {
			p.t.Errorf("unsigned ID tokens are offered: %q", algs)
		}
	}},
	{"oidcc-userinfo-get", func(p *party) { p.userinfo(p.happy(nil)) }},
	{"oidcc-userinfo-post-header", func(p *party) {
		got := p.happy(nil)
		r := form(p.h.Client().For(p.t).As(got.access), "/oauth2/userinfo")
		if standardClaims(p.t, r); r.Text("sub") != got.subject {
			p.t.Error(r)
		}
	}},
	{"oidcc-userinfo-post-body", func(p *party) {
		got := p.happy(nil)
		r := form(p.h.Client().For(p.t), "/oauth2/userinfo", "access_token", got.access)
		if standardClaims(p.t, r); r.Text("sub") != got.subject {
			p.t.Error(r)
		}
	}},
	{"oidcc-ensure-request-without-nonce-succeeds-for-code-flow", func(p *party) {
		if got := p.happy(map[string]string{"nonce": ""}); got.claims["nonce"] != nil {
			p.t.Error(got.claims)
		}
	}},
	{"oidcc-scope-profile", func(p *party) { p.claimsOf("openid profile", "name") }},
	{"oidcc-scope-email", func(p *party) { p.claimsOf("openid email", "email", "email_verified") }},
	{"oidcc-scope-address", func(p *party) { p.unsupported("address") }},
	{"oidcc-scope-phone", func(p *party) { p.unsupported("phone") }},
	{"oidcc-scope-all", func(p *party) {
		p.claimsOf("openid email phone address profile", "name", "email", "email_verified")
	}},
	{"oidcc-alternate-happy-flow", func(p *party) {
		q := p.withScope("email openid")
		request := q.request(nil)
		var backwards []string
		for pair := range strings.SplitSeq(request.Encode(), "&") {
			backwards = append([]string{pair}, backwards...)
		}
		q.browser.OpenFrom("https://rp.example", q.provider().Endpoint().AuthURL+"?"+strings.Join(backwards, "&"))
		got := q.signsIn().redeem(q.code(request), request)
		if r := q.userinfo(got); r.Text("email") != q.user.Email {
			p.t.Error(r)
		}
	}},
	{"oidcc-codereuse", func(p *party) { p.codeTwice(0) }},
	{"oidcc-codereuse-30seconds", func(p *party) {
		got := p.codeTwice(30 * time.Second)
		p.h.Follow()
		p.h.Client().For(p.t).As(got.access).Get("/oauth2/userinfo").Expect(http.StatusUnauthorized)
		refused(p.t, p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", got.refresh), http.StatusBadRequest, "invalid_grant")
	}},
	{"oidcc-ensure-registered-redirect-uri", func(p *party) {
		p.open(p.request(map[string]string{"redirect_uri": callback + "/elsewhere"}))
		p.page()
	}},
	{"oidcc-server-client-secret-post", func(p *party) { p.other(map[string]any{"auth_method": "client_secret_post"}).happy(nil) }},
	{"oidcc-claims-essential", func(p *party) {
		request := p.request(map[string]string{"claims": `{"userinfo":{"name":{"essential":true}}}`})
		p.open(request)
		got := p.signsIn().redeem(p.code(request), request)
		if r := p.userinfo(got); r.Text("name") == "" || got.claims["name"] != nil {
			p.t.Errorf("%s beside %v", r, got.claims)
		}
	}},
	{"oidcc-refresh-token", func(p *party) { p.refreshes(p.other(nil)) }},
	{"oidcc-ensure-request-with-valid-pkce-succeeds", func(p *party) {
		verifier := oauth2.GenerateVerifier()
		request := p.request(map[string]string{"code_challenge": oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method": "S256"})
		p.open(request)
		code := p.signsIn().code(request)
		if _, err := p.tryCode(code, oauth2.VerifierOption(oauth2.GenerateVerifier())); !refusedAs(err, "invalid_grant") {
			p.t.Errorf("another verifier: %v", err)
		}
		p.userinfo(p.redeem(code, request, oauth2.VerifierOption(verifier)))
	}},
}

// claimsOf asks for scopes, and looks for claims at userinfo.
func (p *party) claimsOf(scope string, claims ...string) {
	p.t.Helper()
	q := p.withScope(scope)
	r := q.userinfo(q.happy(nil))
	for _, name := range claims {
		if !r.Has(name) {
			p.t.Errorf("%s is not there: %s", name, r)
		}
	}
}

// unsupported asks for a scope that discovery does not list.
func (p *party) unsupported(scope string) {
	p.t.Helper()
	if slices.Contains(p.discover().Scopes, scope) {
		p.t.Fatalf("%s is offered", scope)
	}
	if got := p.withScope("openid " + scope).happy(nil); strings.Contains(got.scope, scope) {
		p.t.Errorf("granted: %q", got.scope)
	}
}

// refusedAs reports whether the token endpoint answered 400 and that error, as
// JSON that may not be kept.
func refusedAs(err error, name string) bool {
	var refusal *oauth2.RetrieveError
	return errors.As(err, &refusal) && refusal.Response.StatusCode == http.StatusBadRequest && refusal.ErrorCode == name &&
		refusal.Response.Header.Get("Content-Type") == "application/json" && refusal.Response.Header.Get("Cache-Control") == "no-store" &&
		!strings.ContainsAny(refusal.ErrorDescription, "\r\n\t")
}

// codeTwice redeems a code again after some time.
func (p *party) codeTwice(later time.Duration) issued {
	p.t.Helper()
	request := p.request(nil)
	p.open(request)
	code := p.signsIn().code(request)
	got := p.redeem(code, request)
	p.userinfo(got)
	p.h.Advance(later)
	if _, err := p.tryCode(code); !refusedAs(err, "invalid_grant") {
		p.t.Fatalf("the second redemption: %v", err)
	}
	return got
}

// refreshes is oidcc-refresh-token: what refresh tokens give, and that they are
// the client's own.
func (p *party) refreshes(other *party) {
	p.t.Helper()
	p.refreshed(true)
	got := other.refreshed(false)
	refused(p.t, p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", got.refresh), http.StatusBadRequest, "invalid_grant")
}

// refreshed signs in, refreshes, and compares the ID tokens (OpenID Connect
// Core 1.0 §12.2).
func (p *party) refreshed(repeatScope bool) issued {
	p.t.Helper()
	q := p.withScope("openid offline_access")
	first := q.happy(map[string]string{"prompt": "consent"})
	if first.refresh == "" || strings.ContainsFunc(first.refresh, func(c rune) bool { return c < ' ' || c > '~' }) {
		p.t.Fatalf("the refresh token is %q", first.refresh)
	}
	p.h.Advance(time.Minute)
	return q.refresh(first, repeatScope)
}

// refresh uses the refresh token of first.
func (p *party) refresh(first issued, repeatScope bool) issued {
	p.t.Helper()
	pairs := []string{"grant_type", "refresh_token", "refresh_token", first.refresh}
	if repeatScope {
		pairs = append(pairs, "scope", p.scope)
	}
	r := p.post("/oauth2/token", pairs...).Expect(http.StatusOK)
	if r.Header.Get("Cache-Control") != "no-store" || r.Text("token_type") != "Bearer" || r.Text("access_token") == first.access || r.Text("expires_in") == "" {
		p.t.Fatal(r)
	}
	second := issued{access: r.Text("access_token"), refresh: r.Text("refresh_token"), id: r.Text("id_token"), scope: r.Text("scope")}
	p.validate(&second)
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "azp", "sid"} {
		if second.claims[name] != first.claims[name] {
			p.t.Errorf("%s was %v and is %v", name, first.claims[name], second.claims[name])
		}
	}
	if second.claims["iat"] == first.claims["iat"] || second.claims["nonce"] != nil {
		p.t.Errorf("the second ID token is %v", second.claims)
	}
	p.userinfo(second)
	return second
}
