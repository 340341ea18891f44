package housetest_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

const registerPath = "/oauth2/register"

// selfDescription is the metadata of a plain web client, with what change says otherwise.
func selfDescription(change map[string]any) map[string]any {
	m := map[string]any{"redirect_uris": []string{"https://rp.example/cb"}, "client_name": "<script>alert(1)</script>"}
	for name, v := range change {
		m[name] = v
	}
	return m
}

// manage returns the path and a client for a registration's own endpoint.
func manage(c *housetest.Client, r housetest.Reply) (*housetest.Client, string) {
	u, err := url.Parse(r.Text("registration_client_uri"))
	if err != nil {
		panic(err)
	}
	return c.As(r.Text("registration_access_token")), u.Path
}

// refusedBearer holds a refusal to RFC 6750 §3 and RFC 7591 §3.2.2.
func refusedBearer(t *testing.T, r housetest.Reply, status int, name string) {
	t.Helper()
	if r.Status != status || r.Text("error") != name || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s, want %d %s", r, status, name)
	}
	if challenged := strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer "); challenged != (status == 401 || status == 403) {
		t.Errorf("%s: the challenge is %q", r, r.Header.Get("WWW-Authenticate"))
	}
}

// SEC-OAU-60: who may register where; what each mode answers.
func TestRegistrationModes(t *testing.T) {
	for mode, want := range map[string][2]int{"off": {401, 403}, "token": {401, 201}, "open": {201, 201}} {
		t.Run(mode, func(t *testing.T) {
			h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) { c.Clients.Mode = mode }})
			admin := h.Client().As(h.Login(h.Admin).Access)
			viewer := h.Client().As(h.Login(h.Person(h.Admin.Org, "viewer", "viewer")).Access)
			anybody, maker := h.Client().Post(registerPath, selfDescription(nil)), admin.Post(registerPath, selfDescription(nil))
			if anybody.Status != want[0] || maker.Status != want[1] {
				t.Errorf("anybody %s, want %d\nan administrator %s, want %d", anybody, want[0], maker, want[1])
			}
			refusedBearer(t, viewer.Post(registerPath, selfDescription(nil)), 403, "insufficient_scope")
			refusedBearer(t, h.Client().As("x").Post(registerPath, selfDescription(nil)), 401, "invalid_token")
			shown := strings.Contains(string(h.Client().Get("/.well-known/openid-configuration").Body), registerPath)
			if shown != (mode != "off") {
				t.Errorf("discovery shows the endpoint: %v", shown)
			}
		})
	}
}

// An initial access token, or an API key, puts the client into its own
// organisation, with no permission that its maker lacks.
func TestRegistrationWithACredential(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: func(c *house.Config) { c.Clients.Mode = "token" }}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		_, key := admin.CreateKey("registrar", "clients:manage", "clients:read", "agents:read")
		registrar := h.Client().WithKey(key)
		robot := map[string]any{"grant_types": []string{"client_credentials"}, "redirect_uris": nil, "scope": "agents:read"}
		r := registrar.Post(registerPath, selfDescription(robot)).Expect(201)
		if r.Header.Get("Cache-Control") != "no-store" || r.Text("client_secret_expires_at") != "0" || r.Text("response_types") != "[]" {
			t.Error(r)
		}
		own := serviceClient{r.Text("client_id"), r.Text("client_secret")}
		if got := h.Client().As(own.token(h.Client())).Get("/api/v1/agents"); got.Status != 200 {
			t.Errorf("its own token: %s", got)
		}
		robot["scope"] = "agents:read agents:delete"
		refusedBearer(t, registrar.Post(registerPath, selfDescription(robot)), 403, "insufficient_scope")

		seen := admin.Get("/api/v1/clients/" + own.id).Expect(200)
		if seen.Text("pkce") != "nonce" || seen.Text("open_to") != "organization" || seen.Text("skip_consent") != "false" || seen.Text("expires_at") != "" || !strings.HasPrefix(seen.Text("created_by"), "key_") {
			t.Error(seen)
		}
		// It changes itself, but not into one that may do more.
		me, path := manage(h.Client(), r)
		robot["client_id"], robot["scope"] = own.id, "agents:read agents:delete"
		refusedBearer(t, me.Put(path, selfDescription(robot)), 403, "insufficient_scope")
		other := h.Org("other")
		stranger := h.Client().As(h.Login(h.Person(other, "boss", "admin")).Access)
		stranger.Get("/api/v1/clients/" + own.id).Expect(404)
	})
}

