package organization

import (
	"context"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

const fieldDescription = "description"

// listServices serves GET /console/service-accounts.
func (p Pages) listServices(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	found, err := p.Services.ServiceAccounts(ctx, v.Caller, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(s accounts.ServiceAccount) string { return string(s.ID) })
	t := shell.Table{
		Caption: "Service accounts", Columns: []string{"Name", "Role", "State", "Made"}, Paging: paging,
		Empty: shell.Empty{Title: "No service accounts", Text: "A service account owns API keys that nobody's leaving ends. It cannot sign in."},
	}
	view := shell.View{Title: "Service accounts", Lead: "Owners of API keys that are nobody. Their role caps what their keys may do."}
	if v.Caller.May(accounts.ServiceAccountsManage) {
		add := shell.Link{Text: "Make a service account", To: servicesPath + "/new", Main: true}
		t.Empty.Action = add
		if len(found) > 0 {
			view.Actions = []shell.Link{add}
		}
	}
	for _, s := range found {
		t.Rows = append(t.Rows, serviceRow(v, s))
	}
	return shell.ShowTable(view, t), nil
}

func serviceRow(v shell.Visit, s accounts.ServiceAccount) shell.Row {
	r := shell.Row{ID: string(s.ID), Cells: []shell.Cell{{Text: s.Name, Soft: s.Description, Long: true}, shell.Code(s.Role), statusCell(s.Status), shell.When(s.CreatedAt, "")}}
	if v.Caller.May(accounts.APIKeysManage) {
		r.Actions = append(r.Actions, shell.Link{Text: "Keys", To: keysPath + "?" + fieldOwner + "=" + string(s.ID)})
	}
	if v.Caller.May(accounts.ServiceAccountsManage) {
		r.Actions = append(r.Actions, shell.Link{Text: "Change", To: servicePath(s.ID, "/edit")}, shell.Link{Text: "Delete", To: servicePath(s.ID, "/delete"), Danger: true})
	}
	return r
}

func servicePath(id ident.UserID, what string) string { return servicesPath + "/" + string(id) + what }

func (p Pages) serviceForm(ctx context.Context, v shell.Visit, s accounts.ServiceAccount) (shell.View, error) {
	choices, err := p.roleChoices(ctx, v, s.Role)
	if err != nil {
		return shell.View{}, err
	}
	f := v.Post(servicesPath + "/new")
	f.Submit, f.Cancel = "Make service account", servicesPath
	f.Fields = []shell.Field{
		{Name: fieldName, Label: "Name", Value: s.Name, Required: true, Max: 200, Focus: true, Hint: "Of its own in this organisation, such as deploy-bot."},
		{Name: fieldDescription, Label: "Description", Value: s.Description, Kind: "textarea", Max: 1000, Hint: "What it is for, and whom to ask."},
		{Name: fieldRole, Label: "Role", Kind: "select", Required: true, Choices: choices, Hint: "Its keys may do no more than that."},
	}
	view := shell.View{Title: "Make a service account", Back: shell.Link{Text: "Service accounts", To: servicesPath}, Narrow: true}
	if s.ID != "" {
		f.Action, f.Submit, view.Title = servicePath(s.ID, "/edit"), "Save changes", "Change "+s.Name
		f.Fields = append(f.Fields, shell.Field{Name: fieldStatus, Label: "State", Kind: "radio", Required: true,
			Choices: statusChoices(s.Status, "Its keys can be used.", "Its keys are refused at once.")})
	}
	view.Form = f
	return view, nil
}

// newService serves GET /console/service-accounts/new.
func (p Pages) newService(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	view, err := p.serviceForm(ctx, v, accounts.ServiceAccount{Role: accounts.RoleViewer})
	return shell.ShowForm(view), err
}

// createService serves POST /console/service-accounts/new.
func (p Pages) createService(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	s, err := p.Services.CreateServiceAccount(ctx, v.Caller, accounts.NewServiceAccount{
		Name: v.Form.Get(fieldName), Description: strings.TrimSpace(v.Form.Get(fieldDescription)), Role: v.Form.Get(fieldRole),
	})
	if err != nil {
		view, failed := p.serviceForm(ctx, v, accounts.ServiceAccount{})
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return shell.To(servicesPath, s.Name+" was made. It can own API keys now."), nil
}

// service reads the service account of the path.
func (p Pages) service(ctx context.Context, v shell.Visit) (accounts.ServiceAccount, error) {
	id, err := ident.ParseServiceAccountID(v.Param("id"))
	if err != nil {
		return accounts.ServiceAccount{}, fault.Wrap(err, fault.NotFound, "The organisation has no such service account.")
	}
	return p.Services.ServiceAccount(ctx, v.Caller, id)
}

// editService serves GET /console/service-accounts/:id/edit.
func (p Pages) editService(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	s, err := p.service(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	view, err := p.serviceForm(ctx, v, s)
	return shell.ShowForm(view), err
}

// changeService serves POST /console/service-accounts/:id/edit.
func (p Pages) changeService(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	s, err := p.service(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	name, description, role := v.Form.Get(fieldName), strings.TrimSpace(v.Form.Get(fieldDescription)), v.Form.Get(fieldRole)
	status := accounts.Status(v.Form.Get(fieldStatus))
	changed, err := p.Services.UpdateServiceAccount(ctx, v.Caller, s.ID, accounts.ServiceAccountPatch{Name: &name, Description: &description, Role: &role, Status: &status})
	if err != nil {
		view, failed := p.serviceForm(ctx, v, s)
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return shell.To(servicesPath, changed.Name+" was changed."), nil
}

func serviceDeletion(v shell.Visit, s accounts.ServiceAccount) shell.Confirm {
	f := v.Post(servicePath(s.ID, "/delete"))
	f.Submit, f.Cancel = "Delete service account", servicesPath
	return shell.Confirm{
		Title: "Delete " + s.Name + "?", Lead: "One that owns keys that can be used stays: revoke them, or give them to somebody else, first.",
		Facts: []shell.Fact{{Label: "Role", Cell: shell.Code(s.Role)}, {Label: "Made", Cell: shell.When(s.CreatedAt, "")}},
		Form:  f, Back: shell.Link{Text: "Service accounts", To: servicesPath},
	}
}

// askDeleteService serves GET /console/service-accounts/:id/delete.
func (p Pages) askDeleteService(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	s, err := p.service(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(serviceDeletion(v, s)), nil
}

// deleteService serves POST /console/service-accounts/:id/delete.
func (p Pages) deleteService(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	s, err := p.service(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Services.DeleteServiceAccount(ctx, v.Caller, s.ID); err != nil {
		c := serviceDeletion(v, s)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(servicesPath, s.Name+" was deleted."), nil
}
