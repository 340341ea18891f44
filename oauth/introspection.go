package oauth

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// TokenVerifier judges access tokens, revocations included: verify.Verifier.
type TokenVerifier interface {
	// Verify takes tokens for this server.
	Verify(ctx context.Context, token string) (verify.Claims, error)
	// Issued takes tokens of this server's, whoever they are for.
	Issued(ctx context.Context, token string) (verify.Claims, error)
}

// APIKeyHolders judge tokens that an API key was exchanged for: apikeys.Service.
type APIKeyHolders interface {
	// Holder returns what the key may do now; fault.InvalidAPIKey where nothing.
	Holder(ctx context.Context, org ident.OrgID, id ident.APIKeyID) (ident.Caller, error)
}

// Inspector answers what a token is worth (RFC 7662), tells clients about users
// (OpenID Connect Core 1.0 §5.3), and revokes tokens (RFC 7009). Every field is
// required.
type Inspector struct {
	Tokens    TokenVerifier
	Sessions  *tokens.Service
	Directory *accounts.Directory
	Clients   ClientSource
	Subjects  *Subjects
	Keys      APIKeyHolders
	Signer    AlgorithmSigner
	Issuer    string
	Now       func() time.Time
}

// Introspection is the answer about one token (RFC 7662 §2.2). The zero one
// says that the token is not active, and nothing else.
type Introspection struct {
	Active      bool
	Scope       string
	Client      ident.ClientID
	TokenType   string // "Bearer" for an access token; empty for a refresh token
	ExpiresAt   time.Time
	IssuedAt    time.Time
	NotBefore   time.Time
	Subject     string
	Audience    []string
	Issuer      string
	ID          string
	Org         ident.OrgID
	Permissions []string
	Session     ident.SessionID
	Bound
}

// Bound is what else a token stands and falls with.
type Bound struct {
	Key   ident.APIKeyID // the API key it was exchanged for; mostly empty
	Login IntrospectedLogin
}

// IntrospectedLogin is the login behind a token; zero where a client has it of
// its own.
type IntrospectedLogin struct {
	Username string // RFC 7662 §2.2
	Time     int64  // auth_time (RFC 9470 §6.2), seconds since 1970; 0: not known
	ACR      string
	Methods  []string // amr
}

// Introspect tells the client what one of its own tokens is worth now. Every
// other token, whether another client's, another organisation's, expired,
// revoked or made up, is inactive, and nothing tells which (RFC 7662 §4). It
// writes nothing and costs one read at most.
func (i *Inspector) Introspect(ctx context.Context, c Registered, token string) (Introspection, error) {
	if !c.Confidential() {
		return Introspection{}, errInvalidClient() // RFC 7662 §2.1: against scanning for tokens
	}
	var out Introspection
	var err error
	if i.Sessions.IsRefreshToken(token) {
		out, err = i.refreshToken(ctx, c, token)
	} else {
		out, err = i.accessToken(ctx, c, token)
	}
	if errors.Is(err, fault.InvalidToken) {
		return Introspection{}, nil
	}
	return out, err
}

func (i *Inspector) refreshToken(ctx context.Context, c Registered, token string) (Introspection, error) {
	in, err := i.Sessions.Inspect(ctx, token)
	if err != nil {
		return Introspection{}, err
	}
	f := in.Family
	if f.Client != c.ID || !c.actsIn(f.Org) {
		return Introspection{}, nil
	}
	standing, err := i.Directory.Standing(ctx, f.User, f.Org)
	if err != nil || !standing.Active {
		return Introspection{}, err
	}
	scopes, permissions, err := grantedTo(c, f, standing)
	if err != nil {
		return Introspection{}, err
	}
	return Introspection{
		Active: true, Scope: scopes.String(), Client: f.Client, ExpiresAt: in.ExpiresAt, IssuedAt: f.Seen.At, Subject: string(f.User),
		Issuer: i.Issuer, Org: f.Org, Permissions: permissions.Strings(), Session: f.ID, Bound: Bound{Login: loginOf(f, standing)},
	}, nil
}

// grantedTo is what the next access token of a session would carry.
func grantedTo(c Registered, f tokens.Family, standing accounts.Standing) (Scopes, scope.Set, error) {
	held := standing.Permissions.Meet(c.Permissions())
	if f.Delegation.Authorization == "" {
		return held.Strings(), held, nil
	}
	a, err := readAuthorization(f.Delegation.Authorization)
	if err != nil {
		return nil, nil, err
	}
	out, err := delegated(a, c.Client(0), "", held)
	return out.scopes, out.permissions, err
}

// loginOf is what of a login a resource server may want to know.
func loginOf(f tokens.Family, standing accounts.Standing) IntrospectedLogin {
	out := IntrospectedLogin{Username: standing.Email}
	if a, err := readAuthorization(f.Delegation.Authorization); err == nil && f.Delegation.Authorization != "" {
		out.Time, out.ACR, out.Methods = a.Authenticated.Time, a.Authenticated.ACR, a.Authenticated.Methods
	} else if !f.AuthenticatedAt.IsZero() {
		out.Time = f.AuthenticatedAt.Unix()
	}
	return out
}

