package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// UserInfo is what a client is told about the user who allowed it: claims, or
// a JWT of them where the client was registered for that.
type UserInfo struct {
	Claims map[string]any
	JWT    string // empty: answer Claims
}

// UserInfo answers an access token with what its user allowed the client to
// know (OpenID Connect Core 1.0 §5.3). Where the token is no good, was revoked,
// or its user or client may do nothing any more, it is fault.InvalidToken; where
// openid was not granted, fault.InsufficientPermissions. It writes nothing and
// costs one read.
func (i *Inspector) UserInfo(ctx context.Context, token string) (UserInfo, error) {
	t, err := judged(i.Tokens.Verify(ctx, token))
	if err != nil {
		return UserInfo{}, err
	}
	scopes := Scopes(strings.Fields(t.Scope))
	if !scopes.Has(ScopeOpenID) { // OpenID Connect Core 1.0 §5.3.1, RFC 6750 §3.1
		return UserInfo{}, fault.Lacking(ScopeOpenID)
	}
	client, standing, err := i.parties(ctx, t)
	if err != nil {
		return UserInfo{}, err
	}
	login, err := i.delegation(ctx, ident.SessionID(t.SessionID))
	if err != nil {
		return UserInfo{}, err
	}
	person := Person{ID: standing.User, Email: standing.Email, Name: standing.Name}
	claims := identityOf(person, scopes, login.Claims.UserInfo)
	claims["sub"] = i.Subjects.Sub(client, person.ID)
	alg := client.Settings.Signing.UserInfo
	if alg == "" {
		return UserInfo{Claims: claims}, nil
	}
	// OpenID Connect Core 1.0 §5.3.2. It has no exp, so that it passes for no ID token.
	claims["iss"], claims["aud"] = i.Issuer, string(client.ID)
	signed, err := i.sign(ctx, alg, claims, IDTokenType)
	return UserInfo{Claims: claims, JWT: signed}, err
}

// parties are the client and the user of a token, both active now.
func (i *Inspector) parties(ctx context.Context, t verify.Claims) (Registered, accounts.Standing, error) {
	client, err := i.Clients.Lookup(ctx, ident.ClientID(t.ClientID))
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Registered{}, accounts.Standing{}, err
	}
	if err != nil || !client.Active() {
		return Registered{}, accounts.Standing{}, revokedToken()
	}
	standing, err := i.Directory.Standing(ctx, ident.UserID(t.Subject), ident.OrgID(t.OrgID))
	if err == nil && !standing.Active {
		err = revokedToken()
	}
	return client, standing, err
}

// delegation is what a user allowed in the session of a token; the zero one
// where nobody was asked. It is fault.InvalidToken where the session is over.
func (i *Inspector) delegation(ctx context.Context, session ident.SessionID) (Authorization, error) {
	f, err := i.Sessions.Store.Family(ctx, session)
	switch {
	case errors.Is(err, fault.NotFound), err == nil && !f.Ended.At.IsZero():
		return Authorization{}, revokedToken()
	case err != nil:
		return Authorization{}, err
	}
	return readAuthorization(f.Delegation.Authorization)
}

func revokedToken() error {
	return fault.New(fault.InvalidToken, verify.ErrRevoked.Detail).Because(verify.ErrRevoked.Reason)
}

// sign makes a JWT of a document.
func (i *Inspector) sign(ctx context.Context, alg string, document any, typ string) (string, error) {
	payload, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("encode a %s: %w", typ, err)
	}
	signed, err := i.Signer.SignWith(ctx, alg, payload, typ)
	if err != nil {
		return "", fmt.Errorf("sign a %s: %w", typ, err)
	}
	return signed, nil
}
