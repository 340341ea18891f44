package operations

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// localTime is how a field of a browser writes a time. We read it as UTC, and say so.
const localTime = "2006-01-02T15:04"

// recent are the times that most people ask for.
var recent = []struct {
	value, label string
	ago          time.Duration
}{{"", "Any time", 0}, {"hour", "The last hour", time.Hour}, {"day", "The last 24 hours", 24 * time.Hour}, {"week", "The last 7 days", 7 * 24 * time.Hour}, {"month", "The last 30 days", 30 * 24 * time.Hour}}

// filterOf reads the filter of the query.
func filterOf(v shell.Visit) (audit.Filter, error) {
	given := map[string]string{}
	for _, name := range audit.FilterFields() {
		given[name] = strings.TrimSpace(v.Form.Get(name))
	}
	for _, name := range []string{"since", "until"} {
		if at, err := time.Parse(localTime, given[name]); err == nil {
			given[name] = at.Format(time.RFC3339)
		}
	}
	for _, r := range recent {
		if given["since"] == "" && r.value != "" && r.value == v.Form.Get("when") {
			given["since"] = v.Now.Add(-r.ago).UTC().Format(time.RFC3339)
		}
	}
	f, refused := audit.ReadFilter(given)
	if problem := fault.Refusals(refused); problem != nil {
		return f, problem
	}
	return f, nil
}

// filterQuery is the filter as it stands in an address, without the place in the
// list.
func filterQuery(sent shell.Values) url.Values {
	out := url.Values{}
	for _, name := range append(audit.FilterFields(), "when", "live") {
		if v := sent.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out
}

func filtered(sent shell.Values) bool {
	q := filterQuery(sent)
	q.Del("live")
	return len(q) > 0
}

// filterFields are the fields of the filter, filled in.
func filterFields(sent shell.Values) (usual, more []shell.Field) {
	events := shell.Field{Name: "name", Label: "Event", Kind: "select", Choices: []shell.Choice{{Value: "", Label: "Every event", Chosen: sent.Get("name") == ""}}}
	for _, g := range eventGroups() {
		events.Choices = append(events.Choices, shell.Choice{Value: g.name + ".*", Label: "Everything of " + g.title, Group: g.title, Chosen: sent.Get("name") == g.name+".*"})
		for _, n := range g.events {
			events.Choices = append(events.Choices, shell.Choice{Value: string(n), Label: string(n), Group: g.title, Chosen: sent.Get("name") == string(n)})
		}
	}
	if name := sent.Get("name"); name != "" && !slices.ContainsFunc(events.Choices, func(c shell.Choice) bool { return c.Chosen }) {
		events.Choices = append(events.Choices, shell.Choice{Value: name, Label: name, Chosen: true}) // several, as the API takes them
	}
	outcome := shell.Field{Name: "outcome", Label: "Outcome", Kind: "select"}
	for _, o := range []struct{ value, label string }{{"", "Every outcome"}, {"success", "Success"}, {"failure", "Failure"}, {"denied", "Denied"}} {
		outcome.Choices = append(outcome.Choices, shell.Choice{Value: o.value, Label: o.label, Chosen: sent.Get("outcome") == o.value})
	}
	when := shell.Field{Name: "when", Label: "Time", Kind: "select"}
	for _, r := range recent {
		when.Choices = append(when.Choices, shell.Choice{Value: r.value, Label: r.label, Chosen: sent.Get("when") == r.value})
	}
	text := func(name, label string) shell.Field {
		return shell.Field{Name: name, Label: label, Value: sent.Get(name), Mono: true, Max: 128}
	}
	moment := func(name, label string) shell.Field {
		return shell.Field{Name: name, Label: label, Kind: "datetime-local", Value: momentText(sent.Get(name))}
	}
	return []shell.Field{events, outcome, when}, []shell.Field{
		moment("since", "From (UTC)"), moment("until", "Before (UTC)"), text("ip", "Address"), text("user_id", "Person (ID)"), text("key_id", "API key (ID)"),
		text("actor_id", "Who did it (ID)"), text("target_id", "What it was done to (ID)"), text("session_id", "Session (ID)"), text("request_id", "Request (ID)"), text("reason", "Reason"),
	}
}

// momentText is a time of an address as a browser's field shows it.
func momentText(s string) string {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at.UTC().Format(localTime)
	}
	return s
}

// marked are the fields with what is wrong beside them.
func marked(fields []shell.Field, refused error) []shell.Field {
	out := slices.Clone(fields)
	for i := range out {
		for _, p := range fault.Of(refused).Fields {
			if p.Name == out[i].Name {
				out[i].Problem = "It " + strings.TrimSuffix(p.Detail, ".") + "."
			}
		}
	}
	return out
}

// eventGroup is the events of one thing.
type eventGroup struct {
	name, title string
	events      []audit.Name
}

// eventGroups are the events by what they are about, in the order of the catalogue.
func eventGroups() []eventGroup {
	var out []eventGroup
	for _, n := range audit.Names() {
		thing, _, _ := strings.Cut(string(n), ".")
		i := slices.IndexFunc(out, func(g eventGroup) bool { return g.name == thing })
		if i < 0 {
			i, out = len(out), append(out, eventGroup{name: thing, title: among(groupTexts, thing)})
		}
		out[i].events = append(out[i].events, n)
	}
	return out
}

var groupTexts = map[string]string{
	"api_key": "API keys", "login": "Logins", "unlock_link": "Unlock links", "user": "Accounts", "password": "Passwords", "org": "Organisation", "member": "Members",
	"role": "Roles", "service_account": "Service accounts", "session": "Sessions", "refresh": "Refresh tokens", "token": "Tokens", "access_token": "Access tokens",
	"permission": "Permissions", "tenant": "Other organisations", "signing_key": "Signing keys", "master_key": "Master key", "client": "Clients", "logout": "Logouts",
	"authorization": "Authorizations", "code": "Authorization codes", "consent": "Consents", "setup": "Set-up", "webhook": "Webhooks", "mail": "Mails", "audit": "Audit log",
	"invitation": "Invitations",
}
