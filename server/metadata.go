package server

import (
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// metadata describes the deployment (RFC 8414 §2, OpenID Connect Discovery 1.0
// §3). Every list comes from what decides the matter.
type metadata struct {
	Issuer        string `json:"issuer"`
	Documentation string `json:"service_documentation"`
	keyMetadata
	authorizationMetadata
	tokenEndpointMetadata
	tokenMetadata
	userMetadata
	requestObjectMetadata
	logoutMetadata
	Registration string `json:"registration_endpoint,omitempty"` // RFC 7591 §3; absent where it is off
}

// keyMetadata says where signed things can be checked.
type keyMetadata struct {
	JWKSURI     string `json:"jwks_uri"`
	Revocations string `json:"revocations_uri"`                  // ours: the signed list of revocations
	StatusLists string `json:"status_list_aggregation_endpoint"` // draft-ietf-oauth-status-list §9.2
}

// authorizationMetadata describes the authorization endpoint.
type authorizationMetadata struct {
	Authorization  string               `json:"authorization_endpoint"`
	ResponseTypes  []string             `json:"response_types_supported"`
	ResponseModes  []oauth.ResponseMode `json:"response_modes_supported"`
	Scopes         []string             `json:"scopes_supported"`
	Challenges     []string             `json:"code_challenge_methods_supported"`
	Prompts        []string             `json:"prompt_values_supported"`
	ACRValues      []string             `json:"acr_values_supported"`
	Displays       []string             `json:"display_values_supported"`
	IssInResponses bool                 `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
}

// tokenEndpointMetadata describes the token endpoint.
type tokenEndpointMetadata struct {
	Token            string   `json:"token_endpoint"`
	GrantTypes       []string `json:"grant_types_supported"`
	SubjectTokens    []string `json:"subject_token_types_supported"` // ours: what may be exchanged (RFC 8693)
	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
}

// tokenMetadata describes what is done with tokens that exist.
type tokenMetadata struct {
	Introspection            string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAlgs        []string `json:"introspection_signing_alg_values_supported"` // RFC 9701 §7
	Revocation               string   `json:"revocation_endpoint"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs       []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
}

// userMetadata describes what is said of users.
type userMetadata struct {
	UserInfo        string   `json:"userinfo_endpoint"`
	UserInfoAlgs    []string `json:"userinfo_signing_alg_values_supported"`
	IDTokenAlgs     []string `json:"id_token_signing_alg_values_supported"`
	SubjectTypes    []string `json:"subject_types_supported"`
	Claims          []string `json:"claims_supported"`
	ClaimTypes      []string `json:"claim_types_supported"`
	ClaimsParameter bool     `json:"claims_parameter_supported"`
}

// requestObjectMetadata describes requests that are signed (RFC 9101 §10.5).
type requestObjectMetadata struct {
	Request              bool     `json:"request_parameter_supported"`
	RequestURI           bool     `json:"request_uri_parameter_supported"`
	RequestURIRegistered bool     `json:"require_request_uri_registration"`
	RequestObjectAlgs    []string `json:"request_object_signing_alg_values_supported"`
}

// logoutMetadata describes the three ways that sessions end (OpenID Connect
// RP-Initiated Logout 1.0 §2.1, Back-Channel §2.1, Front-Channel §3).
type logoutMetadata struct {
	EndSession          string `json:"end_session_endpoint"`
	Backchannel         bool   `json:"backchannel_logout_supported"`
	BackchannelSession  bool   `json:"backchannel_logout_session_supported"`
	Frontchannel        bool   `json:"frontchannel_logout_supported"`
	FrontchannelSession bool   `json:"frontchannel_logout_session_supported"`
}

func (s *Server) metadata() metadata {
	at := func(path string) string { return s.Config.Issuer + path }
	var every, confidential []string
	for _, m := range oauth.AuthMethods() {
		if every = append(every, string(m)); m != oauth.AuthNone {
			confidential = append(confidential, string(m))
		}
	}
	proofs, signs := oauth.AssertionAlgorithms(), s.Config.Algorithms
	out := metadata{
		Issuer: s.Config.Issuer, Documentation: at("/docs"),
		keyMetadata: keyMetadata{JWKSURI: at("/.well-known/jwks.json"), Revocations: at("/.well-known/revocations"), StatusLists: at(tokens.StatusListPath)},
		authorizationMetadata: authorizationMetadata{
			Authorization: at(authorizePath), ResponseTypes: []string{"code"}, ResponseModes: oauth.ResponseModes(), Scopes: oauth.IdentityScopes(),
			Challenges: oauth.CodeChallengeMethods(), Prompts: oauth.PromptValues(), ACRValues: []string{oauth.ACRPassword},
			Displays: []string{"page"}, IssInResponses: true,
		},
		tokenEndpointMetadata: tokenEndpointMetadata{
			Token: at("/oauth2/token"), GrantTypes: oauth.GrantTypes(), SubjectTokens: oauth.SubjectTokenTypes(), TokenAuthMethods: every, TokenAuthAlgs: proofs,
		},
		tokenMetadata: tokenMetadata{
			Introspection: at("/oauth2/introspect"), IntrospectionAuthMethods: confidential, IntrospectionAuthAlgs: proofs, IntrospectionAlgs: signs,
			Revocation: at("/oauth2/revoke"), RevocationAuthMethods: every, RevocationAuthAlgs: proofs,
		},
		userMetadata: userMetadata{
			UserInfo: at(userInfoPath), UserInfoAlgs: signs, IDTokenAlgs: signs, SubjectTypes: oauth.SubjectTypes(),
			Claims: append(oauth.IdentityClaims(), oauth.IDTokenClaims()...), ClaimTypes: []string{"normal"}, ClaimsParameter: true,
		},
		requestObjectMetadata: requestObjectMetadata{
			Request: true, RequestURI: s.Pages.Authorizer != nil && s.Pages.Authorizer.Objects != nil, RequestURIRegistered: true, RequestObjectAlgs: oauth.RequestObjectAlgorithms(),
		},
		logoutMetadata: logoutMetadata{EndSession: at(logoutPath), Backchannel: true, BackchannelSession: true, Frontchannel: true, FrontchannelSession: true},
	}
	if g := s.Services.Registrations; g != nil && g.Mode != oauth.RegistrationOff {
		out.Registration = at(registerPath)
	}
	return out
}
