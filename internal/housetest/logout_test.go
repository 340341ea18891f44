package housetest_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// browser is the person's browser, signed in.
func (s stay) at(t *testing.T, h *housetest.Harness) *housetest.Browser {
	t.Helper()
	b := h.Browser().For(t)
	b.SetCookie("th_session", s.cookie)
	b.SetCookie("th_browser", "AAECAwQFBgcICQoLDA0ODw")
	return b
}

// idToken is one that the client got for the person.
func (s stay) idToken(t *testing.T, h *housetest.Harness) string {
	t.Helper()
	ids := &oauth.IDTokens{Signer: h.House().Ring, Subjects: &oauth.Subjects{}, Issuer: h.Config.Issuer}
	token, err := ids.Mint(context.Background(), oauth.IDGrant{
		Client: s.client, User: oauth.Person{ID: s.person.ID, Email: s.person.Email}, Session: s.child.ID, IssuedAt: h.Clock.Now().Truncate(time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// alive reports whether the browser's session and the client's family live.
func (s stay) alive(t *testing.T, h *housetest.Harness) (browser, child bool) {
	t.Helper()
	f, err := h.House().DB.Sessions().Family(t.Context(), s.browser.ID)
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.House().DB.Sessions().Family(t.Context(), s.child.ID)
	if err != nil {
		t.Fatal(err)
	}
	return f.Active(h.Clock.Now()), g.Active(h.Clock.Now())
}

const byeURI = "https://app.example/bye"

// ask is a logout request by GET.
func ask(parameters map[string]string) string {
	q := url.Values{}
	for name, v := range parameters {
		q.Set(name, v)
	}
	return "/oauth2/logout?" + q.Encode()
}

// SEC-OAU-55: who has no good ID token of the user that is signed in, or asks
// for an address that is not registered to the character, is not redirected, and
// ends nothing before the user confirmed. Afterwards the page says so, and leads
// nowhere.
func TestNobodyIsLoggedOutUnasked(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		client, _ := enrolled(t, h, nil)
		another, _ := enrolled(t, h, func(n *oauth.Registration) { n.Logout.RedirectURIs = []string{"https://another.example/bye"} })
		disabled, _ := enrolled(t, h, nil)
		stranger := stays(t, h, h.Person(h.Admin.Org, "stranger", "viewer"), client, false)
		access := h.Login(h.Admin).Access
		h.Client().As(access).Patch("/api/v1/clients/"+string(disabled.ID), map[string]string{"status": "disabled"}).Expect(http.StatusOK)
		for what, request := range map[string]func(s stay, q map[string]string){
			"no hint":              func(_ stay, q map[string]string) { delete(q, "id_token_hint") },
			"no hint, a client_id": func(_ stay, q map[string]string) { delete(q, "id_token_hint"); q["client_id"] = string(client.ID) },
			"no parameter":         func(_ stay, q map[string]string) { clear(q) },
			"only a state":         func(_ stay, q map[string]string) { clear(q); q["state"] = "s" },
			"no address, no hint":  func(_ stay, q map[string]string) { clear(q); q["logout_hint"] = h.Admin.Email },
			"alg none":             func(_ stay, q map[string]string) { q["id_token_hint"] = unsigned(q["id_token_hint"]) },
			"another's signature":  func(_ stay, q map[string]string) { q["id_token_hint"] = resigned(t, q["id_token_hint"]) },
			"a changed payload":    func(_ stay, q map[string]string) { q["id_token_hint"] = changed(q["id_token_hint"]) },
			"not a token":          func(_ stay, q map[string]string) { q["id_token_hint"] = "x.y.z" },
			"another user's hint":  func(_ stay, q map[string]string) { q["id_token_hint"] = stranger.idToken(t, h) },
			"another client_id":    func(_ stay, q map[string]string) { q["client_id"] = string(another.ID) },
			"another client's URI": func(_ stay, q map[string]string) { q["post_logout_redirect_uri"] = "https://another.example/bye" },
			"a URI with a query":   func(_ stay, q map[string]string) { q["post_logout_redirect_uri"] += "?foo=bar" },
			"a longer URI":         func(_ stay, q map[string]string) { q["post_logout_redirect_uri"] += "foobar" },
			"a URI in other case":  func(_ stay, q map[string]string) { q["post_logout_redirect_uri"] = "https://APP.example/bye" },
			"a redirect_uri":       func(_ stay, q map[string]string) { q["post_logout_redirect_uri"] = "https://app.example/callback" },
			"a disabled client":    func(s stay, q map[string]string) { s.client = disabled; q["id_token_hint"] = s.idToken(t, h) },
			// SEC-JWT-11: an access token is no ID token.
			"an access token as the hint": func(_ stay, q map[string]string) { q["id_token_hint"] = access },
			"a forged forwarded request":  func(_ stay, q map[string]string) { clear(q); q["forwarded"] = "AAAA" },
		} {
			t.Run(what, func(t *testing.T) {
				s := stays(t, h, h.Admin, client, false)
				b := s.at(t, h)
				q := map[string]string{"id_token_hint": s.idToken(t, h), "post_logout_redirect_uri": byeURI, "state": "s"}
				request(s, q)
				page := b.OpenFrom("https://app.example", ask(q))
				page.Expect(http.StatusOK)
				if b.Left != nil || !strings.Contains(page.Words, h.Admin.Email) {
					t.Fatalf("sent to %v by %s", b.Left, page)
				}
				if here, there := s.alive(t, h); !here || !there {
					t.Fatal("the session ended before anybody confirmed")
				}
				done := b.Submit(nil)
				done.Shows("You have been logged out")
				if b.Left != nil || len(done.Links) != 0 || strings.Contains(string(done.Body), "app.example") {
					t.Errorf("sent to %v by %s", b.Left, done)
				}
				if here, there := s.alive(t, h); here || there {
					t.Error("the session goes on after its user confirmed")
				}
			})
		}
	})
}

// unsigned is the token with alg none (RFC 8725 §3.2).
func unsigned(token string) string {
	return encoded([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + strings.Split(token, ".")[1] + "."
}

// changed is the token with another payload under the same signature.
func changed(token string) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + parts[1][:len(parts[1])-4] + "AAAA." + parts[2]
}

// resigned is the token signed with a key of somebody else's, under our kid.
func resigned(t *testing.T, token string) string {
	t.Helper()
	return signed(t, jose.RS256, newRSA(t, "another"), claimsOf(t, token))
}

// A client that shows an ID token of the user that is signed in, however old,
// logs them out at once and gets them back with its state (OpenID Connect
// RP-Initiated Logout 1.0 §2, §3).
func TestAClientLogsItsUserOut(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		client, secret := enrolled(t, h, func(n *oauth.Registration) {
			n.Logout.RedirectURIs = []string{byeURI, "https://app.example/bye?kept=%20a", "com.example.app:/bye"}
		})
		for _, c := range []struct {
			what string
			edit func(q map[string]string)
			to   string // empty: our page
		}{
			{"with a state", func(map[string]string) {}, byeURI + "?state=a+b%26c%3Dd"},
			{"without", func(q map[string]string) { delete(q, "state") }, byeURI},
			{"to an address with a query", func(q map[string]string) { q["post_logout_redirect_uri"] = "https://app.example/bye?kept=%20a" }, "https://app.example/bye?kept=%20a&state=a+b%26c%3Dd"},
			{"to an application", func(q map[string]string) { q["post_logout_redirect_uri"] = "com.example.app:/bye" }, "com.example.app:/bye?state=a+b%26c%3Dd"},
			{"with its client_id", func(q map[string]string) { q["client_id"] = string(client.ID) }, byeURI + "?state=a+b%26c%3Dd"},
			{"with parameters we do not look at", func(q map[string]string) { q["logout_hint"], q["ui_locales"], q["more"] = "x", "de fr", "y" }, byeURI + "?state=a+b%26c%3Dd"},
			{"to nowhere", func(q map[string]string) { delete(q, "post_logout_redirect_uri") }, ""},
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				t.Run(c.what+" by "+method, func(t *testing.T) {
					s := stays(t, h, h.Admin, client, false)
					offline := s.alsoAt(t, h, client, true)
					b := s.at(t, h)
					q := map[string]string{"id_token_hint": s.idToken(t, h), "post_logout_redirect_uri": byeURI, "state": "a b&c=d"}
					h.Clock.Advance(2 * time.Hour) // the ID token expires
					c.edit(q)
					page := send(b, method, q)
					if left := b.Left; c.to == "" && left != nil || c.to != "" && (left == nil || left.String() != c.to) {
						t.Errorf("sent to %v, want %q: %s", left, c.to, page)
					}
					if c.to == "" {
						page.Shows("You have been logged out")
					}
					if here, there := s.alive(t, h); here || there || b.Cookie("th_session") != "" || b.Cookie("th_browser") != "AAECAwQFBgcICQoLDA0ODw" {
						t.Errorf("the session lives: %v, the client's: %v, the cookies are %q and %q", here, there, b.Cookie("th_session"), b.Cookie("th_browser"))
					}
					// SEC-OAU-56: no refresh token outlives the logout, but for offline access.
					mine := serviceClient{string(client.ID), secret}.by(h.Client().For(t))
					refused(t, form(mine, "/oauth2/token", "grant_type", "refresh_token", "refresh_token", s.refresh), http.StatusBadRequest, "invalid_grant")
					form(mine, "/oauth2/token", "grant_type", "refresh_token", "refresh_token", offline.refresh).Expect(http.StatusOK)
					ended := slices.DeleteFunc(eventsOf(t, h, audit.SessionRevoked), func(e audit.Event) bool { return e.Targets[0].ID != string(s.child.ID) })
					if len(ended) != 1 || ended[0].Actor.ID != string(h.Admin.ID) {
						t.Errorf("the audit log says %+v", ended)
					}
					// Once more, with nobody signed in: the same answer.
					if send(b, method, q); c.to != "" && (b.Left == nil || b.Left.String() != c.to) {
						t.Errorf("the second time sent to %v", b.Left)
					}
				})
			}
		}
	})
}

