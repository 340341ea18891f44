package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/oauth"
)

// revoke serves POST /oauth2/revoke (RFC 7009 §2). A public client may revoke
// its own tokens: whoever has a token may end it. So may whoever has one that an
// API key was exchanged for, as the client cli_api_key.
func (s *Server) revoke(ctx context.Context, f form) (none, error) {
	proof := oauth.ClientProof{Authorization: f.authorization, Params: f.params}
	registered := oauth.APIKeyRegistered()
	if !oauth.IsAPIKeyClient(proof) || f.params["client_id"] == "" {
		var err error
		if registered, err = s.client(ctx, f); err != nil {
			return none{}, err
		}
	}
	token, err := presentedToken(f)
	if err != nil {
		return none{}, err
	}
	return none{}, s.Services.Inspector.Revoke(ctx, registered, token, f.origin)
}
