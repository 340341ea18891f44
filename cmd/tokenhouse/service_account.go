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

func (p *process) serviceAccountCommand() *cobra.Command {
	create := p.userDo("create", "Make a service account, which owns API keys and is nobody",
		"  tokenhouse service-account create --name deploy-bot --org acme --role engineer", p.createServiceAccount)
	create.Long = `Makes a service account: an owner of API keys that no person's leaving ends. It
cannot log in. Its role caps what its keys may do.`
	create.Flags().String("name", "", "name, unique in the organisation")
	create.Flags().String("description", "", "what it is for and whom to ask")
	create.Flags().String("role", accounts.RoleViewer, "role in the organisation; see tokenhouse role list")
	required(create, "name")

	list := p.userDo("list", "List the service accounts of an organisation, newest first", "  tokenhouse service-account list --org acme", p.listServiceAccounts)
	one := func(use, short string, do func(context.Context, *cobra.Command, *house.House, ident.Caller) error) *cobra.Command {
		c := p.userDo(use+" NAME", short, "  tokenhouse service-account "+use+" deploy-bot --org acme", do)
		c.Args = exactly("the name or the id of the service account")
		return c
	}
	return group("service-account", "Manage service accounts, which own API keys", create, list,
		one("show", "Show a service account", p.showServiceAccount),
		one("disable", "Refuse the API keys of a service account from now on", p.disableServiceAccount),
		one("enable", "Let the API keys of a disabled service account be used again", p.enableServiceAccount),
		one("delete", "Remove a service account that owns no API key that can be used", p.deleteServiceAccount),
	)
}

type serviceAccountView struct {
	ID          ident.UserID `json:"id"`
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Org         ident.OrgID  `json:"organization_id"`
	Role        string       `json:"role"`
	Status      string       `json:"status"`
	CreatedAt   string       `json:"created_at"`
}

func serviceAccountViewOf(s accounts.ServiceAccount) serviceAccountView {
	return serviceAccountView{s.ID, s.Name, s.Description, s.Org, s.Role, string(s.Status), stamp(s.CreatedAt)}
}

func printServiceAccount(c *cobra.Command, s accounts.ServiceAccount) error {
	return printThing(c, serviceAccountViewOf(s),
		field{"id", string(s.ID)}, field{"name", s.Name}, field{"role", s.Role}, field{"status", string(s.Status)})
}

func (p *process) createServiceAccount(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	n := accounts.NewServiceAccount{}
	n.Name, _ = c.Flags().GetString("name")
	n.Description, _ = c.Flags().GetString("description")
	n.Role, _ = c.Flags().GetString("role")
	s, err := h.People.CreateServiceAccount(ctx, caller, n)
	if err != nil {
		return err
	}
	return printServiceAccount(c, s)
}

func (p *process) listServiceAccounts(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	all, err := allServiceAccounts(ctx, h, caller)
	if err != nil {
		return err
	}
	return printList(c, all, serviceAccountViewOf, []column[accounts.ServiceAccount]{
		{"id", func(s accounts.ServiceAccount) string { return string(s.ID) }},
		{"name", func(s accounts.ServiceAccount) string { return s.Name }},
		{"role", func(s accounts.ServiceAccount) string { return s.Role }},
		{"status", func(s accounts.ServiceAccount) string { return string(s.Status) }},
		{"created", func(s accounts.ServiceAccount) string { return stamp(s.CreatedAt) }},
		{"description", func(s accounts.ServiceAccount) string { return s.Description }},
	})
}

func allServiceAccounts(ctx context.Context, h *house.House, caller ident.Caller) ([]accounts.ServiceAccount, error) {
	return everything(func(pg ident.Page) ([]accounts.ServiceAccount, error) {
		return h.People.ServiceAccounts(ctx, caller, pg)
	},
		func(s accounts.ServiceAccount) string { return string(s.ID) })
}

// findServiceAccount takes a name or an id.
func findServiceAccount(ctx context.Context, h *house.House, caller ident.Caller, name string) (accounts.ServiceAccount, error) {
	all, err := allServiceAccounts(ctx, h, caller)
	if err != nil {
		return accounts.ServiceAccount{}, err
	}
	for _, s := range all {
		if s.Name == name || string(s.ID) == name {
			return s, nil
		}
	}
	return accounts.ServiceAccount{}, fmt.Errorf("the organisation has no service account %q; see tokenhouse service-account list", name)
}

func (p *process) showServiceAccount(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	s, err := findServiceAccount(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	return printServiceAccount(c, s)
}

func (p *process) disableServiceAccount(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	return setServiceStatus(ctx, c, h, caller, accounts.Disabled)
}

func (p *process) enableServiceAccount(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	return setServiceStatus(ctx, c, h, caller, accounts.Active)
}

func setServiceStatus(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller, status accounts.Status) error {
	s, err := findServiceAccount(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	if s, err = h.People.UpdateServiceAccount(ctx, caller, s.ID, accounts.ServiceAccountPatch{Status: &status}); err != nil {
		return err
	}
	return printServiceAccount(c, s)
}

func (p *process) deleteServiceAccount(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	s, err := findServiceAccount(ctx, h, caller, c.Flags().Arg(0))
	if err != nil {
		return err
	}
	err = h.People.DeleteServiceAccount(ctx, caller, s.ID)
	if errors.Is(err, fault.Conflict) {
		return fmt.Errorf("%s: see tokenhouse api-key list, and api-key transfer or revoke; service-account disable refuses them at once", fault.Of(err).Detail)
	}
	if err != nil {
		return err
	}
	return printThing(c, map[string]any{"id": s.ID, "deleted": true}, field{"id", string(s.ID)}, field{"deleted", "yes"})
}
