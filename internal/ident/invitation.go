package ident

import (
	"io"
	"time"
)

// InvitationID names an offer to join an organisation: "inv_…".
type InvitationID string

// NewInvitationID makes the identifier of an invitation.
func NewInvitationID(at time.Time, random io.Reader) InvitationID {
	return InvitationID(mint("inv_", at, random))
}

// ParseInvitationID accepts "inv_…".
func ParseInvitationID(s string) (InvitationID, error) {
	_, err := decode("inv_", s)
	return InvitationID(s), err
}
