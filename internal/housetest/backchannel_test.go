package housetest_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	families "github.com/tokenhouse/tokenhouse/tokens"
)

// hearer is a relying party's back-channel logout endpoint on this machine.
type hearer struct {
	url    string
	told   chan string // the logout tokens, as they come
	status atomic.Int64
	during atomic.Pointer[func()] // where set, runs before each answer
}

func hears(t *testing.T) *hearer {
	r := &hearer{told: make(chan string, 200)}
	r.status.Store(http.StatusOK)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		form, err2 := url.ParseQuery(string(body))
		if err != nil || err2 != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || len(form) != 1 || q.Header.Get("Cookie")+q.Header.Get("Authorization") != "" {
			t.Errorf("the client is sent %s %v %s", q.Method, q.Header, body)
		}
		if during := r.during.Load(); during != nil {
			(*during)()
		}
		if s := int(r.status.Load()); s == http.StatusFound {
			http.Redirect(w, q, "/elsewhere", s)
		} else {
			w.WriteHeader(s)
		}
		r.told <- form.Get("logout_token")
	}))
	t.Cleanup(site.Close)
	r.url = site.URL + "/logout"
	return r
}

// next is the logout token that comes next.
func (r *hearer) next(t *testing.T) string {
	t.Helper()
	select {
	case token := <-r.told:
		return token
	case <-time.After(patience):
		t.Fatal("the client was told nothing")
		return ""
	}
}

// nothing fails the test where something came.
func (r *hearer) nothing(t *testing.T) {
	t.Helper()
	select {
	case token := <-r.told:
		t.Errorf("the client was told %s", token)
	default:
	}
}

// stay is a person signed in to a client.
type stay struct {
	person  housetest.Person
	client  oauth.Registered
	browser families.Family
	cookie  string
	child   families.Family
	refresh string
}

// enrolled registers a web application.
func enrolled(t *testing.T, h *housetest.Harness, change func(*oauth.Registration)) (oauth.Registered, string) {
	t.Helper()
	n := oauth.Registration{
		Name: "app", Grants: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{"https://app.example/callback"},
		Scopes: []string{"openid", "offline_access"}, Logout: oauth.ClientLogout{RedirectURIs: []string{"https://app.example/bye"}},
	}
	if change != nil {
		change(&n)
	}
	r, secret, err := h.House().Clients.Create(t.Context(), h.Operator(h.Admin.Org), n)
	if err != nil {
		t.Fatal(err)
	}
	return r, secret.Reveal()
}

