package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// TokenVerifier judges access tokens, revocations included: verify.Verifier.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (verify.Claims, error)
}

// Inspector answers what a token is worth (RFC 7662) and revokes tokens (RFC
// 7009). Every field is required.
type Inspector struct {
	Tokens    TokenVerifier
	Sessions  *tokens.Service
	Directory *accounts.Directory
	Clients   ClientSource
	Issuer    string
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
	if f.Client != c.ID || f.Org != c.Org {
		return Introspection{}, nil
	}
	standing, err := i.Directory.Standing(ctx, f.User, f.Org)
	if err != nil || !standing.Active {
		return Introspection{}, err
	}
	granted := standing.Permissions.Meet(c.Permissions())
	return Introspection{
		Active: true, Scope: granted.String(), Client: f.Client, ExpiresAt: in.ExpiresAt, IssuedAt: f.Seen.At, Subject: string(f.User),
		Issuer: i.Issuer, Org: f.Org, Permissions: granted.Strings(), Session: f.ID,
	}, nil
}

func (i *Inspector) accessToken(ctx context.Context, c Registered, token string) (Introspection, error) {
	t, err := i.verify(ctx, token)
	if err != nil {
		return Introspection{}, err
	}
	if !owns(c, t) {
		return Introspection{}, nil
	}
	if t.Subject != t.ClientID { // else the subject is the caller, who is active
		standing, err := i.Directory.Standing(ctx, ident.UserID(t.Subject), c.Org)
		if err != nil || !standing.Active {
			return Introspection{}, err
		}
	}
	return Introspection{
		Active: true, Scope: t.Scope, Client: c.ID, TokenType: "Bearer", ExpiresAt: t.ExpiresAt, IssuedAt: t.IssuedAt, NotBefore: t.NotBefore,
		Subject: t.Subject, Audience: t.Audience, Issuer: t.Issuer, ID: t.ID, Org: c.Org, Permissions: t.Permissions, Session: ident.SessionID(t.SessionID),
	}, nil
}

// verify is fault.InvalidToken for a token that is no good, and
// fault.Unavailable where that cannot be told.
func (i *Inspector) verify(ctx context.Context, token string) (verify.Claims, error) {
	t, err := i.Tokens.Verify(ctx, token)
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
	return t.ClientID == string(c.ID) && t.OrgID == string(c.Org)
}
