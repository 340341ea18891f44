package housetest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	keyType       = "urn:tokenhouse:params:oauth:token-type:api_key"
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
	jwtType       = "urn:ietf:params:oauth:token-type:jwt"
)

// exchange asks for a token for an API key, with more parameters in pairs.
func exchange(c *housetest.Client, key string, pairs ...string) housetest.Reply {
	return form(c, "/oauth2/token", append([]string{"grant_type", exchangeGrant, "subject_token", key, "subject_token_type", keyType}, pairs...)...)
}

// exchanged is the token of an exchange that must succeed.
func exchanged(c *housetest.Client, key string, pairs ...string) string {
	return exchange(c, key, pairs...).Expect(http.StatusOK).Text("access_token")
}

// expiresIn is the life of a token as the reply tells it, in seconds.
func expiresIn(r housetest.Reply) int {
	var got struct {
		Seconds int `json:"expires_in"`
	}
	r.Decode(&got)
	return got.Seconds
}

// Whoever has an API key gets a JWT for it, of at most 15 minutes, that anybody
// verifies offline (RFC 8693): with what the key may do and no more.
// AK-67, AK-68, AK-69.
func TestAnAPIKeyIsExchangedForAToken(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		id, key := admin.CreateKey("ci", "agents:read", "incidents:*")
		r := exchange(h.Client(), key).Expect(http.StatusOK)
		if r.Text("issued_token_type") != accessType || r.Text("token_type") != "Bearer" || expiresIn(r) != 900 || r.Has("refresh_token") || r.Has("id_token") {
			t.Errorf("%s", r)
		}
		if scope := r.Text("scope"); scope != "agents:read incidents:create incidents:delete incidents:read" {
			t.Errorf("scope %q", scope)
		}
		claims := claimsOf(t, r.Text("access_token"))
		if claims["sub"] != string(h.Admin.ID) || claims["org_id"] != string(h.Admin.Org) || claims["key_id"] != id || claims["sid"] != nil || claims["client_id"] != "cli_api_key" {
			t.Errorf("%v", claims)
		}
		if roles := claims["roles"].([]any); len(roles) != 0 {
			t.Errorf("SEC-KEY-06: the token of a scoped key says that its owner is %v", roles)
		}
		offline := &verify.Verifier{
			Issuer: h.Config.Issuer, Audience: h.Config.Issuer, Now: h.Clock.Now,
			Keys: &verify.RemoteKeys{URL: h.Replicas[0].URL + "/.well-known/jwks.json", Now: h.Clock.Now},
		}
		seen, err := offline.Verify(t.Context(), r.Text("access_token"))
		if err != nil || seen.Bound.KeyID != id || !seen.Allows("incidents:read") || seen.Allows("agents:delete") || seen.ExpiresAt.Sub(seen.IssuedAt) != 15*time.Minute {
			t.Errorf("offline: %+v %v", seen, err)
		}

		t.Run("it may ask for less, and for another form and audience", func(t *testing.T) {
			c := h.Client().For(t)
			r := exchange(c, key, "scope", "agents:read", "requested_token_type", jwtType, "audience", h.Config.Issuer).Expect(http.StatusOK)
			if r.Text("scope") != "agents:read" || r.Text("issued_token_type") != jwtType {
				t.Errorf("%s", r)
			}
			token := c.As(r.Text("access_token"))
			token.Get("/api/v1/agents").Expect(http.StatusOK)
			token.Get("/api/v1/incidents").Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
			exchange(c, key, "client_id", "cli_api_key").Expect(http.StatusOK)
		})
		t.Run("never for more, and what is wrong is said as RFC 8693 does", func(t *testing.T) {
			c := h.Client().For(t)
			for name, q := range map[string]struct {
				key   string
				pairs []string
				want  string
			}{
				"more than the key":                {key, []string{"scope", "agents:read agents:delete"}, "invalid_scope"},
				"a wildcard beyond the key":        {key, []string{"scope", "*:*"}, "invalid_scope"},
				"a scope that is no permission":    {key, []string{"scope", "openid"}, "invalid_scope"},
				"SEC-OAU-50: a target not granted": {key, []string{"resource", "https://other.example"}, "invalid_target"},
				"SEC-OAU-50: an audience":          {key, []string{"audience", "https://other.example"}, "invalid_target"},
				"a key that does not exist":        {key[:len(key)-1] + "x", nil, "invalid_request"},
				"no key at all":                    {"eyJ.x.y", nil, "invalid_request"},
				"an actor":                         {key, []string{"actor_token", "x", "actor_token_type", accessType}, "invalid_request"},
				"half an actor":                    {key, []string{"actor_token_type", accessType}, "invalid_request"},
				"an ID token":                      {key, []string{"requested_token_type", "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"},
				"a refresh token":                  {key, []string{"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"},
			} {
				t.Run(name, func(t *testing.T) { refused(t, exchange(c.For(t), q.key, q.pairs...), http.StatusBadRequest, q.want) })
			}
			token := form(c, "/oauth2/token", "grant_type", exchangeGrant, "subject_token", h.Login(h.Admin).Access, "subject_token_type", accessType)
			refused(t, token, http.StatusBadRequest, "invalid_request")
			refused(t, form(c, "/oauth2/token", "grant_type", exchangeGrant, "subject_token", key), http.StatusBadRequest, "invalid_request")
			refused(t, form(c, "/oauth2/token", "grant_type", exchangeGrant, "subject_token_type", keyType), http.StatusBadRequest, "invalid_request")
			refused(t, exchange(c, key, "client_id", "cli_api"), http.StatusUnauthorized, "invalid_client")
			refused(t, exchange(c, key, "client_secret", "x"), http.StatusUnauthorized, "invalid_client")
		})
		t.Run("discovery tells of it", func(t *testing.T) {
			for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
				doc := h.Client().For(t).Get(path).Expect(http.StatusOK)
				if !slices.Contains(doc.List("grant_types_supported"), any(exchangeGrant)) || !slices.Equal(doc.List("subject_token_types_supported"), []any{keyType}) {
					t.Errorf("%s: %v %v", path, doc.List("grant_types_supported"), doc.List("subject_token_types_supported"))
				}
			}
		})
		t.Run("no token outlives its key", func(t *testing.T) {
			k := admin.For(t).Post("/api/v1/api-keys", map[string]any{
				"name": "short", "permissions": []string{"agents:read"}, "expires_at": h.Clock.Now().Add(90 * time.Second).Format(time.RFC3339),
			}).Expect(http.StatusCreated)
			r := exchange(h.Client().For(t), k.Text("api_key")).Expect(http.StatusOK)
			if expiresIn(r) != 90 {
				t.Errorf("%s", r)
			}
			h.Advance(90 * time.Second)
			refused(t, exchange(h.Client().For(t), k.Text("api_key")), http.StatusBadRequest, "invalid_request")
		})
		// A use of the key, and once an hour the exchange, are on record.
		exchange(h.Client(), key).Expect(http.StatusOK)
		tend(t, h)
		if got := len(eventsOf(t, h, audit.TokenExchanged)); got != 2 {
			t.Errorf("%d events of exchanges of two keys in an hour", got)
		}
	})
}

