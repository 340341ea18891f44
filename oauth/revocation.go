package oauth

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Revoke ends one of the client's own tokens (RFC 7009 §2.1): with a refresh
// token its whole session, with an access token that token only. A token that
// is no good, or not the client's, is left as it is, and that is no failure
// (RFC 7009 §2.2): the client is rid of it either way, and learns nothing.
func (i *Inspector) Revoke(ctx context.Context, c Registered, token string, origin ident.Origin) error {
	var err error
	if i.Sessions.IsRefreshToken(token) {
		err = i.Sessions.RevokePresented(ctx, tokens.Presented{Token: token, Client: c.ID, Origin: origin})
	} else {
		err = i.revokeAccess(ctx, c, token, origin)
	}
	if errors.Is(err, fault.InvalidToken) {
		return nil
	}
	return err
}

func (i *Inspector) revokeAccess(ctx context.Context, c Registered, token string, origin ident.Origin) error {
	t, err := judged(i.Tokens.Issued(ctx, token))
	if err != nil || !owns(c, t) {
		return err
	}
	by := ident.Caller{Kind: ident.ServiceClient, Org: c.Org, Client: c.ID, Session: ident.SessionID(t.SessionID), Origin: origin}
	if c.ID == APIKeyClientID { // whoever bears the token
		by = ident.Caller{Kind: ident.APIKey, Org: ident.OrgID(t.OrgID), User: ident.UserID(t.Subject), Key: ident.APIKeyID(t.Bound.KeyID), Token: ident.TokenID(t.ID), Origin: origin}
	}
	at := i.Sessions.PlaceOf(i.Issuer, tokens.StatusReference{Index: t.Bound.Status.Index, URI: t.Bound.Status.URI})
	return i.Sessions.RevokeAccess(ctx, by, ident.TokenID(t.ID), t.ExpiresAt, at)
}
