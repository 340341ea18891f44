package accounts

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// InvitationTTL is how long an invitation can be accepted after it was sent last.
const InvitationTTL = 7 * 24 * time.Hour

// invitationPrefix marks the token of an invitation's link, for scanners.
const invitationPrefix = "th_invite_"

// The most letters of one organisation, and to one address from the whole
// deployment, within invitationWindow. What an organisation may not send is
// refused; what an address is not to get yet waits.
const (
	invitationWindow    = 24 * time.Hour
	maxInvitationsOfOrg = 100
	maxInvitationsTo    = 5
)

// keepInvitations is how long an invitation is listed after it expired.
const keepInvitations = 30 * 24 * time.Hour

// Invitation is an offer to join an organisation, to whoever reads the mail of
// one address.
type Invitation struct {
	ID        ident.InvitationID
	Org       ident.OrgID
	OrgName   string // read with the invitation
	Email     string // as typed
	Canonical string // unique among the open ones of Org
	Role      string
	Ceiling   scope.Set    // what Role permitted when it was offered last: it gives no more
	Inviter   ident.UserID // who offered it last, and must still hold Ceiling; empty: the operator, or a client
	InvitedBy string       // for people to read
	State     InvitationState
	CreatedAt time.Time
	ExpiresAt time.Time
}

// InvitationState says what became of an invitation.
type InvitationState string

// The states. An invitation that expired is open in the database.
const (
	InvitationOpen     InvitationState = "open"
	InvitationAccepted InvitationState = "accepted"
	InvitationRevoked  InvitationState = "revoked"
	InvitationExpired  InvitationState = "expired"
)

// at is the invitation as it is at a time.
func (i Invitation) at(now time.Time) Invitation {
	if i.State == InvitationOpen && !i.ExpiresAt.After(now) {
		i.State = InvitationExpired
	}
	return i
}

// Offer is an invitation that was just made or sent again. Link is the token of
// its link where no mail is sent, to be shown once; else it is in the letter and
// nowhere else.
type Offer struct {
	Invitation
	Link secret.Plain
}

// InvitationReader reads invitations outside a transaction.
type InvitationReader interface {
	// Invitations lists the tenant's invitations, newest first.
	Invitations(ctx context.Context, t ident.Tenant, p ident.Page) ([]Invitation, error)
	// OneInvitation returns one of the tenant; fault.NotFound for others.
	OneInvitation(ctx context.Context, t ident.Tenant, id ident.InvitationID) (Invitation, error)
	// InvitationByLink returns whose link it is; fault.NotFound where it is nobody's.
	InvitationByLink(ctx context.Context, digest []byte) (Invitation, error)
	// InvitationExists reports whether any organisation has the invitation.
	InvitationExists(ctx context.Context, id ident.InvitationID) (bool, error)
}

// InvitationTx changes invitations. The organisation is locked.
type InvitationTx interface {
	// InsertInvitation adds an invitation; one that is open for the address
	// already is fault.Conflict.
	InsertInvitation(i Invitation) error
	// Invitation returns one of the organisation; fault.NotFound for others.
	Invitation(org ident.OrgID, id ident.InvitationID) (Invitation, error)
	// OpenInvitation returns the open one for an address, expired or not;
	// fault.NotFound where there is none.
	OpenInvitation(org ident.OrgID, canonical string) (Invitation, error)
	// UpdateInvitation stores ceiling, inviter and expiry.
	UpdateInvitation(i Invitation) error
	// SettleInvitation ends an open invitation and reports whether it was open.
	SettleInvitation(id ident.InvitationID, as InvitationState) (bool, error)
	// InsertInvitationLink adds a link to an invitation.
	InsertInvitationLink(digest []byte, id ident.InvitationID) error
	// AddInvitationLetter counts a letter; one whose DueAt is zero is not sent.
	AddInvitationLetter(l InvitationLetter) error
	// InvitationLettersOf counts the organisation's letters since a time, and
	// says when the first of them was; zero where there is none.
	InvitationLettersOf(org ident.OrgID, since time.Time) (n int, first time.Time, err error)
	// MemberByEmail reports whether a member has the canonical address.
	MemberByEmail(org ident.OrgID, canonical string) (bool, error)
}

// InvitationLetter is a mail that is to be sent for an invitation, or was.
type InvitationLetter struct {
	ID         string // hexadecimal
	Invitation ident.InvitationID
	Org        ident.OrgID
	Canonical  string // address
	CreatedAt  time.Time
	DueAt      time.Time // not to be sent before; zero: there is nothing left to do
	Attempts   int       // how often sending was begun
}

// InvitationQueue keeps the letters that are to be sent, for every replica and
// across restarts, as LockNoticeQueue does.
type InvitationQueue interface {
	// DueInvitations returns at most limit letters that are due at now, the
	// longest due first, and of each address one.
	DueInvitations(ctx context.Context, now time.Time, limit int) ([]InvitationLetter, error)
	// InvitationOf returns the invitation of a letter.
	InvitationOf(ctx context.Context, l InvitationLetter) (Invitation, error)
	// InvitationsSentTo counts the letters besides l that its address was sent
	// since a time, or may be sent now because sending was begun, by whichever
	// organisation.
	InvitationsSentTo(ctx context.Context, l InvitationLetter, since time.Time) (int, error)
	// ClaimInvitation counts an attempt, keeps everybody else from making one
	// until the given time, and adds the link that is to be sent. It reports
	// false, and does nothing, where somebody else was first.
	ClaimInvitation(ctx context.Context, l InvitationLetter, until time.Time, link []byte) (bool, error)
	// PostponeInvitation makes a letter due at the given time, unless it was begun
	// again since l was claimed.
	PostponeInvitation(ctx context.Context, l InvitationLetter, due time.Time) error
	// SettleInvitationLetter makes a letter due never again, as sent at the given
	// time or as not sent (zero), and records the events in the same commit.
	SettleInvitationLetter(ctx context.Context, l InvitationLetter, sent time.Time, events ...audit.Event) error
	// NextInvitation returns when the next letter is due; zero where there is none.
	NextInvitation(ctx context.Context) (time.Time, error)
	// OldestInvitation returns when the oldest letter was written that is due at now
	// or was tried before; zero where there is none.
	OldestInvitation(ctx context.Context, now time.Time) (time.Time, error)
	// PruneInvitations removes at most limit invitations that expired before a
	// time, with their links and letters, and returns how many.
	PruneInvitations(ctx context.Context, before time.Time, limit int) (int, error)
}
