package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

// body is one that the route would accept or refuse by its values, so
// that what is tested is reached.
func (c call) body() string {
	if c.method == "GET" || c.method == "HEAD" || c.method == "DELETE" {
		return ""
	}
	return "{}"
}

// O1 K19: every route takes a credential, but for the few that say otherwise.
func TestEveryRouteWithoutACredential(t *testing.T) {
	g := start(t)
	checked := 0
	for _, c := range calls(t) {
		if !c.secured || c.optional && c.template != "/api/v1/auth/refresh" && c.template != "/api/v1/auth/logout" {
			continue
		}
		checked++
		a := g.do(c.method, c.path, c.body())
		if a.status != 401 || a.text("code") != "INVALID_TOKEN" || a.text("error") != "unauthorized" {
			t.Errorf("%s %s: %d %s", c.method, c.template, a.status, a.body)
		}
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s %s: WWW-Authenticate %q", c.method, c.template, a.header.Get("WWW-Authenticate"))
		}
	}
	if checked < 25 {
		t.Errorf("only %d routes were checked", checked)
	}
	for _, m := range g.mounts() {
		if a := g.do(m[0], m[1], ""); a.status != 401 {
			t.Errorf("demonstration %s %s: %d %s", m[0], m[1], a.status, a.body)
		}
	}
}

// mounts are the demonstration routes.
func (g *rig) mounts() [][2]string {
	return [][2]string{
		{"GET", "/api/v1/agents"}, {"POST", "/api/v1/agents"}, {"GET", "/api/v1/agents/x"}, {"DELETE", "/api/v1/agents/x"},
		{"GET", "/api/v1/incidents"}, {"POST", "/api/v1/incidents"}, {"GET", "/api/v1/metrics"}, {"POST", "/api/v1/procedures/x/execute"},
	}
}

// SEC-WEB-03 SEC-WEB-04 O39: whatever is no good credential of ours is 401 on
// every route, however it is presented.
func TestEveryRouteWithABadCredential(t *testing.T) {
	g := start(t)
	bad := map[string][]string{
		"cookie":           {"Cookie", "th_access=deadbeef"},
		"session cookie":   {"Cookie", "session=deadbeef; th_session=1"},
		"O39 bearer x":     bearer("x"),
		"O39 bearer a.b.c": bearer("a.b.c"),
		"alg none":         bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyXzEifQ."),
		"refresh token":    bearer(g.login(adminEmail, adminPassword).text("refresh_token")),
		"API key":          {"X-API-Key", "th_live_" + strings.Repeat("A", 46)},
		"empty API key":    {"X-API-Key", ""},
	}
	for _, c := range calls(t) {
		if !c.secured || c.optional {
			continue
		}
		for name, headers := range bad {
			want := "INVALID_TOKEN"
			if strings.HasSuffix(name, "API key") {
				want = "INVALID_API_KEY"
			}
			if a := g.do(c.method, c.path, c.body(), headers...); a.status != 401 || a.text("code") != want {
				t.Errorf("%s on %s %s: %d %s", name, c.method, c.template, a.status, a.body)
			}
		}
	}
}

// K7: a token in the query is no credential, on no route.
func TestATokenInTheQueryIsNotRead(t *testing.T) {
	g := start(t)
	admin := g.admin()
	for _, c := range calls(t) {
		if !c.secured || c.optional {
			continue
		}
		for _, name := range []string{"access_token", "token", "api_key", "x-api-key", "authorization"} {
			if a := g.do(c.method, c.path+"?"+name+"="+admin, c.body()); a.status != 401 {
				t.Errorf("%s %s?%s: %d", c.method, c.template, name, a.status)
			}
		}
	}
	if strings.Contains(g.log.String(), admin[:40]) {
		t.Error("the log holds the token")
	}
}

