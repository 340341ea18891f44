package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func (p *process) userCommand() *cobra.Command {
	create := p.userDo("create", "Make a user", `  tokenhouse user create --email jane@example.com --org acme --role admin --name "Jane Doe" --password-stdin <password.txt`, p.createUser)
	create.Flags().String("email", "", "e-mail address, which is the login name")
	create.Flags().String("name", "", "name for people to read")
	create.Flags().String("role", accounts.RoleViewer, "role in the organisation; see tokenhouse role list")
	passwordFlags(create, "the password")
	required(create, "email")
	create.MarkFlagsOneRequired("password-stdin", "password-file")

	list := p.userDo("list", "List the members of an organisation, newest first", "  tokenhouse user list --org acme --output json", p.listUsers)
	disable := p.userDo("disable EMAIL", "Refuse a user from now on, and end every session of theirs", "  tokenhouse user disable jane@example.com --org acme", p.disableUser)
	disable.Args = exactly("the e-mail address or the id of the user")
	enable := p.userDo("enable EMAIL", "Let a disabled user log in again", "  tokenhouse user enable jane@example.com --org acme", p.enableUser)
	enable.Args = exactly("the e-mail address or the id of the user")
	unlock := p.userDo("unlock EMAIL", "Forget the failed logins of a user, so that they may try again at once", "  tokenhouse user unlock jane@example.com --org acme", p.unlockUser)
	unlock.Args = exactly("the e-mail address or the id of the user")
	link := p.userDo("setup-link EMAIL", "Make a link with which a user chooses e-mail and password anew, once", "  tokenhouse user setup-link admin@localhost", p.setupLink)
	link.Args = exactly("the e-mail address or the id of the user")
	return group("user", "Manage users", create, list, disable, enable, unlock, link, p.userImportCommand())
}

// userDo is a command about users of one organisation.
func (p *process) userDo(use, short, example string, do func(context.Context, *cobra.Command, *house.House, ident.Caller) error) *cobra.Command {
	c := outputFlag(&cobra.Command{Use: use, Short: short, Example: example})
	c.RunE = func(c *cobra.Command, _ []string) error {
		return p.withHouse(c, func(ctx context.Context, h *house.House) error {
			caller, err := p.caller(ctx, c, h)
			if err != nil {
				return err
			}
			return do(ctx, c, h, caller)
		})
	}
	orgFlag(c)
	return c
}

// exactly is the rule of a command with one argument.
func exactly(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes one argument: %s", c.CommandPath(), what)
		}
		return nil
	}
}

type userView struct {
	ID        ident.UserID `json:"id"`
	Email     string       `json:"email"`
	Name      string       `json:"name"`
	Org       ident.OrgID  `json:"organization_id"`
	Role      string       `json:"role"`
	Status    string       `json:"status"`
	CreatedAt string       `json:"created_at"`
}

func userViewOf(m accounts.Member) userView {
	return userView{m.ID, m.Email, m.Name, m.Org, m.Role, string(m.Status), stamp(m.CreatedAt)}
}

func userLines(m accounts.Member) []field {
	return []field{{"id", string(m.ID)}, {"email", m.Email}, {"role", m.Role}, {"status", string(m.Status)}}
}

func (p *process) createUser(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	password, err := p.password(c)
	if err != nil {
		return err
	}
	n := accounts.NewUser{Password: password}
	n.Email, _ = c.Flags().GetString("email")
	n.Name, _ = c.Flags().GetString("name")
	n.Role, _ = c.Flags().GetString("role")
	m, err := h.People.CreateUser(ctx, caller, n)
	if errors.Is(err, fault.Conflict) {
		return fmt.Errorf("there is a user with the e-mail address %s already", n.Email)
	}
	if err != nil {
		return err
	}
	return printThing(c, userViewOf(m), userLines(m)...)
}

func (p *process) listUsers(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	members, err := allMembers(ctx, h, caller)
	if err != nil {
		return err
	}
	return printList(c, members, userViewOf, []column[accounts.Member]{
		{"id", func(m accounts.Member) string { return string(m.ID) }},
		{"email", func(m accounts.Member) string { return m.Email }},
		{"name", func(m accounts.Member) string { return m.Name }},
		{"role", func(m accounts.Member) string { return m.Role }},
		{"status", func(m accounts.Member) string { return string(m.Status) }},
		{"created", func(m accounts.Member) string { return stamp(m.CreatedAt) }},
	})
}

func allMembers(ctx context.Context, h *house.House, caller ident.Caller) ([]accounts.Member, error) {
	return everything(func(pg ident.Page) ([]accounts.Member, error) { return h.People.Members(ctx, caller, pg) },
		func(m accounts.Member) string { return string(m.ID) })
}

func (p *process) disableUser(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	return setStatus(ctx, c, h, caller, accounts.Disabled)
}

func (p *process) enableUser(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	return setStatus(ctx, c, h, caller, accounts.Active)
}

func setStatus(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller, status accounts.Status) error {
	user, err := findUser(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	m, err := h.People.Update(ctx, caller, user, accounts.Patch{Status: &status})
	if err != nil {
		return err
	}
	return printThing(c, userViewOf(m), userLines(m)...)
}

func (p *process) unlockUser(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	user, err := findUser(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	if err := h.Logins.Unlock(ctx, caller, user); err != nil {
		return err
	}
	return printThing(c, map[string]any{"id": user, "unlocked": true}, field{"id", string(user)}, field{"unlocked", "yes"})
}

func (p *process) setupLink(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	user, err := findUser(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	token, until, err := h.People.IssueSetupLink(ctx, caller, user)
	if err != nil {
		return err
	}
	url := h.Config().SetupURL(token)
	return printThing(c, map[string]any{"id": user, "url": url, "expires_at": stamp(until)},
		field{"id", string(user)}, field{"url", url}, field{"expires", stamp(until)})
}

// findUser takes an e-mail address or an id.
func findUser(ctx context.Context, h *house.House, caller ident.Caller, name string) (ident.UserID, error) {
	if id, err := ident.ParseUserID(name); err == nil {
		return id, nil
	}
	u, err := h.People.UserByEmail(ctx, caller, name)
	if errors.Is(err, fault.NotFound) {
		return "", fmt.Errorf("there is no user with the e-mail address or id %q; see tokenhouse user list", name)
	}
	return u.ID, err
}
