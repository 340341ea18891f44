package oauth

import (
	"context"
	"slices"

	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// asksOpenID reports whether the request is one of OpenID Connect (Core 1.0 §3.1.2.1).
func asksOpenID(p Params) bool {
	s, err := ParseScopes(p["scope"])
	return err == nil && s.Has(ScopeOpenID)
}

// checkScope finds out what is asked for. A request without scope asks for all
// that the client was registered for (RFC 6749 §3.3).
func checkScope(_ context.Context, q *authorizing) error {
	asked, err := ParseScopes(q.params["scope"])
	if err != nil {
		return refuse("invalid_scope", "The scope holds a character that no scope has.")
	}
	if len(asked) == 0 {
		asked = Scopes(q.client.Scopes)
	}
	granted, ok := q.client.mayAsk(asked)
	switch {
	case !ok:
		return refuse("invalid_scope", "The client is not registered for all of this scope.")
	case len(granted) == 0:
		return refuse("invalid_scope", "Nothing that we know is asked for.")
	}
	q.wants.authorization.Scopes, q.wants.allow = granted, granted
	return nil
}

// mayAsk returns what of the scopes means something for the client. Words that
// we do not know are left out (OpenID Connect Core 1.0 §3.1.2.1), and so is
// offline_access where the client gets no refresh token; it reports false where
// a permission or an openid is asked for that the client was not registered for.
func (r Registered) mayAsk(asked Scopes) (Scopes, bool) {
	var out Scopes
	for _, word := range asked {
		_, err := scope.ParsePermission(word)
		registered := slices.Contains(r.Scopes, word)
		switch {
		case word == ScopeOfflineAccess && !r.MayUse(GrantRefreshToken):
		case registered, len(r.Scopes) == 0 && slices.Contains(identityScopes, word):
			out = append(out, word)
		case err == nil, word == ScopeOpenID:
			return nil, false
		}
	}
	return out, true
}
