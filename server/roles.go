package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// role is a named set of permissions.
type role struct {
	Name        string    `json:"name"`
	Permissions []string  `json:"permissions"`
	BuiltIn     bool      `json:"built_in"`
	UpdatedAt   timestamp `json:"updated_at"` // null for a built-in role
}

func roleOf(r accounts.Role) role {
	return role{Name: r.Name, Permissions: r.Permissions.Strings(), BuiltIn: r.BuiltIn, UpdatedAt: timestamp{r.UpdatedAt}}
}

// listRoles serves GET /api/v1/roles: the built-in ones, then the
// organisation's own. There are too few to page.
func (s *Server) listRoles(ctx context.Context, caller ident.Caller, _ none) (page[role], error) {
	found, err := s.Services.People.Roles(ctx, caller)
	out := page[role]{Data: make([]role, len(found))}
	for i, r := range found {
		out.Data[i] = roleOf(r)
	}
	return out, err
}

type roleByName struct{ name string }

func (r *roleByName) read(i *input) error {
	r.name = i.c.Param("name")
	return nil
}

type roleRequest struct {
	roleByName
	Permissions []string `json:"permissions"`
}

func (r *roleRequest) read(i *input) error {
	if r.Permissions == nil {
		return fault.Refuse("permissions", "is required")
	}
	return r.roleByName.read(i)
}

// setRole serves PUT /api/v1/roles/:name.
func (s *Server) setRole(ctx context.Context, caller ident.Caller, req roleRequest) (role, error) {
	r, err := s.Services.People.SetRolePermissions(ctx, caller, req.name, req.Permissions)
	return roleOf(r), err
}

// deleteRole serves DELETE /api/v1/roles/:name.
func (s *Server) deleteRole(ctx context.Context, caller ident.Caller, req roleByName) (none, error) {
	return none{}, s.Services.People.DeleteRole(ctx, caller, req.name)
}
