package oauth

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// refreshToken renews the access token of a session (RFC 6749 §6). What the
// user may do is read anew each time, so that a token never carries more than
// the present standing (SEC-OAU-36).
var refreshToken = grant{
	typ:    GrantRefreshToken,
	params: []string{"refresh_token", "scope", "resource"}, // a narrower scope or resource is for this one access token
	client: anyClient,
	earn: func(ctx context.Context, p *Provider, c Client, r Request) (earned, error) {
		next, err := p.Sessions.Refresh(ctx, tokens.Presented{
			Token: r.Params["refresh_token"], Client: c.ID, Origin: r.Origin,
			Proof: p.Logins.DeviceProof(r.Device), RetryKey: r.RetryKey, AccessTTL: c.AccessTTL,
		})
		if err != nil {
			return earned{}, err
		}
		e := earned{
			user: next.Family.User, org: next.Family.Org, session: next.Family.ID,
			refresh: next.Token, refreshExpires: next.ExpiresAt, place: next.Place,
		}
		if text := next.Family.Delegation.Authorization; text != "" {
			allowed, err := readAuthorization(text)
			if err != nil {
				return earned{}, err
			}
			e.authorization = &allowed
		}
		// A rotation that nobody hears of harms nothing: the token presented
		// again gets the same answer. So there is nothing to record or undo.
		e.record = func(context.Context, tokens.Access) (earned, error) { return e, nil }
		e.drop = func(_ context.Context, cause error) error { return cause }
		e.refuse = func(context.Context, string) error {
			return fault.New(fault.InvalidToken, "Refresh token has been revoked").Because("revoked")
		}
		return e, nil
	},
}
