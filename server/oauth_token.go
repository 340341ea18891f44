package server

import (
	"cmp"
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// grantReply is a successful token response (RFC 6749 §5.1).
type grantReply struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
	IDToken      string `json:"id_token,omitempty"`          // OpenID Connect Core 1.0 §3.1.3.3
	IssuedType   string `json:"issued_token_type,omitempty"` // RFC 8693 §2.2.1, of an exchange
}

// client finds out which registered client sent the form.
func (s *Server) client(ctx context.Context, f form) (oauth.Registered, error) {
	return s.Services.Proofs.Authenticate(ctx, oauth.ClientProof{Authorization: f.authorization, Params: f.params, Origin: f.origin})
}

// tokenClient is the client that asks for a token. Whoever exchanges an API key
// has proved enough with that, and needs to be no client of their own.
func (s *Server) tokenClient(ctx context.Context, f form) (oauth.Client, error) {
	if f.params["grant_type"] == oauth.GrantTokenExchange && oauth.IsAPIKeyClient(oauth.ClientProof{Authorization: f.authorization, Params: f.params}) {
		return oauth.APIKeyClient(s.Config.AccessTTL), nil
	}
	registered, err := s.client(ctx, f)
	return registered.Client(s.Config.AccessTTL), err
}

// grantToken serves POST /oauth2/token (RFC 6749 §3.2).
func (s *Server) grantToken(ctx context.Context, f form) (grantReply, error) {
	typ := f.params["grant_type"]
	client, err := s.tokenClient(ctx, f)
	if err != nil {
		return grantReply{}, err
	}
	if typ == "" {
		return grantReply{}, fault.New(fault.Malformed, "The parameter grant_type is required.")
	}
	if typ == oauth.GrantRefreshToken && f.params["refresh_token"] == "" {
		return grantReply{}, fault.New(fault.Malformed, "The parameter refresh_token is required.")
	}
	got, err := s.Services.OAuth.Exchange(ctx, typ, client, oauth.Request{Params: f.params, Origin: f.origin})
	if err != nil {
		return grantReply{}, err
	}
	var issued string
	if typ == oauth.GrantTokenExchange {
		issued = cmp.Or(f.params["requested_token_type"], oauth.TokenTypeAccess)
	}
	return grantReply{
		IssuedType: issued, AccessToken: got.Access.Reveal(), TokenType: "Bearer", ExpiresIn: int64(got.ExpiresAt.Sub(got.IssuedAt) / time.Second),
		RefreshToken: got.Refresh.Reveal(), Scope: got.Scopes.String(), IDToken: got.IDToken,
	}, nil
}
