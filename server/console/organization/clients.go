package organization

import (
	"context"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// listClients serves GET /console/clients.
func (p Pages) listClients(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	found, err := p.Clients.List(ctx, v.Caller, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(r oauth.Registered) string { return string(r.ID) })
	t := shell.Table{
		Caption: "Clients", Columns: []string{"Name", "Client ID", "State", "Made"}, Paging: paging,
		Empty: shell.Empty{Title: "No clients", Text: "A client is an application that signs people in here, or a service that asks for tokens for itself."},
	}
	view := shell.View{Title: "Clients", Lead: "Applications that ask for tokens."}
	if v.Caller.May(accounts.ClientsManage) {
		add := shell.Link{Text: "Register a client", To: clientsPath + "/new", Main: true}
		t.Empty.Action = add
		if len(found) > 0 {
			view.Actions = []shell.Link{add}
		}
	}
	for _, r := range found {
		t.Rows = append(t.Rows, shell.Row{ID: string(r.ID), Cells: []shell.Cell{
			{Text: r.Name, Link: clientPath(r.ID, ""), Long: true}, {Text: string(r.ID), Code: true, Long: true}, clientStatus(r), shell.When(r.CreatedAt, ""),
		}})
	}
	return shell.ShowTable(view, t), nil
}

func clientStatus(r oauth.Registered) shell.Cell {
	if r.Status == oauth.ClientActive {
		return shell.Badge("Active", "good")
	}
	return shell.Badge("Disabled", "bad")
}

func clientPath(id ident.ClientID, what string) string { return clientsPath + "/" + string(id) + what }

// client reads the client of the path.
func (p Pages) client(ctx context.Context, v shell.Visit) (oauth.Registered, error) {
	id, err := ident.ParseClientID(v.Param("id"))
	if err != nil {
		return oauth.Registered{}, fault.Wrap(err, fault.NotFound, "The organisation has no such client.")
	}
	return p.Clients.Get(ctx, v.Caller, id)
}

// showClient serves GET /console/clients/:id.
func (p Pages) showClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	view := shell.View{Title: r.Name, Back: shell.Link{Text: "Clients", To: clientsPath}, Data: clientFacts(r)}
	if v.Caller.May(accounts.ClientsManage) {
		view.Actions = []shell.Link{{Text: "Change", To: clientPath(r.ID, "/edit")}}
		if r.AuthMethod.UsesSecret() {
			view.Actions = append(view.Actions, shell.Link{Text: "Rotate secret", To: clientPath(r.ID, "/rotate-secret")})
		}
		view.Actions = append(view.Actions, shell.Link{Text: "Delete", To: clientPath(r.ID, "/delete"), Danger: true})
	}
	return templates.Show("client.html", view), nil
}

func clientFacts(r oauth.Registered) []shell.Fact {
	list := func(words []string, none string) shell.Cell {
		if len(words) == 0 {
			return shell.Text(none)
		}
		return shell.Cell{Text: strings.Join(words, ", "), Long: true}
	}
	facts := []shell.Fact{
		{Label: "Client ID", Cell: shell.Cell{Text: string(r.ID), Code: true, Long: true}}, {Label: "State", Cell: clientStatus(r)},
		{Label: "Proves who it is by", Cell: shell.Text(methodText(r.AuthMethod))},
		{Label: "Gets tokens by", Cell: list(grantTexts(r.Grants), "nothing")},
		{Label: "May ask for", Cell: list(r.Scopes, "nothing")},
		{Label: "People come back to", Cell: list(r.RedirectURIs, "nowhere")},
	}
	if r.JWKSURI != "" {
		facts = append(facts, shell.Fact{Label: "Its keys are at", Cell: shell.Cell{Text: r.JWKSURI, Code: true, Long: true}})
	}
	for i, s := range r.Secrets {
		c := shell.When(s.CreatedAt, "")
		label := "Secret since"
		if i > 0 {
			label, c = "Secret before it, until", shell.When(s.ValidUntil, "")
		}
		facts = append(facts, shell.Fact{Label: label, Cell: c})
	}
	return append(facts, shell.Fact{Label: "Made", Cell: shell.When(r.CreatedAt, "")})
}

// createClient serves POST /console/clients/new.
func (p Pages) createClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, value, err := p.Clients.Create(ctx, v.Caller, oauth.Registration{
		Name: v.Form.Get(fieldName), AuthMethod: oauth.AuthMethod(v.Form.Get(fieldMethod)), Grants: v.Form.All(fieldGrants),
		RedirectURIs: strings.Fields(v.Form.Get(fieldRedirects)), JWKSURI: strings.TrimSpace(v.Form.Get(fieldKeys)), Scopes: v.Form.All(fieldScopes),
	})
	if err != nil {
		view, failed := p.clientForm(ctx, v, oauth.Registered{AuthMethod: oauth.AuthSecretBasic})
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	if value.IsZero() {
		return shell.To(clientPath(r.ID, ""), r.Name+" was registered."), nil
	}
	return secretOf("The client was registered", r, value), nil
}

