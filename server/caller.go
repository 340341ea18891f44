package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// presented is the one credential of a request, in clear.
type presented struct {
	kind  string // "api_key" or "access_token"
	value string
	jar   bool // it came in a cookie
}

// The kinds of presented, and labels of Observer.Credential.
const (
	kindAPIKey = "api_key"
	kindToken  = "access_token"
)

// credential finds the credential of a request. A header goes before the
// cookie, which is then not looked at (SEC-WEB-08); X-API-Key and Authorization
// together must name the same key (SEC-KEY-15). An API key may also come as a
// Bearer token, because many tools can send nothing else (K14). Nothing is ever
// read from the query (RFC 6750 §5.3).
func (s *Server) credential(r *http.Request) (presented, error) {
	keys, auths := r.Header.Values("X-Api-Key"), r.Header.Values("Authorization")
	if len(keys) > 1 || len(auths) > 1 {
		return presented{}, fault.New(fault.AmbiguousCredentials, "A credential header was sent more than once.")
	}
	if len(auths) == 1 {
		token, err := bearer(auths[0])
		if len(keys) == 1 && (err != nil || token != keys[0]) {
			return presented{}, fault.New(fault.AmbiguousCredentials, "X-API-Key and Authorization name different credentials.")
		}
		if err != nil {
			return presented{}, err
		}
		if len(keys) == 1 || s.keyLike(r.Context(), token) {
			return presented{kind: kindAPIKey, value: token}, nil
		}
		return presented{kind: kindToken, value: token}, nil
	}
	if len(keys) == 1 {
		return presented{kind: kindAPIKey, value: keys[0]}, nil
	}
	token, err := cookie(r, s.jar().access)
	if err == nil && token == "" {
		err = fault.Unauthenticated
	}
	return presented{kind: kindToken, value: token, jar: true}, err
}

// keyLike tells an API key from a JWT, which has dots. A key that another system
// made may have any form but a JWT's.
func (s *Server) keyLike(ctx context.Context, token string) bool {
	ours := strings.HasPrefix(token, s.Config.APIKeyPrefix+"_") && !strings.Contains(token, ".")
	return ours || s.Services.APIKeys != nil && s.Services.APIKeys.Foreign(ctx, token)
}

// bearer returns the token of an Authorization header (RFC 6750 §2.1). The
// scheme is case-insensitive (RFC 9110 §11.1); anything but one token68 after
// it is refused.
func bearer(header string) (string, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", fault.New(fault.Unauthenticated, "The Authorization header must be: Bearer, a space and the token.")
	}
	token = strings.Trim(token, " ")
	if token == "" {
		return "", fault.New(fault.Unauthenticated, "The Authorization header has no token.")
	}
	for i := range len(token) {
		if !token68[token[i]] {
			return "", fault.New(fault.InvalidToken, "The token has characters that no token has.")
		}
	}
	return token, nil
}

// token68 is the alphabet of RFC 9110 §11.2.
var token68 = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") {
		in[c] = true
	}
	return in
}()

// authenticate establishes who is asking.
// An API key must permit what is required, which goes before its limits; for a
// token that is judged by whoever asks.
func (s *Server) authenticate(h http.Header, r *http.Request, required ...scope.Permission) (ident.Caller, error) {
	in := inboundOf(r.Context())
	p, err := s.credential(r)
	if err != nil {
		return ident.Caller{}, err
	}
	in.viaJar = p.jar
	var caller ident.Caller
	if p.kind == kindAPIKey {
		caller, err = s.Services.APIKeys.Verify(r.Context(), p.value, in.origin, required...)
		tellLimits(h, caller.Allowance)
	} else {
		caller, err = s.verifyToken(r.Context(), p.value)
	}
	if s.Observe.Credential != nil {
		s.Observe.Credential(p.kind, result(err))
	}
	if why := result(err); s.Observe.Refused != nil && p.kind == kindToken && slices.Contains(refusals, why) {
		s.Observe.Refused(why, in.at, in.origin)
	}
	caller.Origin = in.origin
	return caller, err
}

// refusals are the results of a verification that say something against the token.
var refusals = []string{"invalid", verify.ErrExpired.Reason, verify.ErrRevoked.Reason, verify.ErrNoOrg.Reason}