// send asks for a logout on behalf of the client's site.
func send(b *housetest.Browser, method string, q map[string]string) housetest.Page {
	if method == http.MethodGet {
		return b.OpenFrom("https://app.example", ask(q))
	}
	values := url.Values{}
	for name, v := range q {
		values.Set(name, v)
	}
	page := b.Post("https://app.example", "/oauth2/logout", values)
	if hint := q["id_token_hint"]; hint != "" && strings.Contains(page.URL.String(), hint) {
		panic("the ID token is in an address: " + page.URL.String())
	}
	return page
}

// A forwarded request is good for one redirect, not for keeping.
func TestAForwardedLogoutGoesStale(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	client, _ := enrolled(t, h, nil)
	s := stays(t, h, h.Admin, client, false)
	r := h.Client().With("Content-Type", "application/x-www-form-urlencoded").With("Origin", "https://app.example").With("Sec-Fetch-Site", "cross-site").
		Post("/oauth2/logout", url.Values{"id_token_hint": {s.idToken(t, h)}, "post_logout_redirect_uri": {byeURI}}.Encode()).Expect(http.StatusSeeOther)
	if len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("a form of another site changes cookies: %v", r.Header["Set-Cookie"])
	}
	h.Clock.Advance(5*time.Minute + time.Second)
	b := s.at(t, h)
	b.Open(r.Header.Get("Location"))
	if here, _ := s.alive(t, h); !here || b.Left != nil {
		t.Errorf("an old request ended the session, or led to %v", b.Left)
	}
}

