package housetest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// shownHere fails the test unless the browser shows a page of errors of ours, and
// was sent to nobody.
func shownHere(t *testing.T, b *housetest.Browser, code string, statuses ...int) {
	t.Helper()
	if b.Left != nil || b.Page.Header.Get("Location") != "" {
		t.Fatalf("the browser was sent to %v: %s", b.Left, b.Page)
	}
	b.Page.Shows("Error").Expect(statuses...)
	if b.Page.ID("code") != code || b.Page.ID("request-id") != b.Page.Header.Get("X-Request-Id") {
		t.Errorf("code %q, request %q: %s", b.Page.ID("code"), b.Page.ID("request-id"), b.Page)
	}
}

// SEC-OAU-01, SEC-OAU-02, SEC-OAU-03, SEC-OAU-07, SEC-OAU-09: what is not, byte
// for byte, a registered redirect URI gets a page of ours and no redirect, and
// so does an unknown client.
func TestNobodyIsSentToAnAddressThatWasNotRegistered(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb", nil)
		b := h.Browser().For(t)
		for _, address := range []string{
			"https://notes.example.evil.com/cb", "https://notes.example/cb/../evil", "https://notes.example/cb/..%2f", "https://notes.example/cb%252f..", "https://notes.example/cb/..;/x",
			"https://notes.example@evil.com/cb", `https://evil.com\@notes.example/cb`, "https://notes.example#@evil.com/cb", "https://notes.example/cb\t", "https://notes.example/cb\n", "https://notes.example\t/cb",
			"//evil.com/cb", `/\evil.com`, "/cb", "https://notes．example/cb", "https://nοtes.example/cb", "https://[fe80::1%25eth0]/cb",
			"HTTPS://notes.example/cb", "https://NOTES.example/cb", "https://notes.example/CB", "https://notes.example/cb/", "https://notes.example:443/cb", "http://notes.example/cb",
			"https://notes.example/cb?x=1", "https://notes.example/cb?", "https://notes.example/cb#f", "javascript:alert(1)", "data:text/html,x", "https://notes.example/cb ", " https://notes.example/cb",
		} {
			b.Open(g.asks("redirect_uri", address))
			shownHere(t, b, "invalid_redirect_uri", http.StatusBadRequest)
		}
		b.Open("/oauth2/authorize?" + strings.Replace(g.request().Encode(), "notes.example%2Fcb", "notes.example%2Fcb%00", 1))
		shownHere(t, b, "invalid_request", http.StatusBadRequest)
		for _, client := range []string{"nobody", "cli_00000000000000000000000000", "cli_browser", "cli_api", g.id + " ", strings.ToUpper(g.id), strings.Repeat("x", 9000)} {
			b.Open(g.asks("client_id", client))
			shownHere(t, b, "invalid_client", http.StatusBadRequest)
		}
		b.Open(g.asks("client_id", ""))
		shownHere(t, b, "invalid_request", http.StatusBadRequest)
		b.Open("/oauth2/authorize?client_id=" + strings.Repeat("x", 17000))
		shownHere(t, b, "invalid_request", http.StatusRequestEntityTooLarge)
	})
}

// SEC-OAU-10: no parameter counts twice, wherever it stands.
func TestNoParameterOfAnAuthorizationRequestCountsTwice(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	g := invite(h, "https://notes.example/cb", nil)
	b := h.Browser().For(t)
	for name := range g.request() {
		b.Open(g.asks() + "&" + name + "=" + url.QueryEscape(g.request().Get(name)))
		shownHere(t, b, "invalid_request", http.StatusBadRequest)
		b.Post("https://notes.example", "/oauth2/authorize?"+name+"=other", g.request())
		shownHere(t, b, "invalid_request", http.StatusBadRequest)
	}
	// One in the query and the others in the form: read once, together.
	rest := g.request("state", "")
	b.Post("https://notes.example", "/oauth2/authorize?state=mixed", rest).Shows("Sign in")
	b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password})
	b.Submit(map[string]string{"decision": "allow"})
	if got := b.FollowsTo(g.redirect); got.Get("state") != "mixed" || got.Get("code") == "" {
		t.Errorf("a form of the client's own: %v", got)
	}
}