// secretOf shows a client's secret for the only time.
func secretOf(title string, r oauth.Registered, value secret.Plain) shell.Reply {
	return shell.ShowSecret(shell.Secret{
		Title: title, Label: "Client secret", Value: value, Lead: "Put it into the configuration of the application, with the client ID.",
		Facts: []shell.Fact{{Label: "Client ID", Cell: shell.Cell{Text: string(r.ID), Code: true, Long: true}}, {Label: "Name", Cell: shell.Text(r.Name)}},
		Done:  shell.Link{Text: "Go to the client", To: clientPath(r.ID, "")},
	})
}

// changeClient serves POST /console/clients/:id/edit.
func (p Pages) changeClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	name, status := v.Form.Get(fieldName), oauth.ClientStatus(v.Form.Get(fieldStatus))
	grants, scopes, redirects := v.Form.All(fieldGrants), v.Form.All(fieldScopes), strings.Fields(v.Form.Get(fieldRedirects))
	change := oauth.ClientChange{Name: &name, Status: &status, Grants: &grants, Scopes: &scopes, RedirectURIs: &redirects}
	if keys := strings.TrimSpace(v.Form.Get(fieldKeys)); keys != r.JWKSURI {
		change.JWKSURI = &keys
	}
	if _, err := p.Clients.Update(ctx, v.Caller, r.ID, change); err != nil {
		view, failed := p.clientForm(ctx, v, r)
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return shell.To(clientPath(r.ID, ""), "The client was changed."), nil
}

// graces are how long an old secret may go on working.
var graces = []struct{ value, label string }{{"24h", "For a day"}, {"168h", "For seven days"}, {"720h", "For thirty days"}, {"0s", "Not any more: it is known to somebody"}}

func secretRotation(v shell.Visit, r oauth.Registered) shell.Confirm {
	f := v.Post(clientPath(r.ID, "/rotate-secret"))
	f.Submit, f.Cancel = "Rotate secret", clientPath(r.ID, "")
	grace := shell.Field{Name: "grace", Label: "The old secret goes on working", Kind: "select", Required: true}
	for i, g := range graces {
		grace.Choices = append(grace.Choices, shell.Choice{Value: g.value, Label: g.label, Chosen: i == 0})
	}
	f.Fields = []shell.Field{grace}
	return shell.Confirm{
		Title: "Rotate the secret of " + r.Name + "?", Lead: "A new one is made and shown once.", Harmless: true,
		Facts: []shell.Fact{{Label: "Client ID", Cell: shell.Cell{Text: string(r.ID), Code: true, Long: true}}}, Form: f, Back: shell.Link{Text: r.Name, To: clientPath(r.ID, "")},
	}
}

// askRotateSecret serves GET /console/clients/:id/rotate-secret.
func (p Pages) askRotateSecret(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(secretRotation(v, r)), nil
}

// rotateSecret serves POST /console/clients/:id/rotate-secret.
func (p Pages) rotateSecret(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	var value secret.Plain
	grace, err := time.ParseDuration(v.Form.Get("grace"))
	if err != nil {
		err = fault.Refuse("grace", "must be one of the choices")
	} else {
		_, value, err = p.Clients.RotateSecret(ctx, v.Caller, r.ID, grace)
	}
	if err != nil {
		c := secretRotation(v, r)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return secretOf("The secret was rotated", r, value), nil
}

func clientDeletion(v shell.Visit, r oauth.Registered) shell.Confirm {
	f := v.Post(clientPath(r.ID, "/delete"))
	f.Submit, f.Cancel = "Delete client", clientPath(r.ID, "")
	return shell.Confirm{
		Title: "Delete " + r.Name + "?", Lead: "This cannot be undone. To stop it for a while, disable it instead.",
		Effects: []string{"Its tokens are refused at once, and so are those that people gave it.", "Its client ID is never used again."},
		Facts:   []shell.Fact{{Label: "Client ID", Cell: shell.Cell{Text: string(r.ID), Code: true, Long: true}}}, Form: f, Back: shell.Link{Text: r.Name, To: clientPath(r.ID, "")},
	}
}

// askDeleteClient serves GET /console/clients/:id/delete.
func (p Pages) askDeleteClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(clientDeletion(v, r)), nil
}

// deleteClient serves POST /console/clients/:id/delete.
func (p Pages) deleteClient(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	r, err := p.client(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Clients.Delete(ctx, v.Caller, r.ID); err != nil {
		c := clientDeletion(v, r)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(clientsPath, r.Name+" was deleted."), nil
}
