package organization

import (
	"cmp"
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// listMembers serves GET /console/members.
func (p Pages) listMembers(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	found, err := p.Members.Members(ctx, v.Caller, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(m accounts.Member) string { return string(m.ID) })
	t := shell.Table{
		Caption: "Members", Columns: []string{"Name", "Role", "State", "Member since"}, Paging: paging,
		Empty: shell.Empty{Title: "Nobody is on this page", Text: "Somebody may have left since you opened the list."},
	}
	view := shell.View{Title: "Members", Lead: "Everybody who can sign in to this organisation, and as what."}
	if v.Caller.May(accounts.UsersCreate) {
		view.Actions = []shell.Link{{Text: "Invite somebody", To: invitationsPath + "/new", Main: true}}
	}
	for _, m := range found {
		t.Rows = append(t.Rows, memberRow(v, m))
	}
	return shell.ShowTable(view, t), nil
}

func memberRow(v shell.Visit, m accounts.Member) shell.Row {
	name := shell.Cell{Text: cmp.Or(m.Name, m.Email), Long: true}
	if m.Name != "" {
		name.Soft = m.Email
	}
	if m.ID == v.Caller.User {
		name.Text += " (you)"
	}
	r := shell.Row{ID: string(m.ID), Cells: []shell.Cell{name, shell.Code(m.Role), statusCell(m.Status), shell.When(m.JoinedAt, "")}}
	if v.Caller.May(accounts.UsersUpdate) {
		r.Actions = append(r.Actions, shell.Link{Text: "Change", To: memberPath(m.ID, "/edit")})
	}
	if v.Caller.May(accounts.UsersDisable) {
		r.Actions = append(r.Actions, shell.Link{Text: "Remove", To: memberPath(m.ID, "/remove"), Danger: true})
	}
	return r
}

func memberPath(id ident.UserID, what string) string { return membersPath + "/" + string(id) + what }

// statusCell says whether somebody, or something, can be used.
func statusCell(s accounts.Status) shell.Cell {
	if s == accounts.Active {
		return shell.Badge("Active", "good")
	}
	return shell.Badge("Disabled", "bad")
}

// statusChoices are both states, with what each means.
func statusChoices(now accounts.Status, active, disabled string) []shell.Choice {
	return []shell.Choice{
		{Value: string(accounts.Active), Label: "Active", Hint: active, Chosen: now == accounts.Active},
		{Value: string(accounts.Disabled), Label: "Disabled", Hint: disabled, Chosen: now == accounts.Disabled},
	}
}

// member reads the member of the path.
func (p Pages) member(ctx context.Context, v shell.Visit) (accounts.Member, error) {
	id, err := ident.ParseUserID(v.Param("id"))
	if err != nil {
		return accounts.Member{}, fault.Wrap(err, fault.NotFound, "The organisation has no such member.")
	}
	return p.Members.Member(ctx, v.Caller, id)
}

func (p Pages) memberForm(ctx context.Context, v shell.Visit, m accounts.Member) (shell.View, error) {
	choices, err := p.roleChoices(ctx, v, m.Role)
	if err != nil {
		return shell.View{}, err
	}
	f := v.Post(memberPath(m.ID, "/edit"))
	f.Submit, f.Cancel = "Save changes", membersPath
	f.Fields = []shell.Field{{Name: fieldRole, Label: "Role", Kind: "select", Required: true, Choices: choices, Hint: "What it permits is on the page of roles. You can give what you may do yourself."}}
	if v.Caller.May(accounts.UsersDisable) {
		f.Fields = append(f.Fields, shell.Field{Name: fieldStatus, Label: "State", Kind: "radio", Required: true,
			Choices: statusChoices(m.Status, "Can sign in.", "Is signed out everywhere at once, and cannot sign in.")})
	}
	return shell.View{Title: "Change " + cmp.Or(m.Name, m.Email), Lead: m.Email, Back: shell.Link{Text: "Members", To: membersPath}, Form: f, Narrow: true}, nil
}

// editMember serves GET /console/members/:id/edit.
func (p Pages) editMember(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	m, err := p.member(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	view, err := p.memberForm(ctx, v, m)
	return shell.ShowForm(view), err
}

// changeMember serves POST /console/members/:id/edit.
func (p Pages) changeMember(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	m, err := p.member(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	role := v.Form.Get(fieldRole)
	change := accounts.Patch{Role: &role}
	if v.Form.Has(fieldStatus) {
		status := accounts.Status(v.Form.Get(fieldStatus))
		change.Status = &status
	}
	if _, err := p.Members.Update(ctx, v.Caller, m.ID, change); err != nil {
		view, failed := p.memberForm(ctx, v, m)
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return shell.To(membersPath, cmp.Or(m.Name, m.Email)+" was changed."), nil
}

func removal(v shell.Visit, m accounts.Member) shell.Confirm {
	f := v.Post(memberPath(m.ID, "/remove"))
	f.Submit, f.Cancel = "Remove member", membersPath
	return shell.Confirm{
		Title: "Remove " + cmp.Or(m.Name, m.Email) + "?", Lead: "They belong to this organisation no more, at once.",
		Effects: []string{
			"Their sessions here end, and API keys that they own here are refused.",
			"Their account stays, with other organisations that they belong to.",
			"To have them back, invite them again.",
		},
		Facts: []shell.Fact{{Label: "E-mail", Cell: shell.Text(m.Email)}, {Label: "Role", Cell: shell.Code(m.Role)}, {Label: "Member since", Cell: shell.When(m.JoinedAt, "")}},
		Form:  f, Back: shell.Link{Text: "Members", To: membersPath},
	}
}

// askRemoveMember serves GET /console/members/:id/remove.
func (p Pages) askRemoveMember(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	m, err := p.member(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(removal(v, m)), nil
}

// removeMember serves POST /console/members/:id/remove.
func (p Pages) removeMember(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	m, err := p.member(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Members.RemoveMember(ctx, v.Caller, m.ID); err != nil {
		c := removal(v, m)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(membersPath, cmp.Or(m.Name, m.Email)+" is a member no more."), nil
}
