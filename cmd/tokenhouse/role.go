package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func (p *process) roleCommand() *cobra.Command {
	list := p.userDo("list", "List the roles of an organisation and what they permit", "  tokenhouse role list --org acme", p.listRoles)
	set := p.userDo("set NAME", "Make a role, or replace what it permits", "  tokenhouse role set on-call --org acme --permission incidents:read --permission incidents:create", p.setRole)
	set.Args = exactly("the name of the role")
	set.Flags().StringSlice("permission", nil, "resource:action, either of which may be *; repeat for more")
	required(set, "permission")
	return group("role", "Manage what members may do", list, set)
}

type roleView struct {
	Name        string   `json:"name"`
	BuiltIn     bool     `json:"built_in"`
	Permissions []string `json:"permissions"`
}

func roleViewOf(r accounts.Role) roleView {
	return roleView{r.Name, r.BuiltIn, r.Permissions.Strings()}
}

func (p *process) listRoles(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	roles, err := h.People.Roles(ctx, caller)
	if err != nil {
		return err
	}
	return printList(c, roles, roleViewOf, []column[accounts.Role]{
		{"name", func(r accounts.Role) string { return r.Name }},
		{"built-in", func(r accounts.Role) string { return map[bool]string{true: "yes", false: "no"}[r.BuiltIn] }},
		{"permissions", func(r accounts.Role) string { return r.Permissions.String() }},
	})
}

func (p *process) setRole(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	permissions, _ := c.Flags().GetStringSlice("permission")
	r, err := h.People.SetRolePermissions(ctx, caller, c.Flags().Arg(0), permissions)
	if err != nil {
		return err
	}
	return printThing(c, roleViewOf(r), field{"name", r.Name}, field{"permissions", strings.Join(r.Permissions.Strings(), " ")})
}
