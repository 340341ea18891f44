package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func (p *process) invitationCommand() *cobra.Command {
	create := p.userDo("create", "Invite somebody to an organisation",
		"  tokenhouse invitation create --email jane@example.com --org acme --role engineer", p.createInvitation)
	create.Long = `Invites whoever reads the mail of an address to join an organisation, within seven
days. The running server sends the mail; where none is configured, the link is
printed, once, to hand over.`
	create.Flags().String("email", "", "e-mail address")
	create.Flags().String("role", accounts.RoleViewer, "role in the organisation; see tokenhouse role list")
	required(create, "email")

	list := p.userDo("list", "List the invitations of an organisation, newest first", "  tokenhouse invitation list --org acme", p.listInvitations)
	one := func(use, short string, do func(context.Context, *cobra.Command, *house.House, ident.Caller) error) *cobra.Command {
		c := p.userDo(use+" EMAIL", short, "  tokenhouse invitation "+use+" jane@example.com --org acme", do)
		c.Args = exactly("the e-mail address or the id of the invitation")
		return c
	}
	return group("invitation", "Invite people to organisations", create, list,
		one("resend", "Send an invitation again, for another seven days", p.resendInvitation),
		one("revoke", "Take an invitation back", p.revokeInvitation),
	)
}

type invitationView struct {
	ID        ident.InvitationID `json:"id"`
	Email     string             `json:"email"`
	Org       ident.OrgID        `json:"organization_id"`
	Role      string             `json:"role"`
	Status    string             `json:"status"`
	InvitedBy string             `json:"invited_by"`
	CreatedAt string             `json:"created_at"`
	ExpiresAt string             `json:"expires_at"`
	Link      string             `json:"link,omitempty"`
}

func invitationViewOf(i accounts.Invitation) invitationView {
	return invitationView{i.ID, i.Email, i.Org, i.Role, string(i.State), i.InvitedBy, stamp(i.CreatedAt), stamp(i.ExpiresAt), ""}
}

// printOffer shows an invitation that was just sent, with its link where no mail is.
func printOffer(c *cobra.Command, h *house.House, o accounts.Offer) error {
	v := invitationViewOf(o.Invitation)
	lines := []field{{"id", string(o.ID)}, {"email", o.Email}, {"role", o.Role}, {"expires", v.ExpiresAt}}
	if o.Link.IsZero() {
		return printThing(c, v, append(lines, field{"sent", "by mail"})...)
	}
	v.Link = h.Config().InvitationURL(o.Link)
	return printThing(c, v, append(lines, field{"link", v.Link})...)
}

func (p *process) createInvitation(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	email, _ := c.Flags().GetString("email")
	role, _ := c.Flags().GetString("role")
	o, err := h.People.Invite(ctx, caller, email, role)
	if err != nil {
		return err
	}
	return printOffer(c, h, o)
}

func (p *process) listInvitations(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	all, err := allInvitations(ctx, h, caller)
	if err != nil {
		return err
	}
	return printList(c, all, invitationViewOf, []column[accounts.Invitation]{
		{"id", func(i accounts.Invitation) string { return string(i.ID) }},
		{"email", func(i accounts.Invitation) string { return i.Email }},
		{"role", func(i accounts.Invitation) string { return i.Role }},
		{"status", func(i accounts.Invitation) string { return string(i.State) }},
		{"invited by", func(i accounts.Invitation) string { return i.InvitedBy }},
		{"expires", func(i accounts.Invitation) string { return stamp(i.ExpiresAt) }},
	})
}

func allInvitations(ctx context.Context, h *house.House, caller ident.Caller) ([]accounts.Invitation, error) {
	return everything(func(pg ident.Page) ([]accounts.Invitation, error) { return h.People.Invitations(ctx, caller, pg) },
		func(i accounts.Invitation) string { return string(i.ID) })
}

// findInvitation takes the address of an open invitation, or an id.
func findInvitation(ctx context.Context, h *house.House, caller ident.Caller, name string) (ident.InvitationID, error) {
	all, err := allInvitations(ctx, h, caller)
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if string(i.ID) == name || i.Canonical == accounts.Identifier(name) && i.State == accounts.InvitationOpen {
			return i.ID, nil
		}
	}
	return "", fmt.Errorf("the organisation has no open invitation for %q; see tokenhouse invitation list", name)
}

func (p *process) resendInvitation(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := findInvitation(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	o, err := h.People.ResendInvitation(ctx, caller, id)
	if err != nil {
		return err
	}
	return printOffer(c, h, o)
}

func (p *process) revokeInvitation(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := findInvitation(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	if err := h.People.RevokeInvitation(ctx, caller, id); err != nil {
		return err
	}
	return printThing(c, map[string]any{"id": id, "revoked": true}, field{"id", string(id)}, field{"revoked", "yes"})
}