// What a token that a key was exchanged for reaches: what the key does, and
// nothing that is for people.
func TestATokenOfAnAPIKeyIsTheKeyAndNotItsOwner(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	owner := h.Login(h.Admin)
	admin := h.Client().As(owner.Access)
	id, key := admin.CreateKey("everything", "*:*")
	_, other := admin.CreateKey("other", "agents:read")
	otherID := admin.Get("/api/v1/api-keys").Expect(http.StatusOK).List("data")[0].(map[string]any)["id"].(string)
	_ = other
	session := admin.Get("/api/v1/sessions").Expect(http.StatusOK).List("data")[0].(map[string]any)["id"].(string)
	whole := exchanged(h.Client(), key)
	narrow := exchanged(h.Client(), key, "scope", "api-keys:rotate api-keys:create agents:read api-keys:revoke")

	for _, c := range []struct {
		name, token, method, path string
		body                      any
		want                      int
		code                      string
	}{
		{"who it is", whole, "GET", "/api/v1/me", nil, 200, ""},
		{"what the key may", whole, "GET", "/api/v1/users", nil, 200, ""},
		{"forward authentication", whole, "GET", "/api/v1/auth/verify?permission=agents:delete", nil, 200, ""},
		{"keys, listed", whole, "GET", "/api/v1/api-keys", nil, 200, ""},
		{"a password, changed", whole, "POST", "/api/v1/me/password", map[string]string{"current_password": h.Admin.Password, "new_password": "a completely other sentence"}, 403, "INSUFFICIENT_PERMISSIONS"},
		{"consents of the owner", whole, "GET", "/api/v1/me/consents", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"sessions of its own: it has none", whole, "GET", "/api/v1/sessions", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"all other sessions of the owner, ended", whole, "DELETE", "/api/v1/sessions", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"logout", whole, "POST", "/api/v1/auth/logout", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"userinfo", whole, "GET", "/oauth2/userinfo", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"the key itself, rotated: the token would become it", whole, "POST", "/api/v1/api-keys/" + id + "/rotate", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"narrowed: the key itself, rotated", narrow, "POST", "/api/v1/api-keys/" + id + "/rotate", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"narrowed: a key of the owner's, rotated", narrow, "POST", "/api/v1/api-keys/" + otherID + "/rotate", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"narrowed: a key that may more, made", narrow, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "permissions": []string{"users:read"}}, 403, "INSUFFICIENT_PERMISSIONS"},
		{"narrowed: a key that may as much, made", narrow, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "permissions": []string{"agents:read"}}, 201, ""},
		{"narrowed: what the key may and it may not", narrow, "GET", "/api/v1/users", nil, 403, "INSUFFICIENT_PERMISSIONS"},
		{"narrowed: a session, ended", narrow, "DELETE", "/api/v1/sessions/" + session, nil, 404, "NOT_FOUND"},
		{"narrowed: forward authentication", narrow, "GET", "/api/v1/auth/verify?permission=agents:delete", nil, 403, "INSUFFICIENT_PERMISSIONS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.Client().For(t).As(c.token).Do(c.method, c.path, c.body)
			if r.Status != c.want || c.code != "" && r.Text("code") != c.code {
				t.Errorf("%s, want %d %s", r, c.want, c.code)
			}
		})
	}
	me := h.Client().As(whole).Get("/api/v1/me").Expect(http.StatusOK)
	if me.Text("type") != "api_key" || me.Text("key_id") != id || me.Text("id") != string(h.Admin.ID) || me.Has("session_id") {
		t.Errorf("%s", me)
	}
	who := h.Client().As(whole).Get("/api/v1/auth/verify").Expect(http.StatusOK)
	if who.Header.Get("X-Auth-Key") != id || who.Header.Get("X-Auth-User") != string(h.Admin.ID) {
		t.Errorf("%v", who.Header)
	}
	h.Client().As(owner.Access).Get("/api/v1/me").Expect(http.StatusOK) // nothing above ended the owner's session
}

