package tokens

import (
	"context"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Service opens, refreshes and ends sessions.
type Service struct {
	Store  Store
	MACs   MACKeys
	Now    func() time.Time
	Random io.Reader
	Policy Policy
	// MaxAccessTTL is the longest life of an access token of any client, and so
	// how long a revocation must be remembered; DefaultMaxAccessTTL where zero.
	MaxAccessTTL time.Duration
	// Revocations, where set, is asked by Check while Fresh reports true; else
	// the store is.
	Revocations *Revocations
	Fresh       func() bool
	// Observe, where set, is told how each presented refresh token was answered.
	Observe func(Result)

	routine hourly
}

// DefaultMaxAccessTTL is the life of the access token that is a whole session.
const DefaultMaxAccessTTL = 24 * time.Hour

// MACKeys are the server's keys that authenticate refresh tokens.
type MACKeys interface {
	// Current returns the key for new tokens and its id.
	Current() (id uint8, key []byte)
	// ByID returns the key that Current gave under that id, now or earlier.
	ByID(id uint8) (key []byte, ok bool)
}

// Policy is how long things last. Zero fields take the defaults.
type Policy struct {
	Grace    time.Duration // how long a lost reply explains an older token; 60 s
	Cooldown time.Duration // how long the same holder gets the same token again; 30 s
	Idle     time.Duration // how long an unused token stays good; 7 days
	Absolute time.Duration // how long a family lives in all; 30 days
}

// Opening says whose session begins, and where.
type Opening struct {
	ID          ident.SessionID // drawn where empty; known beforehand, an access token is signed before the commit
	User        ident.UserID
	Org         ident.OrgID
	Client      ident.ClientID
	Method      string // "password"
	Origin      ident.Origin
	Proof       string        // what the login request already proved to hold (its valid device cookie); empty: nothing
	Refreshable bool          // whether to give out refresh tokens
	TTL         time.Duration // the absolute life; Policy.Absolute where zero
}

// Presented is a refresh token that came in, and how.
type Presented struct {
	Token    string
	Client   ident.ClientID // the authenticated client
	Origin   ident.Origin
	Proof    string // as in Opening; empty: nothing
	RetryKey string // the Idempotency-Key header; empty: none
}

// Refreshed is a served refresh: the family as it stands now and its current token.
type Refreshed struct {
	Family    Family
	Token     secret.Plain
	ExpiresAt time.Time // of Token, as far as it is not used before
	Result    Result
}

// Result is how a presented refresh token was answered; a metric's label.
type Result string

// The results. The first five are served, the others refused.
const (
	Rotated   Result = "rotated"   // a new generation
	Replayed  Result = "replayed"  // the current generation again
	Roaming   Result = "roaming"   // the same, to another network
	Disputed  Result = "contested" // a new generation beside one that two may hold
	Adopted   Result = "adopted"   // a generation the database had lost
	Stale     Result = "stale"
	Reused    Result = "reuse_detected"
	Expired   Result = "expired"
	Idle      Result = "idle"
	Revoked   Result = "revoked"
	Malformed Result = "malformed" // no token of ours, or another client's
)

// Results lists every Result.
func Results() []Result {
	return []Result{Rotated, Replayed, Roaming, Disputed, Adopted, Stale, Reused, Expired, Idle, Revoked, Malformed}
}

// AccessID is what of an access token decides whether it was revoked.
type AccessID struct {
	Token    ident.TokenID
	Session  ident.SessionID // may be empty
	User     ident.UserID
	IssuedAt time.Time
}

// Cleaned counts what a cleanup removed.
type Cleaned struct{ Sessions, Changes int }

var errUnwritten = fault.New(fault.Internal, "")

// Begin opens a family within the login's transaction and returns it with its
// first refresh token, which is zero where the family is not refreshable. It
// is fault.AccountDisabled where the user is not active. Recording the login
// is the caller's.
func (s *Service) Begin(tx FamilyTx, now time.Time, o Opening) (Family, secret.Plain, error) {
	return Family{}, secret.Plain{}, errUnwritten
}

// ExpiryOf returns when the current refresh token of f expires if nobody uses it.
func (s *Service) ExpiryOf(f Family) time.Time { return f.ExpiresAt }

// Refresh answers a refresh token (RFC 6749 §6, RFC 9700 §4.14.2). A refusal
// is fault.InvalidToken with Reason "expired", "idle", "revoked",
// "reuse_detected" or "stale"; without one where the token is none of ours.
// fault.Unavailable is never about the token.
func (s *Service) Refresh(ctx context.Context, p Presented) (Refreshed, error) {
	return Refreshed{}, errUnwritten
}

// Sessions lists the caller's own living sessions in their organisation, newest first.
func (s *Service) Sessions(ctx context.Context, c ident.Caller, page ident.Page) ([]Family, error) {
	return nil, errUnwritten
}

// SessionsOf lists the living sessions of a user in the caller's organisation,
// or of everyone where user is empty. It needs sessions:read.
func (s *Service) SessionsOf(ctx context.Context, c ident.Caller, user ident.UserID, page ident.Page) ([]Family, error) {
	return nil, errUnwritten
}

// RevokeSession ends one session: an own one, or with sessions:revoke any of
// the caller's organisation. All others are fault.NotFound, and so is one that
// has ended already.
func (s *Service) RevokeSession(ctx context.Context, c ident.Caller, id ident.SessionID) error {
	return errUnwritten
}

// RevokeOthers signs the caller out everywhere, in every organisation, but for
// the present session unless includeCurrent. It returns how many sessions ended.
func (s *Service) RevokeOthers(ctx context.Context, c ident.Caller, includeCurrent bool) (int, error) {
	return 0, errUnwritten
}

// Logout ends the caller's session. It is fault.InvalidToken (revoked) where
// the session has ended already or the caller has none.
func (s *Service) Logout(ctx context.Context, c ident.Caller) error { return errUnwritten }

// RevokePresented ends the session of a refresh token, whatever its generation
// (RFC 7009 §2.1): a logout without an access token. It is fault.InvalidToken
// where the token is none of ours or its session has ended already.
func (s *Service) RevokePresented(ctx context.Context, p Presented) error { return errUnwritten }

// Check refuses an access token that was revoked: fault.InvalidToken (revoked).
// While the change feed is silent it asks the database, and is
// fault.Unavailable where that does not answer either.
func (s *Service) Check(ctx context.Context, a AccessID) error { return errUnwritten }

// Cleanup removes, in small batches, the sessions and changes that stopped mattering.
func (s *Service) Cleanup(ctx context.Context) (Cleaned, error) { return Cleaned{}, errUnwritten }
