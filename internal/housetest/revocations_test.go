package housetest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// tend does on every replica what runs in the background.
func tend(t *testing.T, h *housetest.Harness) {
	t.Helper()
	for i, r := range h.Replicas {
		if err := r.House.Tend(t.Context()); err != nil {
			t.Fatalf("replica %d: %v", i, err)
		}
	}
}

// decodedPart is the header (0) or the payload (1) of a token.
func decodedPart(t *testing.T, token string, part int) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// revoked reads the list of revocations as a verifier would: by the published
// keys alone.
func revoked(t *testing.T, c *housetest.Client) map[string]time.Time {
	t.Helper()
	var keys jose.JSONWebKeySet
	c.Get("/.well-known/jwks.json").Expect(http.StatusOK).Decode(&keys)
	list, err := jose.ParseSignedCompact(string(c.Get("/.well-known/revocations").Expect(http.StatusOK).Body), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := list.Verify(keys)
	if err != nil {
		t.Fatalf("the published keys do not verify the list: %v", err)
	}
	var feed struct {
		Entries []struct {
			Session string `json:"sid"`
			Expires int64  `json:"exp"`
		}
	}
	if err := json.Unmarshal(payload, &feed); err != nil {
		t.Fatal(err)
	}
	out := map[string]time.Time{}
	for _, e := range feed.Entries {
		out[e.Session] = time.Unix(e.Expires, 0)
	}
	return out
}

func TestO17ALogoutIsOnTheRevocationListUntilTheTokenExpires(t *testing.T) {
	housetest.Both(t, housetest.Options{Replicas: 2}, func(t *testing.T, h *housetest.Harness) {
		s := h.Login(h.Admin)
		var claims struct {
			Session string `json:"sid"`
			Expires int64  `json:"exp"`
		}
		if err := json.Unmarshal(decodedPart(t, s.Access, 1), &claims); err != nil {
			t.Fatal(err)
		}
		if _, there := revoked(t, h.Client())[claims.Session]; there {
			t.Fatal("a living session is on the list")
		}
		h.Client().As(s.Access).Post("/api/v1/auth/logout", nil).Expect(http.StatusNoContent)
		returned := time.Now()
		if until, there := revoked(t, h.Client())[claims.Session]; !there || until.Before(time.Unix(claims.Expires, 0)) {
			t.Fatalf("the session is on the list: %v, until %s", there, until)
		}
		// The other replica refuses within the bound, without being asked to look.
		for h.At(1).As(s.Access).Get("/api/v1/me").Status != http.StatusUnauthorized {
			if time.Since(returned) > bound {
				t.Fatalf("the other replica still takes the token after %s", bound)
			}
		}
		if _, there := revoked(t, h.At(1))[claims.Session]; !there {
			t.Error("the other replica does not list the session")
		}
		h.Advance(24*time.Hour + 10*time.Minute) // the longest token, and a margin for clocks
		tend(t, h)
		for i := range h.Replicas {
			if _, there := revoked(t, h.At(i))[claims.Session]; there {
				t.Errorf("replica %d lists the session although its last token has expired", i)
			}
			h.At(i).As(s.Access).Get("/api/v1/me").Expect(http.StatusUnauthorized)
		}
	})
}

// O1: every described route without a credential, but for those that are there
// to get one or to be read by everybody.
func TestO1EveryRouteButLoginAndRegistrationNeedsACredential(t *testing.T) {
	housetest.Both(t, housetest.Options{}, func(t *testing.T, h *housetest.Harness) {
		open := map[string]bool{
			"GET /docs": true, "POST /auth/login": true, "POST /api/v1/auth/login": true, "POST /api/v1/auth/register": true,
			"GET /.well-known/jwks.json": true, "GET /.well-known/revocations": true, "GET /openapi.json": true,
			"POST /api/v1/leaked-keys": true, // possession is the proof
			"GET /oauth2/status-lists": true, "GET /oauth2/status-lists/{id}": true,
			"GET /.well-known/openid-configuration": true, "GET /.well-known/oauth-authorization-server": true,
			"GET /": true, "GET /assets/console/{name}": true, "GET /setup": true, "POST /setup": true, "GET /assets/style.css": true, "GET /assets/submit.js": true, "GET /assets/proof.js": true, "GET /assets/work.js": true,
			// Pages to log in at, and to log out: they ask who is there.
			"GET /oauth2/authorize": true, "POST /oauth2/authorize": true, "GET /login": true, "POST /login": true, "GET /login/unlock": true, "POST /login/unlock": true, "GET /login/again": true, "POST /login/again": true, "GET /invitation": true, "POST /invitation": true, "GET /consent": true, "POST /consent": true,
			"GET /oauth2/logout": true, "POST /oauth2/logout": true, "POST /oauth2/logout/confirm": true,
			"POST /oauth2/token": true, // the login of clients
		}
		var description struct {
			Paths map[string]map[string]json.RawMessage
		}
		h.Client().Get("/openapi.json").Expect(http.StatusOK).Decode(&description)
		asked := 0
		for path, operations := range description.Paths {
			for method := range operations {
				method = strings.ToUpper(method)
				if len(method) < 3 || method != strings.ToUpper(method) || open[method+" "+path] || method == "HEAD" || method == "PARAMETERS" {
					continue
				}
				asked++
				concrete := path
				for strings.Contains(concrete, "{") {
					from, to := strings.Index(concrete, "{"), strings.Index(concrete, "}")
					concrete = concrete[:from] + "x" + concrete[to+1:]
				}
				c, body := h.Client(), any(nil)
				if strings.HasPrefix(path, "/oauth2/") { // RFC 6749 §3.2: a form, or it is not read at all
					c, body = c.With("Content-Type", "application/x-www-form-urlencoded"), "token=x"
				}
				c.Do(method, concrete, body).Expect(http.StatusUnauthorized)
			}
		}
		if asked < 30 {
			t.Errorf("only %d routes were asked", asked)
		}
	})
}
