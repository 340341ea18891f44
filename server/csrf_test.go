package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

// crossSite are the ways in which another site can have a browser ask.
var crossSite = map[string][]string{
	"another origin":           {"Origin", "https://evil.example"},
	"Origin: null":             {"Origin", "null"},
	"a sibling domain":         {"Origin", "https://evil.localhost"},
	"another port":             {"Origin", "http://localhost:9999"},
	"cross-site":               {"Sec-Fetch-Site", "cross-site"},
	"same site, other origin":  {"Sec-Fetch-Site", "same-site"},
	"cross-site, right origin": {"Sec-Fetch-Site", "cross-site", "Origin", "http://127.0.0.1"},
	"unknown site":             {"Sec-Fetch-Site", "elsewhere"},
	"another referer":          {"Referer", "https://evil.example/page"},
	"no referer's host":        {"Referer", "about:blank"},
}

// cookieless reports whether an endpoint takes requests of other sites because
// it takes no cookie.
func cookieless(template string) bool {
	return slices.Contains([]string{"/oauth2/token", "/oauth2/revoke", "/oauth2/userinfo", "/oauth2/register", "/oauth2/register/{client_id}"}, template)
}

// Pages of any origin may read what the endpoints without cookies answer, and
// no browser lets them send any.
func TestEndpointsWithoutCookiesAnswerEveryOrigin(t *testing.T) {
	g := start(t)
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/register", "/oauth2/register/cli_x"} {
		asked := g.do("OPTIONS", path, "", "Origin", "https://spa.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		told := g.do("POST", path, "", "Origin", "https://spa.example")
		for _, a := range []answer{asked, told} {
			if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: %d %v", path, a.status, a.header)
			}
		}
		if !strings.Contains(asked.header.Get("Access-Control-Allow-Headers"), "Content-Type") || asked.status != 204 {
			t.Errorf("%s: preflight %d %v", path, asked.status, asked.header)
		}
	}
	for _, path := range []string{"/oauth2/introspect", "/api/v1/me", "/oauth2/registered", "/login"} {
		if a := g.do("GET", path, "", "Origin", "https://spa.example"); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

// O6 SEC-WEB-05: every changing route, with good cookies, asked for by another site.
func TestAnotherSiteChangesNothing(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	jar := "th_access=" + a.text("access_token") + "; th_refresh=" + a.text("refresh_token")
	changing := calls(t)
	for _, m := range g.mounts() {
		changing = append(changing, call{method: m[0], path: m[1], template: m[1]})
	}
	changing = append(changing, call{method: "POST", path: "/setup", template: "/setup"})
	checked := 0
	for _, c := range changing {
		if c.method == "GET" || c.method == "HEAD" {
			continue
		}
		checked++
		for name, headers := range crossSite {
			kinds := []string{"application/json"}
			if name == "another origin" { // what a form may send without asking first
				kinds = append(kinds, "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded")
			}
			for _, kind := range kinds {
				r := g.do(c.method, c.path, "{}", append(headers, "Cookie", jar, "Content-Type", kind)...)
				if cookieless(c.template) { // the good cookies are not looked at
					if r.status != 400 && r.status != 401 || r.header.Get("Set-Cookie") != "" || r.header.Get("Access-Control-Allow-Credentials") != "" {
						t.Errorf("%s %s, %s, %s: %d %s", c.method, c.template, name, kind, r.status, r.body)
					}
					continue
				}
				if slices.Contains([]string{"/oauth2/authorize", "/oauth2/logout"}, c.template) { // asked once more by GET; nothing is done
					if r.status != 303 && r.status != 415 || r.header.Get("Set-Cookie") != "" {
						t.Errorf("%s %s, %s, %s: %d %v", c.method, c.template, name, kind, r.status, r.header)
					}
					continue
				}
				if r.status != 403 || r.text("code") != "CROSS_ORIGIN" || r.header.Get("Set-Cookie") != "" {
					t.Errorf("%s %s, %s, %s: %d %s", c.method, c.template, name, kind, r.status, r.body)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d routes were checked", checked)
	}
	g.want(g.do("GET", "/api/v1/me", "", "Cookie", jar), 200) // nothing has ended the session
}

func TestOurOwnPagesAndToolsMayChangeThings(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	for name, headers := range map[string][]string{
		"our own page":                 {"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:8080"},
		"typed by the user":            {"Sec-Fetch-Site", "none"},
		"an old browser, our page":     {"Origin", "http://localhost:8080"},
		"an old browser, our referer":  {"Referer", "http://localhost:8080/settings"},
		"a tool with a cookie jar":     nil,
		"O12: a tool, with no headers": {"Accept", "*/*"},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.do("POST", "/api/v1/auth/refresh", "", append(headers, "Cookie", "th_refresh="+a.text("refresh_token"))...)
			g.want(r, 200)
		})
	}
	t.Run("a token in a header is not the browser's doing", func(t *testing.T) {
		g.want(g.do("POST", "/api/v1/api-keys", `{"name":"k","permissions":["agents:read"]}`, append(bearer(a.text("access_token")), "Origin", "https://app.example")...), 201)
	})
	t.Run("but credentials a browser sends alone do not help", func(t *testing.T) {
		r := g.do("POST", "/api/v1/auth/refresh", "", "Authorization", "Basic eDp5", "Origin", "https://evil.example", "Cookie", "th_refresh="+a.text("refresh_token"))
		if r.status != 403 {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
}

// SEC-WEB-05: under https, a cleartext page of our own host is another site.
func TestACleartextPageOfOurHostIsAnotherSite(t *testing.T) {
	g := start(t, production)
	secure := []string{"X-Forwarded-Proto", "https"}
	a := g.want(g.do("POST", "/api/v1/auth/login", credentials(adminEmail, adminPassword), secure...), 200)
	jar := append(secure, "Cookie", "__Secure-th_refresh="+a.text("refresh_token"))
	host := strings.TrimPrefix(g.url, "http://")
	for _, h := range [][]string{{"Origin", "http://id.example.com"}, {"Origin", "http://" + host}, {"Referer", "http://id.example.com/"}, {"Origin", "https://www.id.example.com"}} {
		if r := g.do("POST", "/api/v1/auth/refresh", "", append(h, jar...)...); r.status != 403 || r.text("code") != "CROSS_ORIGIN" {
			t.Errorf("%v: %d %s", h, r.status, r.body)
		}
	}
	g.want(g.do("POST", "/api/v1/auth/refresh", "", append(jar, "Origin", "https://id.example.com")...), 200)
}

// O30: the listed origins, and no others.
func TestCORS(t *testing.T) {
	const extension, dashboard = "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "https://dashboard.example"
	g := start(t, func(c *house.Config) { c.HTTP.CORSOrigins = []string{extension, dashboard} })
	a := g.login(adminEmail, adminPassword)
	for origin, listed := range map[string]bool{
		extension: true, dashboard: true,
		"chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba": false, "https://dashboard.example.evil.example": false,
		"http://dashboard.example": false, "https://dashboard.example:444": false, "null": false, "https://DASHBOARD.example": false,
	} {
		t.Run(origin, func(t *testing.T) {
			want := ""
			if listed {
				want = origin
			}
			for _, r := range []answer{
				g.do("OPTIONS", "/api/v1/me", "", "Origin", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"),
				g.do("GET", "/api/v1/me", "", append(bearer(a.text("access_token")), "Origin", origin)...),
				g.do("GET", "/api/v1/me", "", "Origin", origin),
				g.do("GET", "/nothing", "", "Origin", origin),
			} {
				if got := r.header.Get("Access-Control-Allow-Origin"); got != want {
					t.Errorf("%d: Access-Control-Allow-Origin %q", r.status, got)
				}
				if got := r.header.Get("Access-Control-Allow-Credentials") == "true"; got != listed {
					t.Errorf("%d: credentials %v", r.status, got)
				}
				if !strings.Contains(strings.Join(r.header.Values("Vary"), ","), "Origin") {
					t.Errorf("%d: Vary %q", r.status, r.header.Values("Vary"))
				}
			}
			r := g.do("POST", "/api/v1/auth/refresh", "", "Origin", origin, "Sec-Fetch-Site", "cross-site", "Cookie", "th_refresh="+a.text("refresh_token"))
			if (r.status == 200) != listed {
				t.Errorf("refresh by cookie: %d %s", r.status, r.body)
			}
		})
	}
	pre := g.do("OPTIONS", "/api/v1/api-keys", "", "Origin", dashboard, "Access-Control-Request-Method", "POST")
	if pre.status != 204 || !strings.Contains(pre.header.Get("Access-Control-Allow-Headers"), "X-API-Key") || !strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("preflight %d %v", pre.status, pre.header)
	}
}