// Tokens derived from the key die with it, here at once and within the bound
// elsewhere; and with what its owner may do.
// AK-44.
func TestTheEndOfAnAPIKeyEndsItsTokens(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		admin := h.Client().As(h.Login(h.Admin).Access)
		robot := enrol(admin, []string{"agents:read"}, nil)
		active := func(c *housetest.Client, token string) bool {
			return form(robot.by(c), "/oauth2/introspect", "token", token).Expect(http.StatusOK).JSON().(map[string]any)["active"] == true
		}
		ended := func(t *testing.T, token, reason string) {
			t.Helper()
			for i := range h.Replicas {
				if r := h.At(i).For(t).As(token).Get("/api/v1/me"); r.Status != http.StatusUnauthorized || r.Text("reason") != "revoked" {
					t.Errorf("%s, replica %d: %s", reason, i, r)
				}
				if active(h.At(i).For(t), token) {
					t.Errorf("%s, replica %d: introspection says that it is active", reason, i)
				}
			}
		}
		for _, c := range []struct {
			name string
			end  func(t *testing.T, id string, owner housetest.Person)
		}{
			{"revoked", func(t *testing.T, id string, _ housetest.Person) {
				admin.For(t).Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
			}},
			{"the owner leaves", func(t *testing.T, _ string, p housetest.Person) {
				admin.For(t).Delete("/api/v1/memberships/" + string(p.ID)).Expect(http.StatusNoContent)
			}},
			{"the owner is disabled", func(t *testing.T, _ string, p housetest.Person) {
				admin.For(t).Patch("/api/v1/users/"+string(p.ID), map[string]string{"status": "disabled"}).Expect(http.StatusOK)
			}},
			{"the owner is demoted", func(t *testing.T, _ string, p housetest.Person) {
				admin.For(t).Patch("/api/v1/memberships/"+string(p.ID), map[string]string{"role": "viewer"}).Expect(http.StatusOK)
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := h.Person(h.Admin.Org, strings.ReplaceAll(c.name, " ", "-"), "engineer")
				id, key := h.Client().For(t).As(h.Login(p).Access).CreateKey("k", "agents:read", "agents:create")
				token, narrow := exchanged(h.At(1).For(t), key), exchanged(h.Client().For(t), key, "scope", "agents:read")
				for i := range h.Replicas {
					h.At(i).For(t).As(token).Get("/api/v1/agents").Expect(http.StatusOK)
					if !active(h.At(i).For(t), token) {
						t.Error("introspection says that a good token is not active")
					}
				}
				c.end(t, id, p)
				if r := h.Client().For(t).As(token).Get("/api/v1/agents"); r.Status != http.StatusUnauthorized {
					t.Errorf("on the very next request: %s", r)
				}
				h.Follow()
				ended(t, token, c.name)
				ended(t, narrow, c.name)
				if c.name != "the owner is demoted" {
					refused(t, exchange(h.At(1).For(t), key), http.StatusBadRequest, "invalid_request")
					return
				}
				// SEC-KEY-08: what is left to the owner is left to the key.
				again := exchanged(h.At(1).For(t), key)
				h.At(1).For(t).As(again).Get("/api/v1/agents").Expect(http.StatusOK)
				h.At(1).For(t).As(again).Post("/api/v1/agents", map[string]string{"name": "x"}).Problem(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS")
			})
		}
	})
}

