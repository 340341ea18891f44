package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/oauth"
)

// signer signs request objects.
type signer struct {
	key *ecdsa.PrivateKey
	kid string
}

func newSigner(t *testing.T, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return signer{key, kid}
}

func (s signer) jwks(t *testing.T) []byte {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: s.kid, Algorithm: "ES256", Use: "sig"}}})
	must(t, err)
	return set
}

func (s signer) sign(t *testing.T, typ string, claims map[string]any) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", s.kid)
	if typ != "" {
		o = o.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, o)
	must(t, err)
	payload, err := json.Marshal(claims)
	must(t, err)
	jws, err := signer.Sign(payload)
	must(t, err)
	compact, err := jws.CompactSerialize()
	must(t, err)
	return compact
}

// objectWorld is a client that signs its requests.
func objectWorld(t *testing.T) (*world, *visitor, signer) {
	t.Helper()
	w := open(t, backends["SQLite"](t), newClock())
	s := newSigner(t, "k1")
	v := w.visitor("ada@example.com", func(r *oauth.Registered) {
		r.AuthMethod, r.JWKS = oauth.AuthPrivateKeyJWT, s.jwks(t)
		r.Settings.SkipConsent = true
		r.Settings.RequestURIs = []string{"https://app.example/request.jwt#v1", "https://app.example/gone.jwt"}
		r.Settings.Resources = []string{"https://api.example", "https://files.example"}
	})
	return w, v.login("ada@example.com"), s
}

// object is a good request object, as change makes it; nil leaves a claim out.
func (v *visitor) object(change map[string]any) map[string]any {
	now := v.w.clock.now()
	out := map[string]any{
		"iss": string(v.client.ID), "aud": issuer, "exp": now.Add(5 * time.Minute).Unix(), "nbf": now.Unix(), "iat": now.Unix(),
		"client_id": string(v.client.ID), "response_type": "code", "redirect_uri": callback, "scope": "openid agents:read", "state": "inside",
		"code_challenge": challengeOf(verifier), "code_challenge_method": "S256", "nonce": "n-inside",
	}
	maps.Copy(out, change)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// SEC-OAU-46: what is wrong with a request object is invalid_request_object.
func TestRequestObjectsAreTheClientsAndOfNow(t *testing.T) {
	w, v, s := objectWorld(t)
	now := w.clock.now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	other := newSigner(t, "k1")
	w.register(v.client.Org, func(r *oauth.Registered) { r.AuthMethod, r.JWKS = oauth.AuthPrivateKeyJWT, other.jwks(t) })
	good := s.sign(t, "oauth-authz-req+jwt", v.object(nil))
	payload, err := json.Marshal(v.object(nil))
	must(t, err)
	unsigned := base64Text([]byte(`{"alg":"none"}`)) + "." + base64Text(payload) + "."
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: s.jwks(t)}, nil)
	must(t, err)
	mac, err := hmac.Sign(payload)
	must(t, err)
	symmetric, err := mac.CompactSerialize()
	must(t, err)
	for _, tt := range []struct {
		name   string
		object string
		good   bool
	}{
		{"a good one", good, true},
		{"of no type", s.sign(t, "", v.object(nil)), true},
		{"of type JWT", s.sign(t, "JWT", v.object(nil)), true},
		{"an aud that is a list with us", s.sign(t, "", v.object(map[string]any{"aud": []string{"https://other.example", issuer}})), true},
		{"nbf 8 seconds ahead", s.sign(t, "", v.object(map[string]any{"nbf": at(8 * time.Second)})), true},
		{"alg none", unsigned, false},
		{"another algorithm: a public key as secret", symmetric, false},
		{"a bad aud", s.sign(t, "", v.object(map[string]any{"aud": "https://other.example"})), false},
		{"no aud", s.sign(t, "", v.object(map[string]any{"aud": nil})), false},
		{"another iss", s.sign(t, "", v.object(map[string]any{"iss": "cli_other"})), false},
		{"expired", s.sign(t, "", v.object(map[string]any{"exp": at(-31 * time.Second), "nbf": at(-time.Minute)})), false},
		{"no nbf", s.sign(t, "", v.object(map[string]any{"nbf": nil})), false},
		{"no exp", s.sign(t, "", v.object(map[string]any{"exp": nil})), false},
		{"nbf ahead", s.sign(t, "", v.object(map[string]any{"nbf": at(time.Minute)})), false},
		{"nbf more than an hour ago", s.sign(t, "", v.object(map[string]any{"nbf": at(-62 * time.Minute)})), false},
		{"exp more than an hour after nbf", s.sign(t, "", v.object(map[string]any{"exp": at(61 * time.Minute)})), false},
		{"iat ahead", s.sign(t, "", v.object(map[string]any{"iat": at(time.Hour)})), false},
		{"a bad signature", good[:len(good)-6] + "AAAAAA", false},
		{"another client's key", other.sign(t, "", v.object(nil)), false},
		{"another client_id inside", s.sign(t, "", v.object(map[string]any{"client_id": "cli_other"})), false},
		{"another response_type inside", s.sign(t, "", v.object(map[string]any{"response_type": "token"})), false},
		{"a client assertion", s.sign(t, "", v.object(map[string]any{"sub": string(v.client.ID)})), false},
		{"an ID token's sibling", s.sign(t, "at+jwt", v.object(nil)), false},
		{"a request object inside", s.sign(t, "", v.object(map[string]any{"request": good})), false},
		{"no JWT", "x", false},
		{"dates that are none", s.sign(t, "", v.object(map[string]any{"exp": "tomorrow"})), false},
	} {
		out, err := v.ask(oauth.Params{"request": tt.object, "redirect_uri": callback})
		must(t, err)
		told := said(out)
		switch {
		case strings.ContainsFunc(told["error_description"], unquotable):
			t.Errorf("%s: described as %q", tt.name, told["error_description"])
		case tt.good && (told["code"] == "" || told["state"] != "inside"):
			t.Errorf("%s: %v; want a code", tt.name, told)
		case !tt.good && (told["error"] != "invalid_request_object" || told["code"] != "" || told["state"] != "st"):
			t.Errorf("%s: %v; want invalid_request_object", tt.name, told)
		}
	}
	v.client = w.register(v.client.Org, func(r *oauth.Registered) {
		r.AuthMethod, r.JWKS, r.Settings.SkipConsent, r.Settings.Signing.RequestObject = oauth.AuthPrivateKeyJWT, s.jwks(t), true, "PS256"
	})
	if told := said(must1(v.ask(oauth.Params{"request": s.sign(t, "", v.object(nil))}))(t)); told["error"] != "invalid_request_object" {
		t.Errorf("ES256 where PS256 is registered: %v", told)
	}
}

