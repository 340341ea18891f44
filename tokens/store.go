package tokens

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Store keeps families. Reads see what is committed.
type Store interface {
	// InTx runs fn in one transaction with the events and changes it makes. fn
	// may run again after a deadlock, so it sets its results anew.
	InTx(ctx context.Context, fn func(Tx) error) error
	// Family returns a family, ended or not; fault.NotFound where there is none.
	Family(ctx context.Context, id ident.SessionID) (Family, error)
	// Advance replaces prev by next, with the events, in one compare-and-swap.
	// It reports false, and does nothing, where the family is no longer prev or
	// has ended. It stores Seen, Chain and Holder; all else stays.
	Advance(ctx context.Context, prev, next Family, events ...audit.Event) (bool, error)
	// Sessions lists the tenant's families that q selects, newest first.
	Sessions(ctx context.Context, t ident.Tenant, q Query) ([]Family, error)
	// Delegated lists the tenant's families that depend on the browser sessions
	// and that q selects, newest first; those of every user.
	Delegated(ctx context.Context, t ident.Tenant, browsers []ident.SessionID, q Query) ([]Family, error)
	// Revoked answers from the database itself why the access token must be
	// refused: "revoked", or "" where nothing speaks against it. A session that
	// does not exist counts as revoked.
	Revoked(ctx context.Context, a AccessID) (reason string, err error)
	// DeleteExpiredSessions removes at most limit families whose absolute end
	// lies before the given time, and returns how many.
	DeleteExpiredSessions(ctx context.Context, before time.Time, limit int) (int, error)
	// DeleteOldChanges removes at most limit changes that were made before the
	// given time and stopped mattering before it, and returns how many.
	DeleteOldChanges(ctx context.Context, before time.Time, limit int) (int, error)
}

// Query selects living families.
type Query struct {
	User      ident.UserID // empty: of everyone in the organisation
	Now       time.Time    // those that expire later
	IdleSince time.Time    // and, where refreshable, were seen later
	// BrowserIdleSince is IdleSince of browser sessions.
	BrowserIdleSince time.Time
	Page             ident.Page
}

// FamilyTx is the part of a transaction that opens a family.
type FamilyTx interface {
	audit.Sink
	changes.Sink
	// InsertFamily adds a family, and until the commit keeps its user from being
	// disabled and from leaving the organisation; of a delegated family also its
	// client from being disabled, and its browser session from ending. It is
	// fault.AccountDisabled where the user is not active or not a member,
	// fault.InvalidClient where the client is not active, and fault.InvalidToken
	// (revoked) where the browser session has ended, unless it is offline.
	//
	// issued is the iat of its first access token. Where all of the user's tokens
	// of that moment have been revoked meanwhile, the places of the family are
	// announced as revoked, since whoever revoked them did not see it yet.
	InsertFamily(f Family, issued time.Time) error
}

// Tx changes families. Rows it reads stay locked until the commit.
type Tx interface {
	FamilyTx
	// Family returns a family, locked; fault.NotFound where there is none.
	Family(id ident.SessionID) (Family, error)
	// SaveFamily stores everything that may change of a family that Family
	// returned: Ended, Seen, Chain, Holder, AuthenticatedAt and ExpiresAt.
	SaveFamily(Family) error
	// EndSessions ends the living sessions that e selects, and with each browser
	// session those that depend on it, and announces each. It returns them as
	// they were.
	EndSessions(e Ending) ([]Family, error)
}

// Ending selects sessions that end, and says why. User, Client or Browser is
// given; of several, sessions have all.
type Ending struct {
	User    ident.UserID
	Client  ident.ClientID
	Browser ident.SessionID // those that depend on this session: delegated in it, and not offline
	Org     ident.OrgID     // empty: in every organisation
	Except  ident.SessionID // empty: none is spared
	Reason  string
	At      time.Time
	Until   time.Time // when the last access token of these sessions has expired
}
