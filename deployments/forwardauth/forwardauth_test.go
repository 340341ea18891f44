package forwardauth_test

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// scene is a proxy between a visitor and an application, and the house it asks.
type scene struct {
	proxy
	visitor
	h     *housetest.Harness
	admin *housetest.Client
	token string // of the administrator
}

// O35 and the specification of API keys: each proxy takes Bearer and X-API-Key, asks for permissions, hands on who is asking
// and nothing that a client says of itself, and refuses a revoked key on the very next request.
// AK-64, AK-65, AK-66.
func TestReverseProxiesAskAboutEveryRequest(t *testing.T) {
	app := application(t)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			h := housetest.Start(t, housetest.Options{})
			address, said := p.start(t, app, strings.TrimPrefix(h.Replicas[0].URL, "http://"))
			token := h.Login(h.Admin).Access
			s := scene{p, visitorFrom(t, "127.0.0.1", address), h, h.Client().As(token), token}
			s.takesEveryCredential(t)
			s.asksForPermissions(t)
			s.handsOnNothingForged(t)
			s.leavesRequestsAsTheyAre(t)
			s.wordsRefusals(t)
			s.knowsTheClientsAddress(t)
			s.holdsTheLimits(t)
			s.refusesARevokedKeyAtOnce(t)
			s.refusesWhileNobodyCanSay(t)
			if strings.Contains(said.String(), "th_live_") || strings.Contains(said.String(), token[:40]) {
				t.Error("the proxy's log holds a credential")
			}
		})
	}
}

var identityHeaders = []string{"X-Auth-User", "X-Auth-Email", "X-Auth-Org", "X-Auth-Key", "X-Auth-Permissions"}

func (s scene) takesEveryCredential(t *testing.T) {
	id, key := s.admin.CreateKey("k", "agents:read")
	exchanged := s.h.Client().With("Content-Type", "application/x-www-form-urlencoded").Post("/oauth2/token",
		"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:tokenhouse:params:oauth:token-type:api_key&subject_token="+key).
		Expect(http.StatusOK).Text("access_token")
	for name, c := range map[string]struct {
		headers []string
		key     string
	}{
		"Bearer":                      {[]string{"Authorization", "Bearer " + key}, id},
		"X-API-Key":                   {[]string{"X-Api-Key", key}, id},
		"both, the same":              {[]string{"X-Api-Key", key, "Authorization", "Bearer " + key}, id},
		"a token of a person":         {[]string{"Authorization", "Bearer " + s.token}, ""},
		"a token of a key":            {[]string{"Authorization", "Bearer " + exchanged}, id},
		"the cookie of a browser":     {[]string{"Cookie", "th_access=" + s.token}, ""},
		"a query that is not a grant": {[]string{"X-Api-Key", key}, id},
	} {
		reply, got := s.ask(t, "GET", "/anything?permission=users:read&x=%2F", "", c.headers...)
		if reply.StatusCode != http.StatusOK || got == nil {
			t.Errorf("%s: %s", name, reply.Status)
			continue
		}
		want := map[string]string{"X-Auth-User": string(s.h.Admin.ID), "X-Auth-Org": string(s.h.Admin.Org), "X-Auth-Email": s.h.Admin.Email, "X-Auth-Key": c.key}
		if c.key != "" {
			want["X-Auth-Permissions"] = "agents:read"
		}
		for h, v := range want {
			if g := got.Header.Values(h); strings.Join(g, "|") != v {
				t.Errorf("%s: %s reached the application as %q, want %q", name, h, g, v)
			}
		}
		if got.Header.Get("Authorization") != "" || got.Header.Get("X-Api-Key") != "" {
			t.Errorf("%s: the application is handed the credential", name)
		}
	}
	if reply, got := s.ask(t, "GET", "/anything", ""); reply.StatusCode != http.StatusUnauthorized || got != nil || !strings.HasPrefix(reply.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("nothing: %s %q", reply.Status, reply.Header.Get("WWW-Authenticate"))
	}
}

