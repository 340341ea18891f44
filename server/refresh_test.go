package server_test

import (
	"strings"
	"testing"
	"time"
)

func refreshBody(token string) string { return `{"refresh_token":"` + token + `"}` }

// O12: by body or by cookie.
func TestRefresh(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	byBody := g.want(g.do("POST", "/api/v1/auth/refresh", refreshBody(a.text("refresh_token"))), 200)
	if byBody.json["token_type"] != "bearer" || byBody.json["expires_in"] != float64(3600) || byBody.text("access_token") == "" {
		t.Errorf("members %v", byBody.json)
	}
	if byBody.header.Get("Cache-Control") != "no-store" || byBody.header.Get("Set-Cookie") != "" {
		t.Errorf("headers %v", byBody.header)
	}
	for _, body := range []string{"", "{}", `{"refresh_token":""}`} {
		byCookie := g.want(g.do("POST", "/api/v1/auth/refresh", body, "Cookie", "th_refresh="+a.text("refresh_token")), 200)
		if c := byCookie.cookie("th_access"); c == nil || c.Value != byCookie.text("access_token") || c.MaxAge != 3600 {
			t.Errorf("body %q: access cookie %v", body, c)
		}
		if c := byCookie.cookie("th_refresh"); c == nil || c.Value != byCookie.text("refresh_token") || c.Path != "/api/v1/auth" {
			t.Errorf("body %q: refresh cookie %v", body, c)
		}
	}
}

func TestARefreshByBodyBringsTheJarUpToDate(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	g.advance(time.Minute)
	b := g.want(g.do("POST", "/api/v1/auth/refresh", refreshBody(a.text("refresh_token")), "Cookie", "th_refresh="+a.text("refresh_token")), 200)
	if c := b.cookie("th_refresh"); c == nil || c.Value != b.text("refresh_token") {
		t.Errorf("refresh cookie %v", c)
	}
}

