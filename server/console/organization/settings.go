package organization

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// orgPage is what the organisation is, and what it lets its API keys be.
type orgPage struct {
	Facts  []shell.Fact
	Policy []shell.Fact // empty where the visitor may not see it
	Change string       // where it is changed; empty where the visitor may not
}

// showOrg serves GET /console/organization.
func (p Pages) showOrg(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.Orgs.Org(ctx, v.Caller, v.Caller.Org)
	if err != nil {
		return shell.Reply{}, err
	}
	page := orgPage{Facts: []shell.Fact{
		{Label: "Name", Cell: shell.Text(o.Name)}, {Label: "Short name", Cell: shell.Code(o.Slug)},
		{Label: "ID", Cell: shell.Cell{Text: string(o.ID), Code: true, Long: true}}, {Label: "Made", Cell: shell.When(o.CreatedAt, "")},
	}}
	view := shell.View{Title: o.Name}
	if v.Caller.May(accounts.OrganizationsUpdate) {
		view.Actions = []shell.Link{{Text: "Change the name", To: orgPath + "/name"}}
	}
	if v.Caller.May(accounts.APIKeysRead) {
		policy, err := p.Policies.Policy(ctx, v.Caller)
		if err != nil {
			return shell.Reply{}, err
		}
		page.Policy = policyFacts(policy)
		if v.Caller.May(accounts.APIKeysPolicy) {
			page.Change = policyPath
		}
	}
	view.Data = page
	return templates.Show("organization.html", view), nil
}

func policyFacts(policy apikeys.Policy) []shell.Fact {
	may, life := "whatever their owners may", "as long as their makers choose"
	if len(policy.Permissions) > 0 {
		may = policy.Permissions.String()
	}
	if policy.MaxLifetime > 0 {
		life = "at most " + apikeys.PeriodText(policy.MaxLifetime)
	}
	return []shell.Fact{{Label: "They may", Cell: shell.Cell{Text: may, Long: true}}, {Label: "They live", Cell: shell.Text(life)}}
}

func nameForm(v shell.Visit, name string) shell.View {
	f := v.Post(orgPath + "/name")
	f.Submit, f.Cancel = "Save name", orgPath
	f.Fields = []shell.Field{{Name: fieldName, Label: "Name", Value: name, Required: true, Max: 200, Autocomplete: "organization", Focus: true, Hint: "Members see it, and people who are invited. The short name stays."}}
	return shell.View{Title: "Change the name", Back: shell.Link{Text: "Organisation", To: orgPath}, Form: f, Narrow: true}
}

// editOrg serves GET /console/organization/name.
func (p Pages) editOrg(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.Orgs.Org(ctx, v.Caller, v.Caller.Org)
	return shell.ShowForm(nameForm(v, o.Name)), err
}

// renameOrg serves POST /console/organization/name.
func (p Pages) renameOrg(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	if _, err := p.Orgs.RenameOrg(ctx, v.Caller, v.Caller.Org, v.Form.Get(fieldName)); err != nil {
		view := nameForm(v, "")
		view.Problem = err
		return shell.ShowForm(view), nil
	}
	return shell.To(orgPath, "The name was changed."), nil
}

// Fields of the policy, and what they say.
const (
	fieldBound    = "bound"
	fieldLifetime = "max_lifetime"
	boundNone     = "none"
	boundChosen   = "chosen"
)

// lifetimes are the bounds to choose from, in days.
var lifetimes = []int{30, 90, 180, 365}

func (p Pages) policyForm(ctx context.Context, v shell.Visit) (shell.View, error) {
	policy, err := p.Policies.Policy(ctx, v.Caller)
	if err != nil {
		return shell.View{}, err
	}
	roles, err := p.Roles.Roles(ctx, v.Caller)
	if err != nil {
		return shell.View{}, err
	}
	bounded := len(policy.Permissions) > 0
	choices := permissionChoices(v, everything(roles), func(q scope.Permission) bool { return bounded && policy.Permissions.Allows(q) })
	for i := range choices { // a bound gives nothing away, so nobody needs what it names
		choices[i].Off = false
	}
	f := v.Post(policyPath)
	f.Submit, f.Cancel = "Save policy", orgPath
	f.Fields = []shell.Field{
		{Name: fieldBound, Label: "API keys may", Kind: "radio", Required: true, Choices: []shell.Choice{
			{Value: boundNone, Label: "Whatever their owners may", Chosen: !bounded},
			{Value: boundChosen, Label: "Only what is chosen here", Chosen: bounded, Hint: "And of that, what their owners may. It holds for keys that are there already, at once."},
		}},
		{Name: fieldPermissions, Label: "Permissions", Kind: "checkboxes", Choices: choices, Hint: "Only with “only what is chosen here”."},
		{Name: fieldLifetime, Label: "Longest life", Kind: "select", Required: true, Choices: lifetimeChoices(policy.MaxLifetime), Hint: "From when a key was made. Keys that are older end at once."},
	}
	return shell.View{
		Title: "What API keys may be", Lead: "For every key of the organisation, whoever owns it.", Back: shell.Link{Text: "Organisation", To: orgPath}, Form: f,
	}, nil
}

func lifetimeChoices(now time.Duration) []shell.Choice {
	out := []shell.Choice{{Value: "0s", Label: "As long as their makers choose", Chosen: now == 0}}
	known := now == 0
	for _, days := range lifetimes {
		life := time.Duration(days) * 24 * time.Hour
		known = known || life == now
		out = append(out, shell.Choice{Value: life.String(), Label: shell.Count(int64(days)) + " days", Chosen: life == now})
	}
	if !known {
		out = append(out, shell.Choice{Value: now.String(), Label: apikeys.PeriodText(now) + ", as it is", Chosen: true})
	}
	return out
}

// editPolicy serves GET /console/organization/key-policy.
func (p Pages) editPolicy(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	view, err := p.policyForm(ctx, v)
	return shell.ShowForm(view), err
}

// changePolicy serves POST /console/organization/key-policy.
func (p Pages) changePolicy(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	permissions := []string{"*:*"}
	if v.Form.Get(fieldBound) == boundChosen {
		permissions = v.Form.All(fieldPermissions)
	}
	life, err := time.ParseDuration(v.Form.Get(fieldLifetime))
	if err != nil {
		err = fault.Refuse(fieldLifetime, "must be one of the choices")
	} else {
		_, err = p.Policies.SetPolicy(ctx, v.Caller, apikeys.PolicyChanges{Permissions: &permissions, MaxLifetime: &life})
	}
	if err != nil {
		view, failed := p.policyForm(ctx, v)
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return shell.To(orgPath, "What API keys may be was changed."), nil
}
