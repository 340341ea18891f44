package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/house"
)

var published = []string{"/.well-known/jwks.json", "/.well-known/revocations", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/openapi.json", "/docs"}

func TestPublishedDocuments(t *testing.T) {
	g := start(t)
	for _, path := range published {
		a := g.want(g.do("GET", path, "", "Origin", "https://anybody.example"), 200)
		tag := a.header.Get("ETag")
		if !strings.HasPrefix(tag, `"`) || !strings.HasPrefix(a.header.Get("Cache-Control"), "public, max-age=") || len(a.body) == 0 {
			t.Errorf("%s: %v", path, a.header)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", path, a.header)
		}
		for _, match := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			if b := g.do("GET", path, "", "If-None-Match", match); b.status != 304 || len(b.body) != 0 || b.header.Get("ETag") != tag {
				t.Errorf("%s, If-None-Match %s: %d", path, match, b.status)
			}
		}
		g.want(g.do("GET", path, "", "If-None-Match", `"other"`), 200)
		h := g.want(g.do("HEAD", path, ""), 200)
		if len(h.body) != 0 || h.header.Get("ETag") != tag || h.header.Get("Content-Length") == "" {
			t.Errorf("HEAD %s: %v", path, h.header)
		}
	}
}

// SEC-JWT-40: the key set never shows more than public members, however asked for.
func TestTheKeySetIsPublicOnly(t *testing.T) {
	g := start(t)
	for _, c := range [][]string{{"GET", ""}, {"GET", "?private=true&full=1&format=pem"}} {
		a := g.want(g.do(c[0], "/.well-known/jwks.json"+c[1], "", "Accept", "application/x-pem-file"), 200)
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal(a.body, &set); err != nil || len(set.Keys) == 0 {
			t.Fatalf("%v %s", err, a.body)
		}
		for _, k := range set.Keys {
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
				if _, ok := k[private]; ok {
					t.Errorf("the set shows %s", private)
				}
			}
		}
	}
	keys := g.want(g.do("GET", "/api/v1/signing-keys", "", bearer(g.admin())...), 200)
	if data, _ := keys.json["data"].([]any); len(data) == 0 || strings.Contains(string(keys.body), `"d"`) || strings.Contains(strings.ToLower(string(keys.body)), "sealed") {
		t.Errorf("%s", keys.body)
	}
}

func TestMetadataPromisesOnlyWhatExists(t *testing.T) {
	g := start(t)
	a := g.want(g.do("GET", "/.well-known/openid-configuration", ""), 200)
	if a.text("issuer") != "http://localhost:8080" {
		t.Errorf("issuer %s", a.text("issuer"))
	}
	for name, v := range a.json {
		s, ok := v.(string)
		if !ok || name == "issuer" {
			continue
		}
		path, ours := strings.CutPrefix(s, "http://localhost:8080")
		if !ours {
			t.Errorf("%s leads elsewhere: %s", name, s)
			continue
		}
		switch name {
		case "token_endpoint", "introspection_endpoint", "revocation_endpoint":
			checkOAuthFailure(t, name, g.want(g.do("POST", path, "x=y", "Content-Type", "application/x-www-form-urlencoded"), 401))
		case "userinfo_endpoint":
			g.want(g.do("GET", path, ""), 401)
			g.want(g.do("POST", path, ""), 401)
		case "authorization_endpoint":
			g.want(g.do("GET", path, ""), 400)
		case "registration_endpoint":
			t.Error("registration is promised where it is off")
		default:
			g.want(g.do("GET", path, ""), 200)
		}
	}
	for name, want := range map[string]string{
		"grant_types_supported": `["refresh_token","client_credentials","authorization_code","urn:ietf:params:oauth:grant-type:token-exchange"]`, "response_types_supported": `["code"]`,
		"response_modes_supported": `["query","fragment","form_post"]`, "subject_types_supported": `["public","pairwise"]`,
		"id_token_signing_alg_values_supported": `["ES256","RS256"]`, "userinfo_signing_alg_values_supported": `["ES256","RS256"]`,
		"introspection_signing_alg_values_supported": `["ES256","RS256"]`, "code_challenge_methods_supported": `["S256"]`,
		"authorization_response_iss_parameter_supported": `true`, "claims_parameter_supported": `true`, "require_request_uri_registration": `true`,
		"prompt_values_supported": `["none","login","consent","select_account"]`, "acr_values_supported": `["urn:tokenhouse:acr:password"]`,
		"scopes_supported": `["openid","profile","email","offline_access"]`,
		"claims_supported": `["sub","name","preferred_username","email","email_verified","iss","aud","exp","iat","auth_time","nonce","acr","amr","at_hash","sid"]`,
	} {
		if got, _ := json.Marshal(a.json[name]); string(got) != want {
			t.Errorf("%s is %s; want %s", name, got, want)
		}
	}
	if b := g.want(g.do("GET", "/.well-known/oauth-authorization-server", ""), 200); string(a.body) != string(b.body) {
		t.Error("the two forms of the metadata differ")
	}
}

