package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

func (p *process) orgCommand() *cobra.Command {
	create := outputFlag(&cobra.Command{
		Use:     "create",
		Short:   "Make an organisation",
		Example: `  tokenhouse org create --name "Acme Inc." --slug acme`,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error { return p.createOrg(ctx, c, h) })
		},
	})
	create.Flags().String("name", "", "name for people to read")
	create.Flags().String("slug", "", "short name for people to type: a-z, 0-9 and hyphens")
	required(create, "name", "slug")
	list := outputFlag(&cobra.Command{
		Use:     "list",
		Short:   "List the organisations, newest first",
		Example: "  tokenhouse org list --output json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withHouse(c, func(ctx context.Context, h *house.House) error {
				orgs, err := allOrgs(ctx, h)
				if err != nil {
					return err
				}
				return printList(c, orgs, orgViewOf, orgColumns())
			})
		},
	})
	return group("org", "Manage organisations", create, list, p.keyPolicyCommand())
}

type orgView struct {
	ID        ident.OrgID `json:"id"`
	Name      string      `json:"name"`
	Slug      string      `json:"slug"`
	Status    string      `json:"status"`
	CreatedAt string      `json:"created_at"`
}

func orgViewOf(o accounts.Org) orgView {
	return orgView{o.ID, o.Name, o.Slug, string(o.Status), stamp(o.CreatedAt)}
}

func orgColumns() []column[accounts.Org] {
	return []column[accounts.Org]{
		{"id", func(o accounts.Org) string { return string(o.ID) }},
		{"slug", func(o accounts.Org) string { return o.Slug }},
		{"name", func(o accounts.Org) string { return o.Name }},
		{"status", func(o accounts.Org) string { return string(o.Status) }},
		{"created", func(o accounts.Org) string { return stamp(o.CreatedAt) }},
	}
}

func (p *process) createOrg(ctx context.Context, c *cobra.Command, h *house.House) error {
	name, _ := c.Flags().GetString("name")
	slug, _ := c.Flags().GetString("slug")
	o, err := h.People.CreateOrg(ctx, h.Operator(""), name, slug)
	if errors.Is(err, fault.Conflict) {
		return fmt.Errorf("there is an organisation with the slug %q already; see tokenhouse org list", slug)
	}
	if err != nil {
		return err
	}
	return printThing(c, orgViewOf(o), field{"id", string(o.ID)}, field{"slug", o.Slug}, field{"name", o.Name})
}

func allOrgs(ctx context.Context, h *house.House) ([]accounts.Org, error) {
	return everything(func(pg ident.Page) ([]accounts.Org, error) { return h.People.Orgs(ctx, h.Operator(""), pg) },
		func(o accounts.Org) string { return string(o.ID) })
}

// orgFlag adds --org to a command that works in one organisation.
func orgFlag(c *cobra.Command) {
	c.Flags().String("org", "", "slug of the organisation; may be left out where there is only one")
}

// caller is the operator in the organisation that --org names.
func (p *process) caller(ctx context.Context, c *cobra.Command, h *house.House) (ident.Caller, error) {
	slug, _ := c.Flags().GetString("org")
	if slug != "" {
		o, err := h.People.OrgBySlug(ctx, h.Operator(""), slug)
		if errors.Is(err, fault.NotFound) {
			return ident.Caller{}, fmt.Errorf("there is no organisation with the slug %q; see tokenhouse org list", slug)
		}
		return h.Operator(o.ID), err
	}
	orgs, err := allOrgs(ctx, h)
	if err != nil {
		return ident.Caller{}, err
	}
	switch len(orgs) {
	case 0:
		return ident.Caller{}, errors.New("there is no organisation yet; make one with tokenhouse org create, or start the server once")
	case 1:
		return h.Operator(orgs[0].ID), nil
	}
	slugs := make([]string, 0, len(orgs))
	for _, o := range orgs[:min(len(orgs), 10)] {
		slugs = append(slugs, o.Slug)
	}
	return ident.Caller{}, fmt.Errorf("which organisation? Say --org with one of: %s", strings.Join(slugs, ", "))
}

// required marks flags that a command cannot do without.
func required(c *cobra.Command, names ...string) {
	for _, n := range names {
		if err := c.MarkFlagRequired(n); err != nil {
			panic(err) // a flag that the same function has just added
		}
	}
}

// pageSize is how many things a command asks for at once.
const pageSize = 200

// everything reads all pages of a list.
func everything[T any](list func(ident.Page) ([]T, error), id func(T) string) ([]T, error) {
	var all []T
	page := ident.Page{Limit: pageSize}
	for {
		some, err := list(page)
		all = append(all, some...)
		if err != nil || len(some) < page.Limit {
			return all, err
		}
		page.Before = id(some[len(some)-1])
	}
}
