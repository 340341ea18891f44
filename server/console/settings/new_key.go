package settings

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// What the choice of an expiry says besides a number of hours.
const (
	neverExpires  = "never"
	longestExpiry = "longest" // as late as the organisation permits
	onADay        = "day"     // see the field expires_on
)

// showNewKey serves GET /settings/api-keys/new.
func (p Pages) showNewKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	view, err := p.newKey(ctx, v)
	return shell.ShowForm(view), err
}

func (p Pages) newKey(ctx context.Context, v shell.Visit) (shell.View, error) {
	policy, err := p.Keys.Policy(ctx, v.Caller)
	if err != nil {
		return shell.View{}, err
	}
	f := v.Post(newKeyPath)
	f.Submit, f.Cancel = "Create Key", keysPath
	f.Fields = []shell.Field{
		{Name: "name", Label: "Name", Required: true, Max: apikeys.MaxName, Focus: true, Hint: "What it is for, such as prod-agent. Two keys may have one name."},
		{Name: "permissions", Label: "Permissions", Kind: "checkboxes", Required: true, Choices: permissionChoices(v, policy), Hint: "What it may do. Choose as little as it needs: what you may not do is not here."},
		{Name: "expires_at", Label: "Expires", Kind: "select", Required: true, Choices: expiryChoices(policy)},
		{Name: "expires_on", Label: "Last day", Kind: "date", Hint: "Only with “after a day that I choose”. The day ends at midnight UTC."},
		{Name: "networks", Label: "Networks", Kind: "textarea", Mono: true, Hint: "Where it may be used from, one network or address on each line, such as 192.0.2.0/24. Empty: from anywhere."},
	}
	return shell.View{
		Title: "Create Key", Lead: "Its value is shown once, on the next page.", Form: f, Back: shell.Link{Text: "API Keys", To: keysPath},
	}, nil
}

// permissionChoices are what the visitor holds, as far as keys may have it, by what
// it is about.
func permissionChoices(v shell.Visit, policy apikeys.Policy) []shell.Choice {
	var out []shell.Choice
	for _, held := range v.Caller.Permissions {
		if policy.Ceiling().Allows(held) {
			about, _, _ := strings.Cut(string(held), ":")
			out = append(out, shell.Choice{Value: string(held), Label: string(held), Group: about})
		}
	}
	return out
}

func expiryChoices(policy apikeys.Policy) []shell.Choice {
	var out []shell.Choice
	if most := policy.MaxLifetime; most > 0 {
		out = append(out, shell.Choice{Value: longestExpiry, Label: "As late as possible here: after " + daysText(most), Chosen: true})
	} else {
		out = append(out, shell.Choice{Value: neverExpires, Label: "Never", Chosen: true})
	}
	for _, days := range []int{30, 90, 365} {
		if life := time.Duration(days) * 24 * time.Hour; policy.MaxLifetime == 0 || life < policy.MaxLifetime {
			out = append(out, shell.Choice{Value: life.String(), Label: "After " + daysText(life)})
		}
	}
	return append(out, shell.Choice{Value: onADay, Label: "After a day that I choose"})
}

// daysText writes a time in days, where it is whole ones.
func daysText(d time.Duration) string {
	if days := d / (24 * time.Hour); d%(24*time.Hour) == 0 && days > 1 {
		return shell.Count(int64(days)) + " days"
	}
	return apikeys.PeriodText(d)
}

// createKey serves POST /settings/api-keys/new, and shows the value for the only time.
func (p Pages) createKey(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	k, value, err := p.create(ctx, v)
	if err != nil {
		view, failed := p.newKey(ctx, v)
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return p.showValue("Key created", "It is called "+k.Name+".", k, value), nil
}

func (p Pages) create(ctx context.Context, v shell.Visit) (apikeys.Key, secret.Plain, error) {
	n := apikeys.New{Name: v.Form.Get("name"), Permissions: v.Form.All("permissions")}
	var refused []fault.Field
	var wrong *fault.Field
	if n.ExpiresAt, wrong = p.expiry(ctx, v); wrong != nil {
		refused = append(refused, *wrong)
	}
	if n.Rules.Networks, wrong = networksOf(v.Form.Get("networks")); wrong != nil {
		refused = append(refused, *wrong)
	}
	if err := fault.Refusals(refused); err != nil {
		return apikeys.Key{}, secret.Plain{}, err
	}
	return p.Keys.Create(ctx, v.Caller, n)
}

// expiry reads when the key shall expire; zero: never.
func (p Pages) expiry(ctx context.Context, v shell.Visit) (time.Time, *fault.Field) {
	day := v.Form.Get("expires_on")
	switch chosen := v.Form.Get("expires_at"); {
	case day != "" || chosen == onADay:
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			return time.Time{}, &fault.Field{Name: "expires_on", Detail: "must be a day, such as 2030-12-31"}
		}
		return at.AddDate(0, 0, 1), nil
	case chosen == neverExpires:
		return time.Time{}, nil
	case chosen == longestExpiry:
		policy, err := p.Keys.Policy(ctx, v.Caller)
		if err != nil || policy.MaxLifetime == 0 {
			return time.Time{}, nil
		}
		return v.Now.Add(policy.MaxLifetime).Truncate(time.Second), nil
	default:
		life, err := time.ParseDuration(chosen)
		if err != nil || life <= 0 {
			return time.Time{}, &fault.Field{Name: "expires_at", Detail: "must be one of the choices"}
		}
		return v.Now.Add(life).Truncate(time.Second), nil
	}
}

// networksOf reads networks, one on each line or with blanks or commas between.
func networksOf(text string) ([]netip.Prefix, *fault.Field) {
	var out []netip.Prefix
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		n, err := apikeys.ParseNetwork(word)
		if err != nil {
			return nil, &fault.Field{Name: "networks", Detail: word + " " + err.Error()}
		}
		out = append(out, n)
	}
	return out, nil
}

// showValue is the page that shows the value of a key, once.
func (p Pages) showValue(title, lead string, k apikeys.Key, value secret.Plain) shell.Reply {
	return shell.ShowSecret(shell.Secret{
		Title: title, Lead: lead, Label: "API key", Value: value, Use: `curl -H "X-API-Key: $API_KEY" ` + p.Issuer + "/api/v1/me",
		Facts: []shell.Fact{
			{Label: "Name", Cell: shell.Text(k.Name)}, {Label: "May", Cell: shell.Text(words(k.Permissions))},
			{Label: "From", Cell: shell.Text(networks(k.Rules.Networks))}, {Label: "Expires", Cell: shell.When(k.ExpiresAt, "never")},
		},
		Done: shell.Link{Text: "Done", To: keysPath},
	})
}
