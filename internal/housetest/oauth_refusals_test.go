package housetest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

var oauthPaths = []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"}

// SEC-OAU-63: the endpoints take one form, by POST; an empty parameter counts as
// left out. SEC-OAU-10: and each parameter at most once, in the body only.
func TestOAuthEndpointsTakeOneForm(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	robot := enrol(admin, []string{"agents:read"}, nil)
	const formType = "application/x-www-form-urlencoded"
	good := "grant_type=client_credentials&token=x"
	for _, path := range oauthPaths {
		for _, method := range []string{"GET", "PUT", "DELETE", "HEAD"} {
			if r := robot.by(h.Client()).Do(method, path, nil); r.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, r.Status)
			}
		}
		c := robot.by(h.Client())
		for _, kind := range []string{
			"", "application/json", "text/plain", "multipart/form-data; boundary=x", formType + "; charset=utf-16", formType + "; charset=iso-8859-1", "application/x-www-form-urlencodedx",
		} {
			refused(t, c.With("Content-Type", kind).Post(path, good), 400, "invalid_request")
		}
		refused(t, c.With("Content-Type", "application/json").Post(path, `{"grant_type":"client_credentials","token":"x"}`), 400, "invalid_request")
		refused(t, c.With("Content-Type", formType).With("Content-Encoding", "gzip").Post(path, good), 400, "invalid_request")
		refused(t, c.With("Content-Type", formType).Post(path, good+"&x="+strings.Repeat("y", 64<<10)), 413, "invalid_request")
		c = c.With("Content-Type", formType)
		for _, body := range []string{
			good + "&grant_type=client_credentials", good + "&scope=agents:read&scope=agents:read", good + "&client_id=a&client_id=" + robot.id,
			good + "&token=y", good + "&redirect_uri=a&redirect_uri=b", good + "&scope=&scope=agents:read", good + "&x=%zz", good + ";x=1", good + "&x=%00", good + "&x=%ff",
			good + "&client_id=cli_00000000000000000000000000", good + "&client_secret=" + robot.secret, good + "&client_assertion=x.y.z",
		} {
			refused(t, c.Post(path, body), 400, "invalid_request")
		}
		refused(t, c.Post(path+"?client_id="+robot.id, good), 400, "invalid_request")
		refused(t, c.Post(path+"?scope=agents:read", good), 400, "invalid_request")
		refused(t, c.Post(path, "grant_type=&token="), 400, "invalid_request")
		c.With("Content-Type", formType+"; charset=UTF-8").Post(path, good+"&scope=&unknown=1&client_id="+robot.id).Expect(http.StatusOK)
	}
}

