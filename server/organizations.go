package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// organization is an organisation. A caller sees their own.
type organization struct {
	ID        ident.OrgID     `json:"id"`
	Name      string          `json:"name"`
	Slug      string          `json:"slug"`
	Status    accounts.Status `json:"status"`
	CreatedAt timestamp       `json:"created_at"`
}

func organizationOf(o accounts.Org) organization {
	return organization{ID: o.ID, Name: o.Name, Slug: o.Slug, Status: o.Status, CreatedAt: timestamp{o.CreatedAt}}
}

type organizationList struct{ pageRequest }

func (r *organizationList) read(i *input) error { return r.readPage(i) }

// listOrganizations serves GET /api/v1/organizations.
func (s *Server) listOrganizations(ctx context.Context, caller ident.Caller, req organizationList) (page[organization], error) {
	found, err := s.Services.People.Orgs(ctx, caller, req.ask())
	if err != nil {
		return page[organization]{}, err
	}
	return paged(s, req.pageRequest, found, func(o accounts.Org) string { return string(o.ID) }, organizationOf), nil
}

type organizationByID struct{ id ident.OrgID }

func (r *organizationByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseOrgID)
	return err
}

// getOrganization serves GET /api/v1/organizations/:id.
func (s *Server) getOrganization(ctx context.Context, caller ident.Caller, req organizationByID) (organization, error) {
	o, err := s.Services.People.Org(ctx, caller, req.id)
	return organizationOf(o), err
}

type organizationPatch struct {
	organizationByID
	Name string `json:"name"`
}

func (r *organizationPatch) read(i *input) error {
	if err := r.organizationByID.read(i); err != nil {
		return err
	}
	return missing("name", r.Name)
}

// renameOrganization serves PATCH /api/v1/organizations/:id.
func (s *Server) renameOrganization(ctx context.Context, caller ident.Caller, req organizationPatch) (organization, error) {
	o, err := s.Services.People.RenameOrg(ctx, caller, req.id, req.Name)
	return organizationOf(o), err
}