func (s scene) asksForPermissions(t *testing.T) {
	_, may := s.admin.CreateKey("may", "incidents:read")
	_, may2 := s.admin.CreateKey("may more", "incidents:*", "agents:read")
	_, not := s.admin.CreateKey("may not", "agents:read", "incidents:create")
	for _, c := range []struct {
		name, key, path string
		want            int
	}{
		{"a key that may", may, "/incidents", 200}, {"a wildcard", may2, "/incidents/7", 200}, {"a key that may not", not, "/incidents", 403},
		{"below", not, "/incidents/7?permission=agents:read", 403}, {"elsewhere", not, "/", 200},
	} {
		reply, got := s.ask(t, "GET", c.path, "", "X-Api-Key", c.key)
		if reply.StatusCode != c.want || (got != nil) != (c.want == 200) {
			t.Errorf("%s: %s, want %d", c.name, reply.Status, c.want)
		}
	}
	refusals := []int{
		http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound, http.StatusTemporaryRedirect, http.StatusMovedPermanently,
	}
	// SEC-INJ-11: the same decision for every spelling, or none at all.
	for _, path := range []string{"/x/../incidents", "//incidents", "/./incidents/7", "/%69ncidents", "/x/%2e%2e/incidents", "/x/..%2fincidents", "/incidents%2f7"} {
		if reply, got := s.ask(t, "GET", path, "", "X-Api-Key", not); !slices.Contains(refusals, reply.StatusCode) || got != nil {
			t.Errorf("spelled %s: %s", path, reply.Status)
		}
	}
}

// What a client says of itself reaches the application under no spelling.
func (s scene) handsOnNothingForged(t *testing.T) {
	id, key := s.admin.CreateKey("honest", "agents:read")
	forged := []string{
		"X-Auth-User", "user_evil", "x-auth-user", "user_evil", "X-AUTH-EMAIL", "evil@example.com", "X-Auth-Org", "org_evil", "X-Auth-Key", "key_evil",
		"X-Auth-Permissions", "*:*", "X-Auth-Permissions", "*:*", "X_Auth_User", "user_evil", "x_auth_permissions", "*:*", "X-Auth_Org", "org_evil",
	}
	for name, credential := range map[string][]string{"a key": {"X-Api-Key", key}, "a person": {"Authorization", "Bearer " + s.token}} {
		reply, got := s.ask(t, "GET", "/anything", "", append(slices.Clone(credential), forged...)...)
		if reply.StatusCode != http.StatusOK || got == nil {
			t.Errorf("%s: %s", name, reply.Status)
			continue
		}
		for h, values := range got.Header {
			if strings.Contains(strings.Join(values, " "), "evil") || strings.Contains(strings.Join(values, " "), "*:*") {
				t.Errorf("%s: the forged %s reached the application as %q", name, h, values)
			}
		}
		if k := got.Header.Get("X-Auth-Key"); (name == "a key") != (k == id) {
			t.Errorf("%s: X-Auth-Key is %q", name, k)
		}
	}
	if reply, got := s.ask(t, "GET", "/anything", "", forged...); reply.StatusCode != http.StatusUnauthorized || got != nil {
		t.Errorf("without a credential: %s", reply.Status)
	}
}

// The question changes nothing of what is asked about.
func (s scene) leavesRequestsAsTheyAre(t *testing.T) {
	_, key := s.admin.CreateKey("busy", "incidents:read")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		body := ""
		if method == "POST" || method == "PUT" || method == "PATCH" {
			body = strings.Repeat("x", 5000)
		}
		reply, got := s.ask(t, method, "/incidents/a?b=c&d=%2F", body, "X-Api-Key", key, "Content-Type", "text/plain")
		if reply.StatusCode != http.StatusOK || got == nil {
			t.Errorf("%s: %s", method, reply.Status)
			continue
		}
		if got.Method != method || got.URI != "/incidents/a?b=c&d=%2F" || got.Body != sha256.Sum256([]byte(body)) {
			t.Errorf("%s reached the application as %s %s with another body or path", method, got.Method, got.URI)
		}
		if reply, got := s.ask(t, method, "/incidents/a", body); reply.StatusCode != http.StatusUnauthorized || got != nil {
			t.Errorf("%s without a credential: %s", method, reply.Status)
		}
	}
}