func (i *Inspector) accessToken(ctx context.Context, c Registered, token string) (Introspection, error) {
	t, err := judged(i.Tokens.Issued(ctx, token))
	if err != nil {
		return Introspection{}, err
	}
	if !owns(c, t) && !serves(c, t) {
		return Introspection{}, nil
	}
	if t.Bound.KeyID != "" {
		return i.exchangedKey(ctx, t)
	}
	var login IntrospectedLogin
	if t.Subject != t.ClientID { // else the subject is the caller, who is active
		standing, err := i.Directory.Standing(ctx, ident.UserID(t.Subject), ident.OrgID(t.OrgID))
		if err != nil || !standing.Active {
			return Introspection{}, err
		}
		if login, err = i.login(ctx, ident.SessionID(t.SessionID), standing); err != nil {
			return Introspection{}, err
		}
	}
	return Introspection{
		Active: true, Scope: t.Scope, Client: c.ID, TokenType: "Bearer", ExpiresAt: t.ExpiresAt, IssuedAt: t.IssuedAt, NotBefore: t.NotBefore,
		Subject: t.Subject, Audience: t.Audience, Issuer: t.Issuer, ID: t.ID, Org: ident.OrgID(t.OrgID), Permissions: t.Permissions, Session: ident.SessionID(t.SessionID), Bound: Bound{Login: login},
	}, nil
}

// exchangedKey is the answer about a token that an API key was exchanged for: of
// what it says, as much as the key may do now.
func (i *Inspector) exchangedKey(ctx context.Context, t verify.Claims) (Introspection, error) {
	org, key := ident.OrgID(t.OrgID), ident.APIKeyID(t.Bound.KeyID)
	holder, err := i.Keys.Holder(ctx, org, key)
	switch {
	case errors.Is(err, fault.InvalidAPIKey), err == nil && string(holder.User) != t.Subject:
		return Introspection{}, nil
	case err != nil:
		return Introspection{}, err
	}
	var left Scopes
	for _, p := range t.Permissions {
		if holder.May(scope.Permission(p)) {
			left = append(left, p)
		}
	}
	return Introspection{
		Active: true, Scope: left.String(), Client: ident.ClientID(t.ClientID), TokenType: "Bearer", ExpiresAt: t.ExpiresAt, IssuedAt: t.IssuedAt, NotBefore: t.NotBefore,
		Subject: t.Subject, Audience: t.Audience, Issuer: t.Issuer, ID: t.ID, Org: org, Permissions: left, Bound: Bound{Key: key},
	}, nil
}

// login is the login behind an access token. It is fault.InvalidToken where its
// session is over.
func (i *Inspector) login(ctx context.Context, session ident.SessionID, standing accounts.Standing) (IntrospectedLogin, error) {
	f, err := i.Sessions.Store.Family(ctx, session)
	switch {
	case errors.Is(err, fault.NotFound), err == nil && !f.Ended.At.IsZero():
		return IntrospectedLogin{}, revokedToken()
	case err != nil:
		return IntrospectedLogin{}, err
	}
	return loginOf(f, standing), nil
}

// IntrospectionType is the typ header of a signed introspection (RFC 9701 §5).
const IntrospectionType = "token-introspection+jwt"

// SignIntrospection makes a JWT of an answer for the client that asked (RFC
// 9701 §5). It has no sub and no exp, so that it passes for no other token.
func (i *Inspector) SignIntrospection(ctx context.Context, c Registered, answer any) (string, error) {
	alg := cmp.Or(c.Settings.Signing.Introspection, DefaultIDTokenAlgorithm)
	return i.sign(ctx, alg, map[string]any{
		"iss": i.Issuer, "aud": string(c.ID), "iat": i.Now().Unix(), "token_introspection": answer,
	}, IntrospectionType)
}

// judged makes fault.InvalidToken of what is said of a token that is no good,
// and fault.Unavailable where that cannot be told.
func judged(t verify.Claims, err error) (verify.Claims, error) {
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, verify.ErrUnavailable):
		return t, fault.Wrap(err, fault.Unavailable, "").After(time.Second)
	default:
		return t, fault.Wrap(err, fault.InvalidToken, "The token is not valid.")
	}
}

// owns reports whether the token was issued to the client.
func owns(c Registered, t verify.Claims) bool {
	return t.ClientID == string(c.ID) && c.actsIn(ident.OrgID(t.OrgID))
}

// serves reports whether the client may be asked something with a token that an
// API key of its organisation was exchanged for, by no client: such tokens are
// issued to nobody, and resource servers of the organisation may ask about them.
func serves(c Registered, t verify.Claims) bool {
	return t.ClientID == string(APIKeyClientID) && t.Bound.KeyID != "" && c.Org == ident.OrgID(t.OrgID)
}

// actsIn reports whether tokens of the client may be of that organisation.
func (r Registered) actsIn(org ident.OrgID) bool {
	return org == r.Org || r.Settings.OpenTo == OpenToEveryone
}
