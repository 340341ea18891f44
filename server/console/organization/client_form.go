package organization

import (
	"context"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// The fields of a client, as its failures name them.
const (
	fieldMethod    = "auth_method"
	fieldGrants    = "grants"
	fieldScopes    = "scopes"
	fieldRedirects = "redirect_uris"
	fieldKeys      = "jwks_uri"
)

// option is something to choose, in words.
type option struct{ value, label, hint string }

var methods = []option{
	{string(oauth.AuthSecretBasic), "a secret, in the header", "For applications with a server of their own. Most libraries do that."},
	{string(oauth.AuthSecretPost), "a secret, in the form", "Where a library cannot do the first."},
	{string(oauth.AuthSecretJWT), "an assertion signed with its secret", ""},
	{string(oauth.AuthPrivateKeyJWT), "an assertion signed with a key of its own", "Needs the address of its keys, below."},
	{string(oauth.AuthNone), "nothing", "For applications on the devices of people, which can keep no secret."},
}

var grants = []option{
	{oauth.GrantAuthorizationCode, "people signing in", "Needs an address that people come back to."},
	{oauth.GrantRefreshToken, "refresh tokens", "It stays signed in."},
	{oauth.GrantClientCredentials, "itself", "It acts as nobody but itself."},
	{oauth.GrantTokenExchange, "exchange of other tokens", ""},
}

var identities = []option{
	{oauth.ScopeOpenID, "openid", "Who signed in."}, {oauth.ScopeProfile, "profile", "Their name."}, {oauth.ScopeEmail, "email", "Their address."},
	{oauth.ScopeOfflineAccess, "offline_access", "Go on while they are away."},
}

func choicesOf(options []option, group string, chosen func(string) bool) []shell.Choice {
	out := make([]shell.Choice, len(options))
	for i, o := range options {
		out[i] = shell.Choice{Value: o.value, Label: upperFirst(o.label), Hint: o.hint, Group: group, Chosen: chosen(o.value)}
		if group != "" {
			out[i].Label = o.label // a word for machines
		}
	}
	return out
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func methodText(m oauth.AuthMethod) string {
	for _, o := range methods {
		if o.value == string(m) {
			return o.label
		}
	}
	return string(m)
}

func grantTexts(names []string) []string {
	out := slices.Clone(names)
	for i, name := range out {
		if at := slices.IndexFunc(grants, func(o option) bool { return o.value == name }); at >= 0 {
			out[i] = grants[at].label
		}
	}
	return out
}

// scopeChoices are what a client may be let ask for: who people are, and what the
// visitor may do.
func (p Pages) scopeChoices(ctx context.Context, v shell.Visit, r oauth.Registered) ([]shell.Choice, error) {
	roles, err := p.Roles.Roles(ctx, v.Caller)
	if err != nil {
		return nil, err
	}
	has := func(name string) bool { return slices.Contains(r.Scopes, name) }
	out := choicesOf(identities, "about people", has)
	return append(out, permissionChoices(v, everything(roles), func(q scope.Permission) bool { return has(string(q)) })...), nil
}

// clientForm is the form of a new client; of one that is there where it has an id.
func (p Pages) clientForm(ctx context.Context, v shell.Visit, r oauth.Registered) (shell.View, error) {
	scopes, err := p.scopeChoices(ctx, v, r)
	if err != nil {
		return shell.View{}, err
	}
	f := v.Post(clientsPath + "/new")
	f.Submit, f.Cancel = "Register client", clientsPath
	view := shell.View{Title: "Register a client", Lead: "Its secret, where it has one, is shown once, on the next page.", Back: shell.Link{Text: "Clients", To: clientsPath}}
	f.Fields = []shell.Field{{Name: fieldName, Label: "Name", Value: r.Name, Required: true, Max: 100, Focus: true, Hint: "People read it when they are asked for their consent."}}
	if r.ID == "" {
		f.Fields = append(f.Fields, shell.Field{Name: fieldMethod, Label: "It proves who it is by", Kind: "radio", Required: true,
			Choices: choicesOf(methods, "", func(m string) bool { return m == string(r.AuthMethod) })})
	}
	f.Fields = append(f.Fields,
		shell.Field{Name: fieldGrants, Label: "It gets tokens by", Kind: "checkboxes", Required: true, Choices: choicesOf(grants, "", func(g string) bool { return slices.Contains(r.Grants, g) })},
		shell.Field{Name: fieldRedirects, Label: "Where people come back to", Kind: "textarea", Mono: true, Value: strings.Join(r.RedirectURIs, "\n"), Hint: "One address on each line, exactly as the application sends it, such as https://app.example.com/callback."},
		shell.Field{Name: fieldScopes, Label: "It may ask for", Kind: "checkboxes", Choices: scopes, Hint: "Choose as little as it needs. What you may not do yourself cannot be chosen."},
		shell.Field{Name: fieldKeys, Label: "Where its keys are", Kind: "url", Mono: true, Value: r.JWKSURI, Hint: "The address of its JWK Set, where it signs with a key of its own."},
	)
	if r.ID != "" {
		f.Action, f.Submit, f.Cancel = clientPath(r.ID, "/edit"), "Save changes", clientPath(r.ID, "")
		view.Title, view.Back = "Change "+r.Name, shell.Link{Text: r.Name, To: clientPath(r.ID, "")}
		view.Lead = "Where it may do less than before, its tokens end."
		f.Fields = append(f.Fields, shell.Field{Name: fieldStatus, Label: "State", Kind: "radio", Required: true, Choices: []shell.Choice{
			{Value: string(oauth.ClientActive), Label: "Active", Chosen: r.Status == oauth.ClientActive},
			{Value: string(oauth.ClientDisabled), Label: "Disabled", Hint: "It is refused, and its tokens end at once.", Chosen: r.Status == oauth.ClientDisabled},
		}})
	}
	view.Form = f
	return view, nil
}

// newClient serves GET /console/clients/new.
func (p Pages) newClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	view, err := p.clientForm(ctx, v, oauth.Registered{AuthMethod: oauth.AuthSecretBasic})
	return shell.ShowForm(view), err
}

// editClient serves GET /console/clients/:id/edit.
func (p Pages) editClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	view, err := p.clientForm(ctx, v, r)
	return shell.ShowForm(view), err
}
