package organization

import (
	"context"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
)

// listInvitations serves GET /console/invitations.
func (p Pages) listInvitations(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	ask, err := v.Ask()
	if err != nil {
		return shell.Reply{}, err
	}
	found, err := p.Invitations.Invitations(ctx, v.Caller, ask)
	if err != nil {
		return shell.Reply{}, err
	}
	found, paging := shell.Paged(v, found, func(i accounts.Invitation) string { return string(i.ID) })
	t := shell.Table{
		Caption: "Invitations", Columns: []string{"E-mail", "Role", "State", "Invited", "Expires"}, Paging: paging,
		Empty: shell.Empty{Title: "No invitations", Text: "Invite somebody by their address: they choose their own password, or join with the account they have."},
	}
	view := shell.View{Title: "Invitations", Lead: "Who was asked to join. An invitation lasts seven days."}
	if v.Caller.May(accounts.UsersCreate) {
		add := shell.Link{Text: "Invite somebody", To: invitationsPath + "/new", Main: true}
		t.Empty.Action = add
		if len(found) > 0 {
			view.Actions = []shell.Link{add}
		}
	}
	for _, i := range found {
		t.Rows = append(t.Rows, invitationRow(v, i))
	}
	return shell.ShowTable(view, t), nil
}

// invitationStates are the states as people read them.
var invitationStates = map[accounts.InvitationState]shell.Cell{
	accounts.InvitationOpen: shell.Badge("Waiting", "wait"), accounts.InvitationAccepted: shell.Badge("Accepted", "good"),
	accounts.InvitationRevoked: shell.Badge("Taken back", "plain"), accounts.InvitationExpired: shell.Badge("Expired", "plain"),
}

func invitationRow(v shell.Visit, i accounts.Invitation) shell.Row {
	r := shell.Row{ID: string(i.ID), Cells: []shell.Cell{
		{Text: i.Email, Soft: "by " + i.InvitedBy, Long: true}, shell.Code(i.Role), invitationStates[i.State], shell.When(i.CreatedAt, ""), shell.When(i.ExpiresAt, ""),
	}}
	ended := i.State == accounts.InvitationAccepted || i.State == accounts.InvitationRevoked
	if ended || !v.Caller.May(accounts.UsersCreate) {
		return r
	}
	r.Actions = []shell.Link{{Text: "Send again", To: invitationPath(i.ID, "/resend")}, {Text: "Take back", To: invitationPath(i.ID, "/revoke"), Danger: true}}
	return r
}

func invitationPath(id ident.InvitationID, what string) string {
	return invitationsPath + "/" + string(id) + what
}

func (p Pages) invitationForm(ctx context.Context, v shell.Visit) (shell.View, error) {
	choices, err := p.roleChoices(ctx, v, accounts.RoleViewer)
	if err != nil {
		return shell.View{}, err
	}
	f := v.Post(invitationsPath + "/new")
	f.Submit, f.Cancel = "Send invitation", invitationsPath
	f.Fields = []shell.Field{
		{Name: fieldEmail, Label: "E-mail", Kind: "email", Required: true, Max: 254, Focus: true},
		{Name: fieldRole, Label: "Role", Kind: "select", Required: true, Choices: choices, Hint: "You can give what you may do yourself."},
	}
	return shell.View{
		Title: "Invite somebody", Lead: "They choose their own password, or join with the account they have. Nobody is told whether there is one.",
		Back: shell.Link{Text: "Invitations", To: invitationsPath}, Form: f, Narrow: true,
	}, nil
}

// newInvitation serves GET /console/invitations/new.
func (p Pages) newInvitation(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	view, err := p.invitationForm(ctx, v)
	return shell.ShowForm(view), err
}

// invite serves POST /console/invitations/new.
func (p Pages) invite(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	o, err := p.Invitations.Invite(ctx, v.Caller, strings.TrimSpace(v.Form.Get(fieldEmail)), v.Form.Get(fieldRole))
	if err != nil {
		view, failed := p.invitationForm(ctx, v)
		view.Problem = err
		return shell.ShowForm(view), failed
	}
	return p.sent(o), nil
}

