package oauth

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// ClientSource finds registered clients: Clients.
type ClientSource interface {
	// Lookup returns the client of that id, whatever its organisation and status;
	// fault.NotFound where there is none.
	Lookup(ctx context.Context, id ident.ClientID) (Registered, error)
}

// clientCredentials gives a client a token of its own (RFC 6749 §4.4): its sub
// is the client, no user's rights are in it, and nothing renews it (RFC 6749
// §4.4.3). It writes nothing.
var clientCredentials = grant{
	typ:    GrantClientCredentials,
	params: []string{"scope", "resource"},
	client: confidentialOnly,
	earn: func(_ context.Context, p *Provider, c Client, r Request) (earned, error) {
		e := earned{org: c.Org}
		// The client is read again after the moment of the token was taken: had
		// it been disabled before, this shows; if it is disabled afterwards, the
		// announcement of that covers the token.
		e.standing = func(ctx context.Context) (accounts.Standing, error) { return p.clientStanding(ctx, c) }
		e.record = func(ctx context.Context, _ tokens.Access) (earned, error) {
			return e, p.Usage.issued(ctx, c, r.Origin)
		}
		e.drop = func(_ context.Context, cause error) error { return cause }
		e.refuse = func(context.Context, string) error { return errInvalidClient() }
		return e, nil
	},
}

func (p *Provider) clientStanding(ctx context.Context, c Client) (accounts.Standing, error) {
	r, err := p.Clients.Lookup(ctx, c.ID)
	switch {
	case errors.Is(err, fault.NotFound):
		return accounts.Standing{}, nil
	case err != nil:
		return accounts.Standing{}, err
	}
	s := accounts.Standing{Org: r.Org, Name: r.Name, Active: r.Active() && r.Org == c.Org && r.MayUse(GrantClientCredentials)}
	if s.Active {
		s.Permissions = r.Permissions()
	}
	return s, nil
}

// errInvalidClient never says what was wrong with the client.
func errInvalidClient() error { return fault.InvalidClient }
