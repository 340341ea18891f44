package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// membership ties a user to the caller's organisation.
type membership struct {
	User         ident.UserID `json:"user_id"`
	Organization ident.OrgID  `json:"organization_id"`
	Email        string       `json:"email"`
	Role         string       `json:"role"`
	CreatedAt    timestamp    `json:"created_at"`
}

func membershipOf(m accounts.Member) membership {
	return membership{User: m.ID, Organization: m.Org, Email: m.Email, Role: m.Role, CreatedAt: timestamp{m.JoinedAt}}
}

// listMemberships serves GET /api/v1/memberships.
func (s *Server) listMemberships(ctx context.Context, caller ident.Caller, req userList) (page[membership], error) {
	found, err := s.Services.People.Members(ctx, caller, req.ask())
	if err != nil {
		return page[membership]{}, err
	}
	return paged(s, req.pageRequest, found, userKey, membershipOf), nil
}

type membershipByUser struct{ user ident.UserID }

func (r *membershipByUser) read(i *input) (err error) {
	r.user, err = pathID(i, "user_id", ident.ParseUserID)
	return err
}

type rolePatch struct {
	membershipByUser
	Role string `json:"role"`
}

func (r *rolePatch) read(i *input) error {
	if err := r.membershipByUser.read(i); err != nil {
		return err
	}
	return missing("role", r.Role)
}

// setMemberRole serves PATCH /api/v1/memberships/:user_id.
func (s *Server) setMemberRole(ctx context.Context, caller ident.Caller, req rolePatch) (membership, error) {
	m, err := s.Services.People.Update(ctx, caller, req.user, accounts.Patch{Role: &req.Role})
	return membershipOf(m), err
}

// removeMember serves DELETE /api/v1/memberships/:user_id.
func (s *Server) removeMember(ctx context.Context, caller ident.Caller, req membershipByUser) (none, error) {
	return none{}, s.Services.People.RemoveMember(ctx, caller, req.user)
}