func (s scene) wordsRefusals(t *testing.T) {
	_, key := s.admin.CreateKey("one", "agents:read")
	_, other := s.admin.CreateKey("two", "agents:read")
	for name, c := range map[string]struct {
		path    string
		headers []string
		want    int
	}{
		"SEC-KEY-15: two credentials":                       {"/", []string{"X-Api-Key", key, "Authorization", "Bearer " + other}, 400},
		"a typing error":                                    {"/", []string{"X-Api-Key", key[:len(key)-1]}, 401},
		"a permission it lacks":                             {"/incidents", []string{"X-Api-Key", key}, 403},
		"a cookie, for a change that another site asks for": {"/", []string{"Cookie", "th_access=" + s.token, "Origin", "https://evil.example"}, 403},
	} {
		reply, got := s.ask(t, "POST", c.path, "{}", c.headers...)
		if reply.StatusCode != c.want || got != nil {
			t.Errorf("%s: %s, want %d", name, reply.Status, c.want)
		}
		if s.relays && reply.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: the refusal comes as %q", name, reply.Header.Get("Content-Type"))
		}
	}
}

// The networks of a key are those of the client, whatever it says of itself.
func (s scene) knowsTheClientsAddress(t *testing.T) {
	key := s.admin.Post("/api/v1/api-keys", map[string]any{"name": "office", "permissions": []string{"agents:read"}, "networks": []string{"127.0.0.7/32"}}).
		Expect(http.StatusCreated).Text("api_key")
	if reply, _ := s.ask(t, "GET", "/", "", "X-Api-Key", key); reply.StatusCode != http.StatusUnauthorized {
		t.Errorf("from elsewhere: %s", reply.Status)
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		if reply, _ := s.ask(t, "GET", "/", "", "X-Api-Key", key, header, "127.0.0.7"); reply.StatusCode != http.StatusUnauthorized {
			t.Errorf("from elsewhere, with a forged %s: %s", header, reply.Status)
		}
	}
	if reply, _ := visitorFrom(t, "127.0.0.7", s.address).ask(t, "GET", "/", "", "X-Api-Key", key); reply.StatusCode != http.StatusOK {
		t.Errorf("from its network: %s", reply.Status)
	}
}

func (s scene) holdsTheLimits(t *testing.T) {
	key := s.admin.Post("/api/v1/api-keys", map[string]any{"name": "slow", "permissions": []string{"agents:read"}, "limits": []map[string]any{{"requests": 3, "per": "1h"}}}).
		Expect(http.StatusCreated).Text("api_key")
	for i := range 5 {
		reply, _ := s.ask(t, "GET", "/", "", "X-Api-Key", key)
		want := http.StatusOK
		if i >= 3 {
			want = http.StatusTooManyRequests
		}
		if reply.StatusCode != want || (want == http.StatusTooManyRequests) != (reply.Header.Get("Retry-After") != "") {
			t.Errorf("request %d: %s, Retry-After %q", i+1, reply.Status, reply.Header.Get("Retry-After"))
		}
	}
}

// K24 at the edge: over the same connection, on the very next request.
func (s scene) refusesARevokedKeyAtOnce(t *testing.T) {
	for range 3 {
		id, key := s.admin.CreateKey("short-lived", "incidents:read")
		for range 3 {
			if reply, _ := s.ask(t, "GET", "/incidents", "", "X-Api-Key", key); reply.StatusCode != http.StatusOK {
				t.Fatalf("%s", reply.Status)
			}
		}
		s.admin.Delete("/api/v1/api-keys/" + id).Expect(http.StatusNoContent)
		for _, headers := range [][]string{{"X-Api-Key", key}, {"Authorization", "Bearer " + key}} {
			if reply, got := s.ask(t, "GET", "/incidents", "", headers...); reply.StatusCode != http.StatusUnauthorized || got != nil {
				t.Errorf("the request after the revocation: %s", reply.Status)
			}
		}
	}
}

// Nobody passes while tokenhouse cannot be asked.
func (s scene) refusesWhileNobodyCanSay(t *testing.T) {
	_, key := s.admin.CreateKey("k", "incidents:read")
	must(t, s.h.Replicas[0].Stop())
	began := time.Now()
	for _, path := range []string{"/", "/incidents"} {
		reply, got := s.ask(t, "GET", path, "", "X-Api-Key", key)
		if got != nil || reply.StatusCode != http.StatusServiceUnavailable && reply.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %s", path, reply.Status)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("to say so took %s", took)
	}
}
