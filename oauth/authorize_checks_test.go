package oauth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// What is wrong before client and redirect URI are proved is told on a page of
// ours and goes nowhere (SEC-OAU-09).
func TestNobodyIsSentToAnAddressThatIsNotProved(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) {
		r.RedirectURIs = []string{"https://allowed.example/cb", "https://allowed.example/cb?x=1", "com.example.app:/cb"}
	})
	v.login("ada@example.com")
	disabled := w.register(v.client.Org, func(r *oauth.Registered) { r.Status = oauth.ClientDisabled })
	type row struct {
		name   string
		change oauth.Params
		reason string
	}
	rows := []row{
		{"no client", oauth.Params{"client_id": ""}, "invalid_request"},
		{"a made-up client", oauth.Params{"client_id": "cli_nobody"}, "invalid_client"},
		{"an unknown client", oauth.Params{"client_id": "cli_01j00000000000000000000000"}, "invalid_client"},
		{"SEC-OAU-61: a client_id of another form", oauth.Params{"client_id": "a:b c\x00🙂"}, "invalid_client"},
		{"SEC-OAU-61: a client_id of a megabyte", oauth.Params{"client_id": strings.Repeat("c", 1<<20)}, "invalid_client"},
		{"a disabled client", oauth.Params{"client_id": string(disabled.ID), "redirect_uri": callback}, "invalid_client"},
		{"no address in a request of OpenID Connect", oauth.Params{"redirect_uri": ""}, "invalid_request"},
		{"no address where several are registered", oauth.Params{"redirect_uri": "", "scope": "agents:read"}, "invalid_request"},
		{"a bad address with another error", oauth.Params{"redirect_uri": "https://evil.example", "response_type": "token"}, "invalid_redirect_uri"},
	}
	for id, addresses := range map[string][]string{
		"SEC-OAU-01": {"https://allowed.example.evil.example/cb", "https://allowed.example/cb/../evil", "https://allowed.example/cb/..%2f", "https://allowed.example/cb%252f..", "https://allowed.example/cb/..;/x", "https://allowed.example/cb/", "https://allowed.example/c"},
		"SEC-OAU-02": {
			"https://allowed.example@evil.example/cb", `https://evil.example\@allowed.example/cb`, "https://allowed.example#@evil.example", "https://allowed.example/cb\t", "https://allowed.example/\ncb",
			"https://allowed.example/cb\x00", "//evil.example", `/\evil.example`, "https://allowed．example/cb", "https://аllowed.example/cb", "http://[::1%25eth0]/cb",
		},
		"SEC-OAU-03": {"HTTPS://allowed.example/cb", "https://ALLOWED.example/cb", "https://allowed.example/CB"},
		"SEC-OAU-04": {"https://allowedxexample/cb", "https://*.example/cb", "https://allowed.example/.*"},
		"SEC-OAU-06": {"https://allowed.example/cb#f", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://allowed.example/cb"},
		"SEC-OAU-07": {"https://allowed.example/cb?y=1", "https://allowed.example/cb?x=1&y=2", "https://allowed.example/cb?"},
	} {
		for _, a := range addresses {
			rows = append(rows, row{id + " " + a, oauth.Params{"redirect_uri": a}, "invalid_redirect_uri"})
		}
	}
	for _, tt := range rows {
		if _, set := tt.change["redirect_uri"]; !set {
			tt.change["redirect_uri"] = "https://allowed.example/cb"
		}
		out, err := v.ask(tt.change)
		if f := fault.Of(err); !errors.Is(err, fault.Malformed) || f.Reason != tt.reason || out.Reply != nil || out.Ask != nil {
			t.Errorf("%s: %+v, %v; want %s on a page of ours", tt.name, out, err, tt.reason)
		}
	}
}

