package operations

import (
	"context"
	"fmt"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// overview is what an organisation looks like at a glance.
type overview struct {
	Ranges   []rangeLink
	Plots    []shell.Plot
	Quiet    bool // nothing happened in that time
	Notes    []note
	Next     []next
	Readable bool // the visitor may see what happens
}

type rangeLink struct {
	Text, To string
	Current  bool
}

// note is something that somebody should look at.
type note struct{ Text, To, Link string }

// next is something that one may want to do.
type next struct{ Text, To, Hint string }

var rangeTexts = map[activity.Range]string{activity.Day: "24 hours", activity.Week: "7 days", activity.Month: "30 days", activity.Year: "52 weeks"}

func (p Pages) overview(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	chosen := activity.Range(v.Form.Get("range"))
	if chosen == "" {
		chosen = activity.Week
	}
	o := overview{Readable: v.Caller.May(accounts.AuditRead), Next: nextSteps(v.Caller)}
	if o.Readable {
		series, err := p.Activity.Of(ctx, v.Caller, chosen)
		if err != nil {
			return shell.Reply{}, err
		}
		for _, r := range activity.Ranges() {
			o.Ranges = append(o.Ranges, rangeLink{rangeTexts[r], "/console?range=" + string(r), r == chosen})
		}
		o.Plots, o.Quiet = plotsOf(series)
	}
	var err error
	if o.Notes, err = p.notes(ctx, v.Caller); err != nil {
		return shell.Reply{}, err
	}
	return templates.Show("overview.html", shell.View{Title: "Overview", Lead: v.Org, Data: o}), nil
}

// plotTitles are the plots in their order.
var plotTitles = []struct {
	kind             activity.Kind
	title, unit, one string
	none             string
	labels           map[string]string
}{
	{activity.Logins, "Logins", "logins", "login", "Nobody logged in.", map[string]string{"": "Logins"}},
	{activity.Failures, "Failed logins", "attempts", "attempt", "No login failed.", failureTexts},
	{activity.Lockouts, "Lockouts", "locks", "lock", "Nobody was locked out.", lockTexts},
	{activity.Tokens, "Access tokens by grant", "tokens", "token", "No token was given out.", grantTexts},
	{activity.KeyUse, "API key use", "uses", "use", "No API key was used.", map[string]string{"ok": "Accepted", "refused": "Refused", "limited": "Over a limit"}},
}

var failureTexts = map[string]string{
	"wrong_password": "Wrong password", "disabled": "Disabled account", "no_password": "Account without a password", "locked": "While locked out",
	"throttled": "Too many from one network", "concurrent": "Too many at once", "unknown_user": "Nobody has that address",
}

var lockTexts = map[string]string{
	"pair": "From one network", "pool": "From everywhere new", "device": "On a known device", "source": "A whole network",
}

var grantTexts = map[string]string{
	"password": "Login", "refresh_token": "Refresh", "client_credentials": "Client", "authorization_code": "Authorization code",
	"urn:ietf:params:oauth:grant-type:token-exchange": "Exchanged API key",
}

// plotLines is how many labels a plot tells apart; the rest are told together.
const plotLines = 5

func plotsOf(s activity.Series) (plots []shell.Plot, quiet bool) {
	quiet = true
	for _, d := range plotTitles {
		plot := shell.Plot{ID: "plot-" + idText(string(d.kind)), Title: d.title, Unit: d.unit, From: s.From, Step: s.Step}
		if s.Total(d.kind) == 1 {
			plot.Unit = d.one
		}
		lines := s.Lines(d.kind)
		for i, l := range lines {
			if i > plotLines {
				rest := &plot.Series[plotLines]
				rest.Name = "Everything else"
				for k, n := range l.Counts {
					rest.Values[k] += n
				}
				continue
			}
			plot.Series = append(plot.Series, shell.Series{Name: among(d.labels, l.Label), Values: l.Counts})
		}
		if len(lines) == 0 {
			plot.Nothing = d.none
		} else {
			quiet = false
		}
		plots = append(plots, plot)
	}
	return plots, quiet
}

// idText is made of what an id of HTML may hold everywhere.
func idText(s string) string {
	out := []byte(s)
	for i, c := range out {
		if c == '_' {
			out[i] = '-'
		}
	}
	return string(out)
}

// manyLocks is how many locks are counted one by one.
const manyLocks = 50

// notes are about what the visitor may see and should know.
func (p Pages) notes(ctx context.Context, caller ident.Caller) ([]note, error) {
	var out []note
	if caller.May(accounts.UsersRead) {
		locks, _, err := p.Lockouts.List(ctx, caller, 0, manyLocks)
		if err != nil {
			return nil, err
		}
		switch n := people(locks); {
		case n == 1:
			out = append(out, note{"One person is locked out at present.", "/console/lockouts", "See who"})
		case n > 1:
			out = append(out, note{fmt.Sprintf("%d people are locked out at present.", n), "/console/lockouts", "See who"})
		}
	}
	if !caller.May(accounts.WebhooksRead) {
		return out, nil
	}
	hooks, err := p.Webhooks.List(ctx, caller, ident.Page{Limit: webhooks.MaxEndpoints})
	if err != nil {
		return nil, err
	}
	for _, h := range hooks {
		to := webhookPath(h.ID)
		switch {
		case h.Status == webhooks.Disabled && h.Cause != webhooks.ByHand:
			out = append(out, note{"A webhook was switched off: " + among(causeTexts, string(h.Cause)) + ".", to, "See the webhook"})
		case !h.Progress.FailingSince.IsZero():
			out = append(out, note{"A webhook does not take its messages.", to, "See the webhook"})
		case h.DeadLetters > 0:
			out = append(out, note{fmt.Sprintf("%d messages to a webhook were given up.", h.DeadLetters), to, "See the webhook"})
		}
	}
	return out, nil
}

// people counts the different people among locks.
func people(locks []accounts.Lock) int {
	seen := map[ident.UserID]bool{}
	for _, l := range locks {
		seen[l.User] = true
	}
	return len(seen)
}

// nextSteps are what the visitor can begin with.
func nextSteps(caller ident.Caller) []next {
	var out []next
	for _, s := range []struct {
		may bool
		next
	}{
		{caller.May(accounts.UsersCreate), next{"Invite people", "/console/invitations", "They choose their own password."}},
		{caller.May(accounts.ClientsManage), next{"Register an application", "/console/clients", "Let people sign in to it with their account here."}},
		{caller.May(accounts.ServiceAccountsManage), next{"Make a service account", "/console/service-accounts", "An owner of API keys that is no person."}},
		{caller.May(accounts.APIKeysCreate), next{"Create an API key", "/settings/api-keys", "For scripts and servers that act for you."}},
		{caller.May(accounts.WebhooksWrite), next{"Add a webhook", "/console/webhooks", "Be told when something happens."}},
		{true, next{"See your own account", "/settings", "Name, password, sessions and connected apps."}},
	} {
		if s.may {
			out = append(out, s.next)
		}
	}
	return out
}

// Calm stands where there is nothing to draw.
func (overview) Calm() shell.Empty {
	return shell.Empty{Title: "Nothing happened in this time", Text: "Logins, tokens and the use of API keys are drawn here as soon as there are any."}
}
