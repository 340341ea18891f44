package tokens

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Signer signs with the active key. The ring of keys/signing is one.
type Signer interface {
	// Sign returns the compact JWS (RFC 7515 §7.1) over payload with the header
	// {alg, kid, typ}.
	Sign(ctx context.Context, payload []byte, typ string) (string, error)
}

// Minter makes access tokens. Every field but Cutoff is required; without Places
// tokens have no status.
type Minter struct {
	Signer   Signer
	Issuer   string // iss: the public URL of the deployment, without a trailing slash
	Audience string // aud: the resource servers that share it
	Now      func() time.Time
	Random   io.Reader
	// Cutoff, where set, returns the moment at or before which every token of
	// the user counts as revoked, and whether there is one.
	Cutoff func(ident.UserID) (time.Time, bool)
	// Places are the places of tokens in status lists, and StatusKey the key of
	// their indexes.
	Places    Places
	StatusKey []byte
}

// AccessGrant is what an access token shall say.
type AccessGrant struct {
	User        ident.UserID
	Org         ident.OrgID
	Session     ident.SessionID // may be empty
	Client      ident.ClientID
	Roles       []string
	Permissions scope.Set      // concrete permissions: readers need no wildcard rule
	TTL         time.Duration  // whole seconds, at least one
	Scope       string         // the scope claim; the permissions where empty
	Audience    []string       // aud; the Minter's where empty
	Moment      Moment         // taken before Permissions were read; the present one where zero
	Key         ident.APIKeyID // that the token is exchanged for, and dies with; may be empty
	// Place is where the token stands in a status list, as its session remembers
	// it; without a session it is one of those of the API key, or else the client.
	Place Place
}

// Moment is when a token is issued. It is taken before what the token says is
// read: a revocation that comes in between then covers the token.
type Moment struct {
	now    time.Time
	issued int64 // iat
}

// Access is a minted access token.
type Access struct {
	Token     secret.Plain
	ID        ident.TokenID
	IssuedAt  time.Time // whole seconds
	ExpiresAt time.Time // whole seconds; ExpiresAt - IssuedAt is the grant's TTL
	Place     Place     // zero where the token has no status
}

// errNoLifetime is a programming mistake: a token that was never good.
var errNoLifetime = errors.New("tokens: an access token needs a lifetime of at least a second")

// Moment returns the present moment for a token of the user.
//
// A user whose earlier tokens were all revoked a moment ago (a role was taken)
// gets a token that is issued just after that moment: iat has whole seconds
// only, so the fresh token would otherwise be refused together with the old
// ones. nbf stays the present time, so that the token can be used at once.
func (m *Minter) Moment(user ident.UserID) Moment {
	now := m.Now()
	issued := now.Unix()
	if m.Cutoff != nil {
		if cut, ok := m.Cutoff(user); ok && cut.Unix() >= issued {
			issued = cut.Unix() + 1
		}
	}
	return Moment{now: now, issued: issued}
}

// Prepare gives the grant its place and then its moment, where it has none yet.
// What the token says is read afterwards: a revocation that comes in between
// then covers the place or the moment. Whoever prepares the token of a session
// sees to it that the session remembers the place.
func (m *Minter) Prepare(ctx context.Context, g AccessGrant) (AccessGrant, error) {
	if m.Places != nil && g.Place == (Place{}) {
		var err error
		if g.Place, err = m.Places.Next(ctx, g.leaseHolder()); err != nil {
			return g, fmt.Errorf("place in a status list: %w", err)
		}
	}
	if g.Moment == (Moment{}) {
		g.Moment = m.Moment(g.User)
	}
	return g, nil
}

// name returns the jti and the status of a token at its place.
func (m *Minter) name(g AccessGrant) (ident.TokenID, *StatusClaim) {
	if g.Place == (Place{}) {
		return ident.NewTokenID(g.Moment.now, m.Random), nil
	}
	return TokenIDAt(m.StatusKey, g.Place), &StatusClaim{StatusReference{
		Index: IndexOf(m.StatusKey, g.Place.List, g.Place.Position), URI: StatusListURI(m.Issuer, g.Place.List),
	}}
}

// Mint returns a fresh access token for the grant (RFC 9068 §2). It writes
// nothing, but for a block of places from time to time; it fails only where
// signing does, or where no place is left and storage gives no more.
func (m *Minter) Mint(ctx context.Context, g AccessGrant) (Access, error) {
	if g.TTL < time.Second {
		return Access{}, errNoLifetime
	}
	g, err := m.Prepare(ctx, g)
	if err != nil {
		return Access{}, err
	}
	now, issued := g.Moment.now, g.Moment.issued
	if g.Scope == "" {
		g.Scope = g.Permissions.String()
	}
	if len(g.Audience) == 0 {
		g.Audience = []string{m.Audience}
	}
	c := Claims{
		Issuer: m.Issuer, Subject: g.User, Audience: g.Audience,
		ExpiresAt: issued + int64(g.TTL/time.Second), IssuedAt: issued, NotBefore: now.Unix(),
		Session: g.Session, Org: g.Org, Roles: g.Roles, Permissions: g.Permissions.Strings(), Client: g.Client, Key: g.Key, Scope: g.Scope,
	}
	c.ID, c.Status = m.name(g)
	payload, err := c.Payload()
	if err != nil {
		return Access{}, fmt.Errorf("encode claims: %w", err)
	}
	jws, err := m.Signer.Sign(ctx, payload, AccessTokenType)
	if err != nil {
		return Access{}, fmt.Errorf("sign access token: %w", err)
	}
	return Access{
		Token: secret.Of(jws), ID: c.ID, Place: g.Place,
		IssuedAt: time.Unix(c.IssuedAt, 0).UTC(), ExpiresAt: time.Unix(c.ExpiresAt, 0).UTC(),
	}, nil
}
