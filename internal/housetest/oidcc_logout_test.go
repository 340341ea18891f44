package housetest_test

import (
	"crypto/rand"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// TestOIDCCLogout is the plans for RP-initiated, front-channel and back-channel
// logout.
func TestOIDCCLogout(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		p := &party{h: h, scope: "openid", user: h.Person(h.Admin.Org, "member", "viewer")}
		admin := h.Client().As(h.Login(h.Admin).Access)
		for _, m := range logoutModules {
			t.Run(m.name, func(t *testing.T) {
				q := p.in(t)
				q.client = web(admin.For(t), map[string]any{"post_logout_redirect_uris": []string{loggedOut}})
				m.run(q)
			})
		}
	})
}

const loggedOut = "https://rp.example/logged-out"

// What a logout module leads to: where the browser is left.
const (
	backAtClient = "at the client"
	askedFirst   = "on a page of ours that asks"
	saidDone     = "on a page of ours that says so"
)

var logoutModules = []module{
	{"oidcc-rp-initiated-logout-discovery-endpoint-verification", func(p *party) {
		if at := p.discover().EndSession; at != p.h.Config.Issuer+"/oauth2/logout" {
			p.t.Errorf("end_session_endpoint is %q", at)
		}
	}},
	{"oidcc-rp-initiated-logout", func(p *party) { p.logsOut(nil, backAtClient) }},
	{"oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", func(p *party) {
		p.logsOut(func(q url.Values, _ issued) { q.Set("post_logout_redirect_uri", loggedOut+"foobar") }, askedFirst)
	}},
	{"oidcc-rp-initiated-logout-modified-id-token-hint", func(p *party) {
		p.logsOut(func(q url.Values, got issued) {
			_, rest, _ := strings.Cut(got.id, ".")
			payload, _, _ := strings.Cut(rest, ".")
			q.Set("id_token_hint", encoded([]byte(`{"alg":"none"}`))+"."+payload+".")
		}, askedFirst)
	}},
	{"oidcc-rp-initiated-logout-no-id-token-hint", func(p *party) {
		p.logsOut(func(q url.Values, _ issued) { q.Del("id_token_hint") }, askedFirst)
	}},
	{"oidcc-rp-initiated-logout-no-params", func(p *party) { p.logsOut(func(q url.Values, _ issued) { clear(q) }, askedFirst) }},
	{"oidcc-rp-initiated-logout-no-post-logout-redirect-uri", func(p *party) {
		p.logsOut(func(q url.Values, _ issued) { q.Del("post_logout_redirect_uri") }, saidDone)
	}},
	{"oidcc-rp-initiated-logout-no-state", func(p *party) { p.logsOut(func(q url.Values, _ issued) { q.Del("state") }, backAtClient) }},
	{"oidcc-rp-initiated-logout-only-state", func(p *party) {
		p.logsOut(func(q url.Values, _ issued) { q.Del("id_token_hint"); q.Del("post_logout_redirect_uri") }, askedFirst)
	}},
	{"oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", func(p *party) {
		p.logsOut(func(q url.Values, _ issued) { q.Set("post_logout_redirect_uri", loggedOut+"?foo=bar") }, askedFirst)
	}},
	{"oidcc-rp-initiated-logout-bad-id-token-hint", func(p *party) {
		p.logsOut(func(q url.Values, got issued) {
			q.Set("id_token_hint", signed(p.t, jose.RS256, newRSA(p.t, "another"), got.claims))
		}, askedFirst)
	}},
	{"oidcc-frontchannel-logout-discovery-endpoint-verification", func(p *party) {
		if m := p.discover(); !m.Frontchannel || !m.FrontchannelSi {
			p.t.Errorf("%+v", m)
		}
	}},
	{"oidcc-frontchannel-rp-initiated-logout", (*party).frontchannel},
	{"oidcc-backchannel-logout-discovery-endpoint-verification", func(p *party) {
		if m := p.discover(); !m.Backchannel || !m.BackchannelSi {
			p.t.Errorf("%+v", m)
		}
	}},
	{"oidcc-backchannel-rp-initiated-logout", (*party).backchannel},
}

// logsOut signs in, sends the browser to the logout endpoint, and holds the
// rest to what the module wants. In the end nobody is logged in.
func (p *party) logsOut(change func(url.Values, issued), want string) issued {
	p.t.Helper()
	got := p.happy(nil)
	state := rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text()
	request := url.Values{"id_token_hint": {got.id}, "post_logout_redirect_uri": {loggedOut}, "state": {state}}
	if change != nil {
		change(request, got)
	}
	page := p.browser.OpenFrom("https://rp.example", p.discover().EndSession+"?"+request.Encode())
	p.farewell = page
	switch want {
	case backAtClient:
		at := p.leads(page)
		if bare, _, _ := strings.Cut(at.String(), "?"); bare != loggedOut || at.Query().Encode() != url.Values(pick(request, "state")).Encode() {
			p.t.Fatalf("the browser was sent to %s", at)
		}
	case askedFirst:
		if p.browser.Left != nil || !strings.Contains(page.Words, p.user.Email) {
			p.t.Fatalf("%s, sent to %v", page, p.browser.Left)
		}
		p.stillSignedIn()
		p.browser.Open(p.discover().EndSession + "?" + request.Encode())
		if done := p.browser.Submit(nil); p.browser.Left != nil || len(done.Links) > 0 && slices.ContainsFunc(done.Links, elsewhere) {
			p.t.Fatalf("%s, sent to %v", done, p.browser.Left)
		}
		p.browser.Page.Shows("You have been logged out")
	case saidDone:
		if p.browser.Left != nil {
			p.t.Fatalf("the browser was sent to %s", p.browser.Left)
		}
		page.Shows("You have been logged out")
	}
	p.signedOut(got)
	return got
}

