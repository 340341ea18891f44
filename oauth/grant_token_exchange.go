package oauth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// GrantTokenExchange turns one security token into another (RFC 8693 §2.1).
const GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

// The types of tokens that an exchange takes or gives (RFC 8693 §3).
const (
	// TokenTypeAPIKey is an API key of this server's: all that is exchanged.
	TokenTypeAPIKey = "urn:tokenhouse:params:oauth:token-type:api_key"
	// TokenTypeAccess is an access token of this server's.
	TokenTypeAccess = "urn:ietf:params:oauth:token-type:access_token"
	// TokenTypeJWT is the same token, asked for by its form.
	TokenTypeJWT = "urn:ietf:params:oauth:token-type:jwt"
)

// SubjectTokenTypes lists what may be exchanged, as discovery documents show it.
func SubjectTokenTypes() []string { return []string{TokenTypeAPIKey} }

// APIKeyExchanger judges API keys that are to be exchanged: apikeys.Service.
type APIKeyExchanger interface {
	// Exchange is fault.InvalidAPIKey for a key that is no good, whatever is
	// wrong with it, and fault.RateLimited for one that has used up its limits.
	Exchange(ctx context.Context, presented string, o ident.Origin) (apikeys.Exchangeable, error)
}

// APIKeyClient returns the first-party client of whoever exchanges an API key
// and names no client: the key is the credential.
func APIKeyClient(ttl time.Duration) Client {
	return Client{ID: APIKeyClientID, Grants: []string{GrantTokenExchange}, AccessTTL: ttl}
}

// APIKeyRegistered is that client as one whose tokens are revoked: it is of
// every organisation.
func APIKeyRegistered() Registered {
	return Registered{ID: APIKeyClientID, AuthMethod: AuthNone, Status: ClientActive, Settings: ClientSettings{OpenTo: OpenToEveryone}}
}

// IsAPIKeyClient reports whether a request names the first-party client of API
// keys, or none, and proves nothing.
func IsAPIKeyClient(p ClientProof) bool {
	id := p.Params["client_id"]
	return (id == "" || id == string(APIKeyClientID)) && p.Authorization == "" && p.Params["client_secret"] == "" &&
		p.Params["client_assertion"] == "" && p.Params["client_assertion_type"] == ""
}

// tokenExchange gives an access token for an API key (RFC 8693): short-lived,
// for verifiers that do not ask. Its sub is the key's owner, it may do what key,
// owner and scope all allow, and it ends with the key. It writes nothing.
var tokenExchange = grant{
	typ:    GrantTokenExchange,
	params: []string{"subject_token", "subject_token_type", "requested_token_type", "actor_token", "actor_token_type", "scope", "resource", "audience"},
	client: anyClient,
	earn: func(ctx context.Context, p *Provider, c Client, r Request) (earned, error) {
		if err := judgeExchange(r.Params); err != nil {
			return earned{}, err
		}
		// RFC 8693 §2.1: audience names the target as resource does; we know each by its URL.
		r.Params["resource"] = strings.TrimSpace(r.Params["resource"] + " " + r.Params["audience"])
		key, err := p.Keys.Exchange(ctx, r.Params["subject_token"], r.Origin)
		switch {
		case errors.Is(err, fault.InvalidAPIKey):
			return earned{}, errInvalidSubject()
		case err != nil:
			return earned{}, err
		case c.Registered != nil && !c.Registered.actsIn(key.Caller.Org):
			return earned{}, errInvalidSubject() // SEC-OAU-50: as if it did not exist
		}
		e := earned{user: key.Caller.User, org: key.Caller.Org, key: &key}
		e.standing = func(ctx context.Context) (accounts.Standing, error) { return p.keyStanding(ctx, key, c) }
		e.record = func(ctx context.Context, _ tokens.Access) (earned, error) {
			return e, p.Usage.exchanged(ctx, c, key.Caller)
		}
		e.drop = func(_ context.Context, cause error) error {
			if errors.Is(cause, fault.InvalidAPIKey) { // revoked since it was read: it gets no place in a status list
				return errInvalidSubject()
			}
			return cause
		}
		e.refuse = func(context.Context, string) error { return errInvalidSubject() }
		return e, nil
	},
}

// judgeExchange holds that the request asks for something that we do.
func judgeExchange(p Params) error {
	malformed := func(detail string) error { return fault.New(fault.Malformed, detail) }
	switch {
	case p["subject_token"] == "":
		return malformed("The parameter subject_token is required.")
	case p["subject_token_type"] == "":
		return malformed("The parameter subject_token_type is required.")
	case p["subject_token_type"] != TokenTypeAPIKey:
		return malformed("The subject_token_type must be " + TokenTypeAPIKey + ": only API keys are exchanged.")
	case p["actor_token"] != "" || p["actor_token_type"] != "":
		return malformed("No actor_token is taken: nobody acts for an API key but its bearer.")
	case !slices.Contains([]string{"", TokenTypeAccess, TokenTypeJWT}, p["requested_token_type"]):
		return malformed("The requested_token_type must be " + TokenTypeAccess + " or " + TokenTypeJWT + ".")
	}
	return nil
}

// errInvalidSubject never says what was wrong with the key. RFC 8693 §2.2.2: a
// subject_token that is no good is invalid_request.
func errInvalidSubject() error {
	return fault.New(fault.Malformed, "The subject_token is not a valid API key.")
}

// keyStanding is what key and owner both allow now. No role is in it: whoever
// goes by roles would give the token more than the key may.
func (p *Provider) keyStanding(ctx context.Context, key apikeys.Exchangeable, c Client) (accounts.Standing, error) {
	s, err := p.Directory.Present(ctx, key.Caller.User, key.Caller.Org)
	if err != nil {
		return accounts.Standing{}, err
	}
	s.Role, s.Permissions = "", p.Directory.Catalogue.Expand(key.Allowed.Meet(s.Permissions))
	if c.Registered != nil {
		s.Permissions = s.Permissions.Meet(c.Ceiling)
	}
	return s, nil
}

// life is how long the token of the moment lives: as the client has it, and for
// an API key at most 15 minutes and never beyond the key's own end. It is false
// where that has come.
func (e earned) life(c Client, m tokens.Moment) (time.Duration, bool) {
	if e.key == nil {
		return c.AccessTTL, true
	}
	ttl := min(c.AccessTTL, apikeys.MaxTokenLife)
	if end := e.key.ExpiresAt; !end.IsZero() {
		ttl = min(ttl, end.Sub(m.Issued()).Truncate(time.Second))
	}
	return ttl, ttl >= time.Second
}

// keyID is the API key that the token dies with; empty where there is none.
func (e earned) keyID() ident.APIKeyID {
	if e.key == nil {
		return ""
	}
	return e.key.Caller.Key
}
