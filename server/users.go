package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// user is a member of the caller's organisation.
type user struct {
	ID           ident.UserID    `json:"id"`
	Email        string          `json:"email"`
	Name         string          `json:"name"`
	Role         string          `json:"role"`
	Status       accounts.Status `json:"status"`
	Organization ident.OrgID     `json:"organization_id"`
	CreatedAt    timestamp       `json:"created_at"`
	JoinedAt     timestamp       `json:"joined_at"`
}

func userOf(m accounts.Member) user {
	return user{
		ID: m.ID, Email: m.Email, Name: m.Name, Role: m.Role, Status: m.Status, Organization: m.Org,
		CreatedAt: timestamp{m.CreatedAt}, JoinedAt: timestamp{m.JoinedAt},
	}
}

func userKey(m accounts.Member) string { return string(m.ID) }

type userList struct{ pageRequest }

func (r *userList) read(i *input) error { return r.readPage(i) }

// listUsers serves GET /api/v1/users.
func (s *Server) listUsers(ctx context.Context, caller ident.Caller, req userList) (page[user], error) {
	found, err := s.Services.People.Members(ctx, caller, req.ask())
	if err != nil {
		return page[user]{}, err
	}
	return paged(s, req.pageRequest, found, userKey, userOf), nil
}

type newUserRequest struct {
	Email    string `json:"email"`
	Name     string `json:"name"`
	Role     string `json:"role"`
	Password string `json:"password"`
}

func (r *newUserRequest) read(*input) error {
	return missing("email", r.Email, "password", r.Password, "role", r.Role)
}

// createUser serves POST /api/v1/users.
func (s *Server) createUser(ctx context.Context, caller ident.Caller, req newUserRequest) (user, error) {
	m, err := s.Services.People.CreateUser(ctx, caller, accounts.NewUser{
		Email: req.Email, Name: req.Name, Role: req.Role, Password: secret.Of(req.Password),
	})
	return userOf(m), err
}

type userByID struct{ id ident.UserID }

func (r *userByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseUserID)
	return err
}

// getUser serves GET /api/v1/users/:id.
func (s *Server) getUser(ctx context.Context, caller ident.Caller, req userByID) (user, error) {
	m, err := s.Services.People.Member(ctx, caller, req.id)
	return userOf(m), err
}

type userPatch struct {
	userByID
	Name   *string          `json:"name"`
	Role   *string          `json:"role"`
	Status *accounts.Status `json:"status"`
}

func (r *userPatch) read(i *input) error {
	if r.Status != nil && *r.Status != accounts.Active && *r.Status != accounts.Disabled {
		return fault.Refuse("status", "must be active or disabled")
	}
	return r.userByID.read(i)
}

// updateUser serves PATCH /api/v1/users/:id. What is left out stays as it is.
// Which of users:update and users:disable it takes depends on what changes.
func (s *Server) updateUser(ctx context.Context, caller ident.Caller, req userPatch) (user, error) {
	m, err := s.Services.People.Update(ctx, caller, req.id, accounts.Patch{Name: req.Name, Role: req.Role, Status: req.Status})
	return userOf(m), err
}

// unlockUser serves POST /api/v1/users/:id/unlock.
func (s *Server) unlockUser(ctx context.Context, caller ident.Caller, req userByID) (none, error) {
	return none{}, s.Services.Logins.Unlock(ctx, caller, req.id)
}