// SEC-WEB-05, SEC-OAU-53: no other site presses the button, and no page of
// another browser, another session or another form does.
func TestOnlyOurOwnPageConfirmsALogout(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		client, _ := enrolled(t, h, nil)
		s, before := stays(t, h, h.Admin, client, false), stays(t, h, h.Admin, client, false)
		b := s.at(t, h)
		token := b.Open("/oauth2/logout").Forms[0].Fields.Get("form_token")
		earlier := before.at(t, h).Open("/oauth2/logout").Forms[0].Fields.Get("form_token")
		elsewhere := s.at(t, h)
		elsewhere.SetCookie("th_browser", "EAECAwQFBgcICQoLDA0ODw")
		for what, r := range map[string]housetest.Page{
			"another site":    b.For(t).Post("https://evil.example", "/oauth2/logout/confirm", url.Values{"form_token": {token}}),
			"no token":        b.For(t).Post(h.Config.Issuer, "/oauth2/logout/confirm", url.Values{}),
			"another session": b.For(t).Post(h.Config.Issuer, "/oauth2/logout/confirm", url.Values{"form_token": {earlier}}),
			"another browser": elsewhere.Post(h.Config.Issuer, "/oauth2/logout/confirm", url.Values{"form_token": {token}}),
			"a made-up token": b.For(t).Post(h.Config.Issuer, "/oauth2/logout/confirm", url.Values{"form_token": {token[:len(token)-4] + "AAAA"}}),
		} {
			if here, _ := s.alive(t, h); !here {
				t.Fatalf("%s ended the session: %s", what, r)
			}
		}
		b.Post(h.Config.Issuer, "/oauth2/logout/confirm", url.Values{"form_token": {token}}).Shows("You have been logged out")
		if here, _ := s.alive(t, h); here {
			t.Error("our own page does not end it")
		}
	})
}