// OpenID Connect Core 1.0 §6.1 and RFC 9101 §6.3: what is inside wins; what is
// outside counts beside it only in a request of OpenID Connect.
func TestWhatARequestObjectSaysWins(t *testing.T) {
	w, v, s := objectWorld(t)
	code := said(must1(v.ask(oauth.Params{"request": s.sign(t, "", v.object(nil)), "nonce": "n-outside", "scope": "openid"}))(t))["code"]
	in, err := v.redeem(code, nil)
	must(t, err)
	if nonce := idClaims(t, in.IDToken)["nonce"]; nonce != "n-inside" || in.Scopes.String() != "openid agents:read" {
		t.Errorf("nonce %v, scope %v", nonce, in.Scopes)
	}
	// Only outside: counts with openid, and does not without.
	bare := map[string]any{"state": nil, "nonce": nil, "redirect_uri": nil}
	told := said(must1(v.ask(oauth.Params{"request": s.sign(t, "", v.object(bare)), "state": "outside"}))(t))
	if told["code"] == "" || told["state"] != "outside" {
		t.Errorf("OpenID Connect: %v", told)
	}
	bare["scope"], bare["redirect_uri"] = "agents:read", callback
	plain := oauth.Params{"client_id": string(v.client.ID), "request": s.sign(t, "", v.object(bare)), "state": "outside"}
	out, err := w.authorizer.Authorize(t.Context(), v.visit(plain))
	must(t, err)
	if told := said(out); told["code"] == "" || told["state"] != "" {
		t.Errorf("RFC 9101: %v", told)
	}
	// Numbers, lists and JSON are what they are as parameters.
	rich := map[string]any{"max_age": 100, "resource": []string{"https://api.example", "https://files.example"}, "claims": map[string]any{"id_token": map[string]any{"email": nil}}}
	in, err = v.redeem(said(must1(v.ask(oauth.Params{"request": s.sign(t, "", v.object(rich))}))(t))["code"], nil)
	must(t, err)
	if c, id := claims(t, in.Access), idClaims(t, in.IDToken); len(c.Audience) != 3 || id["email"] != "ada@example.com" {
		t.Errorf("aud %v, ID token %v", c.Audience, id)
	}
	// An address inside that was not registered goes nowhere, whatever is outside.
	if out, err := v.ask(oauth.Params{"request": s.sign(t, "", v.object(map[string]any{"redirect_uri": "https://evil.example"}))}); err == nil {
		t.Errorf("sent to %v", out.Reply)
	}
	// Put aside, it goes on although its dates pass.
	w.clock.advance(time.Minute)
	ask := v.asked(oauth.Params{"request": s.sign(t, "", v.object(map[string]any{"prompt": "login"}))})
	w.clock.advance(10 * time.Minute)
	v.login(v.email)
	if told := said(v.goOn(ask.Pending)); told["code"] == "" || told["state"] != "inside" {
		t.Errorf("after a login: %v", told)
	}
}

func TestARequestObjectIsFetchedFromWhereItIsRegistered(t *testing.T) {
	w, v, s := objectWorld(t)
	const at = "https://app.example/request.jwt"
	dated := s.sign(t, "", v.object(nil))
	undated := s.sign(t, "", v.object(map[string]any{"exp": nil, "nbf": nil, "iat": nil, "aud": nil}))
	for _, tt := range []struct{ name, uri, body, want string }{
		{"a good one", at + "#v1", dated, ""},
		{"one that a client leaves there", at + "#v1", undated + "\n", ""},
		{"another hash", at + "#v2", dated, "invalid_request_uri"},
		{"no hash", at, dated, "invalid_request_uri"},
		{"what cannot be fetched", "https://app.example/gone.jwt", dated, "invalid_request_uri"},
		{"what is none", at + "#v1", "<html>", "invalid_request_object"},
		{"alg none", at + "#v1", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + ".e30.", "invalid_request_object"},
	} {
		w.objects = published{at: tt.body}
		told := said(must1(v.ask(oauth.Params{"request_uri": tt.uri}))(t))
		if told["error"] != tt.want || (told["code"] == "") != (tt.want != "") {
			t.Errorf("%s: %v; want %q", tt.name, told, tt.want)
		}
	}
}
