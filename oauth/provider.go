// Package oauth turns proofs of identity into tokens. A grant proves who is
// asking; Exchange does everything else, for every grant alike, and is the
// only place that mints. The package knows the protocol, not HTTP.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// The grant types.
const (
	// GrantPassword is first-party only: RFC 9700 §2.4 forbids it to others.
	GrantPassword = "password"
	// GrantRefreshToken renews an access token (RFC 6749 §6).
	GrantRefreshToken = "refresh_token"
)

// Params are the parameters of a token request by their protocol names:
// "username", "password", "refresh_token", "scope". They hold credentials, so
// they never print.
type Params map[string]string

// String returns a fixed text.
func (Params) String() string { return "[redacted]" }

// GoString returns a fixed text.
func (Params) GoString() string { return "[redacted]" }

// LogValue logs a fixed text.
func (Params) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Request is a token request of an authenticated client.
type Request struct {
	Params   Params
	Origin   ident.Origin
	Device   string // the device cookie as presented; empty where there is none
	RetryKey string // Idempotency-Key of a refresh, where sent
	// Session is the browser's own one at present, where BrowserClient asks: a
	// login of the same user goes on with it, one of another ends it.
	Session ident.SessionID
}

// Person is whom the tokens are for, as far as a login reply shows them.
type Person struct {
	ID    ident.UserID
	Email string
	Name  string
}

// Response is what a token request earned. Its zero Refresh means that none is given.
type Response struct {
	User        Person
	Org         ident.OrgID
	Role        string
	Permissions scope.Set

	Session          ident.SessionID
	Access           secret.Plain
	AccessID         ident.TokenID
	IssuedAt         time.Time // whole seconds, as in the token
	ExpiresAt        time.Time // of Access, whole seconds
	Refresh          secret.Plain
	RefreshExpiresAt time.Time // of Refresh, as far as it is not used before

	Device string // the new value of the device cookie; empty: leave it as it is

	Browser secret.Plain // the cookie of a browser session; zero: not one
	IDToken string       // where openid was granted
	Scopes  Scopes       // what Access carries, as the token response tells (RFC 6749 §5.1)
}

// Provider answers token requests. Every field but Observe and
// Issued is required.
type Provider struct {
	Store     Store
	Logins    *accounts.Authenticator
	Sessions  *tokens.Service
	Directory *accounts.Directory
	Clients   ClientSource
	Codes     CodeReader
	Minter    *tokens.Minter
	IDs       *IDTokens
	Keys      APIKeyExchanger
	Now       func() time.Time
	Random    io.Reader
	// Observe, where set, is told of every token given out: by which grant, and
	// which kind: "access_token", "refresh_token" or "id_token".
	Observe func(grant, kind string)
	// Issued, where set, is told of every access token given out: for which
	// organisation, by which grant.
	Issued func(org ident.OrgID, grant string)
	// Usage, where set, tells the audit log of clients that got tokens of their own.
	Usage *ClientUsage
}

// Exchange answers a token request (RFC 6749 §3.2) of the authenticated client
// c. The order of the checks is the order below; a grant only supplies earn.
//
// What it costs in statements and commits (TestCostOfAnExchange holds it):
//   - a login: 3 reads, 2 statements in the commit that takes its place, the
//     standing, and 6 in the commit that is the login;
//   - a refused login: the same 3 reads and first commit, then 3 in another;
//   - a login while locked: 1 read, and 1 statement in 1 commit;
//   - a refresh that rotates: 1 read, 2 statements in 1 commit (1 of them the
//     event, once an hour for each session), and the standing;
//   - a code: 1 read, the standing, and 7 statements in the commit that is the
//     session;
//   - a client's own token: nothing, once the client is in memory;
//   - a token for an API key: the key and the standing.
func (p *Provider) Exchange(ctx context.Context, typ string, c Client, r Request) (Response, error) {
	g, err := grantFor(typ, c)
	if err != nil {
		return Response{}, err
	}
	r.Params = r.Params.only(g.params)
	if err := g.readable(c, r.Params["scope"]); err != nil {
		return Response{}, err
	}
	out, err := p.exchange(ctx, g, c, r)
	if errors.Is(err, errRaced) {
		out, err = p.exchange(ctx, g, c, r)
	}
	if err != nil {
		return Response{}, err
	}
	p.observe(typ, out)
	return out, nil
}

