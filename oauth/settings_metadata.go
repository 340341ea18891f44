package oauth

import (
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// SettingsMetadata are the settings of a client that have names in RFC 7591 §2
// and OpenID Connect Registration 1.0 §2. What is nil is not said.
type SettingsMetadata struct {
	ApplicationType  *string   `json:"application_type,omitempty"`
	RequestURIs      *[]string `json:"request_uris,omitempty"`
	InitiateLoginURI *string   `json:"initiate_login_uri,omitempty"`
	SubjectMetadata
	SigningMetadata
	LoginMetadata
	DisplayMetadata
}

// SubjectMetadata is ClientSubject.
type SubjectMetadata struct {
	Type      *string `json:"subject_type,omitempty"` // public or pairwise
	SectorURI *string `json:"sector_identifier_uri,omitempty"`
}

// SigningMetadata is ClientSigning.
type SigningMetadata struct {
	IDToken       *string `json:"id_token_signed_response_alg,omitempty"`
	UserInfo      *string `json:"userinfo_signed_response_alg,omitempty"`
	RequestObject *string `json:"request_object_signing_alg,omitempty"`
	Introspection *string `json:"introspection_signed_response_alg,omitempty"`
	TokenEndpoint *string `json:"token_endpoint_auth_signing_alg,omitempty"`
}

// LoginMetadata is ClientMinimum. A negative age takes the age away.
type LoginMetadata struct {
	MaxAge      *int64    `json:"default_max_age,omitempty"`
	RequireTime *bool     `json:"require_auth_time,omitempty"`
	ACRValues   *[]string `json:"default_acr_values,omitempty"`
}

// DisplayMetadata is ClientDisplay.
type DisplayMetadata struct {
	ClientURI *string   `json:"client_uri,omitempty"`
	LogoURI   *string   `json:"logo_uri,omitempty"`
	PolicyURI *string   `json:"policy_uri,omitempty"`
	TermsURI  *string   `json:"tos_uri,omitempty"`
	Contacts  *[]string `json:"contacts,omitempty"`
}

// LogoutMetadata is ClientLogout (OpenID Connect RP-Initiated Logout 1.0 §3,
// Back-Channel §2.2, Front-Channel §2).
type LogoutMetadata struct {
	RedirectURIs        *[]string `json:"post_logout_redirect_uris,omitempty"`
	BackchannelURI      *string   `json:"backchannel_logout_uri,omitempty"`
	BackchannelSession  *bool     `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelURI     *string   `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelSession *bool     `json:"frontchannel_logout_session_required,omitempty"`
}

// The subject types (OpenID Connect Core 1.0 §8).
const (
	SubjectPublic   = "public"
	SubjectPairwise = "pairwise"
)

// Check says what is wrong before it is applied: what settings have no place for.
func (m SettingsMetadata) Check() []fault.Field {
	if t := m.Type; t != nil && *t != SubjectPublic && *t != SubjectPairwise {
		return []fault.Field{{Name: "subject_type", Detail: "must be public or pairwise"}}
	}
	return nil
}

// Apply puts what is said in the place of what s says.
func (m SettingsMetadata) Apply(s *ClientSettings) {
	set(&s.ApplicationType, m.ApplicationType)
	set(&s.RequestURIs, m.RequestURIs)
	set(&s.InitiateLoginURI, m.InitiateLoginURI)
	if m.Type != nil {
		s.Subject.Pairwise = *m.Type == SubjectPairwise
	}
	set(&s.Subject.SectorURI, m.SectorURI)
	set(&s.Signing.IDToken, m.IDToken)
	set(&s.Signing.UserInfo, m.UserInfo)
	set(&s.Signing.RequestObject, m.RequestObject)
	set(&s.Signing.Introspection, m.Introspection)
	set(&s.Signing.TokenEndpoint, m.TokenEndpoint)
	if m.MaxAge != nil {
		s.Authentication.MaxAge = nil
		if *m.MaxAge >= 0 {
			s.Authentication.MaxAge = m.MaxAge
		}
	}
	set(&s.Authentication.RequireTime, m.RequireTime)
	set(&s.Authentication.ACRValues, m.ACRValues)
	set(&s.Display.ClientURI, m.ClientURI)
	set(&s.Display.LogoURI, m.LogoURI)
	set(&s.Display.PolicyURI, m.PolicyURI)
	set(&s.Display.TermsURI, m.TermsURI)
	set(&s.Display.Contacts, m.Contacts)
}

// SettingsMetadataOf says of s what is not the default.
func SettingsMetadataOf(s ClientSettings) SettingsMetadata {
	subject := SubjectPublic
	if s.Subject.Pairwise {
		subject = SubjectPairwise
	}
	return SettingsMetadata{
		ApplicationType: said(s.ApplicationType), RequestURIs: saidList(s.RequestURIs), InitiateLoginURI: said(s.InitiateLoginURI),
		SubjectMetadata: SubjectMetadata{Type: &subject, SectorURI: said(s.Subject.SectorURI)},
		SigningMetadata: SigningMetadata{
			IDToken: said(s.Signing.IDToken), UserInfo: said(s.Signing.UserInfo), RequestObject: said(s.Signing.RequestObject),
			Introspection: said(s.Signing.Introspection), TokenEndpoint: said(s.Signing.TokenEndpoint),
		},
		LoginMetadata: LoginMetadata{MaxAge: s.Authentication.MaxAge, RequireTime: said(s.Authentication.RequireTime), ACRValues: saidList(s.Authentication.ACRValues)},
		DisplayMetadata: DisplayMetadata{
			ClientURI: said(s.Display.ClientURI), LogoURI: said(s.Display.LogoURI), PolicyURI: said(s.Display.PolicyURI), TermsURI: said(s.Display.TermsURI),
			Contacts: saidList(s.Display.Contacts),
		},
	}
}

// Apply puts what is said in the place of what l says.
func (m LogoutMetadata) Apply(l *ClientLogout) {
	set(&l.RedirectURIs, m.RedirectURIs)
	set(&l.BackchannelURI, m.BackchannelURI)
	set(&l.BackchannelSession, m.BackchannelSession)
	set(&l.FrontchannelURI, m.FrontchannelURI)
	set(&l.FrontchannelSession, m.FrontchannelSession)
}

// LogoutMetadataOf says of l what is not the default.
func LogoutMetadataOf(l ClientLogout) LogoutMetadata {
	return LogoutMetadata{
		RedirectURIs: saidList(l.RedirectURIs), BackchannelURI: said(l.BackchannelURI), BackchannelSession: said(l.BackchannelSession),
		FrontchannelURI: said(l.FrontchannelURI), FrontchannelSession: said(l.FrontchannelSession),
	}
}

// said is nil for the zero value.
func said[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

func saidList(v []string) *[]string {
	if len(v) == 0 {
		return nil
	}
	return &v
}