// stays opens what signing in to a client leaves behind: the session of a
// browser, and a family of the client's that depends on it.
func stays(t *testing.T, h *housetest.Harness, p housetest.Person, c oauth.Registered, offline bool) stay {
	t.Helper()
	s := stay{person: p, client: c}
	sessions, now := h.House().Sessions, h.Clock.Now()
	err := h.House().DB.Sessions().InTx(t.Context(), func(tx families.Tx) error {
		f, cookie, err := sessions.Begin(tx, now, families.Opening{User: p.ID, Org: p.Org, Method: "password", Browser: true})
		if err != nil {
			return err
		}
		s.browser, s.cookie = f, cookie.Reveal()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.alsoAt(t, h, c, offline)
}

// alsoAt is the same browser at another client.
func (s stay) alsoAt(t *testing.T, h *housetest.Harness, c oauth.Registered, offline bool) stay {
	t.Helper()
	err := h.House().DB.Sessions().InTx(t.Context(), func(tx families.Tx) error {
		f, token, err := h.House().Sessions.Begin(tx, h.Clock.Now(), families.Opening{
			User: s.person.ID, Org: s.person.Org, Client: c.ID, Method: "password", Refreshable: true,
			Delegation: families.Delegation{Browser: s.browser.ID, Offline: offline, Authorization: `{"scope":["openid"],"auth":{"time":1}}`},
		})
		if err != nil {
			return err
		}
		s.client, s.child, s.refresh = c, f, token.Reveal()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// logoutSaid verifies a logout token by the published keys, as a client does,
// and returns its claims.
func logoutSaid(t *testing.T, h *housetest.Harness, token string) map[string]any {
	t.Helper()
	var set jose.JSONWebKeySet
	h.Client().For(t).Get("/.well-known/jwks.json").Expect(http.StatusOK).Decode(&set)
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		t.Fatalf("%v in %q", err, token)
	}
	if typ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != "logout+jwt" {
		t.Errorf("typ is %v", typ)
	}
	payload, err := jws.Verify(set)
	if err != nil {
		t.Fatalf("the signature of a logout token: %v", err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	claims["alg"] = jws.Signatures[0].Protected.Algorithm
	return claims
}

// settled waits until nothing is left to be delivered.
func settled(t *testing.T, h *housetest.Harness) {
	t.Helper()
	eventually(t, "every logout is settled", func() bool {
		next, err := h.House().DB.Logouts().NextLogout(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return next.IsZero()
	})
}

// However a session of a client ends, the client is told at once, once, with a
// token that it can verify; and the audit log says so (OpenID Connect
// Back-Channel Logout 1.0 §2.4 to §2.8).
func TestClientsAreToldHoweverASessionEnds(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		rp := hears(t)
		client, secret := enrolled(t, h, func(n *oauth.Registration) { n.Logout.BackchannelURI = rp.url })
		deaf, _ := enrolled(t, h, nil)
		admin := h.Client().As(h.Login(h.Admin).Access)
		ends := map[string]func(t *testing.T, s stay){
			"an administrator ends it": func(t *testing.T, s stay) {
				admin.For(t).Delete("/api/v1/sessions/" + string(s.child.ID)).Expect(http.StatusNoContent)
			},
			"the user is disabled": func(t *testing.T, s stay) {
				admin.For(t).Patch("/api/v1/users/"+string(s.person.ID), map[string]string{"status": "disabled"}).Expect(http.StatusOK)
			},
			"the user leaves the organisation": func(t *testing.T, s stay) {
				admin.For(t).Delete("/api/v1/memberships/" + string(s.person.ID)).Expect(http.StatusNoContent)
			},
			"the user signs out everywhere": func(t *testing.T, s stay) {
				h.Client().For(t).As(h.Login(s.person).Access).Delete("/api/v1/sessions").Expect(http.StatusOK)
			},
			"the password is changed": func(t *testing.T, s stay) {
				h.Client().For(t).As(h.Login(s.person).Access).Post("/api/v1/me/password", map[string]string{
					"current_password": s.person.Password, "new_password": "another sentence, and longer"}).Expect(http.StatusNoContent)
			},
			"the client revokes its refresh token": func(t *testing.T, s stay) {
				form(serviceClient{string(client.ID), secret}.by(h.Client().For(t)), "/oauth2/revoke", "token", s.refresh).Expect(http.StatusOK)
			},
			"the browser's session ends": func(t *testing.T, s stay) {
				by := ident.Caller{Kind: ident.Person, User: s.person.ID, Org: s.person.Org, Session: s.browser.ID}
				if _, err := h.House().Sessions.EndBrowser(t.Context(), by, s.browser.ID, "logout"); err != nil {
					t.Fatal(err)
				}
			},
			"a refresh token is used again": func(t *testing.T, s stay) {
				c := serviceClient{string(client.ID), secret}.by(h.Client().For(t))
				token := s.refresh
				for range 2 {
					h.Clock.Advance(2 * time.Minute)
					token = form(c, "/oauth2/token", "grant_type", "refresh_token", "refresh_token", token).Expect(http.StatusOK).Text("refresh_token")
				}
				h.Clock.Advance(2 * time.Minute)
				thief := c.From("203.0.113.9").Agent("thief")
				refused(t, form(thief, "/oauth2/token", "grant_type", "refresh_token", "refresh_token", s.refresh), http.StatusBadRequest, "invalid_grant")
			},
		}
		for i, what := range slices.Sorted(maps.Keys(ends)) {
			t.Run(what, func(t *testing.T) {
				p := h.Person(h.Admin.Org, "guest"+string(rune('a'+i)), "viewer")
				s := stays(t, h, p, client, false)
				s.alsoAt(t, h, deaf, false)
				ends[what](t, s)
				token := rp.next(t)
				settled(t, h)
				rp.nothing(t)
				claims := logoutSaid(t, h, token)
				now := float64(h.Clock.Now().Unix())
				for name, want := range map[string]any{
					"iss": h.Config.Issuer, "aud": string(client.ID), "sub": string(p.ID), "sid": string(s.child.ID), "iat": now, "exp": now + 120, "alg": "RS256", "nonce": nil,
				} {
					if claims[name] != want {
						t.Errorf("%s is %v, want %v", name, claims[name], want)
					}
				}
				if e, _ := json.Marshal(claims["events"]); string(e) != `{"http://schemas.openid.net/event/backchannel-logout":{}}` || claims["jti"] == "" {
					t.Errorf("%v", claims)
				}
				told := slices.DeleteFunc(eventsOf(t, h, audit.LogoutDelivered), func(e audit.Event) bool { return e.Session != s.child.ID })
				if len(told) != 1 || told[0].Outcome != audit.Success || told[0].Targets[0].ID != string(client.ID) || told[0].Org != p.Org {
					t.Errorf("the audit log says %+v", told)
				}
			})
		}
	})
}

// ends logs out, and what depends on the browser's session with it.
func (s stay) ends(t *testing.T, h *housetest.Harness) {
	t.Helper()
	by := ident.Caller{Kind: ident.Person, User: s.person.ID, Org: s.person.Org, Session: s.browser.ID}
	if _, err := h.House().Sessions.EndBrowser(t.Context(), by, s.browser.ID, "logout"); err != nil {
		t.Fatal(err)
	}
}

func nextLogout(t *testing.T, h *housetest.Harness) time.Time {
	t.Helper()
	next, err := h.House().DB.Logouts().NextLogout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// tellsNow does at once what a replica does in the background.
func tellsNow(t *testing.T, h *housetest.Harness, replica int) {
	t.Helper()
	if err := h.Replicas[replica].House.TellLogouts(t.Context()); err != nil {
		t.Fatal(err)
	}
}