// SEC-OAU-64: nothing that carries a credential or anybody's data may be kept.
// O43: and every failure has the one body. Every route, as an owner and as a viewer.
func TestNoReplyMayBeKept(t *testing.T) {
	g := start(t)
	admin := g.admin()
	viewer := g.member(admin, "viewer@example.com", "viewer")
	for _, token := range []string{viewer, admin, ""} {
		for _, c := range calls(t) {
			if c.template == "/api/v1/sessions" && c.method == "DELETE" || c.template == "/api/v1/auth/logout" {
				continue // ends what the next calls need; see TestLogout
			}
			var headers []string
			if token != "" {
				headers = bearer(token)
			}
			a := g.do(c.method, c.path, c.body(), headers...)
			list := strings.HasPrefix(c.path, "/oauth2/status-lists")
			published := list || strings.HasPrefix(c.path, "/.well-known/") || strings.HasPrefix(c.path, "/assets/") || c.path == "/openapi.json" || c.path == "/docs"
			if kept := a.header.Get("Cache-Control") != "no-store"; kept != (published && a.status < 300) {
				t.Errorf("%s %s: %d with Cache-Control %q", c.method, c.template, a.status, a.header.Get("Cache-Control"))
			}
			if a.status >= 500 {
				t.Errorf("%s %s: %d %s", c.method, c.template, a.status, a.body)
			}
			switch {
			case a.status == 410 && c.method == "GET" && (c.template == "/login/unlock" || c.template == "/invitation"): // a link that is used up is no mistake of ours or theirs
				if a.header.Get("Location") != "" || !strings.Contains(string(a.body), " is not valid any more</h1>") {
					t.Errorf("%s %s: %v %s", c.method, c.template, a.header, a.body)
				}
			case a.status >= 400 && c.page():
				checkPage(t, c.method+" "+c.template, a)
			case a.status >= 400 && strings.HasPrefix(c.path, "/oauth2/") && c.path != "/oauth2/userinfo" && !list: // which answer as the API does
				checkOAuthFailure(t, c.method+" "+c.template, a)
			case a.status >= 400 && c.method != "HEAD": // which has no body
				checkProblem(t, c.method+" "+c.template, a)
			}
		}
	}
}

// checkPage holds what is refused on a page to the page of errors.
func checkPage(t *testing.T, what string, a answer) {
	t.Helper()
	if a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Location") != "" || !strings.Contains(string(a.body), "<h1>Error</h1>") ||
		!strings.Contains(string(a.body), a.header.Get("X-Request-Id")) {
		t.Errorf("%s: %v %s", what, a.header, a.body)
	}
}

// checkOAuthFailure holds a refusal of an OAuth endpoint to RFC 6749 §5.2.
func checkOAuthFailure(t *testing.T, what string, a answer) {
	t.Helper()
	if a.header.Get("Content-Type") != "application/json" || a.text("error") == "" || a.text("error_description") == "" || a.text("request_id") == "" {
		t.Errorf("%s: %v %s", what, a.header, a.body)
	}
	scheme := "Basic "
	if strings.Contains(what, "/oauth2/register") || strings.Contains(what, "/oauth2/userinfo") { // which take a token, and no client's secret
		scheme = "Bearer "
	}
	if challenged := strings.HasPrefix(a.header.Get("WWW-Authenticate"), scheme); challenged != (a.status == 401) && a.status != 403 {
		t.Errorf("%s: %d with the challenge %q", what, a.status, a.header.Get("WWW-Authenticate"))
	}
}

func checkProblem(t *testing.T, what string, a answer) {
	t.Helper()
	if a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %v", what, a.header)
	}
	for _, member := range []string{"type", "title", "status", "detail", "status_code", "code", "error", "request_id"} {
		if a.json[member] == nil {
			t.Errorf("%s: no %s in %s", what, member, a.body)
		}
	}
	if a.json["status_code"] != float64(a.status) {
		t.Errorf("%s: status_code %v of %d", what, a.json["status_code"], a.status)
	}
}

// O43: also where no route answers.
func TestUnknownPathsAndMethods(t *testing.T) {
	g := start(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/nothing", 404}, {"GET", "/api/v1/nothing", 404}, {"POST", "/api/v2/auth/login", 404},
		{"GET", "/api/v1/auth/login", 405}, {"PUT", "/api/v1/api-keys", 405}, {"TRACE", "/api/v1/me", 405}, {"HEAD", "/api/v1/me", 405},
		{"PROPFIND", "/api/v1/me", 405}, {"OPTIONS", "/api/v1/me", 405}, {"DELETE", "/.well-known/jwks.json", 405},
	} {
		a := g.do(c.method, c.path, "")
		if a.status != c.status {
			t.Errorf("%s %s: %d", c.method, c.path, a.status)
		}
		if c.method != "HEAD" {
			checkProblem(t, c.method+" "+c.path, a)
		}
		if allow := a.header.Get("Allow"); (c.status == 405) != (allow != "") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
	}
}

