package housetest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// metadata is what discovery says, as far as the suite looks at it.
type metadata struct {
	Issuer         string   `json:"issuer"`
	Authorize      string   `json:"authorization_endpoint"`
	Token          string   `json:"token_endpoint"`
	UserInfo       string   `json:"userinfo_endpoint"`
	Register       string   `json:"registration_endpoint"`
	EndSession     string   `json:"end_session_endpoint"`
	JWKS           string   `json:"jwks_uri"`
	ResponseTypes  []string `json:"response_types_supported"`
	ResponseModes  []string `json:"response_modes_supported"`
	GrantTypes     []string `json:"grant_types_supported"`
	Subjects       []string `json:"subject_types_supported"`
	IDTokenAlgs    []string `json:"id_token_signing_alg_values_supported"`
	UserInfoAlgs   []string `json:"userinfo_signing_alg_values_supported"`
	RequestAlgs    []string `json:"request_object_signing_alg_values_supported"`
	Scopes         []string `json:"scopes_supported"`
	Claims         []string `json:"claims_supported"`
	ACR            []string `json:"acr_values_supported"`
	ClaimsParam    bool     `json:"claims_parameter_supported"`
	RequestParam   *bool    `json:"request_parameter_supported"`
	RequestURI     *bool    `json:"request_uri_parameter_supported"`
	IssInResponse  bool     `json:"authorization_response_iss_parameter_supported"`
	Challenges     []string `json:"code_challenge_methods_supported"`
	AuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	Frontchannel   bool     `json:"frontchannel_logout_supported"`
	FrontchannelSi bool     `json:"frontchannel_logout_session_supported"`
	Backchannel    bool     `json:"backchannel_logout_supported"`
	BackchannelSi  bool     `json:"backchannel_logout_session_supported"`
}

// discover reads the provider's metadata.
func (p *party) discover() (m metadata) {
	p.t.Helper()
	fetch(p.t, p.h.Config.Issuer+"/.well-known/openid-configuration", &m)
	return m
}