// SEC-WEB-10: over https the session's cookie goes with the attributes it came
// with, no page of a logout is kept by anybody, and the old cookie is worth
// nothing.
func TestALogoutTakesTheCookieAway(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: func(c *house.Config) { c.Issuer = "https://id.example.com" }}, func(t *testing.T, h *housetest.Harness) {
		client, _ := enrolled(t, h, nil)
		s := stays(t, h, h.Admin, client, false)
		c := h.Client().With("X-Forwarded-Proto", "https").With("Cookie", "__Host-th_session="+s.cookie)
		r := c.Get(ask(map[string]string{"id_token_hint": s.idToken(t, h)})).Expect(http.StatusOK)
		got := r.Cookie("th_session")
		if got == nil || got.Name != "__Host-th_session" || got.Value != "" || got.MaxAge != -1 || got.Path != "/" || !got.HttpOnly || !got.Secure || got.SameSite != http.SameSiteLaxMode || got.Domain != "" {
			t.Errorf("the cookie is taken away by %+v", got)
		}
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("Cache-Control is %q", r.Header.Get("Cache-Control"))
		}
		// The back button, or whoever copied the cookie, finds nobody signed in.
		again := c.Get("/login").Expect(http.StatusOK)
		if strings.Contains(string(again.Body), h.Admin.Email) {
			t.Errorf("the old cookie signs in: %s", again)
		}
	})
}

