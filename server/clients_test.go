package server_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

const worker = `{"name":"worker","grants":["client_credentials"],"scopes":["agents:read","incidents:read"]}`

// createClient registers a client and returns its id and secret.
func (g *rig) createClient(token, body string) (id, value string) {
	g.t.Helper()
	a := g.want(g.do("POST", "/api/v1/clients", body, bearer(token)...), 201)
	return a.text("client_id"), a.text("client_secret")
}

func TestAClientFromRegistrationToDeletion(t *testing.T) {
	g := start(t)
	admin := g.admin()
	made := g.want(g.do("POST", "/api/v1/clients", worker, bearer(admin)...), 201)
	id, value := made.text("client_id"), made.text("client_secret")
	if !regexp.MustCompile(`^ths_[0-9A-Za-z]{43}$`).MatchString(value) || !strings.HasPrefix(id, "cli_") || made.text("auth_method") != "client_secret_basic" {
		t.Fatalf("%s", made.body)
	}
	if made.text("created_by") != string(g.adminID()) || made.text("status") != "active" || fmt.Sprint(made.json["scopes"]) != "[agents:read incidents:read]" {
		t.Errorf("%s", made.body)
	}
	for name, a := range map[string]answer{
		"got":    g.want(g.do("GET", "/api/v1/clients/"+id, "", bearer(admin)...), 200),
		"listed": g.want(g.do("GET", "/api/v1/clients", "", bearer(admin)...), 200),
		"audit":  g.want(g.do("GET", "/api/v1/audit-events", "", bearer(admin)...), 200),
	} {
		if !strings.Contains(string(a.body), id) || strings.Contains(string(a.body), value) || strings.Contains(string(a.body), "client_secret\"") {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if strings.Contains(g.log.String(), value) {
		t.Error("the secret is in the log")
	}

	patched := g.want(g.do("PATCH", "/api/v1/clients/"+id, `{"name":"renamed","status":"disabled"}`, bearer(admin)...), 200)
	if patched.text("name") != "renamed" || patched.text("status") != "disabled" || fmt.Sprint(patched.json["scopes"]) != "[agents:read incidents:read]" {
		t.Errorf("%s", patched.body)
	}
	g.want(g.do("DELETE", "/api/v1/clients/"+id, "", bearer(admin)...), 204)
	for _, c := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"PATCH", `{"name":"x"}`}} {
		g.want(g.do(c[0], "/api/v1/clients/"+id, c[1], bearer(admin)...), 404)
	}
	events := g.want(g.do("GET", "/api/v1/audit-events", "", bearer(admin)...), 200)
	for _, name := range []string{"client.created", "client.updated", "client.deleted"} {
		if !strings.Contains(string(events.body), `"`+name+`"`) {
			t.Errorf("%s is not recorded", name)
		}
	}
}

