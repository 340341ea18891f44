package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// profile is what a credential stands for.
type profile struct {
	Type             ident.Kind      `json:"type"` // "user" or "api_key"
	ID               string          `json:"id"`   // the person, or the owner of the key
	Email            string          `json:"email"`
	Name             string          `json:"name"`
	Role             string          `json:"role"`
	Organization     ident.OrgID     `json:"organization_id"`
	OrganizationName string          `json:"organization_name"`
	Permissions      []string        `json:"permissions"`
	Session          ident.SessionID `json:"session_id,omitempty"`
	Key              ident.APIKeyID  `json:"key_id,omitempty"`
}

// me serves GET /api/v1/me.
func (s *Server) me(ctx context.Context, caller ident.Caller, _ none) (profile, error) {
	if caller.Kind == ident.ServiceClient {
		return s.serviceProfile(ctx, caller)
	}
	standing, err := s.Services.Directory.Standing(ctx, caller.User, caller.Org)
	if err != nil {
		return profile{}, err
	}
	return profile{
		Type: caller.Kind, ID: string(caller.User), Email: standing.Email, Name: standing.Name, Role: standing.Role,
		Organization: caller.Org, OrganizationName: standing.OrgName, Permissions: caller.Permissions.Strings(),
		Session: caller.Session, Key: caller.Key,
	}, nil
}

type profilePatch struct {
	Name *string `json:"name"`
}

// changeMe serves PATCH /api/v1/me: what people say of themselves.
func (s *Server) changeMe(ctx context.Context, caller ident.Caller, req profilePatch) (profile, error) {
	if req.Name == nil {
		return profile{}, fault.Refuse("name", "must be given")
	}
	u, err := s.Services.People.ChangeName(ctx, caller, *req.Name)
	if err != nil {
		return profile{}, err
	}
	out, err := s.me(ctx, caller, none{})
	out.Name = u.Name // the directory may hear of it later
	return out, err
}

// serviceProfile is the profile of a client: it has no e-mail and no role.
func (s *Server) serviceProfile(ctx context.Context, caller ident.Caller) (profile, error) {
	r, err := s.Services.Clients.Lookup(ctx, caller.Client)
	if err != nil {
		return profile{}, err
	}
	return profile{Type: caller.Kind, ID: caller.ID(), Name: r.Name, Organization: caller.Org, Permissions: caller.Permissions.Strings()}, nil
}

type passwordRequest struct {
	Current string `json:"current_password"`
	New     string `json:"new_password"`
}

func (r *passwordRequest) read(*input) error {
	return missing("current_password", r.Current, "new_password", r.New)
}

// changePassword serves POST /api/v1/me/password. Every other session of the
// person ends.
func (s *Server) changePassword(ctx context.Context, caller ident.Caller, req passwordRequest) (none, error) {
	return none{}, s.Services.People.ChangePassword(ctx, caller, secret.Of(req.Current), secret.Of(req.New))
}
