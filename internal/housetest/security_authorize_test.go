package housetest_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// attacked starts a server with a client that people sign in to, and one of them.
func attacked(t *testing.T, h *housetest.Harness, change map[string]any) *party {
	t.Helper()
	return &party{
		t: t, h: h, browser: h.Browser(), scope: "openid", user: h.Person(h.Admin.Org, "member", "viewer"),
		client: web(h.Client().As(h.Login(h.Admin).Access), change),
	}
}

// SEC-OAU-03, SEC-OAU-07, SEC-OAU-09: nobody is sent to an address that is not
// the registered one, character by character, nor anywhere for a client that is
// not known. What is wrong is said on a page of ours.
func TestNobodyIsSentToAnAddressThatIsNotRegistered(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := attacked(t, h, map[string]any{"redirect_uris": []string{callback + "?known=1"}})
	for _, uri := range []string{
		"HTTPS://rp.example/callback?known=1", "https://RP.example/callback?known=1", "https://rp.example/Callback?known=1",
		callback, callback + "?known=2", callback + "?known=1&more=2", callback + "?KNOWN=1", callback + "?known=1#f", callback + "?known=%31",
		"https://rp.example:443/callback?known=1", "https://rp.example./callback?known=1", "https://rp.example//callback?known=1", "http://rp.example/callback?known=1",
	} {
		for _, more := range []map[string]string{nil, {"prompt": "none"}, {"response_type": "token"}, {"response_mode": "form_post"}} {
			changes := map[string]string{"redirect_uri": uri}
			for name, v := range more {
				changes[name] = v
			}
			p.open(p.request(changes))
			p.page()
		}
	}
	for _, id := range []string{"", "cli_unknown", strings.ToUpper(p.client.id), p.client.id + " ", "cli_browser"} {
		p.open(p.request(map[string]string{"client_id": id}))
		p.page()
	}
	twice := p.request(nil)
	twice.Add("redirect_uri", "https://evil.example/")
	p.open(twice)
	p.page()
}

// SEC-OAU-19: every answer of the authorization endpoint says whose it is, in
// every response mode.
func TestEveryAuthorizationResponseNamesTheIssuer(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := attacked(t, h, nil)
	for _, mode := range []string{"", "query", "fragment", "form_post"} {
		p.mode, p.browser = mode, h.Browser()
		p.happy(nil) // response compares iss
		for name, changes := range map[string]map[string]string{
			"unsupported_response_type": {"response_type": "token"}, "invalid_request": {"max_age": "x"}, "invalid_scope": {"scope": "openid users:read"},
		} {
			request := p.request(changes)
			p.open(request)
			p.failure(request, name)
		}
		p.browser = h.Browser()
		request := p.request(map[string]string{"prompt": "none"})
		p.open(request)
		p.failure(request, "login_required")
	}
}

// SEC-OAU-44: userinfo answers for access tokens that were given for openid,
// in a header or a form. An ID token, a client's own token, a login's token, and
// a token in the address get nothing.
func TestUserinfoIsForAccessTokensOfOpenIDOnly(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := attacked(t, h, nil)
	got := p.happy(nil)
	admin := h.Client().As(h.Login(h.Admin).Access)
	robot := enrol(admin, []string{"agents:read"}, nil).token(h.Client())
	for name, token := range map[string]string{"an ID token": got.id, "a refresh token": got.refresh, "nonsense": "x.y.z"} {
		r := h.Client().As(token).Get("/oauth2/userinfo").Expect(http.StatusUnauthorized)
		if !strings.Contains(r.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: %q", name, r.Header.Get("WWW-Authenticate"))
		}
	}
	for name, token := range map[string]string{"a client's own": robot, "a login's": h.Login(p.user).Access} {
		r := h.Client().As(token).Get("/oauth2/userinfo").Expect(http.StatusForbidden)
		if !strings.Contains(r.Header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
			t.Errorf("%s: %q", name, r.Header.Get("WWW-Authenticate"))
		}
	}
	h.Client().Get("/oauth2/userinfo?access_token="+url.QueryEscape(got.access)).Expect(http.StatusUnauthorized, http.StatusBadRequest)
	h.Client().Get("/oauth2/userinfo").Expect(http.StatusUnauthorized)
	form(h.Client().As(got.access), "/oauth2/userinfo", "access_token", got.access).Expect(http.StatusBadRequest) // RFC 6750 §2: one way at a time
	p.userinfo(got)
}

// SEC-OAU-54: what asks for another user, or for a login that is recent, is not
// served by the session that there is; and who turns away from the login page
// has not become anything by it.
func TestASessionDoesNotStandInForALoginThatIsAskedFor(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := attacked(t, h, nil)
	first := p.happy(nil)
	other := *p
	other.user, other.browser = h.Person(h.Admin.Org, "another", "viewer"), h.Browser()
	theirs := other.happy(nil)

	request := p.request(map[string]string{"prompt": "none", "id_token_hint": theirs.id})
	p.open(request)
	p.silent().failure(request, "login_required")
	request = p.request(map[string]string{"id_token_hint": theirs.id})
	p.open(request)
	p.asked()

	h.Advance(2 * time.Second)
	request = p.request(map[string]string{"prompt": "none", "max_age": "1"})
	p.open(request)
	p.silent().failure(request, "login_required")

	request = p.request(map[string]string{"prompt": "login"})
	p.open(request)
	p.asked()
	cancel := -1
	for i, l := range p.browser.Page.Links {
		if l.Query().Get("account") == "none" {
			cancel = i
		}
	}
	if cancel < 0 {
		t.Fatalf("there is no way back: %v", p.browser.Page.Links)
	}
	p.browser.Open(p.browser.Page.Links[cancel].String())
	p.failure(request, "access_denied")
	request = p.request(map[string]string{"prompt": "none"})
	p.open(request)
	if still := p.silent().redeem(p.code(request), request); !still.authTime(t).Equal(first.authTime(t)) {
		t.Errorf("auth_time was %v and is %v", first.authTime(t), still.authTime(t))
	}
	request = p.request(map[string]string{"max_age": "1"})
	p.open(request)
	p.asked()
}

