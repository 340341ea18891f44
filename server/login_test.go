package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

func claims(t testing.TB, token string) (header, payload map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, into := range []*map[string]any{&header, &payload} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

// K2 K3 K4 K5 K6: the KubeWatch dialect.
func TestSessionLogin(t *testing.T) {
	g := start(t)
	a := g.want(g.do("POST", "/auth/login", credentials(adminEmail, adminPassword)), 200)
	user, _ := a.json["user"].(map[string]any)
	if !regexp.MustCompile(`^user_`).MatchString(str(user["id"])) || user["email"] != adminEmail || !regexp.MustCompile(`^org_`).MatchString(str(user["orgId"])) {
		t.Errorf("user %v", user)
	}
	if _, has := a.json["refresh_token"]; has || len(a.json) != 3 {
		t.Errorf("members %v", a.json)
	}
	header, payload := claims(t, a.text("token"))
	exp := time.Unix(int64(payload["exp"].(float64)), 0).UTC()
	if a.text("expiresAt") != exp.Format("2006-01-02T15:04:05Z") || payload["exp"].(float64)-payload["iat"].(float64) != 86400 {
		t.Errorf("expiresAt %s, payload %v", a.text("expiresAt"), payload)
	}
	set := g.want(g.do("GET", "/.well-known/jwks.json", ""), 200)
	if header["alg"] == "HS256" || !strings.Contains(string(set.body), `"`+str(header["kid"])+`"`) {
		t.Errorf("header %v, keys %s", header, set.body)
	}
	again := g.want(g.do("POST", "/auth/login", credentials(adminEmail, adminPassword)), 200)
	_, second := claims(t, again.text("token"))
	if second["jti"] == payload["jti"] {
		t.Error("two logins gave one jti")
	}
	for _, token := range []string{a.text("token"), again.text("token")} {
		g.want(g.do("GET", "/api/v1/me", "", bearer(token)...), 200)
	}
}

func str(v any) string { s, _ := v.(string); return s }

// O3 O4 O5 O8 O13: the Overwatch dialect.
func TestLogin(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	if a.json["token_type"] != "bearer" || a.json["expires_in"] != float64(3600) || a.text("refresh_token") == "" {
		t.Errorf("members %v", a.json)
	}
	user, _ := a.json["user"].(map[string]any)
	for _, name := range []string{"id", "email", "name", "role", "organization_id"} {
		if _, ok := user[name]; !ok {
			t.Errorf("no user.%s", name)
		}
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", a.header.Get("Cache-Control"))
	}
	access, refresh := a.cookie("th_access"), a.cookie("th_refresh")
	for name, c := range map[string]*http.Cookie{"access": access, "refresh": refresh} {
		if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure || c.Domain != "" {
			t.Fatalf("%s cookie %v", name, c)
		}
	}
	if access.Value != a.text("access_token") || access.Path != "/" || access.MaxAge != 3600 {
		t.Errorf("access cookie %v", access)
	}
	if refresh.Value != a.text("refresh_token") || refresh.Path != "/api/v1/auth" || refresh.MaxAge != 604800 {
		t.Errorf("refresh cookie %v", refresh)
	}
	_, payload := claims(t, a.text("access_token"))
	for _, name := range []string{"exp", "iat", "sub", "org_id", "jti", "sid", "iss", "aud"} {
		if payload[name] == nil {
			t.Errorf("no claim %s", name)
		}
	}
	if payload["exp"].(float64)-payload["iat"].(float64) != 3600 {
		t.Errorf("payload %v", payload)
	}
}

// O5: over https the cookies are Secure and carry the prefixes.
func TestLoginOverHTTPS(t *testing.T) {
	g := start(t, production)
	a := g.want(g.do("POST", "/api/v1/auth/login", credentials(adminEmail, adminPassword), "X-Forwarded-Proto", "https"), 200)
	for name, path := range map[string]string{"__Host-th_access": "/", "__Secure-th_refresh": "/api/v1/auth", "__Secure-th_device": "/api/v1/auth"} {
		c := a.cookie(name)
		if c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != path || c.Domain != "" {
			t.Errorf("%s: %v", name, c)
		}
	}
	if a.header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS")
	}
}

// production is an https issuer behind a proxy on this machine.
func production(c *house.Config) {
	c.Issuer = "https://id.example.com"
	c.HTTP.TrustedProxies = loopback
}

// O38: with an https issuer nothing is answered in clear, least of all a token.
func TestCleartextIsRefusedInProduction(t *testing.T) {
	g := start(t, production)
	for _, headers := range [][]string{nil, {"X-Forwarded-Proto", "http"}, {"X-Forwarded-Proto", "https, http"}, {"X_Forwarded_Proto", "https"}, {"Forwarded", "proto=https"}} {
		for _, r := range [][2]string{{"POST", "/api/v1/auth/login"}, {"POST", "/auth/login"}, {"GET", "/api/v1/me"}, {"GET", "/.well-known/jwks.json"}, {"GET", "/nothing"}} {
			a := g.do(r[0], r[1], credentials(adminEmail, adminPassword), headers...)
			if a.status != 403 || a.text("code") != "INSECURE_TRANSPORT" || a.header.Get("Set-Cookie") != "" || strings.Contains(string(a.body), "eyJ") {
				t.Errorf("%s %s %v: %d %s", r[0], r[1], headers, a.status, a.body)
			}
			if a.header.Get("Strict-Transport-Security") != "" {
				t.Error("HSTS over cleartext (RFC 6797 §7.2)")
			}
		}
	}
}

