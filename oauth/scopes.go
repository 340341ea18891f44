package oauth

import (
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The scopes of OpenID Connect that we know (Core 1.0 §5.4, §11).
const (
	ScopeOpenID        = "openid"
	ScopeProfile       = "profile"
	ScopeEmail         = "email"
	ScopeOfflineAccess = "offline_access"
)

// Scopes is a list of scope values (RFC 6749 §3.3), each once, in the order
// they were asked for: permissions, and scopes of OpenID Connect.
type Scopes []string

// IdentityScopes lists the scopes of OpenID Connect that we know, as discovery
// documents show them. Permissions are scopes too.
func IdentityScopes() []string { return slices.Clone(identityScopes) }

// ParseScopes reads a space-separated list. It is fault.InvalidScope where a
// value has a character that RFC 6749 §3.3 excludes.
func ParseScopes(text string) (Scopes, error) {
	var out Scopes
	for _, word := range strings.Split(text, " ") {
		if strings.ContainsFunc(word, func(c rune) bool { return c < 0x21 || c > 0x7e || c == '"' || c == '\\' }) {
			return nil, invalidScope()
		}
		if word != "" && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out, nil
}

// String is the list as it goes over the wire.
func (s Scopes) String() string { return strings.Join(s, " ") }

// Has reports whether the value is in the list.
func (s Scopes) Has(value string) bool { return slices.Contains(s, value) }

// Within reports whether every value of s is in all.
func (s Scopes) Within(all Scopes) bool {
	return !slices.ContainsFunc(s, func(v string) bool { return !all.Has(v) })
}

// Identity are the scopes of OpenID Connect in the list.
func (s Scopes) Identity() Scopes {
	var out Scopes
	for _, v := range s {
		if slices.Contains(identityScopes, v) {
			out = append(out, v)
		}
	}
	return out
}

// Permissions are the permissions in the list.
func (s Scopes) Permissions() scope.Set {
	var out []scope.Permission
	for _, v := range s {
		if p, err := scope.ParsePermission(v); err == nil {
			out = append(out, p)
		}
	}
	return scope.Of(out...)
}
