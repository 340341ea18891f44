package accounts

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Store keeps people and organisations. Reads see what is committed.
type Store interface {
	UserReader
	OrgReader
	ServiceAccountReader
	InvitationReader
	// InTx runs fn in one transaction with the events and changes it makes. fn
	// may run again after a deadlock, so it sets its results anew.
	InTx(ctx context.Context, fn func(Tx) error) error
}

// UserReader reads users outside a transaction.
type UserReader interface {
	// Facts answers everything that decides a standing, of a person or a service
	// account, in one statement. A user that does not exist, or is no member, has
	// empty facts and no error.
	Facts(ctx context.Context, user ident.UserID, org ident.OrgID) (Facts, error)
	// User returns a user by identifier; fault.NotFound where there is none.
	User(ctx context.Context, user ident.UserID) (User, error)
	// UserByCanonical returns a user by canonical e-mail; fault.NotFound where
	// there is none.
	UserByCanonical(ctx context.Context, canonical string) (User, error)
	// Home returns the user's oldest membership in an active organisation, else
	// the oldest of all; fault.NotFound where the user belongs nowhere.
	Home(ctx context.Context, user ident.UserID) (ident.OrgID, error)
	// AnyUser reports whether there is a user at all.
	AnyUser(ctx context.Context) (bool, error)
	// SetupLinkValid reports whether the link exists, is unused and expires
	// after now.
	SetupLinkValid(ctx context.Context, digest []byte, now time.Time) (bool, error)
}

// OrgReader reads organisations outside a transaction.
type OrgReader interface {
	// Org returns an organisation; fault.NotFound where there is none.
	Org(ctx context.Context, org ident.OrgID) (Org, error)
	// OrgBySlug is Org by slug.
	OrgBySlug(ctx context.Context, slug string) (Org, error)
	// Orgs lists the organisations of the deployment, newest first. It is for
	// the operator.
	Orgs(ctx context.Context, p ident.Page) ([]Org, error)
	// FirstOrg returns the oldest organisation; fault.NotFound where there is none.
	FirstOrg(ctx context.Context) (ident.OrgID, error)
	// Member returns one member of the tenant; fault.NotFound where the user is
	// none, even if they exist elsewhere.
	Member(ctx context.Context, t ident.Tenant, user ident.UserID) (Member, error)
	// Members lists the tenant's members by user identifier, newest first.
	Members(ctx context.Context, t ident.Tenant, p ident.Page) ([]Member, error)
	// Roles lists the tenant's custom roles by name.
	Roles(ctx context.Context, t ident.Tenant) ([]Role, error)
}

// Tx changes people and organisations in one commit. Whoever changes what a
// member is locks in this order, so that nobody waits in a circle and the
// locked facts stand until the commit: the user, then the organisations by
// identifier.
type Tx interface {
	audit.Sink
	changes.Sink
	UserTx
	OrgTx
	ServiceAccountTx
	InvitationTx
	StandingTx
	SetupTx
	// EndSessions revokes the sessions that e selects and announces each. It
	// returns how many there were.
	EndSessions(e Ending) (int, error)
}

// Ending selects the sessions of a user that end, and says why.
type Ending struct {
	User   ident.UserID
	Org    ident.OrgID     // empty: in every organisation
	Except ident.SessionID // empty: none is spared
	Reason string          // "user_disabled", "password_changed", "member_removed", "logout"
	At     time.Time
	Until  time.Time // when the last access token of these sessions has expired
}

// Holder is a member as a role's list shows them.
type Holder struct {
	User   ident.UserID
	Status Status
}

// StandingTx reads a standing's facts in a transaction, for those who mint what
// outlives it: a cache may be behind by the bound of the change feed.
type StandingTx interface {
	// Facts is UserReader.Facts as of now in the transaction.
	Facts(user ident.UserID, org ident.OrgID) (Facts, error)
}

// UserTx changes users.
type UserTx interface {
	// InsertUser adds a user and reports false where the canonical e-mail is
	// taken. It waits for a concurrent transaction that adds the same one.
	InsertUser(u User) (bool, error)
	// LockUser returns a user, locked against every other change and against
	// new sessions; fault.NotFound where there is none.
	LockUser(user ident.UserID) (User, error)
	// UpdateUser stores name and status.
	UpdateUser(u User) error
	// UpdateEmail stores the e-mail, typed and canonical, and reports false
	// where it is taken.
	UpdateEmail(u User) (bool, error)
	// ReplaceHash stores next where the hash is still old, and reports whether
	// it was. changedAt is zero where the password stayed the same.
	ReplaceHash(user ident.UserID, old, next string, changedAt time.Time) (bool, error)
	// AnyUser reports whether there is a user at all.
	AnyUser() (bool, error)
	// OrgsOf lists the user's memberships, ordered by organisation.
	OrgsOf(user ident.UserID) ([]Membership, error)
}

// OrgTx changes organisations, memberships and roles.
type OrgTx interface {
	// InsertOrg adds an organisation and reports false where the slug is taken.
	InsertOrg(o Org) (bool, error)
	// LockOrg returns an organisation, locked against every other change of
	// its members and roles; fault.NotFound where there is none.
	LockOrg(org ident.OrgID) (Org, error)
	// UpdateOrg stores name and status.
	UpdateOrg(o Org) error
	// InsertMembership adds a member and reports false where the user is one.
	InsertMembership(m Membership) (bool, error)
	// SetMemberRole stores the role; an empty role removes the member.
	SetMemberRole(org ident.OrgID, user ident.UserID, role string) error
	// Holders lists the members that hold the role, service accounts included, by
	// user.
	Holders(org ident.OrgID, role string) ([]Holder, error)
	// CustomRole returns a custom role; fault.NotFound where there is none.
	CustomRole(org ident.OrgID, name string) (Role, error)
	// PutRole adds or replaces a custom role; without permissions it is removed.
	PutRole(r Role) error
}

// SetupTx serves the first run.
type SetupTx interface {
	// ClaimFirstRun reports true to exactly one caller in the life of a database.
	ClaimFirstRun(at time.Time) (bool, error)
	// InsertSetupLink stores a link.
	InsertSetupLink(l SetupLink) error
	// UseSetupLink marks the link used and returns it; fault.NotFound where it
	// does not exist, is used, or has expired at now.
	UseSetupLink(digest []byte, now time.Time) (SetupLink, error)
}

// SetupLink lets the first administrator choose their own credentials, once.
type SetupLink struct {
	Digest    []byte // SHA-256 of the token
	User      ident.UserID
	ExpiresAt time.Time
}

// Facts is what decides a standing.
type Facts struct {
	Email      string // empty: a service account, or no such user
	Name       string
	UserStatus Status // empty: no such user
	OrgName    string // empty: the user is no member
	OrgStatus  Status
	Role       string
	Custom     scope.Set // of a custom role
}
