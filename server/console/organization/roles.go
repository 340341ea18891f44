package organization

import (
	"context"
	"slices"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// roleChoices are the roles of the organisation. Those that permit more than the
// visitor may do are shown, and not to be chosen.
func (p Pages) roleChoices(ctx context.Context, v shell.Visit, chosen string) ([]shell.Choice, error) {
	roles, err := p.Roles.Roles(ctx, v.Caller)
	if err != nil {
		return nil, err
	}
	all := everything(roles)
	var out []shell.Choice
	for _, r := range roles {
		c := shell.Choice{Value: r.Name, Label: r.Name, Chosen: r.Name == chosen}
		if over := slices.ContainsFunc(all, func(q scope.Permission) bool { return r.Permissions.Allows(q) && !v.Caller.May(q) }); over {
			c.Label, c.Off = c.Label+" (more than you may give)", !c.Chosen
		}
		out = append(out, c)
	}
	return out, nil
}

// everything is each permission that there is: what the owner may.
func everything(roles []accounts.Role) scope.Set {
	i := slices.IndexFunc(roles, func(r accounts.Role) bool { return r.Name == accounts.RoleOwner })
	if i < 0 {
		return nil
	}
	return roles[i].Permissions
}

// rolesPage is the organisation's own roles, and what each role permits.
type rolesPage struct {
	Own    shell.Table
	Matrix shell.Table
}

// listRoles serves GET /console/roles.
func (p Pages) listRoles(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	roles, err := p.Roles.Roles(ctx, v.Caller)
	if err != nil {
		return shell.Reply{}, err
	}
	view := shell.View{Title: "Roles", Lead: "What members and service accounts may do depends on their role."}
	page := rolesPage{Own: shell.Table{
		Caption: "Your own roles", Columns: []string{"Name", "Permits", "Changed"},
		Empty: shell.Empty{Title: "No roles of your own", Text: "The four below are always there. Make one where none of them fits."},
	}, Matrix: matrixOf(roles)}
	if v.Caller.May(accounts.RolesManage) {
		add := shell.Link{Text: "Make a role", To: rolesPath + "/new", Main: true}
		view.Actions, page.Own.Empty.Action = []shell.Link{add}, shell.Link{}
	}
	for _, r := range roles {
		if !r.BuiltIn {
			page.Own.Rows = append(page.Own.Rows, roleRow(v, r))
		}
	}
	view.Data = page
	return templates.Show("roles.html", view), nil
}

func roleRow(v shell.Visit, r accounts.Role) shell.Row {
	row := shell.Row{ID: "role-" + r.Name, Cells: []shell.Cell{shell.Code(r.Name), {Text: strings.Join(r.Permissions.Strings(), ", "), Long: true}, shell.When(r.UpdatedAt, "")}}
	if v.Caller.May(accounts.RolesManage) {
		row.Actions = []shell.Link{{Text: "Change", To: rolePath(r.Name, "/edit")}, {Text: "Delete", To: rolePath(r.Name, "/delete"), Danger: true}}
	}
	return row
}

func rolePath(name, what string) string { return rolesPath + "/" + name + what }

// matrixOf has a row for each permission and a column for each role.
func matrixOf(roles []accounts.Role) shell.Table {
	t := shell.Table{Caption: "What each role permits", Columns: []string{"Permission"}}
	for _, r := range roles {
		t.Columns = append(t.Columns, r.Name)
	}
	for _, q := range everything(roles) {
		row := shell.Row{Cells: []shell.Cell{shell.Code(string(q))}}
		for _, r := range roles {
			cell := shell.Text("no")
			if r.Permissions.Allows(q) {
				cell = shell.Badge("yes", "good")
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// permissionChoices are all permissions, by what they are about. Those that the
// visitor lacks are shown, and not to be chosen.
func permissionChoices(v shell.Visit, all scope.Set, chosen func(scope.Permission) bool) []shell.Choice {
	var out []shell.Choice
	for _, q := range all {
		about, _, _ := strings.Cut(string(q), ":")
		out = append(out, shell.Choice{Value: string(q), Label: string(q), Group: about, Chosen: chosen(q), Off: !v.Caller.May(q)})
	}
	return out
}

func (p Pages) roleForm(v shell.Visit, roles []accounts.Role, r accounts.Role) shell.View {
	f := v.Post(rolesPath + "/new")
	f.Submit, f.Cancel = "Make role", rolesPath
	view := shell.View{Title: "Make a role", Lead: "You can give what you may do yourself, and no more.", Back: shell.Link{Text: "Roles", To: rolesPath}}
	permissions := shell.Field{Name: fieldPermissions, Label: "Permits", Kind: "checkboxes", Required: true, Choices: permissionChoices(v, everything(roles), r.Permissions.Allows)}
	if r.Name == "" {
		f.Fields = []shell.Field{{Name: fieldName, Label: "Name", Required: true, Max: 63, Mono: true, Focus: true, Hint: "Small letters, digits, _ and -, such as on-call. It cannot be changed later."}}
	} else {
		f.Action, f.Submit = rolePath(r.Name, "/edit"), "Save changes"
		view.Title, view.Lead = "Change the role "+r.Name, "Whoever has it and loses something has to be given a new token: theirs are refused at once."
	}
	f.Fields = append(f.Fields, permissions)
	view.Form = f
	return view
}

// newRole serves GET /console/roles/new.
func (p Pages) newRole(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	roles, err := p.Roles.Roles(ctx, v.Caller)
	return shell.ShowForm(p.roleForm(v, roles, accounts.Role{})), err
}

// createRole serves POST /console/roles/new.
func (p Pages) createRole(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	roles, err := p.Roles.Roles(ctx, v.Caller)
	if err != nil {
		return shell.Reply{}, err
	}
	name := strings.TrimSpace(v.Form.Get(fieldName))
	if slices.ContainsFunc(roles, func(r accounts.Role) bool { return r.Name == name }) {
		err = fault.Refuse(fieldName, "is taken by another role")
	} else {
		_, err = p.Roles.SetRolePermissions(ctx, v.Caller, name, v.Form.All(fieldPermissions))
	}
	if err != nil {
		view := p.roleForm(v, roles, accounts.Role{})
		view.Problem = err
		return shell.ShowForm(view), nil
	}
	return shell.To(rolesPath, "The role "+name+" was made."), nil
}

// ownRole reads the role of the path, which the organisation made.
func (p Pages) ownRole(ctx context.Context, v shell.Visit) ([]accounts.Role, accounts.Role, error) {
	roles, err := p.Roles.Roles(ctx, v.Caller)
	if err != nil {
		return nil, accounts.Role{}, err
	}
	i := slices.IndexFunc(roles, func(r accounts.Role) bool { return r.Name == v.Param("name") && !r.BuiltIn })
	if i < 0 {
		return nil, accounts.Role{}, fault.New(fault.NotFound, "The organisation has no such role of its own.")
	}
	return roles, roles[i], nil
}

// editRole serves GET /console/roles/:name/edit.
func (p Pages) editRole(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	roles, r, err := p.ownRole(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowForm(p.roleForm(v, roles, r)), nil
}

// changeRole serves POST /console/roles/:name/edit.
func (p Pages) changeRole(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	roles, r, err := p.ownRole(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if _, err := p.Roles.SetRolePermissions(ctx, v.Caller, r.Name, v.Form.All(fieldPermissions)); err != nil {
		view := p.roleForm(v, roles, r)
		view.Problem = err
		return shell.ShowForm(view), nil
	}
	return shell.To(rolesPath, "The role "+r.Name+" was changed."), nil
}

func roleDeletion(v shell.Visit, r accounts.Role) shell.Confirm {
	f := v.Post(rolePath(r.Name, "/delete"))
	f.Submit, f.Cancel = "Delete role", rolesPath
	return shell.Confirm{
		Title: "Delete the role " + r.Name + "?", Lead: "A role that somebody has cannot be deleted; give them another one first.",
		Effects: []string{"Invitations with this role cannot be accepted any more."},
		Facts:   []shell.Fact{{Label: "Permits", Cell: shell.Cell{Text: strings.Join(r.Permissions.Strings(), ", "), Long: true}}},
		Form:    f, Back: shell.Link{Text: "Roles", To: rolesPath},
	}
}

// askDeleteRole serves GET /console/roles/:name/delete.
func (p Pages) askDeleteRole(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	_, r, err := p.ownRole(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(roleDeletion(v, r)), nil
}

// deleteRole serves POST /console/roles/:name/delete.
func (p Pages) deleteRole(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	_, r, err := p.ownRole(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Roles.DeleteRole(ctx, v.Caller, r.Name); err != nil {
		c := roleDeletion(v, r)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(rolesPath, "The role "+r.Name+" was deleted."), nil
}
