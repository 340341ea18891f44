package webhooks

import (
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// matches reports whether a pattern covers a name: the name itself, "*" for
// every name, or "login.*" for all that begin with "login.".
func matches(pattern string, name audit.Name) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(string(name), prefix)
	}
	return pattern == string(name)
}

// Wants reports whether the endpoint is to be sent e. A test goes to the one that
// is tested, whatever its patterns; what an endpoint failed to take is not told
// to itself, as that would never end.
func (p Endpoint) Wants(e audit.Event) bool {
	about := slices.ContainsFunc(e.Targets, func(t audit.Target) bool { return t.Type == targetType && t.ID == string(p.ID) })
	switch e.Name {
	case audit.WebhookTested:
		return about
	case audit.WebhookDeadLettered:
		if about {
			return false
		}
	}
	return slices.ContainsFunc(p.Patterns, func(s string) bool { return matches(s, e.Name) })
}

// judgePatterns refuses patterns that cover nothing.
func judgePatterns(patterns []string) []fault.Field {
	if len(patterns) == 0 || len(patterns) > MaxPatterns {
		return []fault.Field{{Name: "events", Detail: "must name 1 to 50 events"}}
	}
	for _, p := range patterns {
		stem, star := strings.CutSuffix(p, "*")
		whole := !star || stem == "" || strings.HasSuffix(stem, ".")
		if !whole || !slices.ContainsFunc(audit.Names(), func(n audit.Name) bool { return matches(p, n) }) {
			return []fault.Field{{Name: "events", Detail: `must be names of events, "login.*" for all of a kind, or "*"`}}
		}
	}
	return nil
}
