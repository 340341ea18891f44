package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// invitation is an offer to join the caller's organisation.
type invitation struct {
	ID           ident.InvitationID       `json:"id"`
	Email        string                   `json:"email"`
	Role         string                   `json:"role"`
	Status       accounts.InvitationState `json:"status"`
	InvitedBy    string                   `json:"invited_by"`
	Organization ident.OrgID              `json:"organization_id"`
	CreatedAt    timestamp                `json:"created_at"`
	ExpiresAt    timestamp                `json:"expires_at"`
}

func invitationOf(i accounts.Invitation) invitation {
	return invitation{
		ID: i.ID, Email: i.Email, Role: i.Role, Status: i.State, InvitedBy: i.InvitedBy, Organization: i.Org,
		CreatedAt: timestamp{i.CreatedAt}, ExpiresAt: timestamp{i.ExpiresAt},
	}
}

// sentInvitation is an invitation that was just sent, be it by mail or by handing
// its link to whoever invites.
type sentInvitation struct {
	invitation
	Link string `json:"link,omitempty"` // once, where the server sends no mail
}

func (s *Server) sent(o accounts.Offer) sentInvitation {
	out := sentInvitation{invitation: invitationOf(o.Invitation)}
	if !o.Link.IsZero() {
		out.Link = s.Config.Issuer + withParam(invitationPage, "token", o.Link.Reveal())
	}
	return out
}

// listInvitations serves GET /api/v1/invitations.
func (s *Server) listInvitations(ctx context.Context, caller ident.Caller, req userList) (page[invitation], error) {
	found, err := s.Services.People.Invitations(ctx, caller, req.ask())
	if err != nil {
		return page[invitation]{}, err
	}
	return paged(s, req.pageRequest, found, func(i accounts.Invitation) string { return string(i.ID) }, invitationOf), nil
}

type newInvitationRequest struct {
	Email string `json:"email"`
	Role  string `json:"role"`
}

func (r *newInvitationRequest) read(*input) error {
	return missing("email", r.Email, "role", r.Role)
}

// createInvitation serves POST /api/v1/invitations.
func (s *Server) createInvitation(ctx context.Context, caller ident.Caller, req newInvitationRequest) (sentInvitation, error) {
	o, err := s.Services.People.Invite(ctx, caller, req.Email, req.Role)
	if err != nil {
		return sentInvitation{}, err
	}
	return s.sent(o), nil
}

type invitationByID struct{ id ident.InvitationID }

func (r *invitationByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseInvitationID)
	return err
}

// resendInvitation serves POST /api/v1/invitations/:id/resend.
func (s *Server) resendInvitation(ctx context.Context, caller ident.Caller, req invitationByID) (sentInvitation, error) {
	o, err := s.Services.People.ResendInvitation(ctx, caller, req.id)
	if err != nil {
		return sentInvitation{}, err
	}
	return s.sent(o), nil
}

// revokeInvitation serves DELETE /api/v1/invitations/:id.
func (s *Server) revokeInvitation(ctx context.Context, caller ident.Caller, req invitationByID) (none, error) {
	return none{}, s.Services.People.RevokeInvitation(ctx, caller, req.id)
}