// RFC 8252 §7.3: any port, for loopback address literals only.
func TestThePortOfALoopbackAddressMayDiffer(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) {
		r.RedirectURIs = []string{"http://127.0.0.1/cb", "http://[::1]:1234/cb", "http://localhost:8080/cb", "https://127.0.0.1/cb"}
	})
	for uri, good := range map[string]bool{
		"http://127.0.0.1/cb": true, "http://127.0.0.1:1/cb": true, "http://127.0.0.1:65535/cb": true, "http://[::1]/cb": true, "http://[::1]:9/cb": true,
		"http://localhost:8080/cb": true, "http://localhost:8081/cb": false, "http://localhost/cb": false, "https://127.0.0.1:444/cb": false,
		"http://127.0.0.1:0/cb": false, "http://127.0.0.1:65536/cb": false, "http://127.0.0.1:/cb": false, "http://127.0.0.1:8x/cb": false, "http://127.0.0.1:+8/cb": false,
		"http://127.0.0.1:8/cb2": false, "http://127.0.0.1:8/cb?x": false, "http://127.0.0.1.evil.example/cb": false, "http://127.0.0.1:8@evil.example/cb": false,
		"http://127.0.0.2:8/cb": false, "http://127.1:8/cb": false,
	} {
		_, err := v.ask(oauth.Params{"redirect_uri": uri})
		if (err == nil) != good {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// Everything else goes to the client, with its state and our name.
func TestTheClientIsToldWhatIsWrong(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	v.allow(nil)
	confidential := func(p oauth.PKCEPolicy) oauth.Registered {
		return w.register(v.client.Org, func(r *oauth.Registered) {
			r.AuthMethod, r.Settings.PKCE, r.Settings.SkipConsent = oauth.AuthSecretBasic, p, true
		})
	}
	strict, nonce, optional := string(confidential(oauth.PKCERequired).ID), string(confidential(oauth.PKCEOrNonce).ID), string(confidential(oauth.PKCEOptional).ID)
	service := string(w.register(v.client.Org, func(r *oauth.Registered) { r.Grants = []string{oauth.GrantClientCredentials} }).ID)
	none := oauth.Params{"code_challenge": "", "code_challenge_method": ""}
	and := func(p oauth.Params, name, value string) oauth.Params {
		out := oauth.Params{name: value}
		for k, v := range p {
			out[k] = v
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		change oauth.Params
		want   string // empty: a code
	}{
		{"nothing", nil, ""},
		{"what we do not know, and what we only tolerate", oauth.Params{"foo": "bar", "claims_locales": "de", "ui_locales": "de", "display": "popup", "login_hint": "x"}, ""},
		{"no response_type", oauth.Params{"response_type": ""}, "invalid_request"},
		{"the implicit flow", oauth.Params{"response_type": "token"}, "unsupported_response_type"},
		{"the hybrid flow", oauth.Params{"response_type": "code id_token"}, "unsupported_response_type"},
		{"a client of other grants", oauth.Params{"client_id": service}, "unauthorized_client"},
		{"a response_mode nobody has", oauth.Params{"response_mode": "web_message"}, "invalid_request"},
		{"registration", oauth.Params{"registration": "{}"}, "registration_not_supported"},
		{"a scope of other characters", oauth.Params{"scope": "openid \"x\""}, "invalid_scope"},
		{"a permission it was not registered for", oauth.Params{"scope": "openid users:read"}, "invalid_scope"},
		{"a wildcard", oauth.Params{"scope": "agents:*"}, "invalid_scope"},
		{"a word nobody knows", oauth.Params{"scope": "openid address"}, ""},
		{"only words nobody knows", oauth.Params{"scope": "address phone"}, "invalid_scope"},
		{"no PKCE for a public client", none, "invalid_request"},
		{"no PKCE for a confidential client", and(none, "client_id", strict), "invalid_request"},
		{"a nonce in place of PKCE", and(none, "client_id", nonce), ""},
		{"neither", and(and(none, "client_id", nonce), "nonce", ""), "invalid_request"},
		{"a nonce that is not of OpenID Connect", and(and(none, "client_id", nonce), "scope", "agents:read"), "invalid_request"},
		{"neither, where neither is needed", and(and(none, "client_id", optional), "nonce", ""), ""},
		{"plain", oauth.Params{"code_challenge_method": "plain"}, "invalid_request"},
		{"plain by leaving the method out", oauth.Params{"code_challenge_method": ""}, "invalid_request"},
		{"a method without a challenge", oauth.Params{"code_challenge": ""}, "invalid_request"},
		{"a challenge that is no SHA-256", oauth.Params{"code_challenge": strings.Repeat("a", 42)}, "invalid_request"},
		{"a challenge of other characters", oauth.Params{"code_challenge": strings.Repeat("a", 42) + "="}, "invalid_request"},
		{"no nonce", oauth.Params{"nonce": ""}, ""},
		{"a long nonce", oauth.Params{"nonce": strings.Repeat("n", 2048)}, ""},
		{"an endless nonce", oauth.Params{"nonce": strings.Repeat("n", 2049)}, "invalid_request"},
		{"prompt none", oauth.Params{"prompt": "none"}, ""},
		{"prompt none and another", oauth.Params{"prompt": "none login"}, "invalid_request"},
		{"a prompt nobody knows", oauth.Params{"prompt": "create"}, ""},
		{"a max_age that is none", oauth.Params{"max_age": "-1"}, "invalid_request"},
		{"a max_age beyond every clock", oauth.Params{"max_age": "99999999999999999999"}, "invalid_request"},
		{"a long max_age", oauth.Params{"max_age": "10000"}, ""},
		{"an acr we never reach", oauth.Params{"acr_values": "1 2"}, ""},
		{"an id_token_hint that is none", oauth.Params{"id_token_hint": "x.y.z"}, "invalid_request"},
		{"claims that are no JSON", oauth.Params{"claims": "{"}, "invalid_request"},
		{"claims that are no object", oauth.Params{"claims": "[]"}, "invalid_request"},
		{"claims that are null", oauth.Params{"claims": "null"}, "invalid_request"},
		{"claims without end", oauth.Params{"claims": `{"userinfo":{"a":{"value":"` + strings.Repeat("a", 9000) + `"}}}`}, "invalid_request"},
		{"claims nobody has", oauth.Params{"claims": `{"userinfo":{"shoe_size":null},"foo":1}`}, ""},
		{"an essential acr we never reach", oauth.Params{"claims": `{"id_token":{"acr":{"essential":true,"values":["gold"]}}}`}, "unmet_authentication_requirements"},
		{"a sub that is no text", oauth.Params{"claims": `{"id_token":{"sub":{"value":1}}}`}, "invalid_request"},
		{"SEC-OAU-50: a resource that was not granted", oauth.Params{"resource": "https://other.example"}, "invalid_target"},
		{"ourselves as resource", oauth.Params{"resource": issuer}, ""},
		{"request and request_uri", oauth.Params{"request": "a.b.c", "request_uri": "https://app.example/r"}, "invalid_request"},
		{"a request_uri nobody registered", oauth.Params{"request_uri": "https://app.example/r"}, "invalid_request_uri"},
		{"a request_uri of ours", oauth.Params{"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request_uri"},
	} {
		out, err := v.ask(tt.change)
		told := said(out)
		switch {
		case err != nil:
			t.Errorf("%s: %v; want it told to the client", tt.name, err)
		case out.Reply == nil || told["error"] != tt.want || (told["code"] == "") != (tt.want != ""):
			t.Errorf("%s: %+v %v; want %q", tt.name, out.Ask, told, tt.want)
		case strings.ContainsFunc(told["error_description"], unquotable):
			t.Errorf("%s: RFC 6749 §4.1.2.1 excludes a character of %q", tt.name, told["error_description"])
		case told["state"] != "st" || told["iss"] != issuer || out.Reply.RedirectURI != callback:
			t.Errorf("%s: told %v at %s", tt.name, told, out.Reply.RedirectURI)
		}
	}
}

// unquotable are the characters that no error_description has.
func unquotable(c rune) bool { return c < 0x20 || c > 0x7e || c == '"' || c == '\\' }

func TestAReplyTravelsAsItWasAskedTo(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", nil).login("ada@example.com")
	v.allow(nil)
	for asked, want := range map[string]oauth.ResponseMode{"": oauth.ModeQuery, "query": oauth.ModeQuery, "fragment": oauth.ModeFragment, "form_post": oauth.ModeFormPost, "jwt": oauth.ModeQuery} {
		for _, change := range []oauth.Params{{"response_mode": asked}, {"response_mode": asked, "response_type": "token"}} {
			if out, err := v.ask(change); err != nil || out.Reply == nil || out.Reply.Mode != want {
				t.Errorf("%v: %+v, %v; want %s", change, out.Reply, err, want)
			}
		}
	}
}

// RFC 6749 §3.1.2.3 and §3.3: what a client leaves out is what it registered.
func TestARequestMayLeaveOutWhatIsRegistered(t *testing.T) {
	w := open(t, backends["SQLite"](t), newClock())
	v := w.visitor("ada@example.com", func(r *oauth.Registered) { r.Scopes = []string{"agents:read", "agents:delete"} })
	v.login("ada@example.com")
	ask := v.asked(oauth.Params{"scope": "", "redirect_uri": ""})
	if ask.Asked != oauth.AskConsent || ask.Scopes.String() != "agents:read agents:delete" || ask.RedirectURI != callback {
		t.Errorf("asked %+v", ask)
	}
	code := v.allow(oauth.Params{"scope": "", "redirect_uri": ""})
	if _, err := v.redeem(code, oauth.Params{"redirect_uri": ""}); err != nil {
		t.Errorf("redeem without an address: %v", err)
	}
	v.client = w.register(v.client.Org, func(r *oauth.Registered) { r.Scopes, r.Grants = nil, []string{oauth.GrantAuthorizationCode} })
	if ask := v.asked(oauth.Params{"scope": "openid profile email offline_access"}); ask.Scopes.String() != "openid profile email" {
		t.Errorf("a client without scopes and refresh tokens may ask for %v", ask.Scopes)
	}
}
