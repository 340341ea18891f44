package oauth

import (
	"context"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// grants is every way to earn tokens. Discovery, the client check and the token
// endpoint read this table: a grant that is not here does not exist.
var grants = []grant{
	password,
	refreshToken,
	clientCredentials,
	authorizationCode,
	tokenExchange,
}

// A grant proves who the tokens are for. It never mints: Exchange does, after
// every grant.
type grant struct {
	typ    string   // the grant_type value
	params []string // the only parameters earn can read
	client clientRule
	earn   func(context.Context, *Provider, Client, Request) (earned, error)
}

// clientRule says which clients may use a grant at all.
type clientRule int

const (
	anyClient clientRule = iota
	firstPartyOnly
	confidentialOnly
)

// earned is what a grant proved, and how it ends.
type earned struct {
	user           ident.UserID
	org            ident.OrgID
	session        ident.SessionID
	refresh        secret.Plain // zero: none is given
	refreshExpires time.Time
	device         string       // the new device cookie
	browser        secret.Plain // the cookie of a browser session
	place          tokens.Place // where the access token stands; zero: where it likes
	// authorization is what a user allowed a client of others; nil where none
	// stands between the user and the token.
	authorization *Authorization
	first         bool // the tokens answer the authorization request itself
	// standing says what the client itself may do, where no user stands behind
	// the token; user and session are empty then. Where key is set: what it may do.
	standing func(context.Context) (accounts.Standing, error)
	// key is the API key that is exchanged; nil where none is.
	key *apikeys.Exchangeable

	// record makes what was earned lasting, once everything else has succeeded
	// and the access token is made, and returns it with what only then is known.
	record func(context.Context, tokens.Access) (earned, error)
	// refuse is called instead where the user may not enter, and returns the refusal.
	refuse func(ctx context.Context, reason string) error
	// drop is called instead where something of ours failed, and returns cause.
	drop func(ctx context.Context, cause error) error
}

// grantFor finds the grant and holds that the client may use it.
func grantFor(typ string, c Client) (grant, error) {
	i := slices.IndexFunc(grants, func(g grant) bool { return g.typ == typ })
	switch {
	case i < 0:
		return grant{}, fault.New(fault.UnsupportedGrant, "This grant type is not supported.")
	case grants[i].client == firstPartyOnly && !c.FirstParty:
		return grant{}, fault.New(fault.UnauthorizedClient, "Only tokenhouse itself may use this grant type.")
	case grants[i].client == confidentialOnly && !c.Confidential:
		return grant{}, fault.New(fault.UnauthorizedClient, "Only a client that proves who it is may use this grant type.")
	case !slices.Contains(c.Grants, typ):
		return grant{}, fault.New(fault.UnauthorizedClient, "The client may not use this grant type.")
	}
	return grants[i], nil
}

// GrantTypes lists the grant types that clients of others may use, as
// discovery documents show them (RFC 8414 §2).
func GrantTypes() []string {
	var out []string
	for _, g := range grants {
		if g.client != firstPartyOnly {
			out = append(out, g.typ)
		}
	}
	return out
}

func invalidScope() error {
	return fault.New(fault.InvalidScope, "The scope is unknown, malformed or exceeds what may be granted.")
}

// invalidGrant is a code that is no good. The client is not told why; the
// reason is for the log.
func invalidGrant(reason string) error {
	return fault.New(fault.InvalidToken, "The authorization code is not valid.").Because(reason)
}
