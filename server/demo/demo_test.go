package demo_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/server/demo"
)

// two are a house with two organisations, each with an owner who is logged in.
type two struct {
	h          *housetest.Harness
	anybody    *housetest.Client
	own, other *housetest.Client
	otherOrg   string
	token      string // of own
}

func newTwo(t *testing.T) two {
	t.Helper()
	w := newOne(t)
	w.anybody.Post("/api/v1/auth/register", map[string]string{
		"email": "other@example.com", "password": "lamp river seven mountains", "name": "Other", "organization_name": "Other",
	}).Expect(http.StatusCreated, http.StatusAccepted)
	s := w.anybody.Login("other@example.com", "lamp river seven mountains")
	w.other, w.otherOrg = w.anybody.As(s.Access), s.Org
	return w
}

// newOne has no other organisation.
func newOne(t *testing.T) two {
	t.Helper()
	h := housetest.Start(t, housetest.Options{})
	c := h.Client()
	s := c.Login(h.Admin.Email, h.Admin.Password)
	return two{h: h, anybody: c, own: c.As(s.Access), token: s.Access}
}

func ids(r housetest.Reply) []string {
	var page struct {
		Data []struct {
			ID  string `json:"id"`
			Org string `json:"organization_id"`
		} `json:"data"`
	}
	r.Expect(http.StatusOK).Decode(&page)
	out := make([]string, len(page.Data))
	for i, row := range page.Data {
		out[i] = row.ID
	}
	return out
}

