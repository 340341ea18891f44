package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// serviceAccount is an owner of API keys that is nobody.
type serviceAccount struct {
	ID           ident.UserID    `json:"id"`
	Name         string          `json:"name"`
	Description  string          `json:"description"`
	Role         string          `json:"role"`
	Status       accounts.Status `json:"status"`
	Organization ident.OrgID     `json:"organization_id"`
	CreatedAt    timestamp       `json:"created_at"`
}

func serviceAccountOf(s accounts.ServiceAccount) serviceAccount {
	return serviceAccount{
		ID: s.ID, Name: s.Name, Description: s.Description, Role: s.Role, Status: s.Status, Organization: s.Org, CreatedAt: timestamp{s.CreatedAt},
	}
}

// listServiceAccounts serves GET /api/v1/service-accounts.
func (s *Server) listServiceAccounts(ctx context.Context, caller ident.Caller, req userList) (page[serviceAccount], error) {
	found, err := s.Services.People.ServiceAccounts(ctx, caller, req.ask())
	if err != nil {
		return page[serviceAccount]{}, err
	}
	return paged(s, req.pageRequest, found, func(a accounts.ServiceAccount) string { return string(a.ID) }, serviceAccountOf), nil
}

type newServiceAccountRequest struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Role        string `json:"role"`
}

func (r *newServiceAccountRequest) read(*input) error {
	return missing("name", r.Name, "role", r.Role)
}

// createServiceAccount serves POST /api/v1/service-accounts.
func (s *Server) createServiceAccount(ctx context.Context, caller ident.Caller, req newServiceAccountRequest) (serviceAccount, error) {
	a, err := s.Services.People.CreateServiceAccount(ctx, caller, accounts.NewServiceAccount{
		Name: req.Name, Description: req.Description, Role: req.Role,
	})
	return serviceAccountOf(a), err
}

type serviceAccountByID struct{ id ident.UserID }

func (r *serviceAccountByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseServiceAccountID)
	return err
}

// getServiceAccount serves GET /api/v1/service-accounts/:id.
func (s *Server) getServiceAccount(ctx context.Context, caller ident.Caller, req serviceAccountByID) (serviceAccount, error) {
	a, err := s.Services.People.ServiceAccount(ctx, caller, req.id)
	return serviceAccountOf(a), err
}

type serviceAccountPatch struct {
	serviceAccountByID
	Name        *string          `json:"name"`
	Description *string          `json:"description"`
	Role        *string          `json:"role"`
	Status      *accounts.Status `json:"status"`
}

// updateServiceAccount serves PATCH /api/v1/service-accounts/:id. What is left
// out stays as it is.
func (s *Server) updateServiceAccount(ctx context.Context, caller ident.Caller, req serviceAccountPatch) (serviceAccount, error) {
	a, err := s.Services.People.UpdateServiceAccount(ctx, caller, req.id, accounts.ServiceAccountPatch{
		Name: req.Name, Description: req.Description, Role: req.Role, Status: req.Status,
	})
	return serviceAccountOf(a), err
}

// deleteServiceAccount serves DELETE /api/v1/service-accounts/:id.
func (s *Server) deleteServiceAccount(ctx context.Context, caller ident.Caller, req serviceAccountByID) (none, error) {
	return none{}, s.Services.People.DeleteServiceAccount(ctx, caller, req.id)
}