// SEC-OAU-62: no header of the request changes an issuer, a link or a cookie.
func TestForgedHostsChangeNothing(t *testing.T) {
	g := start(t)
	forged := []string{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example;proto=https", "X-Original-URL", "/evil", "X-Forwarded-Prefix", "/evil"}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/openapi.json", "/.well-known/jwks.json"} {
		plain := g.want(g.do("GET", path, ""), 200)
		req, _ := http.NewRequest(http.MethodGet, g.url+path, nil)
		req.Host = "evil.example"
		for i := 0; i < len(forged); i += 2 {
			req.Header.Set(forged[i], forged[i+1])
		}
		if got := g.send(req); string(got.body) != string(plain.body) {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	a := g.want(g.do("POST", "/api/v1/auth/login", credentials(adminEmail, adminPassword), forged...), 200)
	if _, payload := claims(t, a.text("access_token")); payload["iss"] != "http://localhost:8080" {
		t.Errorf("iss %v", payload["iss"])
	}
	if c := a.cookie("th_access"); c == nil || c.Secure || c.Domain != "" {
		t.Errorf("cookie %v", c)
	}
}

func TestLoginRefusals(t *testing.T) {
	g := start(t)
	for _, c := range []struct {
		name, body string
		status     int
		code       string
		fields     []string
	}{
		{"nothing", `{}`, 422, "VALIDATION_FAILED", []string{"email", "password"}},
		{"empty", credentials("", ""), 422, "VALIDATION_FAILED", []string{"email", "password"}},
		{"unknown member", `{"email":"a@b.example","password":"x","role":"owner"}`, 422, "VALIDATION_FAILED", []string{"role"}},
		{"no JSON", `email=a`, 400, "INVALID_REQUEST", nil},
		{"wrong password", credentials(adminEmail, "wrong password, quite wrong"), 401, "INVALID_CREDENTIALS", nil},
		{"unknown e-mail", credentials("nobody@example.com", adminPassword), 401, "INVALID_CREDENTIALS", nil},
	} {
		for _, path := range []string{"/auth/login", "/api/v1/auth/login"} {
			t.Run(c.name+path, func(t *testing.T) {
				a := g.do("POST", path, c.body)
				var names []string
				list, _ := a.json["fields"].([]any)
				for _, f := range list {
					names = append(names, str(f.(map[string]any)["name"]))
				}
				if a.status != c.status || a.text("code") != c.code || strings.Join(names, " ") != strings.Join(c.fields, " ") {
					t.Errorf("%d %s", a.status, a.body)
				}
				if a.header.Get("Set-Cookie") != "" {
					t.Error("a refusal sets cookies")
				}
				if a.header.Get("WWW-Authenticate") != "" {
					t.Error("a refused password has a challenge")
				}
			})
		}
	}
}

// O42 at the edge: 423 with Retry-After, whether or not the account exists.
func TestLockedAccounts(t *testing.T) {
	g := start(t)
	for _, email := range []string{adminEmail, "nobody@example.com"} {
		var last answer
		for range 6 {
			last = g.do("POST", "/api/v1/auth/login", credentials(email, "wrong password, quite wrong"))
		}
		if last.status != 423 || last.text("code") != "ACCOUNT_LOCKED" || last.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", email, last.status, last.body)
		}
	}
}

// SEC-WEB-02: a session or token that was there before a login is not adopted.
func TestLoginNeverKeepsAPresentedSession(t *testing.T) {
	g := start(t)
	first := g.login(adminEmail, adminPassword)
	planted := "th_access=" + first.text("access_token") + "; th_refresh=" + first.text("refresh_token")
	second := g.want(g.do("POST", "/api/v1/auth/login", credentials(adminEmail, adminPassword), "Cookie", planted), 200)
	_, a := claims(t, first.text("access_token"))
	_, b := claims(t, second.text("access_token"))
	if a["sid"] == b["sid"] || second.cookie("th_refresh").Value == first.text("refresh_token") {
		t.Error("the session before the login lives on in the new cookies")
	}
}

// O1: registration says the same to everybody.
func TestRegistration(t *testing.T) {
	g := start(t)
	body := `{"email":"new@example.com","password":"` + userPassword + `","name":"New","organization_name":"New Org"}`
	first := g.want(g.do("POST", "/api/v1/auth/register", body), 201)
	second := g.want(g.do("POST", "/api/v1/auth/register", body), 201)
	if string(first.body) != string(second.body) {
		t.Errorf("a known address is told apart:\n%s\n%s", first.body, second.body)
	}
	g.login("new@example.com", userPassword)

	closed := start(t, func(c *house.Config) { c.Accounts.Registration = house.RegistrationOff })
	if a := closed.do("POST", "/api/v1/auth/register", body); a.status != 404 {
		t.Errorf("registration is off: %d %s", a.status, a.body)
	}
}
