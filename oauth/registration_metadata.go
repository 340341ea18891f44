package oauth

import (
	stdjson "encoding/json"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and knows jwks from JWKS

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// ClientMetadata is a client as it describes itself (RFC 7591 §2). What is nil
// or empty is not said.
type ClientMetadata struct {
	Name          string             `json:"client_name,omitempty"`
	RedirectURIs  []string           `json:"redirect_uris,omitempty"`
	GrantTypes    *[]string          `json:"grant_types,omitempty"`
	ResponseTypes *[]string          `json:"response_types,omitempty"`
	AuthMethod    AuthMethod         `json:"token_endpoint_auth_method,omitempty"`
	Scope         string             `json:"scope,omitempty"`
	JWKS          stdjson.RawMessage `json:"jwks,omitempty"`
	JWKSURI       string             `json:"jwks_uri,omitempty"`
	SettingsMetadata
	LogoutMetadata

	encrypted encryptionMetadata
	self      claimedSelf
}

// encryptionMetadata asks for what we do not do. A client that wants its tokens
// encrypted is refused rather than given others.
type encryptionMetadata struct {
	IDToken  string `json:"id_token_encrypted_response_alg"`
	UserInfo string `json:"userinfo_encrypted_response_alg"`
}

// claimedSelf is who a client that replaces its metadata says it is (RFC 7592 §2.2).
type claimedSelf struct {
	ID     string
	Secret secret.Plain
}

// ReadClientMetadata reads the body of a registration: an object of JSON.
// Members that we do not know are ignored (RFC 7591 §2), software_statement
// among them: there is nobody whose statements we trust. It is
// fault.InvalidClientMetadata where the body cannot be read.
func ReadClientMetadata(body []byte) (ClientMetadata, error) {
	var m ClientMetadata
	var self struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	for _, into := range []any{&m, &m.encrypted, &self} {
		if err := json.Unmarshal(body, into); err != nil {
			return ClientMetadata{}, fault.Wrap(err, fault.InvalidClientMetadata, "The body must be a JSON object of client metadata (RFC 7591 §2), each member at most once and of its type.")
		}
	}
	if string(m.JWKS) == "null" {
		m.JWKS = nil
	}
	m.self = claimedSelf{ID: self.ID, Secret: secret.Of(self.Secret)}
	return m, nil
}

// registration is what m asks for, with the defaults of RFC 7591 §2, on top of
// the settings that only we decide. The fields say what is wrong already.
func (m ClientMetadata) registration(ours ClientSettings) (Registration, []fault.Field) {
	var f refusals
	f = append(f, m.Check()...)
	f.unless(m.encrypted.IDToken == "", "id_token_encrypted_response_alg", "is not supported")
	f.unless(m.encrypted.UserInfo == "", "userinfo_encrypted_response_alg", "is not supported")
	n := Registration{
		Name: m.Name, AuthMethod: m.AuthMethod, RedirectURIs: m.RedirectURIs, JWKSURI: m.JWKSURI, Settings: ours,
		Grants: m.grants(&f), Scopes: m.scopes(&f),
	}
	if n.AuthMethod == "" {
		n.AuthMethod = AuthSecretBasic
	}
	m.SettingsMetadata.Apply(&n.Settings)
	m.LogoutMetadata.Apply(&n.Logout)
	if n.AuthMethod != AuthPrivateKeyJWT && n.AuthMethod != AuthSecretJWT {
		n.Settings.Signing.TokenEndpoint = "" // says nothing of another method
	}
	if n.Settings.ApplicationType == "" {
		n.Settings.ApplicationType = applicationType(n.RedirectURIs)
	}
	if n.Name == "" {
		n.Name = nameOf(n)
	}
	if len(m.JWKS) > 0 {
		keys, err := readKeySet(m.JWKS)
		if err != nil {
			f.refuse("jwks", err.Error())
		}
		n.JWKS = keys
	}
	return n, f
}

// grants is grant_types, which must agree with response_types (RFC 7591 §2.1).
func (m ClientMetadata) grants(f *refusals) []string {
	grants := []string{GrantAuthorizationCode}
	set(&grants, m.GrantTypes)
	if m.ResponseTypes == nil {
		return grants
	}
	for i, t := range *m.ResponseTypes {
		f.unless(t == ResponseTypeCode, at("response_types", i), "must be code")
	}
	f.unless(slices.Contains(grants, GrantAuthorizationCode) == slices.Contains(*m.ResponseTypes, ResponseTypeCode), "response_types",
		"must hold code where grant_types holds authorization_code, and only there (RFC 7591 §2.1)")
	return grants
}

// ResponseTypeCode is the one response type (RFC 6749 §3.1.1).
const ResponseTypeCode = "code"

// scopes are those of scope that we know by their form: the rest is left out,
// and the reply shows it (RFC 7591 §2).
func (m ClientMetadata) scopes(f *refusals) []string {
	all, err := ParseScopes(m.Scope)
	if err != nil {
		f.refuse("scope", "must be scope values separated by blanks (RFC 6749 §3.3)")
	}
	return slices.DeleteFunc(all, func(s string) bool {
		_, err := scope.ParsePermission(s)
		return err != nil && !slices.Contains(identityScopes, s)
	})
}

// applicationType is what a client is that does not say: web (OpenID Connect
// Registration 1.0 §2), unless it is reached by a scheme of its own.
func applicationType(redirects []string) string {
	if slices.ContainsFunc(redirects, func(u string) bool { return redirectTrouble(u) == "" && !web(u) }) {
		return "native"
	}
	return "web"
}

// nameOf is what a client is called that has no name: by where it is.
func nameOf(n Registration) string {
	at := Registered{RedirectURIs: n.RedirectURIs[:min(len(n.RedirectURIs), 1)]}
	if host := at.Sector(); nameTrouble(host) == "" {
		return host
	}
	return "Unnamed client"
}

// ClientMetadataOf is the client as RFC 7591 §3.2.1 shows it.
func ClientMetadataOf(r Registered) ClientMetadata {
	responses := []string{}
	if r.MayUse(GrantAuthorizationCode) {
		responses = []string{ResponseTypeCode}
	}
	return ClientMetadata{
		Name: r.Name, RedirectURIs: r.RedirectURIs, GrantTypes: &r.Grants, ResponseTypes: &responses, AuthMethod: r.AuthMethod,
		Scope: strings.Join(r.Scopes, " "), JWKS: r.JWKS, JWKSURI: r.JWKSURI,
		SettingsMetadata: SettingsMetadataOf(r.Settings), LogoutMetadata: LogoutMetadataOf(r.Logout),
	}
}
