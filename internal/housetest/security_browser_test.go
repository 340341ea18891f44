package housetest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// SEC-WEB-02, SEC-WEB-09: a login never takes over a session that was presented;
// each has a session, tokens and cookies of its own, and the cookies that come
// with the request are replaced.
func TestALoginIsANewSession(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		old := h.Login(h.Admin)
		planted := h.Client().With("Cookie", "th_access="+old.Access+"; th_refresh="+old.Refresh+"; session=chosen; th_session=chosen")
		r := planted.With("Origin", h.Config.Issuer).TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
		before, after := claimsOf(t, old.Access), claimsOf(t, r.Text("access_token"))
		if before["sid"] == after["sid"] || before["jti"] == after["jti"] || r.Text("refresh_token") == old.Refresh {
			t.Errorf("the session %v goes on as %v", before["sid"], after["sid"])
		}
		for name, member := range map[string]string{"th_access": "access_token", "th_refresh": "refresh_token"} {
			if c := r.Cookie(name); c == nil || c.Value != r.Text(member) || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
				t.Errorf("%s is not replaced: %v", name, c)
			}
		}
	})
}

// SEC-WEB-03, SEC-WEB-04: a cookie with any other value is nobody's.
func TestAMadeUpCookieIsNobodys(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		for _, value := range []string{"", "deadbeef", "1", "null", "true", s.Refresh, s.Device.Value, s.Access[:len(s.Access)-4] + "AAAA", string(h.Admin.ID), claimsOf(t, s.Access)["sid"].(string)} {
			for _, path := range []string{"/api/v1/me", "/api/v1/agents", "/api/v1/api-keys", "/api/v1/auth/verify"} {
				h.Client().With("Cookie", "th_access="+value).Get(path).Expect(http.StatusUnauthorized)
			}
			h.Client().With("Cookie", "th_refresh="+value).Post("/api/v1/auth/refresh", nil).Expect(map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[value == s.Refresh])
		}
	})
}

// SEC-WEB-05, SEC-KEY-03: no other site changes anything with a browser's
// cookies, on any route, whatever its request looks like. Tokens in a header are
// not the browser's to send, and pass.
func TestOtherSitesChangeNothing(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		e := settle(h, "browsing")
		before := e.view(h.Client())
		jar := h.Client().With("Cookie", "th_access="+e.session.Access+"; th_refresh="+e.session.Refresh)
		sibling := strings.Replace(h.Config.Issuer, "127.0.0.1", "evil.127.0.0.1", 1)
		attacks := map[string]*housetest.Client{
			"another site":            jar.With("Origin", "https://evil.example").With("Sec-Fetch-Site", "cross-site"),
			"another site, no fetch":  jar.With("Origin", "https://evil.example"),
			"null":                    jar.With("Origin", "null"),
			"a sibling":               jar.With("Origin", sibling).With("Sec-Fetch-Site", "same-site"),
			"our host over https":     jar.With("Origin", strings.Replace(h.Config.Issuer, "http:", "https:", 1)).With("Sec-Fetch-Site", "cross-site"),
			"our host, another port":  jar.With("Origin", "http://127.0.0.1:1").With("Sec-Fetch-Site", "same-site"),
			"a referrer":              jar.With("Referer", "https://evil.example/page"),
			"with a method override":  jar.With("Origin", "https://evil.example").With("X-Http-Method-Override", "GET"),
			"with a forwarded origin": jar.With("Origin", "https://evil.example").With("X-Forwarded-Host", "evil.example"),
		}
		// Other sites may ask these: the first two change nothing by themselves, the
		// others look at no cookie.
		forOtherSites := []string{"/oauth2/authorize", "/oauth2/logout", "/oauth2/token", "/oauth2/revoke", "/oauth2/userinfo", "/oauth2/register", "/oauth2/register/{client_id}"}
		asked := 0
		for _, r := range routesOf(h.Client()) {
			if r.method == "GET" || r.method == "HEAD" {
				continue
			}
			open := slices.Contains(forOtherSites, r.path)
			for name, c := range attacks {
				reply := c.Do(r.method, r.own(e), r.body(e))
				asked++
				if !open && (reply.Status != http.StatusForbidden || reply.Text("code") != "CROSS_ORIGIN") {
					t.Errorf("%s: %s", name, reply)
				}
			}
			for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
				reply := jar.With("Content-Type", kind).With("Origin", "https://evil.example").Do(r.method, r.own(e), `{"email":"x"}`)
				if !open && reply.Status != http.StatusForbidden {
					t.Errorf("%s: %s", kind, reply)
				}
			}
		}
		if after := e.view(h.Client()); after != before {
			t.Errorf("something changed:\n%s", difference(before, after))
		}
		if asked < 150 {
			t.Errorf("only %d requests were sent", asked)
		}
		own := jar.With("Origin", h.Config.Issuer).With("Sec-Fetch-Site", "same-origin")
		own.Post("/api/v1/api-keys", map[string]any{"name": "own", "permissions": []string{"agents:read"}}).Expect(http.StatusCreated)
		h.Client().As(e.session.Access).With("Origin", "https://evil.example").Post("/api/v1/api-keys", map[string]any{"name": "token", "permissions": []string{"agents:read"}}).Expect(http.StatusCreated)

		body := map[string]any{"name": "late", "permissions": []string{"agents:read"}} // SEC-KEY-03
		h.Client().Post("/api/v1/api-keys", body).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Advance(2 * time.Hour)
		h.Client().As(e.session.Access).Post("/api/v1/api-keys", body).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
	})
}

