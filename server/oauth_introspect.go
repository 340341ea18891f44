package server

import (
	"context"
	"encoding/json"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// introspection is the answer about a token (RFC 7662 §2.2). One that is not
// active has active only.
type introspection struct {
	Active      bool            `json:"active"`
	Scope       string          `json:"scope,omitempty"`
	Client      ident.ClientID  `json:"client_id,omitempty"`
	TokenType   string          `json:"token_type,omitempty"`
	ExpiresAt   int64           `json:"exp,omitempty"`
	IssuedAt    int64           `json:"iat,omitempty"`
	NotBefore   int64           `json:"nbf,omitempty"`
	Subject     string          `json:"sub,omitempty"`
	Audience    audience        `json:"aud,omitempty"`
	Issuer      string          `json:"iss,omitempty"`
	ID          string          `json:"jti,omitempty"`
	Org         ident.OrgID     `json:"org_id,omitempty"`
	Permissions []string        `json:"permissions,omitempty"`
	Session     ident.SessionID `json:"sid,omitempty"`
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
func (s *Server) introspect(ctx context.Context, f form) (introspection, error) {
	registered, err := s.client(ctx, f)
	if err != nil {
		return introspection{}, err
	}
	token, err := presentedToken(f)
	if err != nil {
		return introspection{}, err
	}
	got, err := s.Services.Inspector.Introspect(ctx, registered, token)
	if err != nil || !got.Active {
		return introspection{}, err
	}
	return introspectionOf(got), nil
}

func introspectionOf(i oauth.Introspection) introspection {
	out := introspection{
		Active: true, Scope: i.Scope, Client: i.Client, TokenType: i.TokenType, ExpiresAt: i.ExpiresAt.Unix(), IssuedAt: i.IssuedAt.Unix(),
		Subject: i.Subject, Audience: i.Audience, Issuer: i.Issuer, ID: i.ID, Org: i.Org, Permissions: i.Permissions, Session: i.Session,
	}
	if !i.NotBefore.IsZero() {
		out.NotBefore = i.NotBefore.Unix()
	}
	return out
}
