package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// logoutRequest names the session to end by an access token (header or cookie),
// by a refresh token (body or cookie), or by both.
type logoutRequest struct {
	RefreshToken string `json:"refresh_token"`

	caller ident.Caller // whom the access token names
	denied error        // why it names nobody
}

func (*logoutRequest) bodyOptional() {}

func (r *logoutRequest) read(i *input) error {
	if r.caller, r.denied = i.s.authenticate(i.c.Writer.Header(), i.c.Request); r.denied == nil {
		i.in.caller = r.caller
		if r.caller.Kind != ident.Person {
			return fault.New(fault.InsufficientPermissions, "An API key has no session to end.")
		}
	}
	// A credential we cannot judge, or several, are no reason to look for another.
	if f := fault.Of(r.denied); r.denied != nil && f.Code != fault.Unauthenticated && f.Code != fault.InvalidToken {
		return r.denied
	}
	if r.RefreshToken != "" {
		return nil
	}
	var err error
	r.RefreshToken, err = i.cookie(i.s.jar().refresh)
	return err
}

// loggedOut clears the session cookies.
type loggedOut struct{}

func (loggedOut) head(s *Server, h http.Header) { s.clearSession(h) }

// logout serves POST /api/v1/auth/logout. Whoever asks to be signed out loses
// the cookies, unless the session may have survived because storage failed.
func (s *Server) logout(ctx context.Context, caller ident.Caller, req logoutRequest) (loggedOut, error) {
	if err := s.endSession(ctx, caller, req); err != nil {
		if errors.Is(err, fault.InvalidToken) {
			err = forgetting{err}
		}
		return loggedOut{}, err
	}
	return loggedOut{}, nil
}

func (s *Server) endSession(ctx context.Context, caller ident.Caller, req logoutRequest) error {
	presented := tokens.Presented{Token: req.RefreshToken, Client: s.Services.API.ID, Origin: caller.Origin}
	switch {
	case req.denied != nil && req.RefreshToken == "":
		return req.denied
	case req.denied != nil: // the access token has expired, or was never sent
		return s.Services.Sessions.RevokePresented(ctx, presented)
	}
	if err := s.Services.Sessions.Logout(ctx, req.caller); err != nil || req.RefreshToken == "" {
		return err
	}
	// Normally the refresh token is of the session that just ended.
	if err := s.Services.Sessions.RevokePresented(ctx, presented); err != nil && !errors.Is(err, fault.InvalidToken) {
		return err
	}
	return nil
}
