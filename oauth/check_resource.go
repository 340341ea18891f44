package oauth

import (
	"context"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// maxResources is how many resources one request may name.
const maxResources = 10

// checkResource finds out for whom the tokens shall be (RFC 8707 §2). Several
// resources are separated by blanks, which none of them can hold.
func checkResource(_ context.Context, q *authorizing) error {
	resources, ok := resourcesOf(q.params["resource"])
	if !ok || !within(resources, append([]string{q.Audience, q.Issuer}, q.client.Settings.Resources...)) {
		return refuse("invalid_target", "The client is not registered for this resource.")
	}
	q.wants.authorization.Resources = resources
	return nil
}

func resourcesOf(text string) ([]string, bool) {
	all := once(strings.Fields(text))
	return all, len(all) <= maxResources
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// audience says for whom an access token is, given what was allowed (nothing:
// the default) and what the token request asks for (RFC 8707 §2.2): never more
// than was allowed. Where userinfo is to work we are among them.
func (p *Provider) audience(allowed []string, asked string, openid bool) ([]string, error) {
	own := p.Minter.Audience
	resources, ok := resourcesOf(asked)
	known := allowed
	if len(allowed) == 0 {
		known = []string{own, p.Minter.Issuer}
	}
	switch {
	case !ok || !within(resources, known):
		return nil, errInvalidTarget()
	case len(resources) == 0:
		resources = allowed
	}
	if len(resources) > 0 && openid && !slices.Contains(resources, own) {
		resources = append(slices.Clone(resources), own)
	}
	return resources, nil
}

// targets is what a client may name as resource for a token of its own.
func (p *Provider) targets(c Client) []string {
	out := []string{p.Minter.Audience, p.Minter.Issuer}
	if c.Registered != nil {
		out = append(out, c.Registered.Settings.Resources...)
	}
	return out
}

func errInvalidTarget() error {
	return fault.New(fault.InvalidTarget, "The resource is unknown or was not granted.")
}