// What is said of a client comes back, a change changes what it names, and what
// is wrong is named. SEC-WEB-13: no address of its own runs as a script.
func TestTheSettingsOfAClient(t *testing.T) {
	g := start(t)
	admin := g.admin()
	const app = `{"name":"app","grants":["authorization_code","refresh_token"],"redirect_uris":["https://a.example/cb"],"pkce":"optional","skip_consent":true,
		"resources":["https://api.example/v1"],"application_type":"web","subject_type":"pairwise","id_token_signed_response_alg":"ES256","default_max_age":60,
		"logo_uri":"https://a.example/l","contacts":["a@a.example"],"frontchannel_logout_uri":"https://a.example/f","frontchannel_logout_session_required":true,
		"backchannel_logout_uri":"https://a.example/b","backchannel_logout_session_required":true,"post_logout_redirect_uris":["https://a.example/bye"]}`
	var said map[string]any
	if err := json.Unmarshal([]byte(app), &said); err != nil {
		t.Fatal(err)
	}
	id, _ := g.createClient(admin, app)
	got := func() answer { return g.want(g.do("GET", "/api/v1/clients/"+id, "", bearer(admin)...), 200) }
	for name, want := range said {
		if v := got().json[name]; !reflect.DeepEqual(v, want) {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	change := func(body string) answer { return g.do("PATCH", "/api/v1/clients/"+id, body, bearer(admin)...) }
	g.want(change(`{"pkce":"required","default_max_age":-1,"logo_uri":"","resources":[],"subject_type":"public"}`), 200)
	now := got().json
	if now["pkce"] != "required" || now["default_max_age"] != nil || now["logo_uri"] != nil || fmt.Sprint(now["resources"]) != "[]" || now["subject_type"] != "public" ||
		now["skip_consent"] != true || now["id_token_signed_response_alg"] != "ES256" || now["backchannel_logout_uri"] != "https://a.example/b" {
		t.Errorf("%v", now)
	}
	for body, field := range map[string]string{
		`{"pkce":"never"}`: "pkce", `{"open_to":"nobody"}`: "open_to", `{"subject_type":"x"}`: "subject_type", `{"resources":["https://api.example/#x"]}`: "resources[0]",
		`{"resources":["api"]}`: "resources[0]", `{"logo_uri":"javascript:alert(1)"}`: "logo_uri", `{"tos_uri":"javascript:alert(1)"}`: "tos_uri", `{"policy_uri":"data:x"}`: "policy_uri",
		`{"client_uri":"http://a.example"}`: "client_uri", `{"frontchannel_logout_uri":"https://b.example/f"}`: "frontchannel_logout_uri", `{"id_token_signed_response_alg":"none"}`: "id_token_signed_response_alg",
		`{"userinfo_signed_response_alg":"HS256"}`: "userinfo_signed_response_alg", `{"request_object_signing_alg":"RS256"}`: "request_object_signing_alg",
		`{"redirect_uris":["com.example.app:/cb"]}`: "redirect_uris[0]", `{"default_acr_values":["a b"]}`: "default_acr_values[0]", `{"token_endpoint_auth_signing_alg":"RS256"}`: "token_endpoint_auth_signing_alg",
	} {
		a := change(body)
		if a.status != 422 || !strings.Contains(string(a.body), `"`+field+`"`) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if after := got().json; !reflect.DeepEqual(after, now) {
		t.Errorf("a refusal changed it: %v", after)
	}
}

func TestClientSecretsByMethod(t *testing.T) {
	g := start(t)
	admin := g.admin()
	const keys = `"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	for method, c := range map[string]struct {
		body   string
		secret bool
	}{
		"client_secret_post": {worker, true},
		"client_secret_jwt":  {worker, true},
		"private_key_jwt":    {worker[:len(worker)-1] + "," + keys + "}", false},
		"none":               {`{"name":"app","grants":["authorization_code","refresh_token"],"redirect_uris":["com.example.app:/cb"],"scopes":["openid"]}`, false},
	} {
		a := g.want(g.do("POST", "/api/v1/clients", c.body[:1]+`"auth_method":"`+method+`",`+c.body[1:], bearer(admin)...), 201)
		if (a.text("client_secret") != "") != c.secret || a.text("auth_method") != method {
			t.Errorf("%s: %s", method, a.body)
		}
		want := 200
		if !c.secret {
			want = 409
		}
		g.want(g.do("POST", "/api/v1/clients/"+a.text("client_id")+"/rotate-secret", "", bearer(admin)...), want)
	}
}

func TestRotatingAClientSecret(t *testing.T) {
	g := start(t)
	admin := g.admin()
	id, first := g.createClient(admin, worker)
	a := g.want(g.do("POST", "/api/v1/clients/"+id+"/rotate-secret", `{"grace":"24h"}`, bearer(admin)...), 200)
	second := a.text("client_secret")
	secrets, _ := a.json["secrets"].([]any)
	if second == "" || second == first || len(secrets) != 2 {
		t.Fatalf("%s", a.body)
	}
	if old := secrets[1].(map[string]any); old["valid_until"] != "2030-02-01T12:00:00Z" || secrets[0].(map[string]any)["valid_until"] != nil {
		t.Errorf("%s", a.body)
	}
	works := func(value string) bool {
		r, err := g.house.Clients.Lookup(t.Context(), idOf(t, id))
		if err != nil {
			t.Fatal(err)
		}
		return r.SecretMatches(value, g.Now())
	}
	if !works(first) || !works(second) || works("ths_") || works("") {
		t.Error("during the grace both secrets count, and nothing else")
	}
	g.advance(24 * time.Hour)
	if works(first) || !works(second) {
		t.Error("the old secret outlives its grace, or the new one does not")
	}
	admin = g.admin()
	third := g.want(g.do("POST", "/api/v1/clients/"+id+"/rotate-secret", "", bearer(admin)...), 200).text("client_secret")
	if works(second) || !works(third) {
		t.Error("without a grace the old secret still counts, or the new one does not")
	}
	for _, body := range []string{`{"grace":"-1s"}`, `{"grace":"721h"}`, `{"grace":1}`} {
		g.want(g.do("POST", "/api/v1/clients/"+id+"/rotate-secret", body, bearer(admin)...), 422)
	}
}

// SEC-OAU-04, SEC-OAU-06, SEC-OAU-61: what cannot be registered, and why.
func TestRefusedClients(t *testing.T) {
	g := start(t)
	admin := g.admin()
	viewer := g.member(admin, "viewer@example.com", "viewer")
	engineer := g.member(admin, "engineer@example.com", "engineer")
	_, narrow := g.createKey(admin, `{"name":"k","permissions":["clients:manage","agents:read"]}`)
	app := func(more string) string {
		return `{"name":"app","grants":["authorization_code"],"scopes":["openid"],` + more + `}`
	}
	for _, c := range []struct {
		name, body string
		headers    []string
		status     int
		in         string
	}{
		{"a role without clients:manage", worker, bearer(viewer), 403, "clients:manage"},
		{"a role without clients:manage", worker, bearer(engineer), 403, "clients:manage"},
		{"more than its maker may", worker, []string{"X-API-Key", narrow}, 403, "incidents:read"},
		{"an identity in the body", `{"name":"w","org_id":"org_x","grants":["client_credentials"],"scopes":["agents:read"]}`, bearer(admin), 422, "org_id"},
		{"SEC-OAU-61: an id of one's own", `{"client_id":"cli_api","name":"w","grants":["client_credentials"],"scopes":["agents:read"]}`, bearer(admin), 422, "client_id"},
		{"no name", `{"grants":["client_credentials"],"scopes":["agents:read"]}`, bearer(admin), 422, "name"},
		{"no grant", `{"name":"w","scopes":["agents:read"]}`, bearer(admin), 422, "grants"},
		{"the password grant", `{"name":"w","grants":["password"],"scopes":["agents:read"]}`, bearer(admin), 422, "grants[0]"},
		{"a public client on its own behalf", `{"name":"w","auth_method":"none","grants":["client_credentials"],"scopes":["agents:read"]}`, bearer(admin), 422, "grants"},
		{"an unknown method", `{"name":"w","auth_method":"basic","grants":["client_credentials"],"scopes":["agents:read"]}`, bearer(admin), 422, "auth_method"},
		{"an unknown permission", `{"name":"w","grants":["client_credentials"],"scopes":["nothing:known"]}`, bearer(admin), 422, "scopes[0]"},
		{"a wildcard", `{"name":"w","grants":["client_credentials"],"scopes":["agents:*"]}`, bearer(admin), 422, "scopes[0]"},
		{"a person's scope without a person", `{"name":"w","grants":["client_credentials"],"scopes":["agents:read","openid"]}`, bearer(admin), 422, "scopes[1]"},
		{"no redirect address", app(`"redirect_uris":[]`), bearer(admin), 422, "redirect_uris"},
		{"SEC-OAU-04: a pattern", app(`"redirect_uris":["https://*.example.com/cb"]`), bearer(admin), 422, "redirect_uris[0]"},
		{"SEC-OAU-06: a fragment", app(`"redirect_uris":["https://a.example/cb#x"]`), bearer(admin), 422, "redirect_uris[0]"},
		{"SEC-OAU-06: script", app(`"redirect_uris":["https://a.example/cb","javascript:alert(1)"]`), bearer(admin), 422, "redirect_uris[1]"},
		{"SEC-OAU-06: cleartext", app(`"redirect_uris":["http://a.example/cb"]`), bearer(admin), 422, "redirect_uris[0]"},
		{"SEC-OAU-60: a private key", `{"name":"w","auth_method":"private_key_jwt","grants":["client_credentials"],"scopes":["agents:read"],"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}}`, bearer(admin), 422, "jwks.keys[0].d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.do("POST", "/api/v1/clients", c.body, c.headers...)
			if a.status != c.status || !strings.Contains(string(a.body), `"`+c.in+`"`) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	if a := g.want(g.do("GET", "/api/v1/clients", "", bearer(admin)...), 200); len(a.json["data"].([]any)) != 0 {
		t.Errorf("something was registered: %s", a.body)
	}
}

func TestListsOfClients(t *testing.T) {
	g := start(t)
	admin := g.admin()
	foreign := g.stranger("else@example.com")
	theirs, _ := g.createClient(foreign, worker)
	var want []string
	for range 3 {
		id, _ := g.createClient(admin, worker)
		want = append([]string{id}, want...)
		g.advance(time.Second)
	}
	var got []string
	path := "/api/v1/clients?limit=2"
	for path != "" {
		a := g.want(g.do("GET", path, "", bearer(admin)...), 200)
		for _, c := range a.json["data"].([]any) {
			got = append(got, c.(map[string]any)["client_id"].(string))
		}
		if path = a.text("next_cursor"); path != "" {
			path = "/api/v1/clients?limit=2&cursor=" + path
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for _, c := range [][3]string{{"GET", "", ""}, {"PATCH", "", `{"name":"x"}`}, {"DELETE", "", ""}, {"POST", "/rotate-secret", ""}} {
		a := g.want(g.do(c[0], "/api/v1/clients/"+theirs+c[1], c[2], bearer(admin)...), 404)
		none := g.want(g.do(c[0], "/api/v1/clients/cli_"+strings.Repeat("0", 26)+c[1], c[2], bearer(admin)...), 404)
		if a.text("detail") != none.text("detail") {
			t.Errorf("another organisation's client is told from none: %s %s", a.body, none.body)
		}
	}
}

func idOf(t *testing.T, s string) ident.ClientID {
	t.Helper()
	id, err := ident.ParseClientID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