// Applications that want to hear of a logout by the browser are loaded in
// frames before it goes on, and the policy of the page allows just these
// (OpenID Connect Front-Channel Logout 1.0 §3).
func TestAFrontchannelLogoutLoadsTheApplications(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	at := func(host string, session bool) oauth.Registered {
		r, _ := enrolled(t, h, func(n *oauth.Registration) {
			n.RedirectURIs = append(n.RedirectURIs, "https://"+host+"/cb")
			n.Logout.FrontchannelURI, n.Logout.FrontchannelSession = "https://"+host+"/front?kept=1", session
		})
		return r
	}
	with, without := at("one.example", true), at("two.example:8443", false)
	client, _ := enrolled(t, h, nil)
	s := stays(t, h, h.Admin, with, false)
	s.alsoAt(t, h, without, false)
	s.alsoAt(t, h, without, false) // the same address once
	last := s.alsoAt(t, h, client, false)
	gone := s.alsoAt(t, h, at("three.example", true), false)
	h.Client().As(h.Login(h.Admin).Access).Delete("/api/v1/clients/" + string(gone.client.ID)).Expect(http.StatusNoContent)

	page := s.at(t, h).Open(ask(map[string]string{"id_token_hint": last.idToken(t, h), "post_logout_redirect_uri": byeURI, "state": "x y"}))
	page.Shows("You have been logged out")
	frames := regexp.MustCompile(`<iframe hidden sandbox="allow-scripts allow-same-origin" referrerpolicy="no-referrer" title="[^"]+" src="([^"]+)">`).FindAllStringSubmatch(string(page.Body), -1)
	var got []string
	for _, f := range frames {
		got = append(got, strings.ReplaceAll(f[1], "&amp;", "&"))
	}
	slices.Sort(got)
	want := []string{"https://one.example/front?kept=1&iss=" + url.QueryEscape(h.Config.Issuer) + "&sid=" + string(s.child.ID), "https://two.example:8443/front?kept=1"}
	if !slices.Equal(got, want) {
		t.Errorf("frames %q, want %q", got, want)
	}
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "frame-src https://one.example https://two.example:8443;") && !strings.Contains(policy, "frame-src https://two.example:8443 https://one.example;") {
		t.Errorf("the policy is %s", policy)
	}
	if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("the policy is %s", policy)
	}
	to := "https://app.example/bye?state=x+y"
	if body := strings.ReplaceAll(string(page.Body), "&#43;", "+"); !strings.Contains(body, `<meta http-equiv="refresh" content="2;url=`+to+`">`) || len(page.Links) != 1 || page.Links[0].String() != to {
		t.Errorf("the page goes on nowhere: %s", page.Body)
	}
}

// What cannot be read is our error page, and ends nothing.
func TestALogoutRequestThatCannotBeRead(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	client, _ := enrolled(t, h, nil)
	s := stays(t, h, h.Admin, client, false)
	hint := "id_token_hint=" + s.idToken(t, h)
	for _, query := range []string{hint + "&" + hint, hint + "&state=a&state=b", hint + "&post_logout_redirect_uri=" + url.QueryEscape(byeURI) + "&state=" + strings.Repeat("x", 2049), "state=%zz"} {
		b := s.at(t, h)
		b.Open("/oauth2/logout?" + query).Shows("Error").Expect(http.StatusBadRequest)
		if here, _ := s.alive(t, h); !here || b.Left != nil {
			t.Errorf("%.40s… ended the session, or led to %v", query, b.Left)
		}
	}
}

// SEC-JWT-11: a logout token is nothing but a logout token.
func TestALogoutTokenIsNothingElse(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	rp := hears(t)
	client, secret := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
	s := stays(t, h, h.Admin, client, false)
	s.ends(t, h)
	token := rp.next(t)
	mine := serviceClient{string(client.ID), secret}.by(h.Client())
	h.Client().As(token).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	h.Client().As(token).Get("/api/v1/agents").Expect(http.StatusUnauthorized)
	h.Client().With("Cookie", "th_access="+token).Get("/api/v1/me").Expect(http.StatusUnauthorized)
	refused(t, form(mine, "/oauth2/token", "grant_type", "refresh_token", "refresh_token", token), http.StatusBadRequest, "invalid_grant")
	refused(t, form(mine, "/oauth2/token", "grant_type", "authorization_code", "code", token, "redirect_uri", "https://app.example/callback", "code_verifier", strings.Repeat("v", 43)), http.StatusBadRequest, "invalid_grant")
	refused(t, form(h.Client(), "/oauth2/token", "grant_type", "client_credentials", "client_assertion", token,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), http.StatusUnauthorized, "invalid_client")
	if r := form(mine, "/oauth2/introspect", "token", token).Expect(http.StatusOK); r.Text("active") != "false" {
		t.Errorf("%s", r)
	}
	again := stays(t, h, h.Admin, client, false)
	b := again.at(t, h)
	b.Open(ask(map[string]string{"id_token_hint": token, "post_logout_redirect_uri": byeURI}))
	if here, _ := again.alive(t, h); !here || b.Left != nil {
		t.Errorf("a logout token is taken for an ID token")
	}
}