// RFC 7591 §3.2.1, RFC 7592 §2: registered, read, replaced and removed.
func TestARegisteredClientManagesItself(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: openRegistration, Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		c := h.Client()
		r := c.Post(registerPath, selfDescription(map[string]any{"scope": "openid email phone", "default_max_age": 60, "contacts": []string{"a@rp.example"}, "logo_uri": "https://rp.example/l"})).Expect(201)
		for name, want := range map[string]string{
			"client_name": "<script>alert(1)</script>", "token_endpoint_auth_method": "client_secret_basic", "scope": "openid email", "subject_type": "public",
			"application_type": "web", "default_max_age": "60", "grant_types.0": "authorization_code", "response_types.0": "code",
			"client_secret_expires_at": fmt.Sprint(h.Clock.Now().Add(90 * 24 * time.Hour).Unix()), "client_id_issued_at": fmt.Sprint(h.Clock.Now().Unix()),
		} {
			if got := r.Text(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		me, path := manage(c, r)
		read := me.Get(path).Expect(200)
		if read.Has("client_secret") || read.Text("registration_access_token") != r.Text("registration_access_token") || read.Text("logo_uri") != "https://rp.example/l" {
			t.Error(read)
		}
		id := r.Text("client_id")
		for name, bad := range map[string]map[string]any{
			"no client_id":         selfDescription(nil),
			"another's client_id":  selfDescription(map[string]any{"client_id": "cli_00000000000000000000000000"}),
			"another secret":       selfDescription(map[string]any{"client_id": id, "client_secret": "x"}),
			"another method":       selfDescription(map[string]any{"client_id": id, "token_endpoint_auth_method": "none"}),
			"a permission":         selfDescription(map[string]any{"client_id": id, "scope": "agents:read"}),
			"a fragment":           selfDescription(map[string]any{"client_id": id, "redirect_uris": []string{"https://rp.example/#x"}}),
			"no keys for requests": selfDescription(map[string]any{"client_id": id, "request_object_signing_alg": "RS256"}),
		} {
			if got := me.Put(path, bad); got.Status != 400 && got.Status != 403 {
				t.Errorf("%s: %s", name, got)
			}
		}
		// What is left out is the default again; what is ours stays (SEC-OAU-60).
		put := me.Put(path, selfDescription(map[string]any{"client_id": id, "client_secret": r.Text("client_secret"), "client_name": "B", "registration_access_token": "x", "pkce": "optional", "skip_consent": true})).Expect(200)
		if put.Has("default_max_age") || put.Has("logo_uri") || put.Has("scope") || put.Text("client_name") != "B" || put.Text("client_secret_expires_at") != r.Text("client_secret_expires_at") {
			t.Error(put)
		}
		admin := c.As(h.Login(h.Admin).Access)
		if seen := admin.Get("/api/v1/clients/" + id).Expect(200); seen.Text("pkce") != "nonce" || seen.Text("skip_consent") != "false" || seen.Text("created_by") != "anonymous" {
			t.Error(seen)
		}

		for _, wrong := range []*housetest.Client{c, c.As("thm_" + strings.Repeat("A", 43)), admin} {
			for _, got := range []housetest.Reply{wrong.Get(path), wrong.Put(path, selfDescription(nil)), wrong.Delete(path), wrong.Get(registerPath + "/cli_00000000000000000000000000"), wrong.Get(registerPath + "/a:b")} {
				refusedBearer(t, got, 401, "invalid_token")
			}
		}
		me.Delete(path).Expect(204)
		h.Follow()
		for i := range h.Replicas {
			elsewhere, path := manage(h.At(i), r)
			refusedBearer(t, elsewhere.Get(path), 401, "invalid_token")
			refused(t, form(serviceClient{id, r.Text("client_secret")}.by(h.At(i)), "/oauth2/token", "grant_type", "client_credentials"), 401, "invalid_client")
		}
	})
}

