package oauth

import "slices"

// identityClaim is one thing we can say of a person.
type identityClaim struct {
	name  string
	scope string           // the scope that asks for it (OpenID Connect Core 1.0 §5.4)
	value func(Person) any // nil where it is not known of this person
}

// identityClaims is everything we say of people besides sub (OpenID Connect
// Core 1.0 §5.1). No name here is one that a token means something else by;
// where one ever were, the token's own would stand.
var identityClaims = []identityClaim{
	{"name", ScopeProfile, func(p Person) any { return known(p.Name) }},
	{"preferred_username", ScopeProfile, func(p Person) any { return known(p.Email) }},
	{"email", ScopeEmail, func(p Person) any { return known(p.Email) }},
	// Nobody has yet been asked to prove that an address is theirs.
	{"email_verified", ScopeEmail, func(p Person) any {
		if p.Email == "" {
			return nil
		}
		return false
	}},
}

func known(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// identityOf says of a person what the scopes ask for and what is named. What
// we do not know is left out (OpenID Connect Core 1.0 §5.3.2).
func identityOf(p Person, scopes Scopes, named []string) map[string]any {
	out := map[string]any{}
	for _, c := range identityClaims {
		if !scopes.Has(c.scope) && !slices.Contains(named, c.name) {
			continue
		}
		if v := c.value(p); v != nil {
			out[c.name] = v
		}
	}
	return out
}

// IdentityClaims names the claims about people that a client can ask for, as
// discovery documents show them.
func IdentityClaims() []string {
	out := []string{"sub"}
	for _, c := range identityClaims {
		out = append(out, c.name)
	}
	return out
}