// SEC-OAU-24: no endpoint answers a confidential client that does not prove who
// it is, and every failure to looks the same (SEC-OAU-26 without the timing).
func TestAClientThatProvesNothingGetsNothing(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		web := enrol(admin, []string{"agents:read"}, webClient)
		refresh := familyOf(t, h, web)
		bodies := map[string]bool{}
		for _, path := range oauthPaths {
			for name, r := range map[string]housetest.Reply{
				"nothing":        form(h.Client(), path, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"its name":       form(h.Client(), path, "client_id", web.id, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"wrong secret":   form(serviceClient{web.id, "ths_" + strings.Repeat("x", 43)}.by(h.Client()), path, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"no secret":      form(serviceClient{web.id, ""}.by(h.Client()), path, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"unknown client": form(serviceClient{"cli_00000000000000000000000000", web.secret}.by(h.Client()), path, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"no client":      form(serviceClient{"x y", web.secret}.by(h.Client()), path, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"other method":   form(h.Client(), path, "client_id", web.id, "client_secret", web.secret, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"a bearer":       form(h.Client().As(h.Login(h.Admin).Access), path, "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
				"first party":    form(h.Client(), path, "client_id", "cli_api", "grant_type", "refresh_token", "refresh_token", refresh, "token", refresh),
			} {
				t.Log(path, name)
				refused(t, r, 401, "invalid_client")
				bodies[strings.ReplaceAll(string(r.Body), r.Text("request_id"), "")] = true
			}
		}
		if len(bodies) != 1 {
			t.Errorf("the refusals differ: %v", bodies)
		}
		if r := form(web.by(h.Client()), "/oauth2/introspect", "token", refresh); r.Text("active") != "true" {
			t.Errorf("the token was touched: %s", r)
		}
	})
}

// webClient is what a client of people is registered with.
var webClient = map[string]any{
	"grants": []string{"authorization_code", "refresh_token", "client_credentials"}, "redirect_uris": []string{"https://app.example/cb"},
}

// familyOf opens a session of the administrator's for the client, as a grant
// that involves a person does, and returns its refresh token.
func familyOf(t *testing.T, h *housetest.Harness, c serviceClient) string {
	t.Helper()
	var token secret.Plain
	sessions := h.House().Sessions
	err := sessions.Store.InTx(t.Context(), func(tx tokens.Tx) (err error) {
		_, token, err = sessions.Begin(tx, h.Clock.Now(), tokens.Opening{
			User: h.Admin.ID, Org: h.Admin.Org, Client: ident.ClientID(c.id), Method: "password", Refreshable: true,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

// SEC-OAU-28: a refresh may ask for less, never for more, and what it asked for
// binds no later one.
func TestARefreshNeverWidens(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		web := enrol(h.Client().As(h.Login(h.Admin).Access), []string{"agents:read", "incidents:read"}, webClient)
		token := familyOf(t, h, web)
		refresh := func(scope string) housetest.Reply {
			r := form(web.by(h.Client()), "/oauth2/token", "grant_type", "refresh_token", "refresh_token", token, "scope", scope)
			if r.Status == http.StatusOK {
				token = r.Text("refresh_token")
			}
			return r
		}
		for _, scope := range []string{"agents:delete", "agents:read agents:delete", "no-such:thing", "agents:read no-such:thing", "agents:*", "*:*", "nonsense"} {
			refused(t, refresh(scope), 400, "invalid_scope")
		}
		for _, c := range []struct{ scope, want string }{
			{"agents:read", "agents:read"}, {"", "agents:read incidents:read"}, {"incidents:read agents:read", "agents:read incidents:read"},
		} {
			r := refresh(c.scope).Expect(http.StatusOK)
			if r.Text("scope") != c.want || claimsOf(t, r.Text("access_token"))["scope"] != c.want {
				t.Errorf("scope %q earns %s", c.scope, r)
			}
		}
	})
}

// SEC-OAU-29: a client of its own asks for what it was registered for, and is
// never given less than it asked for in silence.
func TestAClientAsksForWhatItWasRegisteredFor(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		robot := enrol(h.Client().As(h.Login(h.Admin).Access), []string{"agents:read", "incidents:read"}, nil)
		for _, scope := range []string{"agents:delete", "agents:read agents:delete", "no-such:thing", "agents:*", "*:read", "openid", "openid agents:read", "agents", "AGENTS:READ", "agents:read\tx"} {
			refused(t, form(robot.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials", "scope", scope), 400, "invalid_scope")
		}
		for scope, want := range map[string]string{"": "agents:read incidents:read", "incidents:read": "incidents:read", "agents:read agents:read": "agents:read"} {
			r := form(robot.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials", "scope", scope).Expect(http.StatusOK)
			if r.Text("scope") != want || r.Has("refresh_token") {
				t.Errorf("scope %q: %s", scope, r)
			}
		}
		for grant, want := range map[string]string{
			"password": "unauthorized_client", "refresh_token": "unauthorized_client", "authorization_code": "unauthorized_client", "implicit": "unsupported_grant_type",
			"urn:ietf:params:oauth:grant-type:device_code": "unsupported_grant_type",
		} {
			refused(t, form(robot.by(h.Client()), "/oauth2/token", "grant_type", grant, "username", h.Admin.Email, "password", h.Admin.Password, "refresh_token", "thr_x"), 400, want)
		}
		public := enrol(h.Client().As(h.Login(h.Admin).Access), []string{"agents:read"}, map[string]any{
			"auth_method": "none", "grants": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{"https://app.example/cb"},
		})
		refused(t, form(h.Client(), "/oauth2/token", "grant_type", "client_credentials", "client_id", public.id), 400, "unauthorized_client")
		refused(t, form(h.Client(), "/oauth2/introspect", "token", "x", "client_id", public.id), 401, "invalid_client")
	})
}

// SEC-OAU-30: another client's refresh token earns nothing, whichever
// organisation it is of, and loses nothing.
func TestARefreshTokenIsItsClients(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		web, other := enrol(admin, []string{"agents:read"}, webClient), enrol(admin, []string{"agents:read"}, webClient)
		elsewhere := h.Person(h.Org("elsewhere"), "boss", "owner")
		foreign := enrol(h.Client().As(h.Login(elsewhere).Access), []string{"agents:read"}, webClient)
		token, firstParty := familyOf(t, h, web), h.Login(h.Admin).Refresh
		for _, c := range []serviceClient{other, foreign} {
			for _, stolen := range []string{token, firstParty} {
				refused(t, form(c.by(h.Client()), "/oauth2/token", "grant_type", "refresh_token", "refresh_token", stolen), 400, "invalid_grant")
				form(c.by(h.Client()), "/oauth2/revoke", "token", stolen).Expect(http.StatusOK)
				if r := form(c.by(h.Client()), "/oauth2/introspect", "token", stolen); string(r.Body) != `{"active":false}` {
					t.Errorf("%s", r)
				}
			}
		}
		h.Client().Refresh(token).Problem(http.StatusUnauthorized, "INVALID_TOKEN") // nor is it ours to renew elsewhere
		wrong := 0
		for _, e := range eventsOf(t, h, audit.RefreshRefused) {
			if e.Reason == "wrong_client" {
				wrong++
			}
		}
		if wrong != 5 {
			t.Errorf("%d refusals are recorded", wrong)
		}
		form(web.by(h.Client()), "/oauth2/token", "grant_type", "refresh_token", "refresh_token", token).Expect(http.StatusOK)
		h.Client().Refresh(firstParty).Expect(http.StatusOK)
	})
}

// SEC-OAU-40: with a refresh token its whole session ends, with an access token
// that token only; what is unknown is 200, what is another's is left alone, and a wrong
// hint does no harm.
func TestRevocation(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		web, other := enrol(admin, []string{"agents:read"}, webClient), enrol(admin, []string{"agents:read"}, webClient)
		first, second := web.token(h.Client()), web.token(h.Client())
		for _, garbage := range []string{"x", "a.b.c", "thr_" + strings.Repeat("A", 56), strings.Repeat("y", 20_000), "\u00e9"} {
			for _, hint := range []string{"", "access_token", "refresh_token", "nonsense"} {
				if r := form(web.by(h.Client()), "/oauth2/revoke", "token", garbage, "token_type_hint", hint).Expect(http.StatusOK); len(r.Body) != 0 {
					t.Errorf("%s", r)
				}
			}
		}
		form(other.by(h.Client()), "/oauth2/revoke", "token", first).Expect(http.StatusOK)
		h.Client().As(first).Get("/api/v1/agents").Expect(http.StatusOK)
		for range 2 {
			form(web.by(h.Client()), "/oauth2/revoke", "token", first, "token_type_hint", "refresh_token").Expect(http.StatusOK)
		}
		h.Client().As(first).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		h.Client().As(second).Get("/api/v1/agents").Expect(http.StatusOK)
		if got := eventsOf(t, h, audit.TokenRevoked); len(got) != 1 || got[0].Actor.ID != web.id || got[0].Org != h.Admin.Org {
			t.Errorf("%+v", got)
		}
		grant := form(web.by(h.Client()), "/oauth2/token", "grant_type", "refresh_token", "refresh_token", familyOf(t, h, web)).Expect(http.StatusOK)
		h.Client().As(grant.Text("access_token")).Get("/api/v1/agents").Expect(http.StatusOK)
		form(web.by(h.Client()), "/oauth2/revoke", "token", grant.Text("refresh_token"), "token_type_hint", "access_token").Expect(http.StatusOK)
		h.Client().As(grant.Text("access_token")).Get("/api/v1/agents").Problem(http.StatusUnauthorized, "INVALID_TOKEN")
		refused(t, form(web.by(h.Client()), "/oauth2/token", "grant_type", "refresh_token", "refresh_token", grant.Text("refresh_token")), 400, "invalid_grant")
	})
}

// SEC-OAU-41: only the client that a token was issued to hears about it, and
// only while it is good. SEC-OAU-42: no answer outlives the token: it is asked
// anew each time, also at another replica once that has heard of the end.
func TestIntrospection(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		web, other := enrol(admin, []string{"agents:read", "incidents:read"}, webClient), enrol(admin, []string{"agents:read"}, nil)
		foreign := enrol(h.Client().As(h.Login(h.Person(h.Org("elsewhere"), "boss", "owner")).Access), []string{"agents:read"}, nil)
		own := form(web.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials", "scope", "agents:read").Expect(http.StatusOK).Text("access_token")
		wide := web.token(h.Client())
		grant := form(web.by(h.Client()), "/oauth2/token", "grant_type", "refresh_token", "refresh_token", familyOf(t, h, web)).Expect(http.StatusOK)
		access, refresh := grant.Text("access_token"), grant.Text("refresh_token")
		claims := claimsOf(t, own)
		r := form(web.by(h.Client()), "/oauth2/introspect", "token", own, "token_type_hint", "refresh_token").Expect(http.StatusOK)
		for _, name := range []string{"sub", "client_id", "org_id", "scope", "iss", "jti", "aud"} {
			if r.Text(name) != claims[name] || claims[name] == "" {
				t.Errorf("%s is %q, in the token %v", name, r.Text(name), claims[name])
			}
		}
		if r.Text("active") != "true" || r.Text("token_type") != "Bearer" || r.Text("scope") != "agents:read" {
			t.Errorf("%s", r)
		}
		if r := form(web.by(h.Client()), "/oauth2/introspect", "token", wide); r.Text("scope") != "agents:read incidents:read" {
			t.Errorf("the answer about another token: %s", r)
		}
		if r := form(web.by(h.At(1)), "/oauth2/introspect", "token", refresh); r.Text("active") != "true" || r.Text("sub") != string(h.Admin.ID) || r.Has("token_type") {
			t.Errorf("%s", r)
		}
		inactive := func(c serviceClient, token string) {
			t.Helper()
			for replica := range 2 {
				if r := form(c.by(h.At(replica)), "/oauth2/introspect", "token", token).Expect(http.StatusOK); string(r.Body) != `{"active":false}` {
					t.Errorf("%s", r)
				}
			}
		}
		for _, token := range []string{own, access, refresh, h.Login(h.Admin).Access, "x", "a.b.c"} {
			refused(t, form(h.Client(), "/oauth2/introspect", "token", token), 401, "invalid_client")
			inactive(other, token)
			inactive(foreign, token)
		}
		form(web.by(h.Client()), "/oauth2/revoke", "token", own).Expect(http.StatusOK)
		form(web.by(h.Client()), "/oauth2/revoke", "token", refresh).Expect(http.StatusOK)
		h.Follow()
		for _, token := range []string{own, access, refresh} {
			inactive(web, token)
		}
		h.Advance(2 * time.Hour)
		inactive(web, wide)
	})
}