// SEC-WEB-02, SEC-WEB-03, SEC-WEB-04, SEC-WEB-09: a login gives a new cookie and
// takes nothing from an old one; a made-up one is nobody's, and goes.
func TestABrowserSessionIsNewAfterEveryLogin(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		other := h.Person(h.Admin.Org, "other", "viewer")
		b := h.Browser().For(t)
		tokens := h.Login(h.Admin)
		for _, made := range []string{"deadbeef", "1", "null", "thb_", "thb_" + strings.Repeat("A", 60), tokens.Access, tokens.Refresh, string(h.Admin.ID)} {
			b.SetCookie("th_session", made)
			b.Open("/login").Shows("Sign in")
			if c := b.Page.Cookie("th_session"); c == nil || c.MaxAge >= 0 || b.Cookie("th_session") != "" {
				t.Errorf("%.20s stays in the browser: %v", made, c)
			}
		}
		b.SetCookie("th_session", "thb_planted")
		b.SignIn("/login", h.Admin).Shows("You are signed in")
		first := b.Cookie("th_session")
		if first == "thb_planted" || !strings.HasPrefix(first, "thb_") || b.Page.ID("user") != h.Admin.Email {
			t.Fatalf("the login gave %q: %s", first, b.Page)
		}
		for i := range first { // SEC-WEB-03: every character counts
			if i%7 == 0 {
				changed := first[:i] + string("AB"[first[i]&1]) + first[i+1:]
				thief := h.Browser().For(t)
				if thief.SetCookie("th_session", changed); changed != first {
					thief.Open("/login").Shows("Sign in")
				}
			}
		}
		g := invite(h, "https://again.example/cb", nil)
		again := func(p housetest.Person) string {
			t.Helper()
			h.Advance(time.Second) // what was proved at this moment is not asked again
			b.Open(g.asks("prompt", "login")).Shows("Sign in")
			b.Submit(map[string]string{"email": p.Email, "password": p.Password})
			return b.Cookie("th_session")
		}
		second := again(h.Admin)
		third := again(other)
		for _, old := range []string{first, second} {
			thief := h.Browser().For(t)
			thief.SetCookie("th_session", old)
			thief.Open("/login").Shows("Sign in")
		}
		if b.Open("/login").Shows("You are signed in"); b.Page.ID("user") != other.Email || third == second || second == first {
			t.Errorf("who is signed in now: %s", b.Page)
		}
		// SEC-WEB-08: the cookie of our pages is no credential for the API, nor the other way round.
		h.Client().With("Cookie", "th_session="+third+"; th_access="+third).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		h.Client().As(third).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		both := h.Client().With("Cookie", "th_session="+third).As(tokens.Access).Get("/api/v1/me").Expect(http.StatusOK)
		if both.Text("id") != string(h.Admin.ID) {
			t.Errorf("the cookie counted: %s", both)
		}
	})
}

// SEC-WEB-05, SEC-OAU-53: a form of ours is good in the browser, for the session
// and for the page it was made for, and another site cannot send it.
func TestAFormIsGoodWhereItWasMade(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		g := invite(h, "https://notes.example/cb", nil)
		b, own := h.Browser().For(t), h.Config.Issuer
		login := b.Open(g.asks()).Shows("Sign in").Forms[0].Fields
		login.Set("email", h.Admin.Email)
		login.Set("password", h.Admin.Password)
		for name, site := range map[string]string{"another site": "https://evil.example", "null": "null", "our host over https": strings.Replace(own, "http:", "https:", 1)} {
			if b.Post(site, "/login", login).Expect(http.StatusForbidden); b.Cookie("th_session") != "" {
				t.Errorf("%s logs people in", name)
			}
		}
		stranger := h.Browser().For(t)
		strangers := stranger.Open(g.asks()).Forms[0].Fields
		for name, token := range map[string]string{"none": "", "made up": "AQ" + strings.Repeat("A", 42), "another browser's": strangers.Get("form_token")} {
			forged := url.Values{"form_token": {token}, "pending": login["pending"], "email": login["email"], "password": login["password"]}
			if b.Post(own, "/login", forged).Expect(http.StatusForbidden); b.Cookie("th_session") != "" || b.Page.ID("problem") == "" {
				t.Errorf("a form with a token that is %s: %s", name, b.Page)
			}
		}
		b.Post(own, "/login", login).Shows("Allow access?")
		consent := b.Page.Forms[0].Fields
		consent.Set("decision", "allow")
		for name, token := range map[string]string{"none": "", "the login's": login.Get("form_token"), "another browser's": strangers.Get("form_token")} {
			forged := url.Values{"form_token": {token}, "pending": consent["pending"], "decision": {"allow"}}
			b.Post(own, "/consent", forged)
			if shownHere(t, b, "access_denied", http.StatusForbidden); b.Left != nil {
				t.Errorf("a consent with a token that is %s", name)
			}
		}
		b.Post("https://evil.example", "/consent", consent).Expect(http.StatusForbidden)
		// The whole form, seen by somebody else: with no session, and with one of their own.
		stranger.Post(own, "/consent", consent).Expect(http.StatusForbidden)
		stranger.SignIn("/login", h.Person(h.Admin.Org, "stranger", "viewer"))
		stranger.Post(own, "/consent", consent)
		shownHere(t, stranger, "access_denied", http.StatusForbidden)
		stranger.Open("/consent?pending=" + consent.Get("pending"))
		shownHere(t, stranger, "access_denied", http.StatusForbidden)
		// Whoever logs in instead answers for themselves only.
		b.Post(own, "/consent", url.Values{"form_token": consent["form_token"], "pending": consent["pending"], "decision": {"perhaps"}})
		shownHere(t, b, "invalid_request", http.StatusBadRequest)
		b.Post(own, "/consent", consent)
		if b.FollowsTo(g.redirect).Get("code") == "" {
			t.Error("the true form does not count")
		}
	})
}