func pick(v url.Values, name string) map[string][]string {
	if !v.Has(name) {
		return nil
	}
	return map[string][]string{name: v[name]}
}

func elsewhere(u *url.URL) bool { return u.Host == "rp.example" }

// leads is where the browser goes by itself: by a redirect, or after the frames
// of a page.
func (p *party) leads(page housetest.Page) *url.URL {
	p.t.Helper()
	if p.browser.Left != nil {
		return p.browser.Left
	}
	found := regexp.MustCompile(`<meta http-equiv="refresh" content="\d+; ?url=([^"]+)">`).FindSubmatch(page.Body)
	if found == nil {
		p.t.Fatalf("the page leads nowhere: %s", page)
	}
	to, err := url.Parse(html.UnescapeString(string(found[1])))
	if err != nil {
		p.t.Fatal(err)
	}
	return to
}

// stillSignedIn fails the test unless prompt=none gives a code.
func (p *party) stillSignedIn() {
	p.t.Helper()
	request := p.request(map[string]string{"prompt": "none"})
	p.open(request)
	p.silent().code(request)
}

// signedOut fails the test unless prompt=none fails, and the session's tokens are dead.
func (p *party) signedOut(got issued) {
	p.t.Helper()
	request := p.request(map[string]string{"prompt": "none"})
	p.open(request)
	p.silent().failure(request, "login_required")
	p.h.Follow()
	p.h.Client().For(p.t).As(got.access).Get("/oauth2/userinfo").Expect(http.StatusUnauthorized)
	refused(p.t, p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", got.refresh), http.StatusBadRequest, "invalid_grant")
}

// frontchannel is oidcc-frontchannel-rp-initiated-logout.
func (p *party) frontchannel() {
	const uri = "https://rp.example/frontchannel?kept=1"
	q := p.other(map[string]any{
		"post_logout_redirect_uris": []string{loggedOut}, "frontchannel_logout_uri": uri, "frontchannel_logout_session_required": true,
	})
	got := q.logsOut(nil, backAtClient)
	frames := regexp.MustCompile(`<iframe [^>]*src="([^"]+)"`).FindAllSubmatch(q.farewell.Body, -1)
	if len(frames) != 1 {
		p.t.Fatalf("%d frames: %s", len(frames), q.farewell)
	}
	src, err := url.Parse(html.UnescapeString(string(frames[0][1])))
	want := url.Values{"iss": {p.h.Config.Issuer}, "sid": {got.claims["sid"].(string)}, "kept": {"1"}}
	if err != nil || !strings.HasPrefix(src.String(), "https://rp.example/frontchannel?") || src.Query().Encode() != want.Encode() {
		p.t.Errorf("the frame loads %s, want %v", src, want)
	}
}

// backchannel is oidcc-backchannel-rp-initiated-logout.
func (p *party) backchannel() {
	told := make(chan *http.Request, 4)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Form, _ = url.ParseQuery(string(body))
		told <- r
	}))
	p.t.Cleanup(site.Close)
	q := p.other(map[string]any{
		"post_logout_redirect_uris": []string{loggedOut}, "backchannel_logout_uri": site.URL + "/backchannel", "backchannel_logout_session_required": true,
	})
	got := q.logsOut(nil, backAtClient)
	var r *http.Request
	select {
	case r = <-told:
	case <-time.After(20 * time.Second):
		p.t.Fatal("nothing came")
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || len(r.Form) != 1 || len(r.Form["logout_token"]) != 1 {
		p.t.Fatalf("%s %v %v", r.Method, r.Header, r.Form)
	}
	header, claims := q.signedByPublished(r.Form.Get("logout_token"))
	events, _ := claims["events"].(map[string]any)
	event, isObject := events["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
	if header.ExtraHeaders[jose.HeaderType] != "logout+jwt" || len(events) != 1 || !isObject || len(event) != 0 {
		p.t.Errorf("%v %v", header, claims)
	}
	for name, want := range map[string]any{"iss": p.h.Config.Issuer, "aud": q.client.id, "sub": got.subject, "sid": got.claims["sid"], "nonce": nil} {
		if claims[name] != want {
			p.t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	iat, _ := claims["iat"].(float64)
	if jti, _ := claims["jti"].(string); jti == "" || p.h.Clock.Now().Sub(time.Unix(int64(iat), 0)).Abs() > time.Minute {
		p.t.Errorf("jti and iat of %v", claims)
	}
}
