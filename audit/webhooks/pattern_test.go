package webhooks

import (
	"testing"

	"github.com/tokenhouse/tokenhouse/audit"
)

func TestPatternsCoverNames(t *testing.T) {
	for _, c := range []struct {
		pattern string
		name    audit.Name
		want    bool
	}{
		{"*", audit.LoginFailed, true},
		{"login.*", audit.LoginFailed, true},
		{"login.*", audit.LogoutFailed, false},
		{"login.failed", audit.LoginFailed, true},
		{"login.failed", audit.LoginLocked, false},
		{"api_key.*", audit.APIKeyLeaked, true},
	} {
		if got := matches(c.pattern, c.name); got != c.want {
			t.Errorf("%q covers %s: %v", c.pattern, c.name, got)
		}
	}
}

func TestPatternsThatCoverNothingAreRefused(t *testing.T) {
	for _, bad := range [][]string{{}, {""}, {"login.fail"}, {"log*"}, {"no.*"}, {"login.failed "}, {"login.*", "nothing"}, {"**"}, make([]string, MaxPatterns+1)} {
		if judgePatterns(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	for _, good := range [][]string{{"*"}, {"login.*"}, {"login.failed", "api_key.*", "*"}} {
		if f := judgePatterns(good); f != nil {
			t.Errorf("%q is refused: %v", good, f)
		}
	}
}

// What an endpoint did not take is told to the others, or it would be told of
// that as well, for ever. A test is the tested one's alone.
func TestWhatIsAboutAnEndpointItself(t *testing.T) {
	mine := Endpoint{ID: "hook_mine", Patterns: []string{"*"}}
	other := Endpoint{ID: "hook_other", Patterns: []string{"*"}}
	narrow := Endpoint{ID: "hook_mine", Patterns: []string{"login.*"}}
	about := func(n audit.Name) audit.Event {
		return audit.Event{Name: n, Targets: []audit.Target{{Type: "webhook", ID: "hook_mine"}}}
	}
	for _, c := range []struct {
		e    Endpoint
		n    audit.Name
		want bool
	}{
		{mine, audit.WebhookDeadLettered, false}, {other, audit.WebhookDeadLettered, true},
		{mine, audit.WebhookTested, true}, {narrow, audit.WebhookTested, true}, {other, audit.WebhookTested, false},
		{mine, audit.WebhookUpdated, true}, {narrow, audit.WebhookUpdated, false},
	} {
		if got := c.e.Wants(about(c.n)); got != c.want {
			t.Errorf("%s wants %s about hook_mine: %v", c.e.ID, c.n, got)
		}
	}
}