// sent says that an invitation is on its way; where no mail is sent, it shows the
// link for the only time.
func (p Pages) sent(o accounts.Offer) shell.Reply {
	if o.Link.IsZero() {
		return shell.To(invitationsPath, "The invitation to "+o.Email+" is on its way.")
	}
	return shell.ShowSecret(shell.Secret{
		Title: "Hand over this link", Label: "Link", Value: secret.Of(p.InvitationURL(o.Link)),
		Lead: "This server sends no mail, so send the link to " + o.Email + " yourself. Whoever has it can join in their place.",
		Facts: []shell.Fact{
			{Label: "E-mail", Cell: shell.Text(o.Email)}, {Label: "Role", Cell: shell.Code(o.Role)}, {Label: "Expires", Cell: shell.When(o.ExpiresAt, "")},
		},
		Done: shell.Link{Text: "Done", To: invitationsPath},
	})
}

// invitation reads the invitation of the path.
func (p Pages) invitation(ctx context.Context, v shell.Visit) (accounts.Invitation, error) {
	id, err := ident.ParseInvitationID(v.Param("id"))
	if err != nil {
		return accounts.Invitation{}, fault.Wrap(err, fault.NotFound, "The organisation has no such invitation.")
	}
	return p.Invitations.InvitationByID(ctx, v.Caller, id)
}

// about is a question about an invitation.
func about(v shell.Visit, i accounts.Invitation, what, submit string) shell.Confirm {
	f := v.Post(invitationPath(i.ID, what))
	f.Submit, f.Cancel = submit, invitationsPath
	return shell.Confirm{
		Form: f, Back: shell.Link{Text: "Invitations", To: invitationsPath},
		Facts: []shell.Fact{{Label: "E-mail", Cell: shell.Text(i.Email)}, {Label: "Role", Cell: shell.Code(i.Role)}, {Label: "Expires", Cell: shell.When(i.ExpiresAt, "")}},
	}
}

func resending(v shell.Visit, i accounts.Invitation) shell.Confirm {
	c := about(v, i, "/resend", "Send again")
	c.Title, c.Harmless = "Send the invitation again?", true
	c.Lead = "It lasts seven days from now. The links that were sent before work as well, until one is used."
	return c
}

func revocation(v shell.Visit, i accounts.Invitation) shell.Confirm {
	c := about(v, i, "/revoke", "Take back")
	c.Title, c.Lead = "Take the invitation back?", "Its links stop working at once."
	return c
}

// askResend serves GET /console/invitations/:id/resend.
func (p Pages) askResend(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	i, err := p.invitation(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(resending(v, i)), nil
}

// resend serves POST /console/invitations/:id/resend.
func (p Pages) resend(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	i, err := p.invitation(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	o, err := p.Invitations.ResendInvitation(ctx, v.Caller, i.ID)
	if err != nil {
		c := resending(v, i)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return p.sent(o), nil
}

// askRevokeInvitation serves GET /console/invitations/:id/revoke.
func (p Pages) askRevokeInvitation(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	i, err := p.invitation(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	return shell.ShowConfirm(revocation(v, i)), nil
}

// revokeInvitation serves POST /console/invitations/:id/revoke.
func (p Pages) revokeInvitation(ctx context.Context, v shell.Visit) (shell.Reply, error) {
	i, err := p.invitation(ctx, v)
	if err != nil {
		return shell.Reply{}, err
	}
	if err := p.Invitations.RevokeInvitation(ctx, v.Caller, i.ID); err != nil {
		c := revocation(v, i)
		c.Problem = err
		return shell.ShowConfirm(c), nil
	}
	return shell.To(invitationsPath, "The invitation of "+i.Email+" was taken back."), nil
}