// RFC 7009 and RFC 7662 for tokens that a key was exchanged for.
func TestATokenOfAnAPIKeyIsAskedAboutAndRevoked(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	robot := enrol(admin, []string{"agents:read"}, nil)
	org := h.Org("elsewhere")
	stranger := enrol(h.Client().As(h.Login(h.Person(org, "grace", "owner")).Access), []string{"agents:read"}, nil)
	id, key := admin.CreateKey("k", "agents:read")
	token, spared := exchanged(h.Client(), key), exchanged(h.Client(), key)

	r := form(robot.by(h.Client()), "/oauth2/introspect", "token", token).Expect(http.StatusOK)
	if r.Text("key_id") != id || r.Text("sub") != string(h.Admin.ID) || r.Text("scope") != "agents:read" || r.Text("client_id") != "cli_api_key" || r.Has("sid") {
		t.Errorf("%s", r)
	}
	if r := form(stranger.by(h.Client()), "/oauth2/introspect", "token", token).Expect(http.StatusOK); string(r.Body) != `{"active":false}` {
		t.Errorf("another organisation is told: %s", r)
	}
	form(stranger.by(h.Client()), "/oauth2/revoke", "token", token).Expect(http.StatusOK)
	h.Client().As(token).Get("/api/v1/me").Expect(http.StatusOK) // not theirs to end
	refused(t, form(h.Client(), "/oauth2/revoke", "token", token), http.StatusUnauthorized, "invalid_client")

	form(h.Client(), "/oauth2/revoke", "token", token, "client_id", "cli_api_key").Expect(http.StatusOK)
	if r := h.Client().As(token).Get("/api/v1/me").Expect(http.StatusUnauthorized); r.Text("reason") != "revoked" {
		t.Errorf("%s", r)
	}
	if r := form(robot.by(h.Client()), "/oauth2/introspect", "token", token).Expect(http.StatusOK); string(r.Body) != `{"active":false}` {
		t.Errorf("%s", r)
	}
	h.Client().As(spared).Get("/api/v1/me").Expect(http.StatusOK) // the key's other token goes on
	h.Client().WithKey(key).Get("/api/v1/me").Expect(http.StatusOK)
	form(h.Client(), "/oauth2/revoke", "token", h.Login(h.Admin).Access, "client_id", "cli_api_key").Expect(http.StatusOK)
	admin.Get("/api/v1/me").Expect(http.StatusOK) // a person's token is not the key client's
}

