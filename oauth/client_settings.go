package oauth

import (
	"slices"
	"time"
)

// ClientSettings are what a registration says beyond credentials, grants and
// addresses (RFC 7591 §2, OpenID Connect Registration 1.0 §2). The zero
// ClientSettings are the defaults.
type ClientSettings struct {
	PKCE             PKCEPolicy    `json:"pkce,omitempty"`
	OpenTo           Audience      `json:"open_to,omitempty"`
	SkipConsent      bool          `json:"skip_consent,omitempty"` // for an organisation's own applications; never by dynamic registration
	Resources        []string      `json:"resources,omitempty"`    // what resource may name (RFC 8707 §2) besides the default audience
	ApplicationType  string        `json:"application_type,omitempty"`
	Subject          ClientSubject `json:"subject,omitzero"`
	Signing          ClientSigning `json:"signing,omitzero"`
	RequestURIs      []string      `json:"request_uris,omitempty"` // OpenID Connect Core 1.0 §6.2
	InitiateLoginURI string        `json:"initiate_login_uri,omitempty"`
	Authentication   ClientMinimum `json:"authentication,omitzero"`
	Display          ClientDisplay `json:"display,omitzero"`
	Dynamic          ClientDynamic `json:"dynamic,omitzero"`
}

// PKCEPolicy says when an authorization request may lack a code_challenge (RFC
// 7636). Without a policy it never may. A public client always needs one.
type PKCEPolicy string

// The policies.
const (
	PKCERequired PKCEPolicy = ""
	PKCEOrNonce  PKCEPolicy = "nonce"    // a nonce may stand in for it (RFC 9700 §2.1.1)
	PKCEOptional PKCEPolicy = "optional" // for products that know neither
)

// Audience says whose people may sign in to a client.
type Audience string

// The audiences.
const (
	OpenToOrganization Audience = ""         // members of the client's organisation, acting in it
	OpenToEveryone     Audience = "everyone" // everybody, each in the organisation they logged in to; only an operator sets it
)

// ClientSubject says what sub a client is told (OpenID Connect Core 1.0 §8).
type ClientSubject struct {
	Pairwise  bool   `json:"pairwise,omitempty"`
	SectorURI string `json:"sector_identifier_uri,omitempty"`
}

// ClientSigning names the JWS algorithms of a client; empty takes the default.
type ClientSigning struct {
	IDToken       string `json:"id_token,omitempty"`       // RS256 where empty
	UserInfo      string `json:"userinfo,omitempty"`       // plain JSON where empty
	RequestObject string `json:"request_object,omitempty"` // any of its keys' where empty
	Introspection string `json:"introspection,omitempty"`  // RS256 where empty (RFC 9701 §6)
	TokenEndpoint string `json:"token_endpoint_auth,omitempty"`
}

// ClientMinimum is what a client wants of every login.
type ClientMinimum struct {
	MaxAge      *int64   `json:"default_max_age,omitempty"` // seconds
	RequireTime bool     `json:"require_auth_time,omitempty"`
	ACRValues   []string `json:"default_acr_values,omitempty"`
}

// ClientDisplay is shown to whoever is asked for consent.
type ClientDisplay struct {
	ClientURI string   `json:"client_uri,omitempty"`
	LogoURI   string   `json:"logo_uri,omitempty"`
	PolicyURI string   `json:"policy_uri,omitempty"`
	TermsURI  string   `json:"tos_uri,omitempty"`
	Contacts  []string `json:"contacts,omitempty"`
}

// ClientDynamic is how a client registered itself; zero where somebody else did.
type ClientDynamic struct {
	TokenDigest []byte    `json:"token_digest,omitempty"` // SHA-256 of its registration access token (RFC 7592 §3)
	Open        bool      `json:"open,omitempty"`         // nobody vouched for it
	From        string    `json:"from,omitempty"`         // the network it registered from, where Open
	ExpiresAt   time.Time `json:"expires_at,omitzero"`    // when it is forgotten; zero: never
}

// ClientLogout is how a client learns that a user logged out (OpenID Connect
// RP-Initiated, Back-Channel and Front-Channel Logout 1.0).
type ClientLogout struct {
	RedirectURIs        []string `json:"post_logout_redirect_uris,omitempty"`
	BackchannelURI      string   `json:"backchannel_logout_uri,omitempty"`
	BackchannelSession  bool     `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelURI     string   `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelSession bool     `json:"frontchannel_logout_session_required,omitempty"`
}

// MayRedirectAfterLogout reports whether the URI was registered, character by character.
func (l ClientLogout) MayRedirectAfterLogout(uri string) bool {
	return slices.Contains(l.RedirectURIs, uri)
}