// errRaced means that what a grant proved was no longer so when it was to be
// recorded: the password had been changed or computed anew meanwhile.
var errRaced = errors.New("oauth: the proof was overtaken by a change")

func (p *Provider) exchange(ctx context.Context, g grant, c Client, r Request) (Response, error) {
	e, err := g.earn(ctx, p, c, r)
	if err != nil {
		return Response{}, err
	}
	grant, err := p.Minter.Prepare(ctx, tokens.AccessGrant{ // before the standing is read: see tokens.Moment
		User: e.subject(c), Org: e.org, Session: e.session, Client: c.ID, Key: e.keyID(), Place: e.place,
	})
	if err != nil {
		return Response{}, e.drop(ctx, err)
	}
	var alive bool
	grant.TTL, alive = e.life(c, grant.Moment)
	standing, err := p.standing(ctx, e, c)
	if err != nil {
		return Response{}, e.drop(ctx, err)
	}
	if !standing.Active || !alive {
		return Response{}, e.refuse(ctx, standing.Reason)
	}
	carried, err := p.carry(e, c, r.Params, standing.Permissions)
	if err != nil {
		return Response{}, e.drop(ctx, err)
	}
	grant.Roles, grant.Permissions, grant.Scope, grant.Audience = rolesOf(standing), carried.permissions, carried.scopes.String(), carried.audience
	access, err := p.Minter.Mint(ctx, grant)
	if err != nil {
		return Response{}, e.drop(ctx, fmt.Errorf("mint for grant %s: %w", g.typ, err))
	}
	who := Person{ID: e.user, Email: standing.Email, Name: standing.Name}
	id, err := p.identify(ctx, e, c, IDGrant{User: who, Access: access.Token, IssuedAt: access.IssuedAt}, carried.scopes)
	if err != nil {
		return Response{}, e.drop(ctx, err)
	}
	// Signed before it is recorded: a commit is the last thing that can fail.
	if e, err = e.record(ctx, access); err != nil {
		return Response{}, err
	}
	return Response{
		User: who, Org: e.org, Role: standing.Role, Permissions: carried.permissions,
		Session: e.session, Access: access.Token, AccessID: access.ID, IssuedAt: access.IssuedAt, ExpiresAt: access.ExpiresAt,
		Refresh: e.refresh, RefreshExpiresAt: e.refreshExpires, Device: e.device, Browser: e.browser, IDToken: id, Scopes: carried.scopes,
	}, nil
}

// identify makes the ID token where the user allowed the client to know who
// they are; empty otherwise.
func (p *Provider) identify(ctx context.Context, e earned, c Client, g IDGrant, carried Scopes) (string, error) {
	if e.authorization == nil || !carried.Has(ScopeOpenID) {
		return "", nil
	}
	g.Client, g.Session, g.Authorization, g.First = *c.Registered, e.session, *e.authorization, e.first
	return p.IDs.Mint(ctx, g)
}

// subject is the sub of the token: the user, or the client where the token is
// its own (RFC 9068 §2.2).
func (e earned) subject(c Client) ident.UserID {
	if e.standing != nil && e.key == nil {
		return ident.UserID(c.ID)
	}
	return e.user
}

// standing says what the token may carry at most. A registered client never
// gets more of a user's permissions than it was registered for.
func (p *Provider) standing(ctx context.Context, e earned, c Client) (accounts.Standing, error) {
	if e.standing != nil {
		return e.standing(ctx)
	}
	s, err := p.Directory.Present(ctx, e.user, e.org)
	if err == nil && !c.FirstParty {
		s.Permissions = s.Permissions.Meet(c.Ceiling)
	}
	return s, err
}

func rolesOf(s accounts.Standing) []string {
	if s.Role == "" {
		return nil
	}
	return []string{s.Role}
}

func (p *Provider) observe(grant string, r Response) {
	if p.Issued != nil {
		p.Issued(r.Org, grant)
	}
	if p.Observe == nil {
		return
	}
	p.Observe(grant, "access_token")
	if !r.Refresh.IsZero() {
		p.Observe(grant, "refresh_token")
	}
	if r.IDToken != "" {
		p.Observe(grant, "id_token")
	}
}

// only returns the parameters of the given names.
func (p Params) only(names []string) Params {
	out := make(Params, len(names))
	for _, n := range names {
		if v, ok := p[n]; ok {
			out[n] = v
		}
	}
	return out
}