// A registered client may exchange where it was registered for that: the token
// is its own, within what it was registered for.
func TestAClientExchangesAPIKeys(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	broker := enrol(admin, []string{"agents:read", "incidents:read"}, map[string]any{"grants": []string{exchangeGrant}})
	robot := enrol(admin, []string{"agents:read"}, nil)
	_, key := admin.CreateKey("k", "agents:*")

	r := exchange(broker.by(h.Client()), key).Expect(http.StatusOK)
	claims := claimsOf(t, r.Text("access_token"))
	if r.Text("scope") != "agents:read" || claims["client_id"] != broker.id || claims["sub"] != string(h.Admin.ID) {
		t.Errorf("%s", r)
	}
	refused(t, exchange(broker.by(h.Client()), key, "scope", "agents:delete"), http.StatusBadRequest, "invalid_scope")
	refused(t, exchange(robot.by(h.Client()), key), http.StatusBadRequest, "unauthorized_client")
	refused(t, form(broker.by(h.Client()), "/oauth2/token", "grant_type", "client_credentials"), http.StatusBadRequest, "unauthorized_client")

	// SEC-OAU-50: another organisation's key is none.
	_, foreign := h.Client().As(h.Login(h.Person(h.Org("elsewhere"), "grace", "owner")).Access).CreateKey("k", "agents:read")
	refused(t, exchange(broker.by(h.Client()), foreign), http.StatusBadRequest, "invalid_request")

	token := h.Client().As(r.Text("access_token"))
	token.Get("/api/v1/agents").Expect(http.StatusOK)
	if r := form(broker.by(h.Client()), "/oauth2/introspect", "token", r.Text("access_token")).Expect(http.StatusOK); r.Text("client_id") != broker.id {
		t.Errorf("%s", r)
	}
	admin.Patch("/api/v1/clients/"+broker.id, map[string]string{"status": "disabled"}).Expect(http.StatusOK)
	token.Get("/api/v1/me").Expect(http.StatusUnauthorized)
}

// The networks and the limits of a key hold for its exchange; its networks hold
// for the token too, as far as we are asked.
func TestTheRulesOfAnAPIKeyHoldForItsTokens(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	admin := h.Client().As(h.Login(h.Admin).Access)
	made := admin.Post("/api/v1/api-keys", map[string]any{
		"name": "ruled", "permissions": []string{"agents:read"}, "networks": []string{"192.0.2.0/24"}, "limits": []map[string]any{{"requests": 2, "per": "1h"}},
	}).Expect(http.StatusCreated).Text("api_key")
	refused(t, exchange(h.Client().From("198.51.100.7"), made), http.StatusBadRequest, "invalid_request")
	office := h.Client().From("192.0.2.7")
	token := exchanged(office, made)
	exchanged(office, made)
	if r := exchange(office, made); r.Status != http.StatusTooManyRequests || r.Text("error") != "slow_down" || r.Header.Get("Retry-After") == "" {
		t.Errorf("the third exchange of two in an hour: %s", r)
	}
	for range 3 { // the token takes nothing from the limits of the key
		office.As(token).Get("/api/v1/me").Expect(http.StatusOK)
	}
	h.Client().From("198.51.100.7").As(token).Get("/api/v1/me").Expect(http.StatusUnauthorized)
}