// O11 O15 O18: refusals, their reasons, and what becomes of the cookies.
func TestRefusedRefreshes(t *testing.T) {
	g := start(t)
	admin := g.admin()
	_, key := g.createKey(admin, `{"name":"k","permissions":["agents:read"]}`)
	revoked := g.login(adminEmail, adminPassword)
	g.want(g.do("POST", "/api/v1/auth/logout", "", bearer(revoked.text("access_token"))...), 204)
	expired := g.login(adminEmail, adminPassword)
	good := g.login(adminEmail, adminPassword)

	for _, c := range []struct {
		name, token, reason string
		clears              bool
	}{
		{"revoked", revoked.text("refresh_token"), "revoked", true},
		{"not ours", "thr_nonsense", "", false},
		{"an access token", admin, "", false}, // SEC-JWT-11
		{"one character changed", flip(good.text("refresh_token")), "", false},
	} {
		for _, jar := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				a := g.refreshOf(c.token, jar)
				if a.status != 401 || a.text("code") != "INVALID_TOKEN" || a.text("reason") != c.reason {
					t.Errorf("%d %s", a.status, a.body)
				}
				checkCleared(t, a, jar && c.clears)
			})
		}
	}
	g.want(g.refreshOf(good.text("refresh_token"), true), 200)

	t.Run("O18: an API key", func(t *testing.T) {
		for _, h := range [][]string{{"X-API-Key", key}, bearer(key)} {
			a := g.do("POST", "/api/v1/auth/refresh", refreshBody(good.text("refresh_token")), h...)
			if a.status != 401 || a.text("code") != "INVALID_TOKEN" {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if a := g.do("POST", "/api/v1/auth/refresh", ""); a.status != 401 || a.text("error") != "unauthorized" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("O11: after seven days", func(t *testing.T) {
		g.advance(7*24*time.Hour + time.Minute)
		a := g.refreshOf(expired.text("refresh_token"), true)
		if a.status != 401 || a.text("reason") != "expired" || a.text("detail") != "Refresh token has expired" || a.text("error") != "token expired" {
			t.Errorf("%d %s", a.status, a.body)
		}
		checkCleared(t, a, true)
	})
}

func (g *rig) refreshOf(token string, jar bool) answer {
	g.t.Helper()
	if jar {
		return g.do("POST", "/api/v1/auth/refresh", "", "Cookie", "th_refresh="+token)
	}
	return g.do("POST", "/api/v1/auth/refresh", refreshBody(token))
}

// checkCleared looks at the attributes too: a browser deletes only the cookie
// that it would have replaced (SEC-WEB-10).
func checkCleared(t *testing.T, a answer, want bool) {
	t.Helper()
	access, refresh := a.cookie("th_access"), a.cookie("th_refresh")
	if !want {
		if a.header.Get("Set-Cookie") != "" {
			t.Errorf("cookies %v", a.header.Values("Set-Cookie"))
		}
		return
	}
	if access == nil || access.MaxAge != -1 || access.Value != "" || access.Path != "/" || !access.HttpOnly {
		t.Errorf("access cookie %v", access)
	}
	if refresh == nil || refresh.MaxAge != -1 || refresh.Value != "" || refresh.Path != "/api/v1/auth" || !refresh.HttpOnly {
		t.Errorf("refresh cookie %v", refresh)
	}
	for _, c := range a.header.Values("Set-Cookie") {
		if !strings.Contains(c, "Max-Age=0") { // O16, in the words of the header
			t.Errorf("%q", c)
		}
	}
}

func flip(s string) string {
	b := []byte(s)
	if i := len(b) / 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// createKey makes an API key and returns its id and its value.
func (g *rig) createKey(token, body string) (id, value string) {
	g.t.Helper()
	a := g.want(g.do("POST", "/api/v1/api-keys", body, bearer(token)...), 201)
	return a.text("id"), a.text("api_key")
}

// O16 SEC-WEB-10: logout ends the session, clears the cookies, and is final.
func TestLogout(t *testing.T) {
	g := start(t)
	for _, c := range []struct {
		name string
		out  func(a answer) answer
	}{
		{"by bearer", func(a answer) answer {
			return g.do("POST", "/api/v1/auth/logout", "", bearer(a.text("access_token"))...)
		}},
		{"by access cookie", func(a answer) answer {
			return g.do("POST", "/api/v1/auth/logout", "", "Cookie", "th_access="+a.text("access_token"))
		}},
		{"by refresh token", func(a answer) answer {
			return g.do("POST", "/api/v1/auth/logout", refreshBody(a.text("refresh_token")))
		}},
		{"by refresh cookie", func(a answer) answer {
			return g.do("POST", "/api/v1/auth/logout", "", "Cookie", "th_refresh="+a.text("refresh_token"))
		}},
		{"by everything", func(a answer) answer {
			return g.do("POST", "/api/v1/auth/logout", refreshBody(a.text("refresh_token")), bearer(a.text("access_token"))...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.login(adminEmail, adminPassword)
			out := c.out(a)
			if out.status != 204 || len(out.body) != 0 {
				t.Fatalf("%d %s", out.status, out.body)
			}
			checkCleared(t, out, true)
			again := g.do("GET", "/api/v1/me", "", bearer(a.text("access_token"))...)
			if again.status != 401 || again.text("detail") != "Token has been revoked" || again.text("reason") != "revoked" {
				t.Errorf("the access token lives: %d %s", again.status, again.body)
			}
			if r := g.refreshOf(a.text("refresh_token"), false); r.status != 401 || r.text("reason") != "revoked" {
				t.Errorf("the refresh token lives: %d %s", r.status, r.body)
			}
			second := c.out(a)
			if second.status != 401 || second.text("code") != "INVALID_TOKEN" || second.text("reason") != "revoked" {
				t.Errorf("second logout: %d %s", second.status, second.body)
			}
			checkCleared(t, second, true)
		})
	}
	t.Run("after the access token expired", func(t *testing.T) {
		a := g.login(adminEmail, adminPassword)
		g.advance(2 * time.Hour)
		g.want(g.do("POST", "/api/v1/auth/logout", "", "Cookie", "th_access="+a.text("access_token")+"; th_refresh="+a.text("refresh_token")), 204)
		if r := g.refreshOf(a.text("refresh_token"), false); r.status != 401 || r.text("reason") != "revoked" {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("without anything", func(t *testing.T) {
		if a := g.do("POST", "/api/v1/auth/logout", ""); a.status != 401 || a.text("error") != "unauthorized" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("with an API key", func(t *testing.T) {
		_, key := g.createKey(g.admin(), `{"name":"k","permissions":["agents:read"]}`)
		a := g.login(adminEmail, adminPassword)
		if out := g.do("POST", "/api/v1/auth/logout", refreshBody(a.text("refresh_token")), "X-API-Key", key); out.status != 403 {
			t.Errorf("%d %s", out.status, out.body)
		}
	})
}
