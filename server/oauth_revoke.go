package server

import "context"

// revoke serves POST /oauth2/revoke (RFC 7009 §2). A public client may revoke
// its own tokens: whoever has a token may end it.
func (s *Server) revoke(ctx context.Context, f form) (none, error) {
	registered, err := s.client(ctx, f)
	if err != nil {
		return none{}, err
	}
	token, err := presentedToken(f)
	if err != nil {
		return none{}, err
	}
	return none{}, s.Services.Inspector.Revoke(ctx, registered, token, f.origin)
}
