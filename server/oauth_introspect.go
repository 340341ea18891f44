package server

import (
	"cmp"
	"context"
	"encoding/json"
	"mime"
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// introspection is the answer about a token (RFC 7662 §2.2). One that is not
// active has active only.
type introspection struct {
	Active      bool           `json:"active"`
	Scope       string         `json:"scope,omitempty"`
	Client      ident.ClientID `json:"client_id,omitempty"`
	TokenType   string         `json:"token_type,omitempty"`
	ExpiresAt   int64          `json:"exp,omitempty"`
	IssuedAt    int64          `json:"iat,omitempty"`
	NotBefore   int64          `json:"nbf,omitempty"`
	Subject     string         `json:"sub,omitempty"`
	Audience    audience       `json:"aud,omitempty"`
	Issuer      string         `json:"iss,omitempty"`
	ID          string         `json:"jti,omitempty"`
	Org         ident.OrgID    `json:"org_id,omitempty"`
	Permissions []string       `json:"permissions,omitempty"`
	introspectedBinding
}

// introspectedBinding is what the token stands and falls with.
type introspectedBinding struct {
	Session ident.SessionID `json:"sid,omitempty"`
	Key     ident.APIKeyID  `json:"key_id,omitempty"`
	introspectedLogin
}

// introspectedLogin is the login behind the token (RFC 7662 §2.2, RFC 9470 §6.2).
type introspectedLogin struct {
	Username string   `json:"username,omitempty"`
	Time     int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	Methods  []string `json:"amr,omitempty"`
}

// introspected is the answer as the client wants it: a JSON object, or a JWT
// (RFC 9701 §4).
type introspected struct {
	plain introspection
	jwt   string
}

func (i introspected) encode() (kind string, body any) {
	if i.jwt != "" {
		return signedIntrospection, i.jwt
	}
	return "application/json", i.plain
}

// signedIntrospection is the media type that asks for a JWT (RFC 9701 §4).
const signedIntrospection = "application/" + oauth.IntrospectionType

// wantsSigned reports whether the Accept header names the type of a JWT. What a
// wildcard covers is served plain.
func (f form) wantsSigned() bool {
	for part := range strings.SplitSeq(strings.Join(f.accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if q, bad := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64); err == nil && kind == signedIntrospection && bad == nil && q > 0 {
			return true
		}
	}
	return false
}

// audience is a string where there is one only, as in the token itself.
type audience []string

// MarshalJSON implements json.Marshaler.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// presentedToken returns the token that the form is about. Its kind is seen at
// sight, so that token_type_hint is not needed, and a wrong one does no harm
// (RFC 7009 §2.1).
func presentedToken(f form) (string, error) {
	if f.params["token"] == "" {
		return "", fault.New(fault.Malformed, "The parameter token is required.")
	}
	return f.params["token"], nil
}

// introspect serves POST /oauth2/introspect (RFC 7662 §2).
func (s *Server) introspect(ctx context.Context, f form) (introspected, error) {
	registered, err := s.client(ctx, f)
	if err != nil {
		return introspected{}, err
	}
	token, err := presentedToken(f)
	if err != nil {
		return introspected{}, err
	}
	got, err := s.Services.Inspector.Introspect(ctx, registered, token)
	if err != nil {
		return introspected{}, err
	}
	out := introspected{plain: introspectionOf(got)}
	if f.wantsSigned() {
		out.jwt, err = s.Services.Inspector.SignIntrospection(ctx, registered, out.plain)
	}
	return out, err
}

func introspectionOf(i oauth.Introspection) introspection {
	if !i.Active {
		return introspection{}
	}
	out := introspection{
		Active: true, Scope: i.Scope, Client: i.Client, TokenType: i.TokenType, ExpiresAt: i.ExpiresAt.Unix(), IssuedAt: i.IssuedAt.Unix(),
		Subject: i.Subject, Audience: i.Audience, Issuer: i.Issuer, ID: i.ID, Org: i.Org, Permissions: i.Permissions,
	}
	out.Session, out.Key = i.Session, i.Key
	out.introspectedLogin = introspectedLogin{i.Login.Username, i.Login.Time, i.Login.ACR, i.Login.Methods}
	if !i.NotBefore.IsZero() {
		out.NotBefore = i.NotBefore.Unix()
	}
	return out
}