// SEC-OAU-13, SEC-OAU-14, SEC-OAU-15, SEC-OAU-20: a code is good for the client
// that it was given to, at the redirect URI of its request, with the verifier of
// its challenge, for a minute. A try that lacks one of these leaves the code as
// it is.
func TestACodeIsOfNoUseToOthers(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		p := attacked(t, h, map[string]any{"redirect_uris": []string{callback, callback + "/2"}})
		other := p.other(map[string]any{"redirect_uris": []string{callback, callback + "/2"}})
		public := p.other(map[string]any{"auth_method": "none", "pkce": ""})
		verifier := oauth2.GenerateVerifier()
		request := p.request(map[string]string{"code_challenge": oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method": "S256"})
		p.open(request)
		code := p.signsIn().code(request)
		good := oauth2.VerifierOption(verifier)
		for name, try := range map[string]struct {
			by      *party
			options []oauth2.AuthCodeOption
			want    []string
		}{
			"another client":       {other, []oauth2.AuthCodeOption{good}, []string{"invalid_grant"}},
			"a public client":      {public, []oauth2.AuthCodeOption{good}, []string{"invalid_grant"}},
			"no verifier":          {p, nil, []string{"invalid_grant", "invalid_request"}},
			"another verifier":     {p, []oauth2.AuthCodeOption{oauth2.VerifierOption(oauth2.GenerateVerifier())}, []string{"invalid_grant"}},
			"42 characters":        {p, []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier[:42])}, []string{"invalid_grant", "invalid_request"}},
			"129 characters":       {p, []oauth2.AuthCodeOption{oauth2.VerifierOption(strings.Repeat("v", 129))}, []string{"invalid_grant", "invalid_request"}},
			"other characters":     {p, []oauth2.AuthCodeOption{oauth2.VerifierOption(strings.Repeat("ü", 43))}, []string{"invalid_grant", "invalid_request"}},
			"the challenge itself": {p, []oauth2.AuthCodeOption{oauth2.VerifierOption(request.Get("code_challenge"))}, []string{"invalid_grant"}},
			"another redirect URI": {p, []oauth2.AuthCodeOption{good, oauth2.SetAuthURLParam("redirect_uri", callback+"/2")}, []string{"invalid_grant"}},
		} {
			_, err := try.by.tryCode(code, try.options...)
			ok := false
			for _, w := range try.want {
				ok = ok || refusedAs(err, w)
			}
			if !ok {
				t.Errorf("%s: %v", name, err)
			}
		}
		p.userinfo(p.redeem(code, request, good))

		// The attacker's code in the victim's session: the verifier is another.
		victim := p.request(map[string]string{"code_challenge": oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier()), "code_challenge_method": "S256"})
		p.open(victim)
		if _, err := p.tryCode(p.code(victim), good); !refusedAs(err, "invalid_grant") {
			t.Errorf("an injected code: %v", err)
		}
		late := p.request(nil)
		p.open(late)
		code = p.code(late)
		h.Advance(61 * time.Second)
		if _, err := p.tryCode(code); !refusedAs(err, "invalid_grant") {
			t.Errorf("a code after 61 seconds: %v", err)
		}
	})
}

// SEC-OAU-57: whoever just sent a password or an answer is sent on with 303, so
// that no browser sends it again to the next.
func TestNoRedirectTakesAPasswordAlong(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	p := attacked(t, h, nil)
	p.open(p.request(nil))
	p.asked().browser.Submit(map[string]string{"email": p.user.Email, "password": p.user.Password})
	if p.browser.Submit(map[string]string{"decision": "allow"}); p.browser.Left == nil || p.browser.Page.Status != http.StatusSeeOther {
		t.Fatalf("after the consent: %s", p.browser.Page)
	}
	h.Advance(time.Second)
	p.open(p.request(map[string]string{"prompt": "login"}))
	p.asked().browser.Submit(map[string]string{"email": p.user.Email, "password": p.user.Password})
	if p.browser.Left == nil || p.browser.Page.Status != http.StatusSeeOther {
		t.Fatalf("after the login: %s", p.browser.Page)
	}
}

// SEC-DOS-09: requests of people whom nobody knows are stored nowhere, however
// many they send: what a page needs later is in the page.
func TestRequestsOfStrangersAreStoredNowhere(t *testing.T) {
	var stored atomic.Int64
	h := housetest.Start(t, housetest.Options{Env: func(_ int, env *house.Env) {
		env.Hooks.Before = func(kind string) error {
			if kind != "query" && kind != "row" {
				stored.Add(1)
			}
			return nil
		}
	}})
	p := attacked(t, h, nil)
	request := p.at(p.request(nil))
	h.Browser().Open(request)
	few := int64(1 << 40) // the least in some rounds: what the server does besides may fall in between
	for range 5 {
		stored.Store(0)
		for range 20 {
			h.Browser().Open(request)
		}
		few = min(few, stored.Load())
	}
	if p.browser.Open(request); few != 0 || !p.browser.Page.Has("password") {
		t.Errorf("20 requests wrote %d times; the page is %s", few, p.browser.Page)
	}
}