// SEC-WEB-08: of a token in the header and one in a cookie the header's counts,
// and the cookie's is not looked at, be it good or bad.
func TestTheHeaderGoesBeforeTheCookie(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		other := h.Person(h.Org("second"), "second", "viewer")
		mine, theirs := h.Login(h.Admin), h.Login(other)
		_, key := h.Client().As(mine.Access).CreateKey("k", "agents:read")
		both := h.Client().With("Cookie", "th_access="+theirs.Access)
		for _, c := range []*housetest.Client{both.As(mine.Access), both.WithKey(key), h.Client().With("Cookie", "th_access=deadbeef").As(mine.Access)} {
			if r := c.Get("/api/v1/me").Expect(http.StatusOK); r.Text("organization_id") != string(h.Admin.Org) || r.Text("id") != string(h.Admin.ID) {
				t.Errorf("the cookie counted: %s", r)
			}
		}
		both.As(mine.Access+"x").Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_TOKEN") // no second choice
		both.WithKey(key+"x").Get("/api/v1/me").Problem(http.StatusUnauthorized, "INVALID_API_KEY")
	})
}

// SEC-WEB-10, SEC-OAU-56, O16: after a logout the cookies are gone, the access
// token and the refresh token are dead on every replica, and no page is kept.
func TestALogoutEndsEverythingOfASession(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		r := h.Client().TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
		bystander := h.Login(h.Admin)
		access, refresh := r.Text("access_token"), r.Text("refresh_token")
		set := map[string]*http.Cookie{"th_access": r.Cookie("th_access"), "th_refresh": r.Cookie("th_refresh")}
		c := h.Client().With("Cookie", "th_access="+access+"; th_refresh="+refresh).With("Origin", h.Config.Issuer).With("Sec-Fetch-Site", "same-origin")
		page := c.Get("/api/v1/me").Expect(http.StatusOK)
		out := c.Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
		for name, was := range set {
			now := out.Cookie(name)
			if now == nil || now.Value != "" || now.MaxAge >= 0 || now.Path != was.Path || now.Domain != was.Domain || now.Secure != was.Secure || now.SameSite != was.SameSite || now.HttpOnly != was.HttpOnly {
				t.Errorf("%s was set as %v and is cleared as %v", name, was, now)
			}
		}
		for _, reply := range []housetest.Reply{page, out} {
			if !slices.Equal(reply.Header.Values("Cache-Control"), []string{"no-store"}) {
				t.Errorf("a browser may keep it: %v", reply.Header)
			}
		}
		h.Follow()
		for i := range h.Replicas {
			for _, path := range []string{"/api/v1/me", "/api/v1/agents"} {
				if r := h.At(i).As(access).Get(path).Problem(http.StatusUnauthorized, "INVALID_TOKEN"); r.Text("detail") != "Token has been revoked" {
					t.Errorf("the detail is %q", r.Text("detail"))
				}
			}
			h.At(i).Refresh(refresh).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
			h.At(i).As(bystander.Access).Get("/api/v1/me").Expect(http.StatusOK)
		}
	})
}