// SEC-INJ-11: every other spelling of a route is answered as the route is, or as
// a path that does not exist; never with less of a check. Raw requests, because
// an HTTP client would tidy them.
func TestOtherSpellingsOfARoute(t *testing.T) {
	g := start(t)
	admin := g.admin()
	viewer := g.member(admin, "viewer@example.com", "viewer")
	variants := func(p string) []string {
		last := strings.LastIndex(p, "/")
		out := []string{
			p + "/", p + "//", "/" + p, p[:last] + "/" + p[last:], p[:last] + "/." + p[last:], p[:last] + "/x/.." + p[last:], p[:last] + "/%2e" + p[last:],
			p[:last] + "%2F" + p[last+1:], p[:last] + "%2f" + p[last+1:], p[:last] + "\\" + p[last+1:], p[:last] + "%5C" + p[last+1:], p + ";x=1", p + ";", p + "%3Bx", p + "%00", p + "%20", p + "%0d%0a",
			p + "#x", p + "%23x", p + ".json", p + "%", strings.ToUpper(p), p[:last+1] + fmt.Sprintf("%%%02X", p[last+1]) + p[last+2:], "/./" + p[1:], p + "?x=/../..", p + "/.", p + "/..;/" + p[last+1:],
			"http://localhost" + p, "http://evil.example" + p,
		}
		return out
	}
	for _, c := range calls(t) {
		if !c.secured || c.optional || c.method != "GET" {
			continue
		}
		for name, token := range map[string]string{"nobody": "", "viewer": viewer} {
			canonical := g.raw(t, c.method, c.path, token)
			for _, v := range variants(c.path) {
				got := g.raw(t, c.method, v, token)
				// What proxies ask for is part of the path: spelled otherwise it is another
				// question, or none.
				other := strings.HasSuffix(c.template, "/{permissions}") && (got == 403 || got == 422)
				if got != canonical && got != 404 && got != 400 && !(got == 401 && token == "") && !other {
					t.Errorf("%s as %s: %d, but %q: %d", c.template, name, canonical, v, got)
				}
			}
		}
	}
}

// SEC-INJ-11: no header changes the method or the path.
func TestNoHeaderChangesMethodOrPath(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, _ := g.createKey(admin, `{"name":"k","permissions":["agents:read"]}`)
	for _, h := range [][]string{
		{"X-HTTP-Method-Override", "DELETE"}, {"X-HTTP-Method", "DELETE"}, {"X-Method-Override", "DELETE"},
		{"X-Original-URL", "/api/v1/me"}, {"X-Rewrite-URL", "/api/v1/me"}, {"X-Forwarded-Path", "/api/v1/me"},
	} {
		a := g.want(g.do("GET", "/api/v1/api-keys/"+id, "", append(bearer(admin), h...)...), 200)
		if a.text("id") != id || a.text("status") != "active" {
			t.Errorf("%v: %s", h, a.body)
		}
	}
	for _, m := range []string{"get", "Get", "delete"} {
		if got := g.raw(t, m, "/api/v1/api-keys/"+id, admin); got != 405 {
			t.Errorf("method %q: %d", m, got)
		}
	}
}

