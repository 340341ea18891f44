package oauth

import (
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The grant types that only registered clients use.
const (
	// GrantClientCredentials gives a client a token of its own (RFC 6749 §4.4).
	GrantClientCredentials = "client_credentials"
	// GrantAuthorizationCode redeems what a person allowed (RFC 6749 §4.1).
	GrantAuthorizationCode = "authorization_code"
)

// AuthMethod is how a client proves who it is (RFC 7591 §2,
// token_endpoint_auth_method).
type AuthMethod string

// The methods.
const (
	AuthNone          AuthMethod = "none"                // a public client: it proves nothing
	AuthSecretBasic   AuthMethod = "client_secret_basic" // RFC 6749 §2.3.1, in the header
	AuthSecretPost    AuthMethod = "client_secret_post"  // RFC 6749 §2.3.1, in the body
	AuthSecretJWT     AuthMethod = "client_secret_jwt"   // RFC 7523 §2.2, signed with the secret
	AuthPrivateKeyJWT AuthMethod = "private_key_jwt"     // RFC 7523 §2.2, signed with a key of its own
)

// AuthMethods lists every method, as discovery documents show them.
func AuthMethods() []AuthMethod {
	return []AuthMethod{AuthNone, AuthSecretBasic, AuthSecretPost, AuthSecretJWT, AuthPrivateKeyJWT}
}

// UsesSecret reports whether a client of that method has a client_secret.
func (m AuthMethod) UsesSecret() bool {
	return m == AuthSecretBasic || m == AuthSecretPost || m == AuthSecretJWT
}

// ClientStatus says whether a registered client may do anything.
type ClientStatus string

// The statuses.
const (
	ClientActive   ClientStatus = "active"
	ClientDisabled ClientStatus = "disabled"
)

// Registered is a client of an organisation, as it was registered. What a
// lookup returns is shared: it is not changed.
type Registered struct {
	ID           ident.ClientID
	Org          ident.OrgID
	Name         string
	AuthMethod   AuthMethod
	Secrets      []ClientSecret // the current one, then the previous one while it is kept: at most two
	Grants       []string       // the grant types it may use
	RedirectURIs []string       // compared character by character (RFC 9700 §2.1)
	Logout       ClientLogout
	JWKS         []byte   // a JWK Set of public keys (RFC 7517 §5); nil where there is none, or JWKSURI
	JWKSURI      string   // where the JWK Set is, instead of JWKS
	Scopes       []string // the most it may ask for: permissions without wildcards, and scopes of OpenID Connect
	Status       ClientStatus
	CreatedAt    time.Time
	CreatedBy    string // the id of the user or key, "operator", or "anonymous" where it registered itself with nobody's leave
	Settings     ClientSettings
}

// ClientSecret is one client_secret, by its digest.
type ClientSecret struct {
	Digest     []byte // SHA-256 of the whole secret, which has 256 random bits
	Sealed     []byte // the secret itself under the master key, for client_secret_jwt only; see Clients.OpenSecret
	CreatedAt  time.Time
	ValidUntil time.Time // zero: as long as the client; else the end of its grace
}

// Active reports whether the client may do anything.
func (r Registered) Active() bool { return r.Status == ClientActive }

// Confidential reports whether the client can prove who it is (RFC 6749 §2.1).
func (r Registered) Confidential() bool { return r.AuthMethod != AuthNone }

// MayUse reports whether the client was registered for a grant type.
func (r Registered) MayUse(grant string) bool { return slices.Contains(r.Grants, grant) }

// ValidSecrets returns the secrets that count at now.
func (r Registered) ValidSecrets(now time.Time) []ClientSecret {
	var out []ClientSecret
	for _, s := range r.Secrets {
		if s.ValidUntil.IsZero() || now.Before(s.ValidUntil) {
			out = append(out, s)
		}
	}
	return out
}

// Permissions are those of its scopes that are permissions.
func (r Registered) Permissions() scope.Set {
	var out []scope.Permission
	for _, s := range r.Scopes {
		if p, err := scope.ParsePermission(s); err == nil {
			out = append(out, p)
		}
	}
	return scope.Of(out...)
}