// K1, K14, K7: the same rows for a JWT and for an API key, however it is sent.
func TestK1BothKindsOfCredentialSeeTheSameRows(t *testing.T) {
	w := newOne(t)
	_, key := w.own.CreateKey("agent", "agents:read", "agents:create")
	want := strings.Join(ids(w.own.Get("/api/v1/agents")), " ")
	if n := len(strings.Fields(want)); n != 10 || !strings.HasPrefix(want, "agt_") {
		t.Fatalf("%d rows: %s", n, want)
	}
	token := w.own
	for name, c := range map[string]*housetest.Client{
		"X-API-Key":             w.anybody.WithKey(key),
		"x-api-key":             w.anybody.With("x-api-key", key),
		"K14 Bearer with a key": w.anybody.With("Authorization", "Bearer "+key),
		"JWT":                   token,
	} {
		if got := strings.Join(ids(c.Get("/api/v1/agents")), " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	w.anybody.WithKey(key).Post("/api/v1/agents", `{"name":"made by a key"}`).Expect(http.StatusCreated)
	if n := len(ids(w.own.Get("/api/v1/agents"))); n != 11 {
		t.Errorf("%d rows after one was made", n)
	}
}

// K15, O28, O29: an organisation sees its own rows, whatever it asks for.
func TestO28NothingOfAnotherOrganisationIsShownOrChanged(t *testing.T) {
	w := newTwo(t)
	_, key := w.other.CreateKey("agent", "agents:read", "agents:delete", "incidents:read", "incidents:delete", "metrics:read")
	for _, kind := range []string{"agents", "incidents"} {
		path := "/api/v1/" + kind
		mine, theirs := ids(w.own.Get(path)), ids(w.other.Get(path))
		if len(mine) != 10 || len(theirs) != 10 {
			t.Fatalf("%d and %d rows", len(mine), len(theirs))
		}
		for _, c := range []*housetest.Client{w.other, w.anybody.WithKey(key)} {
			c.Get(path+"/"+mine[0]).Problem(http.StatusNotFound, "NOT_FOUND")
			c.Delete(path+"/"+mine[0]).Problem(http.StatusNotFound, "NOT_FOUND")
			c.Get(path+"?cursor="+mine[5]).Problem(http.StatusBadRequest, "INVALID_CURSOR")
			own := string(c.Get(path + "?organization_id=" + string(w.h.Admin.Org)).Expect(http.StatusOK).Body)
			if strings.Contains(own, mine[0]) || strings.Contains(own, string(w.h.Admin.Org)) || !strings.Contains(own, theirs[0]) {
				t.Errorf("organization_id chose the rows: %s", own)
			}
			if got := c.Get("/api/v1/metrics?organization_id=" + string(w.h.Admin.Org)).Expect(http.StatusOK).Text("organization_id"); got != w.otherOrg {
				t.Errorf("the figures are of %s", got)
			}
		}
		w.own.Get(path + "/" + mine[0]).Expect(http.StatusOK)
	}
}

// K16: the preset reads metrics and manages agents, and nothing else.
func TestK16AdminAgentKeys(t *testing.T) {
	w := newOne(t)
	key := w.own.Post("/api/v1/api-keys", `{"name":"agent","preset":"admin-agent"}`).Expect(http.StatusCreated).Text("api_key")
	c := w.anybody.WithKey(key)
	c.Get("/api/v1/metrics").Expect(http.StatusOK)
	id := c.Post("/api/v1/agents", `{"name":"atlas"}`).Expect(http.StatusCreated).Text("id")
	c.Get("/api/v1/agents/" + id).Expect(http.StatusOK)
	c.Delete("/api/v1/agents/" + id).Expect(http.StatusNoContent)
	c.Delete("/api/v1/agents/"+id).Problem(http.StatusNotFound, "NOT_FOUND")
	c.Get("/api/v1/incidents").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	c.Post("/api/v1/users", `{"email":"x@example.com","password":"yet another four words","name":"X","role":"viewer"}`).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	c.Post("/api/v1/api-keys", `{"name":"more","permissions":["agents:read"]}`).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
}

// O35: a key that creates incidents runs no procedures, and is told what it lacks.
func TestO35AKeyWithoutTheRightRunsNoProcedure(t *testing.T) {
	w := newOne(t)
	_, key := w.own.CreateKey("monitoring", "incidents:create")
	r := w.anybody.WithKey(key).Post("/api/v1/procedures/x/execute", nil).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
	if r.Text("required") != `["procedures:execute"]` {
		t.Errorf("answered %s", r)
	}
	w.anybody.WithKey(key).Post("/api/v1/incidents", `{"title":"Disk full","severity":"high"}`).Expect(http.StatusCreated)

	_, able := w.own.CreateKey("runner", "procedures:execute")
	for _, c := range []*housetest.Client{w.anybody.WithKey(able), w.own} {
		c.Post("/api/v1/procedures/restart-pod/execute", nil).Expect(http.StatusAccepted)
	}
	if got := w.own.Get("/api/v1/metrics").Text("procedure_executions"); got != "2" {
		t.Errorf("%s executions were counted", got)
	}
}

// K7, K19, O39: what is no credential, and where none is looked for.
func TestK19WithoutACredentialNothingIsAnswered(t *testing.T) {
	w := newOne(t)
	for _, r := range demo.Routes() {
		reply := w.anybody.Do(r.Method, strings.ReplaceAll(r.Path, ":id", "x"), nil).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		if reply.Text("error") != "unauthorized" || reply.Header.Get("WWW-Authenticate") != "Bearer" || reply.Text("request_id") == "" {
			t.Errorf("%s %v", reply, reply.Header)
		}
	}
	for _, value := range []string{"Bearer", "Bearer x", "Bearer a.b.c", "Basic dTpw"} {
		w.anybody.With("Authorization", value).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
	}
	token := w.token
	w.anybody.Get("/api/v1/agents?access_token="+token+"&token="+token).Problem(http.StatusUnauthorized, "INVALID_TOKEN")
	w.anybody.With("Authorization", "bEARER "+token).Get("/api/v1/agents").Expect(http.StatusOK)
	if got := w.anybody.WithKey("th_live_unknown").Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_API_KEY").Text("error"); got != "unauthorized" {
		t.Errorf("an unknown key: %s", got)
	}
}

// K20: a changed token is no token.
func TestK20ATamperedTokenIsInvalid(t *testing.T) {
	w := newOne(t)
	token := w.token
	head, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	changed := "A"
	if payload[20] == 'A' {
		changed = "B"
	}
	for name, bad := range map[string]string{
		"a payload character": head + "." + payload[:20] + changed + payload[21:] + "." + signature,
		"no signature":        head + "." + payload + ".",
		"alg none":            "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + payload + ".",
	} {
		if got := w.anybody.As(bad).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN").Text("error"); got != "invalid token" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// K22, O9: a day and the leeway later the session's token has expired.
func TestK22AnExpiredTokenSaysSo(t *testing.T) {
	w := newOne(t)
	c := w.anybody.As(w.anybody.SessionLogin(w.h.Admin.Email, w.h.Admin.Password).Access)
	w.h.Advance(24*time.Hour + 29*time.Second)
	c.Get("/api/v1/agents").Expect(http.StatusOK)
	w.h.Advance(time.Second)
	r := c.Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
	if r.Text("error") != "token expired" || r.Text("detail") != "JWT token has expired" {
		t.Errorf("answered %s", r)
	}
}

// O16, K18: what was signed out is refused on the next request.
func TestRevokedCredentialsAreRefusedAtOnce(t *testing.T) {
	w := newOne(t)
	id, key := w.own.CreateKey("agent", "agents:read")
	w.anybody.WithKey(key).Get("/api/v1/agents").Expect(http.StatusOK)
	w.own.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
	if got := w.anybody.WithKey(key).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_API_KEY").Text("error"); got != "unauthorized" {
		t.Errorf("K18: %s", got)
	}
	w.own.Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
	if got := w.own.Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN").Text("detail"); got != "Token has been revoked" {
		t.Errorf("O16: %s", got)
	}
}

// O6: a browser has cookies only, and another site cannot use them.
func TestO6ABrowsersCookieIsACredential(t *testing.T) {
	w := newTwo(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := w.anybody.WithCookies(jar)
	c.Login("other@example.com", "lamp river seven mountains")
	if got := ids(c.Get("/api/v1/incidents")); strings.Join(got, " ") != strings.Join(ids(w.other.Get("/api/v1/incidents")), " ") {
		t.Errorf("rows %v", got)
	}
	c.Post("/api/v1/incidents", `{"title":"from our own page"}`).Expect(http.StatusCreated)
	c.With("Origin", "https://evil.example.com").Post("/api/v1/incidents", `{"title":"x"}`).Expect(http.StatusForbidden)
	c.With("Sec-Fetch-Site", "cross-site").Post("/api/v1/incidents", `{"title":"x"}`).Expect(http.StatusForbidden)
	if n := len(ids(c.Get("/api/v1/incidents"))); n != 11 {
		t.Errorf("%d incidents", n)
	}
	bearer := c.As(w.anybody.Login(w.h.Admin.Email, w.h.Admin.Password).Access)
	if got := bearer.Get("/api/v1/metrics").Text("organization_id"); got != string(w.h.Admin.Org) {
		t.Errorf("the cookie won over the bearer token: %s", got)
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	w := newOne(t)
	long := strings.Repeat("x", 101)
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
		field      string
	}{
		"unknown field":         {"agents", `{"name":"a","organization_id":"org_1"}`, 422, "VALIDATION_FAILED", "organization_id"},
		"field in another case": {"agents", `{"Name":"a"}`, 422, "VALIDATION_FAILED", "Name"},
		"no name":               {"agents", `{}`, 422, "VALIDATION_FAILED", "name"},
		"blank name":            {"agents", `{"name":"  "}`, 422, "VALIDATION_FAILED", "name"},
		"long name":             {"agents", `{"name":"` + long + `"}`, 422, "VALIDATION_FAILED", "name"},
		"name a number":         {"agents", `{"name":1}`, 422, "VALIDATION_FAILED", "name"},
		"name null":             {"agents", `{"name":null}`, 422, "VALIDATION_FAILED", "name"},
		"unknown severity":      {"incidents", `{"title":"a","severity":"x"}`, 422, "VALIDATION_FAILED", "severity"},
		"no title":              {"incidents", `{"severity":"low"}`, 422, "VALIDATION_FAILED", "title"},
		"nothing":               {"incidents", ``, 400, "INVALID_REQUEST", ""},
		"not JSON":              {"agents", `{`, 400, "INVALID_REQUEST", ""},
		"null":                  {"agents", `null`, 400, "INVALID_REQUEST", ""},
		"a list":                {"agents", `[]`, 400, "INVALID_REQUEST", ""},
		"not UTF-8":             {"agents", "{\"name\":\"\xff\"}", 400, "INVALID_REQUEST", ""},
		"64 KiB and more":       {"agents", `{"name":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "BODY_TOO_LARGE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.own.For(t).Post("/api/v1/"+c.path, c.body).Problem(c.status, c.code)
			if c.field != "" && (r.Text("fields.0.name") != c.field || !strings.Contains(r.Text("detail"), c.field)) {
				t.Errorf("answered %s", r)
			}
		})
	}
	if n := len(ids(w.own.Get("/api/v1/agents"))); n != 10 {
		t.Errorf("%d agents", n)
	}
}

func TestListsArePaged(t *testing.T) {
	w := newOne(t)
	all := ids(w.own.Get("/api/v1/agents?limit=200"))
	var got []string
	path := "/api/v1/agents?limit=4"
	for range 3 {
		r := w.own.Get(path)
		got = append(got, ids(r)...)
		path = "/api/v1/agents?limit=4&cursor=" + r.Text("next_cursor")
		if last := len(got) == 10; last != (r.Text("next_cursor") == "") {
			t.Errorf("after %d rows: next_cursor %q", len(got), r.Text("next_cursor"))
		}
	}
	if strings.Join(got, " ") != strings.Join(all, " ") {
		t.Errorf("pages %v, whole %v", got, all)
	}
	made := w.own.Post("/api/v1/agents", `{"name":"newest"}`).Expect(http.StatusCreated).Text("id")
	if first := ids(w.own.Get("/api/v1/agents?limit=1"))[0]; first != made {
		t.Errorf("the newest row is not the first")
	}
	for _, limit := range []string{"0", "201", "x", "-1"} {
		w.own.Get("/api/v1/agents?limit="+limit).Problem(http.StatusUnprocessableEntity, "VALIDATION_FAILED")
	}
}

func TestRowsAreBounded(t *testing.T) {
	d := standalone(t, &demo.Resource{Transport: demo.Within(func() http.Handler { return judge("org_1", "agents:*") })})
	for n := 10; n < 1000; n++ {
		if res := d.post("/api/v1/agents", `{"name":"a"}`); res.Code != http.StatusCreated {
			t.Fatalf("row %d: %d %s", n, res.Code, res.Body)
		}
	}
	if res := d.post("/api/v1/agents", `{"name":"a"}`); res.Code != http.StatusConflict {
		t.Errorf("one too many: %d", res.Code)
	}
}

// As any third party would run it: in another process, over the network.
func TestItWorksOverTheNetwork(t *testing.T) {
	w := newOne(t)
	_, key := w.own.CreateKey("agent", "agents:read")
	resource := (&demo.Resource{Issuer: w.h.Config.Issuer, Audience: w.h.Config.Issuer, Now: w.h.Clock.Now, Random: rand.Reader}).Handler()
	server := httptest.NewServer(resource)
	t.Cleanup(server.Close)
	token := w.token
	for header, c := range map[string]struct {
		value  string
		status int
	}{"Authorization": {"Bearer " + token, 200}, "X-API-Key": {key, 200}, "X-Api-Key": {key + "x", 401}, "Cookie": {"th_access=" + token, 401}} {
		req, err := http.NewRequest(http.MethodGet, server.URL+"/api/v1/agents", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, c.value)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d %s", header, res.StatusCode, text)
		}
	}
}

// standalone is a resource server without a house, for what a house never answers.
type standaloneServer struct{ http.Handler }

func standalone(t *testing.T, d *demo.Resource) standaloneServer {
	t.Helper()
	d.Issuer, d.Audience, d.Random = "http://localhost", "http://localhost", rand.Reader
	d.Now = func() time.Time { return time.Date(2026, 6, 12, 10, 0, 0, 0, time.UTC) }
	return standaloneServer{d.Handler()}
}

func (s standaloneServer) do(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-API-Key", "th_live_x")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func (s standaloneServer) post(path, body string) *httptest.ResponseRecorder {
	return s.do(http.MethodPost, path, body)
}

// judge answers forward authentication with an organisation and permissions.
func judge(org, permissions string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Auth-Org", org)
		w.Header().Set("X-Auth-Permissions", permissions)
	})
}

// What tokenhouse refuses is passed on as it is; what it does not clearly allow
// is refused.
func TestRefusalsArePassedOn(t *testing.T) {
	busy := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"code":"RATE_LIMITED"}`)
	})
	redirect := http.RedirectHandler("http://localhost/elsewhere", http.StatusFound)
	for name, c := range map[string]struct {
		answer http.Handler
		status int
		body   string
	}{
		"429":                    {busy, 429, "RATE_LIMITED"},
		"no organisation":        {judge("", "agents:read"), 403, "INSUFFICIENT_PERMISSIONS"},
		"other permissions":      {judge("org_1", "agents:list incidents:read"), 403, "agents:read"},
		"no permissions":         {judge("org_1", ""), 403, "INSUFFICIENT_PERMISSIONS"},
		"a wildcard":             {judge("org_1", "metrics:read agents:*"), 200, "agt_"},
		"separated by commas":    {judge("org_1", "metrics:read,agents:read"), 200, "agt_"},
		"a redirect, for ever":   {redirect, 503, "UNAVAILABLE"},
		"nothing but the status": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }), 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := standalone(t, &demo.Resource{Transport: demo.Within(func() http.Handler { return c.answer })}).do(http.MethodGet, "/api/v1/agents", "")
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.status == 429 && (w.Header().Get("Retry-After") != "7" || w.Header().Get("Set-Cookie") != "") {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestAnOutageIsNoRefusal(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	s := standalone(t, &demo.Resource{BaseURL: closed.URL})
	if w := s.do(http.MethodGet, "/api/v1/agents", ""); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("an API key: %d %s", w.Code, w.Body)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/agents", nil)
	r.Header.Set("Authorization", "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJhdCtqd3QifQ.e30.AA")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("a JWT: %d %s", w.Code, w.Body)
	}
}

// In one process tokenhouse must see the client's address, not its own.
func TestWithinHandsOnWhereTheRequestCameFrom(t *testing.T) {
	var seen *http.Request
	s := standalone(t, &demo.Resource{Transport: demo.Within(func() http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r })
	})})
	r := httptest.NewRequest(http.MethodDelete, "/api/v1/agents/x", bytes.NewReader([]byte("body")))
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("X-API-Key", "th_live_x")
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	r.Header.Set("User-Agent", "tester/1")
	r.Header.Set("Cookie", "th_access=x")
	s.ServeHTTP(httptest.NewRecorder(), r)
	if seen == nil || seen.RemoteAddr != "192.0.2.7:4711" || seen.Header.Get("X-Forwarded-For") != "198.51.100.1" || seen.UserAgent() != "tester/1" {
		t.Fatalf("saw %+v", seen)
	}
	if seen.URL.Path != "/api/v1/auth/verify" || seen.URL.Query().Get("permission") != "agents:delete" || seen.Header.Get("X-Api-Key") != "th_live_x" {
		t.Errorf("saw %s %v", seen.URL, seen.Header)
	}
	if seen.Header.Get("Cookie") != "" || seen.TLS != nil {
		t.Error("cookies are not ours to pass on, and http is not TLS")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := standalone(t, &demo.Resource{Transport: demo.Within(func() http.Handler { return judge("org_1", "*:*") })})
	if w := s.do(http.MethodGet, "/api/v1/nothing", ""); w.Code != 404 || !strings.Contains(w.Body.String(), "NOT_FOUND") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.do(http.MethodPut, "/api/v1/agents", ""); w.Code != 405 || !strings.Contains(w.Header().Get("Allow"), "POST") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	r := httptest.NewRequest(http.MethodPost, "/api/v1/agents", strings.NewReader("name=a"))
	r.Header.Set("X-API-Key", "th_live_x")
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 415 {
		t.Errorf("no content type: %d", w.Code)
	}
}
