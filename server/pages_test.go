package server_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

// SEC-WEB-11 SEC-WEB-12 SEC-WEB-13: the page that people see is framed by
// nobody, runs no script, and shows what was typed as text.
func TestTheSetUpPage(t *testing.T) {
	g := start(t)
	link, _, err := g.house.People.IssueSetupLink(context.Background(), g.house.Operator(""), g.adminID())
	if err != nil {
		t.Fatal(err)
	}
	shown := g.want(g.do("GET", "/setup?token="+link.Reveal(), ""), 200)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	form := url.Values{"token": {link.Reveal()}, "email": {evil}, "organization_name": {evil}, "password": {"short"}}.Encode()
	refused := g.do("POST", "/setup", form, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Origin", "null")
	if refused.status != 422 {
		t.Fatalf("%d %s", refused.status, refused.body)
	}
	if !strings.Contains(string(refused.body), "&lt;script&gt;") {
		t.Error("what was typed is not shown again; take another field for this test")
	}
	reflected := g.do("GET", "/setup?token="+url.QueryEscape(evil), "")
	for _, a := range []answer{shown, refused, reflected} {
		page := regexp.MustCompile(`"[^"<>]*"`).ReplaceAllString(string(a.body), `""`) // what is quoted is text
		if regexp.MustCompile(`(?i)<script|<img|\son\w+=|javascript:|<style|\sstyle=`).MatchString(page) {
			t.Errorf("%d: markup from outside, or inline code: %s", a.status, page)
		}
		policy := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%d: no %s in %q", a.status, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || a.header.Get("X-Frame-Options") != "DENY" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d: %v", a.status, a.header)
		}
	}
}

// SEC-WEB-10: over https the cookies of pages have names that no sibling and no
// cleartext page can plant, and are taken away as they were set.
func TestCookiesOfPagesOverHTTPS(t *testing.T) {
	g := start(t, func(c *house.Config) {
		c.Issuer, c.HTTP.TrustedProxies = "https://login.example.com", loopback
	})
	secure := []string{"X-Forwarded-Proto", "https"}
	shown := g.want(g.do("GET", "/login", "", secure...), 200)
	name := shown.cookie("__Host-th_browser")
	token := regexp.MustCompile(`name="form_token" value="([^"]+)"`).FindSubmatch(shown.body)
	if name == nil || token == nil {
		t.Fatalf("%v %s", shown.header, shown.body)
	}
	form := url.Values{"form_token": {string(token[1])}, "email": {adminEmail}, "password": {adminPassword}}.Encode()
	by := append(secure, "Cookie", "__Host-th_browser="+name.Value, "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://login.example.com")
	in := g.want(g.do("POST", "/login", form, by...), 303)
	if to := in.header.Get("Location"); to != "/login" {
		t.Errorf("on to %q", to)
	}
	set := in.cookie("__Host-th_session")
	gone := g.want(g.do("GET", "/login", "", append(secure, "Cookie", "__Host-th_session=deadbeef")...), 200).cookie("__Host-th_session")
	for what, c := range map[string]*http.Cookie{"browser": name, "session": set, "session taken away": gone} {
		if c == nil || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("%s: %v", what, c)
		}
	}
	if gone == nil || gone.MaxAge >= 0 || set.MaxAge <= 0 {
		t.Errorf("set %v, taken away %v", set, gone)
	}
	device := in.cookie("__Secure-th_device")
	if device == nil || !device.Secure || !device.HttpOnly {
		t.Errorf("device %v", device)
	}
	// SEC-WEB-03: the cookie holds nothing that could be guessed from another.
	again := g.want(g.do("POST", "/login", form, by...), 303).cookie("__Host-th_session")
	if again == nil || again.Value == set.Value || len(again.Value) < 40 {
		t.Errorf("%v after %v", again, set)
	}
}

// A cookie that names the browser is ours or none.
func TestAPlantedBrowserNameCountsAsNone(t *testing.T) {
	g := start(t)
	for _, planted := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA!", strings.Repeat("A", 4000)} {
		c := g.want(g.do("GET", "/login", "", "Cookie", "th_browser="+planted), 200).cookie("th_browser")
		if c == nil || c.Value == planted || len(c.Value) != 22 {
			t.Errorf("%.30q: %v", planted, c)
		}
	}
	first := g.do("GET", "/login", "").cookie("th_browser")
	if c := g.want(g.do("GET", "/login", "", "Cookie", "th_browser="+first.Value), 200).cookie("th_browser"); c != nil {
		t.Errorf("%v is replaced by %v", first, c)
	}
	if a := g.do("GET", "/login", "", "Cookie", "th_browser="+first.Value+"; th_browser=AAAAAAAAAAAAAAAAAAAAAA"); a.status != 400 || !strings.Contains(string(a.body), "<h1>Error</h1>") {
		t.Errorf("two names: %d %s", a.status, a.body)
	}
}

// A listed origin uses the API with a browser's cookies, and still reads no page
// of ours and answers none.
func TestAListedOriginAnswersNoPage(t *testing.T) {
	const listed = "https://app.example.com"
	g := start(t, func(c *house.Config) { c.HTTP.CORSOrigins = []string{listed} })
	if a := g.do("GET", "/api/v1/me", "", "Origin", listed); a.header.Get("Access-Control-Allow-Origin") != listed {
		t.Fatalf("%v", a.header)
	}
	for _, path := range []string{"/oauth2/authorize", "/login", "/login/unlock", "/consent", "/oauth2/logout", "/oauth2/logout/confirm"} {
		for _, method := range []string{"GET", "OPTIONS"} {
			a := g.do(method, path, "", "Origin", listed, "Access-Control-Request-Method", "POST")
			if a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s %s: %v", method, path, a.header)
			}
		}
	}
	for _, path := range []string{"/login", "/login/unlock", "/consent", "/oauth2/logout/confirm"} {
		a := g.do("POST", path, "decision=allow", "Content-Type", "application/x-www-form-urlencoded", "Origin", listed, "Sec-Fetch-Site", "same-site")
		if a.status != 403 || a.text("code") != "CROSS_ORIGIN" {
			t.Errorf("POST %s: %d %s", path, a.status, a.body)
		}
	}
}
