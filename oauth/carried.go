package oauth

import (
	"slices"

	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// carried is what an access token says that its bearer may do, and where.
type carried struct {
	permissions scope.Set
	scopes      Scopes   // the permissions, and what of OpenID Connect was granted
	audience    []string // empty: the default one
}

// readable holds that a scope can be read, before anything is done for it. The
// grants behind which no authorization stands know permissions only.
func (g grant) readable(c Client, text string) error {
	if c.FirstParty || g.client == confidentialOnly {
		if _, err := scope.Parse(text); err != nil {
			return invalidScope()
		}
		return nil
	}
	_, err := ParseScopes(text)
	return err
}

// carry decides what the token carries, of what is held now.
func (p *Provider) carry(e earned, c Client, params Params, held scope.Set) (out carried, err error) {
	if e.authorization == nil {
		if out, err = undelegated(c, params["scope"], held); err != nil || params["resource"] == "" {
			return out, err
		}
		out.audience, err = p.audience(p.targets(c), params["resource"], false)
		return out, err
	}
	if out, err = delegated(*e.authorization, c, params["scope"], held); err != nil {
		return out, err
	}
	out.audience, err = p.audience(e.authorization.Resources, params["resource"], out.scopes.Has(ScopeOpenID))
	return out, err
}

// undelegated is the part that is asked for of what is held.
func undelegated(c Client, text string, held scope.Set) (carried, error) {
	asked, err := scope.Parse(text)
	if err != nil {
		return carried{}, invalidScope()
	}
	granted, err := limit(held, asked, c)
	return carried{permissions: granted, scopes: granted.Strings()}, err
}

// delegated is what the user allowed, as far as they hold it and the client
// may still ask for it. A refresh may ask for less, for one access token; never
// for more (RFC 6749 §6).
func delegated(a Authorization, c Client, text string, held scope.Set) (carried, error) {
	asked, err := ParseScopes(text)
	if err != nil || !asked.Within(a.Scopes) {
		return carried{}, invalidScope()
	}
	if len(asked) == 0 {
		asked = a.Scopes
	}
	var out carried
	for _, s := range asked.Identity() {
		if len(c.Registered.Scopes) == 0 || slices.Contains(c.Registered.Scopes, s) {
			out.scopes = append(out.scopes, s)
		}
	}
	out.permissions = held.Meet(asked.Permissions())
	out.scopes = append(out.scopes, out.permissions.Strings()...)
	return out, nil
}

// limit returns what a token may carry: all that is held where no scope is
// asked for, else the part of it that is. Asking for what exceeds it altogether
// earns nothing (RFC 6749 §3.3), and for a client that is not ours neither does
// asking for more than it: it is never granted less in silence.
func limit(held, asked scope.Set, c Client) (scope.Set, error) {
	if len(asked) == 0 {
		return held, nil
	}
	if !c.FirstParty && len(held.Lacks(asked)) > 0 {
		return nil, invalidScope()
	}
	var granted []scope.Permission
	for _, p := range held {
		if asked.Allows(p) {
			granted = append(granted, p)
		}
	}
	if len(granted) == 0 {
		return nil, invalidScope()
	}
	return scope.Of(granted...), nil
}
