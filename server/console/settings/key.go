package settings

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// keyPage is one key, and how often it was used.
type keyPage struct {
	Facts []shell.Fact
	Plots []shell.Plot
}

// showKey serves GET /settings/api-keys/:id.
func (p Pages) showKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, err := p.ownKey(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	var page keyPage
	if page.Facts, err = p.keyFacts(ctx, v, k); err != nil {
		return shell.Reply{}, err
	}
	for _, step := range []apikeys.Step{apikeys.Daily, apikeys.Hourly} {
		s, err := p.Keys.Usage(ctx, v.Caller, k.ID, apikeys.Span{Step: step})
		if err != nil {
			return shell.Reply{}, err
		}
		page.Plots = append(page.Plots, usagePlot(s))
	}
	actions := keyActions(v, k)
	return templates.Show("key.html", shell.View{Title: k.Name, Back: shell.Link{Text: "API Keys", To: keysPath}, Actions: actions, Data: page}), nil
}

func (p Pages) keyFacts(ctx context.Context, v shell.Visit, k apikeys.Key) ([]shell.Fact, error) {
	status, err := p.statusCell(ctx, v, k)
	facts := []shell.Fact{
		{Label: "Status", Cell: status},
		{Label: "Begins and ends with", Cell: shell.Code(k.Hint())},
		{Label: "May", Cell: shell.Text(words(k.Permissions))},
		{Label: "From", Cell: shell.Text(networks(k.Rules.Networks))},
	}
	if limits := limitsText(k.Rules); limits != "" {
		facts = append(facts, shell.Fact{Label: "How often", Cell: shell.Text(limits)})
	}
	facts = append(facts,
		shell.Fact{Label: "Created", Cell: shell.When(k.CreatedAt, "")},
		shell.Fact{Label: "Expires", Cell: shell.When(k.ExpiresAt, "never")},
		shell.Fact{Label: "Last used", Cell: lastUse(k.LastUsed)},
	)
	if len(k.Secrets) > 1 && v.Now.Before(k.Secrets[1].ValidUntil) {
		old := k.Secrets[1]
		facts = append(facts, shell.Fact{Label: "Value before it", Cell: shell.Cell{Text: "ends with …" + old.Last4 + " and works until", Time: old.ValidUntil, Soft: "last used: " + sinceText(old.LastUsed)}})
	}
	return append(facts, shell.Fact{Label: "Key ID", Cell: shell.Code(string(k.ID))}), err
}

// lastUse says when a key was used, and from where.
func lastUse(u apikeys.Use) shell.Cell {
	c := shell.When(u.At, "never")
	if u.IP.IsValid() {
		c.Soft = "from " + u.IP.String()
		if u.UserAgent != "" {
			c.Soft += ", " + deviceOf(u.UserAgent)
		}
	}
	return c
}

func sinceText(u apikeys.Use) string {
	if u.At.IsZero() {
		return "never"
	}
	return u.At.UTC().Format("2 Jan 2006, 15:04") + " UTC"
}

func words(ps []scope.Permission) string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = string(p)
	}
	return strings.Join(out, ", ")
}

func networks(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return "anywhere"
	}
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return strings.Join(out, ", ")
}

func limitsText(r apikeys.Rules) string {
	var out []string
	for _, l := range r.Limits {
		out = append(out, shell.Count(l.Requests)+" in "+apikeys.PeriodText(l.Per))
	}
	if q := r.Quota; q.Requests > 0 {
		out = append(out, shell.Count(q.Requests)+" a "+string(q.Per))
	}
	return strings.Join(out, ", ")
}

// usagePlot draws a series.
func usagePlot(s apikeys.Series) shell.Plot {
	plot := shell.Plot{ID: "use-day", Title: "The last 30 days", Unit: "requests", From: s.From, Step: 24 * time.Hour, Nothing: "Not used in this time."}
	if s.Step == apikeys.Hourly {
		plot.ID, plot.Title, plot.Step = "use-hour", "The last 24 hours", time.Hour
	}
	n := int(s.To.Sub(s.From) / plot.Step)
	plot.Series = []shell.Series{
		{Name: "Accepted", Values: make([]int64, n)}, {Name: "Refused", Values: make([]int64, n)}, {Name: "Over its limits", Values: make([]int64, n)},
	}
	for _, b := range s.Buckets {
		i := int(b.Start.Sub(s.From) / plot.Step)
		if i < 0 || i >= n {
			continue
		}
		plot.Nothing = ""
		plot.Series[0].Values[i], plot.Series[1].Values[i], plot.Series[2].Values[i] = b.OK, b.Refused, b.Limited
	}
	return plot
}
