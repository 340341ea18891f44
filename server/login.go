package server

import (
	"context"
	"net/http"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// loginRequest is the body of both login routes.
type loginRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Proof    string `json:"proof"` // the answer to the challenge of a 423 or 401

	device string
}

func (r *loginRequest) read(i *input) error {
	if err := missing("email", r.Email, "password", r.Password); err != nil {
		return err
	}
	var err error
	r.device, err = i.cookie(i.s.jar().device)
	return err
}

// missing refuses the empty ones of pairs of a field's name and its value.
func missing(pairs ...string) error {
	var refused []fault.Field
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			refused = append(refused, fault.Field{Name: pairs[i], Detail: "is required"})
		}
	}
	if f := fault.Refusals(refused); f != nil {
		return f
	}
	return nil
}

func (s *Server) password(ctx context.Context, c oauth.Client, caller ident.Caller, req loginRequest) (oauth.Response, error) {
	return s.Services.OAuth.Exchange(ctx, oauth.GrantPassword, c, oauth.Request{
		Params: oauth.Params{"username": req.Email, "password": req.Password, "proof": req.Proof},
		Origin: caller.Origin, Device: req.device,
	})
}

// sessionLogin is the reply of POST /auth/login, in the words of the KubeWatch
// document: one token for the whole day and nothing that renews it.
type sessionLogin struct {
	Token     string      `json:"token"`
	ExpiresAt timestamp   `json:"expiresAt"`
	User      sessionUser `json:"user"`

	device string
}

type sessionUser struct {
	ID    ident.UserID `json:"id"`
	Email string       `json:"email"`
	Org   ident.OrgID  `json:"orgId"`
}

func (r sessionLogin) head(s *Server, h http.Header) { s.setDevice(h, r.device) }

// sessionLogin serves POST /auth/login.
func (s *Server) sessionLogin(ctx context.Context, caller ident.Caller, req loginRequest) (sessionLogin, error) {
	got, err := s.password(ctx, s.Services.Session, caller, req)
	if err != nil {
		return sessionLogin{}, err
	}
	return sessionLogin{
		Token: got.Access.Reveal(), ExpiresAt: timestamp{got.ExpiresAt}, device: got.Device,
		User: sessionUser{ID: got.User.ID, Email: got.User.Email, Org: got.Org},
	}, nil
}

// tokenReply is the reply of the Overwatch document's login and refresh. Its
// token_type is in lower case there (RFC 6749 §5.1 does not care).
type tokenReply struct {
	AccessToken  string     `json:"access_token"`
	RefreshToken string     `json:"refresh_token,omitempty"`
	TokenType    string     `json:"token_type"`
	ExpiresIn    int64      `json:"expires_in"` // seconds
	User         *loginUser `json:"user,omitempty"`

	cookies bool // whether the browser's jar gets the tokens as well
	device  string
}

type loginUser struct {
	ID           ident.UserID `json:"id"`
	Email        string       `json:"email"`
	Name         string       `json:"name"`
	Role         string       `json:"role"`
	Organization ident.OrgID  `json:"organization_id"`
}

func tokenReplyOf(got oauth.Response) tokenReply {
	return tokenReply{
		AccessToken: got.Access.Reveal(), RefreshToken: got.Refresh.Reveal(), TokenType: "bearer",
		ExpiresIn: int64(got.ExpiresAt.Sub(got.IssuedAt) / time.Second), device: got.Device,
	}
}

func (r tokenReply) head(s *Server, h http.Header) {
	if r.cookies {
		s.setSession(h, r.AccessToken, r.RefreshToken)
	}
	s.setDevice(h, r.device)
}

// login serves POST /api/v1/auth/login.
func (s *Server) login(ctx context.Context, caller ident.Caller, req loginRequest) (tokenReply, error) {
	got, err := s.password(ctx, s.Services.API, caller, req)
	if err != nil {
		return tokenReply{}, err
	}
	out := tokenReplyOf(got)
	out.cookies = true
	out.User = &loginUser{ID: got.User.ID, Email: got.User.Email, Name: got.User.Name, Role: got.Role, Organization: got.Org}
	return out, nil
}