// SEC-OAU-60 SEC-OAU-61: bodies that are too large, no JSON, or none.
func TestRegistrationBodies(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: openRegistration})
	huge := selfDescription(map[string]any{"contacts": []string{strings.Repeat("x", 70_000)}})
	if r := h.Client().Post(registerPath, huge); r.Status != 413 {
		t.Error(r)
	}
	for _, body := range []string{"", "[]", "{", `"x"`, `{"redirect_uris":"https://rp.example"}`} {
		refusedBearer(t, h.Client().With("Content-Type", "application/json").Post(registerPath, body), 400, "invalid_client_metadata")
	}
	refusedBearer(t, h.Client().Post(registerPath, selfDescription(map[string]any{"redirect_uris": []string{"https://rp.example/#f"}})), 400, "invalid_redirect_uri")
	// A client does not choose its id.
	if r := h.Client().Post(registerPath, selfDescription(map[string]any{"client_id": "cli_api"})).Expect(201); r.Text("client_id") == "cli_api" {
		t.Error(r)
	}
}

// Open registration has limits, and what it made ends.
func TestOpenRegistrationIsBounded(t *testing.T) {
	limited := func(c *house.Config) {
		c.Clients = house.ClientRegistration{Mode: "open", TTL: 24 * time.Hour, Limit: 7, Hourly: 4}
	}
	housetest.Both(t, housetest.Options{Config: limited, Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		at := func(i int, ip string) housetest.Reply {
			return h.At(i%2).From(ip).Post(registerPath, selfDescription(nil))
		}
		replies := make([]housetest.Reply, 12)
		var all sync.WaitGroup
		for i := range replies {
			all.Go(func() { replies[i] = at(i, "192.0.2.1") })
		}
		all.Wait()
		count := func(status int) (n int) {
			for _, r := range replies {
				if r.Status == status {
					n++
				}
			}
			return n
		}
		if count(201) != 4 || count(429) != 8 {
			t.Errorf("of 12 at once from one network %d were registered and %d refused", count(201), count(429))
		}
		for i := range 3 {
			at(i, fmt.Sprintf("192.0.2.%d", i+2)).Expect(201)
		}
		if r := at(0, "192.0.2.9"); r.Status != 429 || r.Header.Get("Retry-After") == "" {
			t.Errorf("one too many for the deployment: %s", r)
		}
		i := slices.IndexFunc(replies, func(r housetest.Reply) bool { return r.Status == 201 })
		me, path := manage(h.At(i%2), replies[i])
		me.Get(path).Expect(200)
		h.Advance(24 * time.Hour)
		refusedBearer(t, me.Get(path), 401, "invalid_token") // at once, before it is forgotten
		if err := h.House().Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := h.House().DB.Clients().AnyClient(t.Context(), ident.ClientID(replies[i].Text("client_id"))); err == nil {
			t.Error("an expired client is still stored")
		}
		at(1, "192.0.2.1").Expect(201)
	})
}

