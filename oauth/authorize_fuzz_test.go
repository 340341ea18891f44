package oauth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// FuzzClaimsParameter: whatever is sent is refused, or understood as claims
// that we have and the client may ask for.
func FuzzClaimsParameter(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"id_token":{"email":null,"acr":{"essential":true,"values":["x"]}},"userinfo":{"name":{"essential":false}}}`, `{"id_token":{"sub":{"value":"user_1"}}}`,
		`[]`, `null`, `{"userinfo":{"email":1}}`, `{"userinfo":null}`, " {}", `{"id_token":{"acr":{"values":[[],{}]}}}`,
	} {
		f.Add(seed)
	}
	r := Registered{Scopes: []string{ScopeOpenID, ScopeEmail}}
	f.Fuzz(func(t *testing.T, text string) {
		q := &authorizing{params: Params{"claims": text}, client: r}
		if err := checkClaims(t.Context(), q); err != nil {
			return
		}
		for _, names := range [][]string{q.wants.authorization.Claims.IDToken, q.wants.authorization.Claims.UserInfo} {
			for _, n := range names {
				if n != "email" && n != "email_verified" {
					t.Fatalf("the client gets %q", n)
				}
			}
			if len(names) > 0 && !q.wants.allow.Has(ScopeEmail) {
				t.Fatal("the user is not asked")
			}
		}
	})
}

// FuzzRequestObject: what a client signed is refused, or becomes parameters
// that hold no other request object, nor another client.
func FuzzRequestObject(f *testing.F) {
	for _, seed := range []string{
		`{"aud":"https://id.example","exp":1770000300,"nbf":1770000000,"client_id":"cli_a","scope":"openid","max_age":1,"resource":["a","b"],"claims":{"userinfo":{}}}`,
		`{"aud":["https://id.example"],"exp":1770000300,"nbf":1770000000.5,"request":"x"}`, `{"aud":1}`, `[]`, `{"exp":"x"}`, `{"aud":"https://id.example","exp":1e99}`,
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	at := time.Unix(1_770_000_000, 0)
	f.Fuzz(func(t *testing.T, payload string, fetched bool) {
		q := &authorizing{Authorizer: &Authorizer{Issuer: "https://id.example"}, client: Registered{ID: "cli_a"}, now: at}
		got, err := q.readObject([]byte(payload), fetched)
		if err != nil {
			return
		}
		for name, value := range got {
			if name == "request" || name == "request_uri" || name == "client_id" && value != "cli_a" || slices.Contains(objectOwn, name) || value == "" {
				t.Fatalf("%s becomes %q", name, value)
			}
		}
	})
}

// FuzzPending: nothing but what was put aside for the browser opens.
func FuzzPending(f *testing.F) {
	keeper, err := sealing.NewLocal([]byte(strings.Repeat("k", 32)))
	if err != nil {
		f.Fatal(err)
	}
	a := &Authorizer{Sealer: keeper}
	at := time.Unix(1_770_000_000, 0)
	q := &authorizing{Authorizer: a, params: Params{"client_id": "cli_a"}, visit: Visit{Browser: "browser"}}
	good, err := q.seal(aside{Created: at.UnixMicro()})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good[:len(good)-1], good + "A", "", "-", "AAAA", strings.Repeat("A", 100)} {
		f.Add(seed, "browser")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, pending, browser string) {
		p, err := a.open(pending, browser, at)
		if err == nil && (browser != "browser" || p.Params["client_id"] != "cli_a") { // each process seals anew
			t.Fatalf("%q opens in %q: %+v", pending, browser, p)
		}
		if pending == good && browser == "browser" && err != nil {
			t.Fatal(err)
		}
	})
}