// SEC-OAU-57: every redirect of the way is a 303, with the password or without.
// SEC-WEB-10: and every cookie has the same attributes when it is taken away.
func TestNoRedirectSendsAPasswordOn(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	g := invite(h, "https://notes.example/cb", nil)
	b := h.Browser().For(t)
	var trail []housetest.Reply
	trail = append(trail, b.Post("https://notes.example", "/oauth2/authorize", g.request()).Trail...)
	trail = append(trail, b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}).Trail...)
	signedIn := b.Page.Trail[0].Cookie("th_session")
	trail = append(trail, b.Submit(map[string]string{"decision": "allow"}).Trail...)
	redirects := 0
	for _, r := range trail {
		if r.Header.Get("Location") != "" {
			redirects++
			if r.Status != http.StatusSeeOther {
				t.Errorf("%s", r)
			}
		}
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept", r)
		}
	}
	if redirects < 5 {
		t.Errorf("only %d redirects", redirects)
	}
	b.SetCookie("th_session", "deadbeef")
	gone := b.Open("/login").Cookie("th_session")
	if signedIn == nil || gone == nil || !signedIn.HttpOnly || signedIn.SameSite != http.SameSiteLaxMode || signedIn.MaxAge <= 0 ||
		gone.Path != signedIn.Path || gone.HttpOnly != signedIn.HttpOnly || gone.SameSite != signedIn.SameSite || gone.Secure != signedIn.Secure || gone.MaxAge >= 0 {
		t.Errorf("set as %v, taken away as %v", signedIn, gone)
	}
}

// SEC-WEB-11, SEC-WEB-12, SEC-WEB-13, SEC-WEB-16, SEC-OAU-59: what every page
// says to the browser, with markup in every name that comes from outside.
func TestWhatEveryPageSaysToTheBrowser(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	const evil = `"><script>alert(1)</script>`
	g := invite(h, "https://notes.example/cb", map[string]any{"name": "N" + evil})
	b := h.Browser().For(t)
	var pages []housetest.Page
	pages = append(pages, b.Open("/oauth2/authorize?client_id="+url.QueryEscape(evil)))
	pages = append(pages, b.Open(g.asks("login_hint", evil, "state", evil, "response_mode", "form_post")))
	pages = append(pages, b.Submit(map[string]string{"email": evil, "password": evil}))
	pages = append(pages, b.Submit(map[string]string{"email": h.Admin.Email, "password": h.Admin.Password}))
	pages = append(pages, b.Submit(map[string]string{"decision": "allow"}))
	pages = append(pages, b.Open("/login"))
	for i, want := range []string{"Error", "Sign in", "Sign in", "Allow access?", "Going back", "You are signed in"} {
		p := pages[i].Shows(want)
		policy := p.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: no %s in %s", want, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || p.Header.Get("X-Frame-Options") != "DENY" || p.Header.Get("Cache-Control") != "no-store" ||
			p.Header.Get("Referrer-Policy") == "" || p.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %v", want, p.Header)
		}
		if strings.Contains(string(p.Body), "<script>") || !p.Has("") && strings.Contains(string(p.Body), "onerror") {
			t.Errorf("%s: markup from outside: %s", want, p.Body)
		}
		forms := strings.Contains(policy, "form-action 'self' https://notes.example;")
		switch want {
		case "Sign in", "Allow access?":
			if !forms {
				t.Errorf("%s: %s", want, policy)
			}
		case "Going back":
			if !strings.Contains(policy, "form-action https://notes.example;") || p.Forms[0].Fields.Get("state") != evil {
				t.Errorf("%s: %s", policy, p)
			}
		default:
			if !strings.Contains(policy, "form-action 'self';") {
				t.Errorf("%s: %s", want, policy)
			}
		}
	}
	if !slices.Contains(pages[3].Headings, "Allow access?") || pages[3].ID("client") != "N"+evil {
		t.Errorf("the name is not shown as it is: %q", pages[3].ID("client"))
	}
}

// SEC-WEB-14: after a login people stay with us.
func TestALoginLeadsToNoOtherSite(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	for _, bad := range []string{"//evil.example", `/\evil.example`, "/\t/evil.example", "/%09/evil.example", "https:evil.example", "https://evil.example", `\\evil.example`, "javascript:alert(1)", "/%5cevil.example"} {
		b := h.Browser().For(t)
		b.SignIn("/login?return_to="+url.QueryEscape(bad), h.Admin).Shows("You are signed in")
		if b.Open("/login?return_to=" + url.QueryEscape(bad)).Shows("You are signed in"); b.Left != nil {
			t.Errorf("%q leads to %s", bad, b.Left)
		}
	}
	b := h.Browser().For(t)
	if p := b.SignIn("/login?return_to=/docs", h.Admin); p.URL.Path != "/docs" {
		t.Errorf("a path of ours is not gone on to: %s", p)
	}
}