// TestOIDCCConfiguration is oidcc-discovery-endpoint-verification, of the
// Config plan and of the Dynamic plan (which also wants the implicit grant:
// docs/certification.md says why we have none).
func TestOIDCCConfiguration(t *testing.T) {
	h := housetest.Start(t, housetest.Options{Config: openRegistration})
	var m metadata
	issuer := h.Config.Issuer
	header := fetch(t, issuer+"/.well-known/openid-configuration", &m)
	if header.Get("Content-Type") != "application/json" || m.Issuer != issuer {
		t.Errorf("%q of %q", header.Get("Content-Type"), m.Issuer)
	}
	for name, at := range map[string]string{
		"authorize": m.Authorize, "token": m.Token, "userinfo": m.UserInfo, "register": m.Register, "logout": m.EndSession,
	} {
		if at != issuer+"/oauth2/"+name {
			t.Errorf("%s is at %q", name, at)
		}
	}
	for what, list := range map[string]struct{ has, want []string }{
		"response types": {m.ResponseTypes, []string{"code"}}, "response modes": {m.ResponseModes, []string{"query", "form_post"}},
		"grant types": {m.GrantTypes, []string{"authorization_code", "refresh_token"}}, "subject types": {m.Subjects, []string{"public", "pairwise"}},
		"ID token algorithms": {m.IDTokenAlgs, []string{"RS256"}}, "userinfo algorithms": {m.UserInfoAlgs, []string{"RS256"}},
		"request object algorithms": {m.RequestAlgs, []string{"RS256"}}, "scopes": {m.Scopes, []string{"openid", "profile", "email", "offline_access"}},
		"claims": {m.Claims, []string{"sub", "iss", "auth_time", "acr", "name", "email", "email_verified"}}, "challenges": {m.Challenges, []string{"S256"}},
		"acr": {m.ACR, []string{acrPassword}}, "client authentication": {m.AuthMethods, []string{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"}},
	} {
		for _, want := range list.want {
			if !slices.Contains(list.has, want) {
				t.Errorf("%s: %q lacks %s", what, list.has, want)
			}
		}
	}
	for _, never := range []string{"token", "id_token", "token id_token", "code id_token", "none"} {
		if slices.Contains(m.ResponseTypes, never) || slices.Contains(m.IDTokenAlgs, never) || slices.Contains(m.UserInfoAlgs, never) {
			t.Errorf("%s is offered: %q %q", never, m.ResponseTypes, m.IDTokenAlgs)
		}
	}
	for _, scope := range m.Scopes {
		if strings.ContainsAny(scope, " \"\\") {
			t.Errorf("scope %q", scope)
		}
	}
	if !m.ClaimsParam || !m.IssInResponse || m.RequestParam == nil || !*m.RequestParam || m.RequestURI == nil || !*m.RequestURI {
		t.Errorf("claims, iss, request and request_uri are not all offered: %+v", m)
	}
	if len(cleanKeys(t, m.JWKS).Keys) == 0 {
		t.Error("no keys")
	}
	var other metadata
	if fetch(t, issuer+"/.well-known/oauth-authorization-server", &other); other.Issuer != issuer || other.Authorize != m.Authorize {
		t.Errorf("RFC 8414 metadata: %+v", other)
	}
}

// cleanKeys reads a key set and holds it to what may be published: public keys
// only, each with a kid of its own.
func cleanKeys(t *testing.T, address string) (set jose.JSONWebKeySet) {
	t.Helper()
	var raw struct{ Keys []map[string]any }
	fetch(t, address, &raw)
	kids := map[any]bool{}
	for _, k := range raw.Keys {
		kid, _ := k["kid"].(string)
		if kid == "" || kids[kid] || k["kty"] == "oct" {
			t.Errorf("key %v", k)
		}
		kids[kid] = true
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if _, ok := k[private]; ok {
				t.Errorf("key %s has %s", kid, private)
			}
		}
	}
	b, err := json.Marshal(raw)
	if err == nil {
		err = json.Unmarshal(b, &set)
	}
	if err != nil {
		t.Fatalf("the key set: %v", err)
	}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() {
			t.Errorf("key %s is not a good public key", k.KeyID)
		}
	}
	return set
}

// signedByPublished verifies a JWT by the one published key of its kid, and
// returns its header and claims.
func (p *party) signedByPublished(jwt string) (jose.Header, map[string]any) {
	p.t.Helper()
	set := cleanKeys(p.t, p.discover().JWKS)
	jws, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.ES384, jose.EdDSA})
	if err != nil {
		p.t.Fatalf("%s: %v", jwt, err)
	}
	header := jws.Signatures[0].Header
	keys := set.Key(header.KeyID)
	if len(keys) != 1 || keys[0].Algorithm != header.Algorithm {
		p.t.Fatalf("%d published keys of %q %s", len(keys), header.KeyID, header.Algorithm)
	}
	payload, err := jws.Verify(keys[0])
	if err != nil {
		p.t.Fatalf("signature: %v", err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		p.t.Fatal(err)
	}
	return header, claims
}

// standardClaims holds what userinfo says to the types of OpenID Connect Core
// 1.0 §5.1: no claim is empty, and none null (§5.3.2).
func standardClaims(t *testing.T, r housetest.Reply) {
	t.Helper()
	if r.Status != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatal(r)
	}
	if r.Header.Get("Content-Type") == "application/jwt" {
		return
	}
	claims, ok := r.JSON().(map[string]any)
	if !ok || r.Header.Get("Content-Type") != "application/json" {
		t.Fatal(r)
	}
	for name, v := range claims {
		switch v := v.(type) {
		case nil:
			t.Errorf("%s is null", name)
		case string:
			if v == "" || name == "email_verified" || name == "updated_at" {
				t.Errorf("%s is %q", name, v)
			}
		case json.Number:
			if _, err := v.Int64(); err != nil || name != "updated_at" {
				t.Errorf("%s is %v", name, v)
			}
		case bool:
			if !strings.HasSuffix(name, "_verified") {
				t.Errorf("%s is %v", name, v)
			}
		}
	}
}