func TestMetadataFollowsTheConfiguration(t *testing.T) {
	g := start(t, func(c *house.Config) {
		c.Clients.Mode = "open"
		c.Tokens.SigningAlgorithms = []string{"EdDSA", "PS256"}
	})
	a := g.want(g.do("GET", "/.well-known/openid-configuration", ""), 200)
	if at := a.text("registration_endpoint"); at != "http://localhost:8080/oauth2/register" {
		t.Errorf("registration is at %q", at)
	}
	if algs, _ := json.Marshal(a.json["id_token_signing_alg_values_supported"]); string(algs) != `["ES256","RS256","EdDSA","PS256"]` {
		t.Errorf("ID tokens are signed with %s", algs)
	}
	var set struct{ Keys []struct{ Alg string } }
	if err := json.Unmarshal(g.want(g.do("GET", "/.well-known/jwks.json", ""), 200).body, &set); err != nil || len(set.Keys) != 4 {
		t.Errorf("keys %+v, %v", set.Keys, err)
	}
}

// O17: a logged-out session stands in the list of revocations until its last
// token has expired, and not longer.
func TestTheListOfRevocations(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	_, payload := claims(t, a.text("access_token"))
	sid := str(payload["sid"])
	listed := func() bool {
		r := g.want(g.do("GET", "/.well-known/revocations", ""), 200)
		header, feed := claims(t, string(r.body))
		if header["typ"] != "revocations+jwt" || feed["iss"] != "http://localhost:8080" {
			t.Errorf("header %v", header)
		}
		b, _ := json.Marshal(feed["entries"])
		return strings.Contains(string(b), sid)
	}
	if listed() {
		t.Error("listed before the logout")
	}
	g.want(g.do("POST", "/api/v1/auth/logout", "", bearer(a.text("access_token"))...), 204)
	if !listed() {
		t.Error("not listed after the logout")
	}
	g.advance(25 * time.Hour)
	if listed() {
		t.Error("listed for ever")
	}
}

// SEC-WEB-12: the manual needs no script and no style but its own.
func TestTheManual(t *testing.T) {
	g := start(t)
	a := g.want(g.do("GET", "/docs", ""), 200)
	page := string(a.body)
	for _, c := range calls(t) {
		if !strings.Contains(page, "<code>"+c.template+"</code>") {
			t.Errorf("%s is not in the manual", c.template)
		}
	}
	policy := a.header.Get("Content-Security-Policy")
	style := page[strings.Index(page, "<style>")+len("<style>") : strings.Index(page, "</style>")]
	digest := sha256.Sum256([]byte(style))
	if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("policy %q", policy)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "style=") || strings.Contains(page, "src=") {
		t.Error("the page loads or runs something")
	}
}

// SEC-DOS-18: the documents are served from memory.
func TestDocumentsAskNoDatabase(t *testing.T) {
	var asked atomic.Int64
	g := startWith(t, func(env *house.Env) {
		env.Hooks.Timer = func(context.Context, string) func(error) { asked.Add(1); return func(error) {} }
	})
	if g.login(adminEmail, adminPassword); asked.Load() == 0 {
		t.Fatal("the hook hears nothing")
	}
	before := asked.Load()
	for range 20 {
		for _, path := range published {
			g.want(g.do("GET", path, ""), 200)
		}
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("%d questions to the database", n)
	}
}

// SEC-OBS-06 O15: while the database is away every answer is a bare 503 or 500,
// and nobody is signed out by it.
func TestWithoutADatabase(t *testing.T) {
	g := start(t)
	a := g.login(adminEmail, adminPassword)
	if err := g.house.DB.Close(); err != nil {
		t.Fatal(err)
	}
	g.lost = true
	bearer := append(bearer(a.text("access_token")), "X-Test", "1")
	for _, c := range []struct {
		method, path, body string
		headers            []string
	}{
		{"POST", "/api/v1/auth/login", credentials(adminEmail, adminPassword), nil},
		{"POST", "/api/v1/auth/refresh", refreshBody(a.text("refresh_token")), nil},
		{"POST", "/api/v1/auth/refresh", "", []string{"Cookie", "th_refresh=" + a.text("refresh_token")}},
		{"POST", "/api/v1/auth/logout", "", bearer},
		{"GET", "/api/v1/api-keys", "", bearer},
		{"GET", "/api/v1/audit-events", "", bearer},
		{"POST", "/api/v1/users", `{"email":"x@example.com","role":"viewer","password":"` + userPassword + `"}`, bearer},
	} {
		r := g.do(c.method, c.path, c.body, c.headers...)
		if r.status != 503 && r.status != 500 {
			t.Errorf("%s %s: %d %s", c.method, c.path, r.status, r.body)
		}
		if r.header.Get("Set-Cookie") != "" || r.text("reason") != "" {
			t.Errorf("%s %s signs somebody out: %v %s", c.method, c.path, r.header, r.body)
		}
		for _, leak := range []string{"sql", "database", "closed", "sqlite", ".go", "goroutine"} {
			if strings.Contains(strings.ToLower(string(r.body)), leak) {
				t.Errorf("%s %s tells %q: %s", c.method, c.path, leak, r.body)
			}
		}
	}
	for _, path := range published {
		g.want(g.do("GET", path, ""), 200)
	}
}