// raw sends a request line as it is and returns the status.
func (g *rig) raw(t *testing.T, method, target, token string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	auth := ""
	if token != "" {
		auth = "Authorization: Bearer " + token + "\r\n"
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method, target, auth)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s %q: %v", method, target, err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// SEC-DOS-14: what is for operators is not on the public listener.
func TestTheOperatorsRoutesAreNotPublic(t *testing.T) {
	g := start(t, func(c *house.Config) { c.HTTP.Pprof = true })
	admin := g.admin()
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/vars", "/healthz", "/readyz"} {
		if a := g.do("GET", path, "", bearer(admin)...); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// SEC-WEB-11: no reply may be framed, or sniffed into another type.
func TestHeadersOfEveryReply(t *testing.T) {
	g := start(t)
	for _, path := range []string{"/api/v1/me", "/nothing", "/.well-known/jwks.json", "/openapi.json"} {
		h := g.do("GET", path, "").header
		if h.Get("X-Frame-Options") != "DENY" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
		if !strings.HasPrefix(h.Get("X-Request-Id"), "req_") || h.Get("Server") != "" || h.Get("X-Powered-By") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestRequestIdentifiersAreOurs(t *testing.T) {
	g := start(t)
	seen := map[string]bool{}
	for range 20 {
		a := g.do("GET", "/nothing", "", "X-Request-Id", "req_chosen", "Request-Id", "req_chosen", "Traceparent", "00-1-1-1")
		id := a.header.Get("X-Request-Id")
		if id == "req_chosen" || seen[id] || a.text("request_id") != id {
			t.Errorf("%q, body %s", id, a.body)
		}
		seen[id] = true
	}
}

// SEC-DOS-03: absurd requests are refused, cheaply.
func TestAbsurdRequests(t *testing.T) {
	g := start(t)
	admin := g.admin()
	for name, c := range map[string]struct {
		path    string
		headers []string
		status  []int
	}{
		"many parameters":  {"/api/v1/api-keys?" + strings.Repeat("a=b&", 5000), nil, []int{400}},
		"a long parameter": {"/api/v1/api-keys?cursor=" + strings.Repeat("A", 9000), nil, []int{400}},
		"a long cursor":    {"/api/v1/api-keys?cursor=" + strings.Repeat("A", 5000), nil, []int{400}},
		"many cookies":     {"/api/v1/api-keys", []string{"Cookie", strings.Repeat("a=b; ", 2000)}, []int{200}},
		"limit twice":      {"/api/v1/api-keys?limit=1&limit=2", nil, []int{400}},
		"cursor twice":     {"/api/v1/api-keys?cursor=a&cursor=b", nil, []int{400}},
		"a broken escape":  {"/api/v1/api-keys?limit=%zz", nil, []int{400}},
		"a semicolon":      {"/api/v1/api-keys?limit=1;cursor=x", nil, []int{400}},
		"no such limit":    {"/api/v1/api-keys?limit=0", nil, []int{422}},
		"too large":        {"/api/v1/api-keys?limit=201", nil, []int{422}},
		"negative":         {"/api/v1/api-keys?limit=-1", nil, []int{422}},
		"not a number":     {"/api/v1/api-keys?limit=1e2", nil, []int{422}},
		"beyond int64":     {"/api/v1/api-keys?limit=99999999999999999999", nil, []int{422}},
		"unknown ones":     {"/api/v1/api-keys?colour=blue&colour=red", nil, []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			a := g.do("GET", c.path, "", append(bearer(admin), c.headers...)...)
			if fmt.Sprint([]int{a.status}) != fmt.Sprint(c.status) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// SEC-INJ-08 K23: one line for each request, whatever it holds, and no credential.
func TestTheAccessLog(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	_, key := g.createKey(a.text("access_token"), `{"name":"k","permissions":["agents:read"]}`)
	before := strings.Count(g.log.String(), "\n")
	evil := "evil\u2028{{.}}\t\"}"
	g.do("GET", "/api/v1/me?token="+key, "", "User-Agent", evil, "X-API-Key", key)
	g.do("GET", "/"+key, "", "User-Agent", strings.Repeat("x", 5000))
	g.do("POST", "/api/v1/auth/refresh", refreshBody(a.text("refresh_token")))
	g.do("POST", "/auth/login", credentials(adminEmail+"\r\nforged", "wrong "+adminPassword))
	lines := strings.Split(strings.TrimSpace(g.log.String()), "\n")[before:]
	if len(lines) != 4 {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for _, l := range lines {
		var entry map[string]any
		if err := json.Unmarshal([]byte(l), &entry); err != nil {
			t.Errorf("%v: %s", err, l)
		}
		if entry["request_id"] == nil || entry["status"] == nil || entry["ip"] != "127.0.0.1" {
			t.Errorf("%s", l)
		}
		if strings.ContainsAny(l, "\x1b\u2028") || len(l) > 2000 {
			t.Errorf("%q", l)
		}
	}
	for name, secret := range map[string]string{
		"key": key, "access token": a.text("access_token"), "refresh token": a.text("refresh_token"), "password": adminPassword,
	} {
		if strings.Contains(g.log.String(), secret) {
			t.Errorf("the log holds the %s", name)
		}
	}
}