// oidcc-registration-sector-uri, oidcc-registration-sector-bad: the document
// must list every redirect URI, and is fetched where we may only.
func TestSectorIdentifiers(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: func(c *house.Config) { c.Clients.Mode, c.Clients.Hourly = "open", 5 }})
	lists := `["https://a.example/cb","https://b.example/cb"]`
	asked := 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(lists))
	}))
	defer site.Close()
	register := func(redirects ...string) housetest.Reply {
		return h.Client().Post(registerPath, selfDescription(map[string]any{"redirect_uris": redirects, "subject_type": "pairwise", "sector_identifier_uri": site.URL}))
	}
	r := register("https://a.example/cb", "https://b.example/cb").Expect(201)
	refusedBearer(t, register("https://a.example/cb", "https://c.example/cb"), 400, "invalid_client_metadata")
	me, path := manage(h.Client(), r)
	change := map[string]any{"client_id": r.Text("client_id"), "subject_type": "pairwise", "sector_identifier_uri": site.URL}
	before := asked
	change["redirect_uris"] = []string{"https://a.example/cb", "https://c.example/cb"}
	refusedBearer(t, me.Put(path, selfDescription(change)), 400, "invalid_client_metadata")
	if asked == before {
		t.Error("a change of the redirect URIs was not held against the document")
	}
	lists = `{"not":"a list"}`
	refusedBearer(t, register("https://a.example/cb"), 400, "invalid_client_metadata")
	before = asked
	for range 6 {
		r = h.Client().From("192.0.2.77").Post(registerPath, selfDescription(map[string]any{"sector_identifier_uri": site.URL}))
	}
	if r.Status != 429 || asked != before+5 {
		t.Errorf("a stranger had us ask %d times: %s", asked-before, r)
	}
	refusedBearer(t, h.Client().Post(registerPath, selfDescription(map[string]any{"sector_identifier_uri": "https://169.254.169.254/latest"})), 400, "invalid_client_metadata")
}

// SEC-OAU-25: what users gave a client ends when the client is disabled, may do
// less, or is deleted, by whomever; on every replica.
func TestAClientsFamiliesEndWithIt(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: openRegistration, Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		give := func(id string) ident.SessionID {
			now := h.Clock.Now()
			f := tokens.Family{
				ID: ident.NewSessionID(now, rand.Reader), User: h.Admin.ID, Org: h.Admin.Org, Client: ident.ClientID(id), Method: "password", Refreshable: true,
				CreatedAt: now, ExpiresAt: now.Add(time.Hour), AuthenticatedAt: now,
			}
			if err := h.House().DB.Sessions().InTx(t.Context(), func(tx tokens.Tx) error { return tx.InsertFamily(f, time.Time{}) }); err != nil {
				t.Fatal(err)
			}
			return f.ID
		}
		ended := func(id ident.SessionID) string {
			f, err := h.House().DB.Sessions().Family(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return f.Ended.Reason
		}
		web := map[string]any{"name": "web", "grants": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{"https://rp.example/cb"}, "scopes": []string{"openid", "email", "agents:read"}}
		for name, end := range map[string]func(id string){
			"disabled": func(id string) { admin.Patch("/api/v1/clients/"+id, map[string]any{"status": "disabled"}).Expect(200) },
			"without a scope": func(id string) {
				admin.Patch("/api/v1/clients/"+id, map[string]any{"scopes": []string{"openid"}}).Expect(200)
			},
			"without a grant": func(id string) {
				admin.Patch("/api/v1/clients/"+id, map[string]any{"grants": []string{"authorization_code"}}).Expect(200)
			},
			"deleted": func(id string) { admin.Delete("/api/v1/clients/" + id).Expect(204) },
		} {
			id := admin.Post("/api/v1/clients", web).Expect(201).Text("client_id")
			family := give(id)
			admin.Patch("/api/v1/clients/"+id, map[string]any{"name": "renamed", "scopes": []string{"openid", "email", "agents:read", "profile"}}).Expect(200)
			if ended(family) != "" {
				t.Errorf("%s: it ended before", name)
			}
			if end(id); ended(family) == "" {
				t.Errorf("%s: the family of its user lives", name)
			}
		}
		r := h.Client().Post(registerPath, selfDescription(nil)).Expect(201)
		family := give(r.Text("client_id"))
		me, path := manage(h.At(1), r)
		me.Delete(path).Expect(204)
		if ended(family) != "client_deleted" {
			t.Errorf("removed by itself: the family ended as %q", ended(family))
		}
		events, err := h.House().DB.Audit().Events(t.Context(), h.Operator(h.Admin.Org).Tenant(), audit.Filter{Name: audit.ClientDeleted}, 0, 1)
		if err != nil || len(events) != 1 || events[0].Actor.Type != "client" || events[0].Actor.ID != r.Text("client_id") {
			t.Errorf("the event of the removal: %+v, %v", events, err)
		}
	})
}

