package settings

import (
	"cmp"
	"context"
	"slices"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// listApps serves GET /settings/applications. There are too few to page.
func (p Pages) listApps(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	given, err := p.Consents.List(ctx, v.Caller)
	if err != nil {
		return shell.Reply{}, err
	}
	t := shell.Table{
		Caption: "Connected apps", Columns: []string{"App", "What you allowed", "First allowed", "Last changed"},
		Empty: shell.Empty{Title: "No connected apps", Text: "An app appears here when you sign in to it with this account and allow it something."},
	}
	for _, c := range given {
		t.Rows = append(t.Rows, shell.Row{
			Cells: []shell.Cell{
				{Text: appName(c), Soft: string(c.Client), Long: true}, {Text: allowed(c), Long: true}, shell.When(c.GrantedAt, ""), shell.When(c.UpdatedAt, ""),
			},
			Actions: []shell.Link{{Text: "Withdraw", To: appsPath + "/" + string(c.Client) + "/withdraw", Danger: true}},
		})
	}
	return shell.ShowTable(shell.View{Title: "Connected apps", Lead: "Apps that you signed in to with this account, and what you allowed each."}, t), nil
}

func appName(c oauth.GivenConsent) string { return cmp.Or(c.ClientName, "An app that is gone") }

// allowed says what was allowed, as the page of consent does for people.
func allowed(c oauth.GivenConsent) string {
	said := map[string]string{
		oauth.ScopeOpenID: "know who you are", oauth.ScopeProfile: "see your name", oauth.ScopeEmail: "see your e-mail address",
		oauth.ScopeOfflineAccess: "stay signed in while you are away",
	}
	var out string
	for _, s := range c.Scopes {
		if out != "" {
			out += ", "
		}
		out += cmp.Or(said[s], s)
	}
	return cmp.Or(out, "nothing")
}

// consentTo finds what the caller allowed the client of the path.
func (p Pages) consentTo(ctx context.Context, v shell.Visit) (oauth.GivenConsent, error) {
	id, err := ident.ParseClientID(v.Param("client_id"))
	if err != nil {
		return oauth.GivenConsent{}, fault.Wrap(err, fault.NotFound, "")
	}
	given, err := p.Consents.List(ctx, v.Caller)
	if err != nil {
		return oauth.GivenConsent{}, err
	}
	i := slices.IndexFunc(given, func(c oauth.GivenConsent) bool { return c.Client == id })
	if i < 0 {
		return oauth.GivenConsent{}, fault.NotFound
	}
	return given[i], nil
}

// askWithdrawal serves GET /settings/applications/:client_id/withdraw.
func (p Pages) askWithdrawal(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	c, err := p.consentTo(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	f := v.Post(appsPath + "/" + string(c.Client) + "/withdraw")
	f.Submit, f.Cancel = "Withdraw", appsPath
	return shell.ShowConfirm(shell.Confirm{
		Title: "Withdraw what you allowed " + appName(c) + "?", Lead: "It is signed out of your account at once, and asks you again when you next use it.",
		Facts: []shell.Fact{{Label: "You allowed it to", Cell: shell.Text(allowed(c))}, {Label: "Since", Cell: shell.When(c.GrantedAt, "")}},
		Form:  f, Back: shell.Link{Text: "Connected apps", To: appsPath},
	}), nil
}

// withdraw serves POST /settings/applications/:client_id/withdraw.
func (p Pages) withdraw(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	c, err := p.consentTo(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Consents.Withdraw(ctx, v.Caller, c.Client); err != nil {
		return shell.Reply{}, err
	}
	return shell.To(appsPath, "What you allowed "+appName(c)+" was withdrawn."), nil
}