// verifyToken turns a good access token into its caller. The token says what
// the caller may do. That it was not revoked and that the person is still
// active is asked of the sessions and the directory, which answer from memory
// and, while the change feed is silent, from the database.
func (s *Server) verifyToken(ctx context.Context, token string) (ident.Caller, error) {
	c, err := s.Tokens.Verify(ctx, token)
	if err != nil {
		return ident.Caller{}, refusal(err)
	}
	if c.Bound.KeyID != "" {
		return s.exchangedKey(ctx, c)
	}
	if c.Subject == c.ClientID {
		return s.serviceClient(ctx, c)
	}
	caller := ident.Caller{
		Kind: ident.Person, Org: ident.OrgID(c.OrgID), User: ident.UserID(c.Subject), Session: ident.SessionID(c.SessionID),
		Client: ident.ClientID(c.ClientID), Token: ident.TokenID(c.ID), Permissions: make(scope.Set, len(c.Permissions)),
	}
	for i, p := range c.Permissions {
		caller.Permissions[i] = scope.Permission(p)
	}
	err = s.Services.Sessions.Check(ctx, tokens.AccessID{Token: caller.Token, Session: caller.Session, User: caller.User, IssuedAt: c.IssuedAt})
	if err != nil {
		return ident.Caller{}, err
	}
	standing, err := s.Services.Directory.Standing(ctx, caller.User, caller.Org)
	if err != nil {
		return ident.Caller{}, err
	}
	if !standing.Active {
		return ident.Caller{}, fault.New(fault.InvalidToken, verify.ErrRevoked.Detail).Because(verify.ErrRevoked.Reason)
	}
	caller.Email = standing.Email
	return caller, nil
}

// serviceClient is the caller of a token that a client obtained for itself. Its
// sub is no user's, so no right of any user is looked up (SEC-JWT-38), and what
// it may do is no more than the client is registered for now.
func (s *Server) serviceClient(ctx context.Context, c verify.Claims) (ident.Caller, error) {
	caller := ident.Caller{
		Kind: ident.ServiceClient, Org: ident.OrgID(c.OrgID), Client: ident.ClientID(c.ClientID), Token: ident.TokenID(c.ID),
	}
	id := tokens.AccessID{Token: caller.Token, User: ident.UserID(c.Subject), IssuedAt: c.IssuedAt}
	if err := s.Services.Sessions.Check(ctx, id); err != nil {
		return ident.Caller{}, err
	}
	r, err := s.Services.Clients.Lookup(ctx, caller.Client)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return ident.Caller{}, err
	}
	if err != nil || c.SessionID != "" || !r.Active() || r.Org != caller.Org || !r.MayUse(oauth.GrantClientCredentials) {
		return ident.Caller{}, fault.New(fault.InvalidToken, verify.ErrRevoked.Detail).Because(verify.ErrRevoked.Reason)
	}
	most := r.Permissions()
	for _, name := range c.Permissions {
		if p := scope.Permission(name); most.Allows(p) {
			caller.Permissions = append(caller.Permissions, p)
		}
	}
	return caller, nil
}

// exchangedKey is the caller of a token that an API key was exchanged for: the
// key, and never its owner, with no more than the key may do now. The token dies
// with the key, with its owner's standing, and with the client that asked for it.
func (s *Server) exchangedKey(ctx context.Context, c verify.Claims) (ident.Caller, error) {
	revoked := fault.New(fault.InvalidToken, verify.ErrRevoked.Detail).Because(verify.ErrRevoked.Reason)
	id := tokens.AccessID{Token: ident.TokenID(c.ID), Key: ident.APIKeyID(c.Bound.KeyID), User: ident.UserID(c.Subject), IssuedAt: c.IssuedAt}
	if err := s.Services.Sessions.Check(ctx, id); err != nil {
		return ident.Caller{}, err
	}
	caller, err := s.Services.APIKeys.HolderFrom(ctx, ident.OrgID(c.OrgID), id.Key, inboundOf(ctx).origin)
	if errors.Is(err, fault.InvalidAPIKey) || err == nil && (caller.User != id.User || c.SessionID != "") {
		return ident.Caller{}, revoked
	}
	if err != nil {
		return ident.Caller{}, err
	}
	caller.Client, caller.Token = ident.ClientID(c.ClientID), id.Token
	most := caller.Permissions
	if caller.Client != oauth.APIKeyClientID {
		r, err := s.Services.Clients.Lookup(ctx, caller.Client)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return ident.Caller{}, err
		}
		if err != nil || !r.Active() || !r.MayUse(oauth.GrantTokenExchange) {
			return ident.Caller{}, revoked
		}
		most = most.Meet(r.Permissions())
	}
	caller.Permissions = nil // those of the key are shared
	for _, name := range c.Permissions {
		if p := scope.Permission(name); most.Allows(p) {
			caller.Permissions = append(caller.Permissions, p)
		}
	}
	return caller, nil
}

// refusal is the fault that a refusal of the verifier is.
func refusal(err error) error {
	v := (*verify.Error)(nil)
	switch {
	case !errors.As(err, &v):
		return err
	case v.Status == http.StatusServiceUnavailable:
		return fault.Wrap(err, fault.Unavailable, "").After(time.Second)
	default:
		return fault.Wrap(err, fault.InvalidToken, v.Detail).Because(v.Reason)
	}
}

// result is the label of a verification: bounded, and never from the request.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	switch f := fault.Of(err); {
	case f.Code == fault.InsufficientPermissions:
		return "ok" // the credential is good
	case f.Code == fault.Unavailable || f.Code == fault.Internal:
		return "unavailable"
	case f.Code == fault.RateLimited:
		return "rate_limited" // good or not: it was not to be tried now
	case reasonTexts[f.Reason] != "":
		return f.Reason
	default:
		return "invalid"
	}
}