// Only the operator lets a client at people of other organisations.
func TestOnlyTheOperatorOpensAClientToEveryone(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	web := map[string]any{"name": "web", "grants": []string{"authorization_code"}, "redirect_uris": []string{"https://rp.example/cb"}, "open_to": "everyone"}
	admin.Post("/api/v1/clients", web).Problem(403, "INSUFFICIENT_PERMISSIONS")
	delete(web, "open_to")
	id := admin.Post("/api/v1/clients", web).Expect(201).Text("client_id")
	admin.Patch("/api/v1/clients/"+id, map[string]any{"open_to": "everyone"}).Problem(403, "INSUFFICIENT_PERMISSIONS")
	open := oauth.ClientChange{Settings: func(s *oauth.ClientSettings) { s.OpenTo = oauth.OpenToEveryone }}
	if _, err := h.House().Clients.Update(t.Context(), h.Operator(h.Admin.Org), ident.ClientID(id), open); err != nil {
		t.Fatal(err)
	}
	admin.Patch("/api/v1/clients/"+id, map[string]any{"skip_consent": true}).Problem(403, "INSUFFICIENT_PERMISSIONS")
	if r := admin.Patch("/api/v1/clients/"+id, map[string]any{"name": "renamed"}).Expect(200); r.Text("open_to") != "everyone" {
		t.Error(r)
	}
	admin.Patch("/api/v1/clients/"+id, map[string]any{"open_to": "organization"}).Expect(200)
}

// SEC-OAU-25: a client that is disabled or deleted gets nothing for what it
// holds: a code, a refresh token, an access token, an assertion; and what its
// user gave it is not given back with a new status.
func TestADisabledClientGetsNothing(t *testing.T) {
	housetest.Both(t, housetest.Options{Config: openRegistration}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		base := &party{h: h, scope: "openid", user: h.Person(h.Admin.Org, "member", "viewer")}
		for name, end := range map[string]func(p *party){
			"disabled": func(p *party) {
				admin.Patch("/api/v1/clients/"+p.client.id, map[string]any{"status": "disabled"}).Expect(200)
			},
			"deleted": func(p *party) { admin.Delete("/api/v1/clients/" + p.client.id).Expect(204) },
			"removed": func(p *party) {
				h.Client().As(p.client.manage.token).Delete(pathOf(t, p.client.manage.uri)).Expect(204)
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := base.in(t).registers(map[string]any{"grant_types": []string{"authorization_code", "refresh_token"}})
				got := p.happy(nil)
				request := p.request(nil)
				p.open(request)
				code := p.code(request)
				end(p)
				for what, r := range map[string]housetest.Reply{
					"code":          p.post("/oauth2/token", "grant_type", "authorization_code", "code", code, "redirect_uri", p.client.redirect),
					"refresh":       p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", got.refresh),
					"introspection": p.post("/oauth2/introspect", "token", got.access),
				} {
					if r.Status != 401 || r.Text("error") != "invalid_client" {
						t.Errorf("%s: %s", what, r)
					}
				}
				h.Client().As(got.access).Get("/oauth2/userinfo").Problem(401, "INVALID_TOKEN")
				h.Client().As(got.access).Get("/api/v1/me").Problem(401, "INVALID_TOKEN")
				if p.open(p.request(nil)); p.browser.Left != nil && p.browser.Left.Query().Get("code") != "" {
					t.Errorf("a new code was given: %s", p.browser.Left)
				}
				if name != "disabled" {
					return
				}
				admin.Patch("/api/v1/clients/"+p.client.id, map[string]any{"status": "active"}).Expect(200)
				if r := p.post("/oauth2/token", "grant_type", "refresh_token", "refresh_token", got.refresh); r.Status != 400 || r.Text("error") != "invalid_grant" {
					t.Errorf("refreshed after it was enabled again: %s", r)
				}
			})
		}
	})
}

func pathOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}
