package housetest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// basicRequestModules are those about parameters of the authorization request.
var basicRequestModules = []module{
	{"oidcc-display-page", func(p *party) { p.happy(map[string]string{"display": "page"}) }},
	{"oidcc-display-popup", func(p *party) { p.happy(map[string]string{"display": "popup"}) }},
	{"oidcc-prompt-login", func(p *party) {
		first := p.happy(nil)
		p.h.Advance(2 * time.Second)
		request := p.request(map[string]string{"prompt": "login"})
		p.open(request)
		second := p.asked().signsIn().redeem(p.code(request), request)
		if !second.authTime(p.t).After(first.authTime(p.t)) || second.subject != first.subject {
			p.t.Errorf("%v after %v", second.claims, first.claims)
		}
	}},
	{"oidcc-prompt-none-not-logged-in", func(p *party) {
		request := p.request(map[string]string{"prompt": "none"})
		p.open(request)
		p.silent().failure(request, "login_required")
	}},
	{"oidcc-prompt-none-logged-in", func(p *party) {
		p.sameAgain(func(issued) map[string]string { return map[string]string{"prompt": "none"} })
	}},
	{"oidcc-max-age-1", func(p *party) {
		first := p.happy(nil)
		p.h.Advance(2 * time.Second)
		request := p.request(map[string]string{"max_age": "1"})
		p.open(request)
		second := p.asked().signsIn().redeem(p.code(request), request)
		if at := second.authTime(p.t); !at.After(first.authTime(p.t)) || p.h.Clock.Now().Sub(at) > time.Second {
			p.t.Errorf("%v after %v", second.claims, first.claims)
		}
	}},
	{"oidcc-max-age-10000", func(p *party) {
		p.sameAgain(func(issued) map[string]string { return map[string]string{"max_age": "10000"} })
	}},
	{"oidcc-ensure-request-with-unknown-parameter-succeeds", func(p *party) { p.happy(map[string]string{"extra": "foobar"}) }},
	{"oidcc-id-token-hint", func(p *party) {
		p.sameAgain(func(first issued) map[string]string {
			return map[string]string{"prompt": "none", "id_token_hint": first.id}
		})
	}},
	{"oidcc-login-hint", func(p *party) {
		request := p.request(map[string]string{"login_hint": p.user.Email})
		p.open(request)
		filled := slices.ContainsFunc(p.asked().browser.Page.Forms, func(f housetest.Form) bool { return f.Fields.Get("email") == p.user.Email })
		if !filled {
			p.t.Errorf("the hint is not filled in: %v", p.browser.Page.Forms)
		}
		p.userinfo(p.signsIn().redeem(p.code(request), request))
	}},
	{"oidcc-ui-locales", func(p *party) { p.happy(map[string]string{"ui_locales": "se"}) }},
	{"oidcc-claims-locales", func(p *party) { p.happy(map[string]string{"claims_locales": "se"}) }},
	{"oidcc-ensure-request-with-acr-values-succeeds", func(p *party) { p.happy(map[string]string{"acr_values": "1 2"}) }},
	{"oidcc-ensure-post-request-succeeds", func(p *party) {
		request := p.request(nil)
		at, err := url.Parse(p.provider().Endpoint().AuthURL)
		if err != nil {
			p.t.Fatal(err)
		}
		p.browser.Post("https://rp.example", at.Path, request)
		p.userinfo(p.signsIn().redeem(p.code(request), request))
	}},
	{"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", func(p *party) {
		p.refusesObject("request", p.unsigned)
	}},
	{"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", func(p *party) {
		site := publisher(p)
		q := p.other(map[string]any{"request_uris": []string{site.url}})
		q.refusesObject("request_uri", func(object map[string]any) string { return site.publish(q.unsigned(object)) })
	}},
	{"oidcc-ensure-request-object-with-redirect-uri", func(p *party) {
		p.wrongRedirectBeside(p.unsigned)
	}},
}

// sameAgain authorizes twice: the second time, some time later and with more
// parameters, no page is shown, and it is the same login.
func (p *party) sameAgain(change func(first issued) map[string]string) {
	p.t.Helper()
	first := p.happy(nil)
	p.h.Advance(2 * time.Second)
	request := p.request(change(first))
	p.open(request)
	second := p.silent().redeem(p.code(request), request)
	if !second.authTime(p.t).Equal(first.authTime(p.t)) || second.subject != first.subject {
		p.t.Errorf("%v after %v", second.claims, first.claims)
	}
}

// byObject makes a request whose every parameter is in a request object. Beside
// it stand those that OAuth wants as parameters too (OpenID Connect Core 1.0 §6.1).
func (p *party) byObject(request url.Values, parameter string, object func(map[string]any) string) url.Values {
	p.t.Helper()
	claims := map[string]any{"iss": p.client.id, "aud": p.h.Config.Issuer}
	for name := range request {
		claims[name] = request.Get(name)
	}
	outside := url.Values{parameter: {object(claims)}}
	for _, name := range []string{"client_id", "scope", "response_type", "redirect_uri"} {
		outside[name] = request[name]
	}
	return outside
}

// obeysObject authorizes with a request object.
func (p *party) obeysObject(parameter string, object func(map[string]any) string) {
	p.t.Helper()
	request := p.request(nil)
	p.open(p.byObject(request, parameter, object))
	p.userinfo(p.signsIn().redeem(p.code(request), request))
}

// refusesObject holds the provider to what it says of unsigned request objects:
// it offers none, and takes none.
func (p *party) refusesObject(parameter string, object func(map[string]any) string) {
	p.t.Helper()
	if algs := p.discover().RequestAlgs; slices.Contains(algs, "none") {
		p.t.Fatalf("unsigned request objects are offered: %q", algs)
	}
	outside := p.byObject(p.request(nil), parameter, object)
	p.mode = "" // which only the object says
	p.open(outside)
	p.silent().failure(outside, "invalid_request_object")
}

// wrongRedirectBeside sends a request object that has the registered redirect
// URI, and another beside it. The browser goes to neither address but one that
// is registered: here, an error page is shown.
func (p *party) wrongRedirectBeside(object func(map[string]any) string) {
	p.t.Helper()
	outside := p.byObject(p.request(nil), "request", object)
	outside.Set("redirect_uri", callback+"/elsewhere")
	p.open(outside)
	p.page()
}

// unsigned makes a request object that nobody signed.
func (p *party) unsigned(claims map[string]any) string {
	p.t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	return encoded([]byte(`{"alg":"none"}`)) + "." + encoded(payload) + "."
}

// signedBy makes a request object that the client signed.
func signedBy(p *party, alg jose.SignatureAlgorithm, key jose.JSONWebKey) func(map[string]any) string {
	return func(claims map[string]any) string {
		now := p.h.Clock.Now().Unix()
		all := maps.Clone(claims)
		maps.Copy(all, map[string]any{"nbf": now, "iat": now, "exp": now + 60})
		return signed(p.t, alg, key, all)
	}
}

// published is a document of the client's at an address of its own.
type published struct {
	url  string
	body atomic.Value
	kind string
}

func (d *published) publish(text string) string { d.body.Store(text); return d.url }

// publisher serves a document for as long as the test runs.
func publisher(p *party) *published {
	p.t.Helper()
	d := &published{kind: "application/jose"}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, _ := d.body.Load().(string)
		w.Header().Set("Content-Type", d.kind)
		_, _ = w.Write([]byte(body)) // the server may be gone
	}))
	p.t.Cleanup(site.Close)
	d.url = site.URL + "/document"
	return d
}
