package accounts

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// LoginStore keeps the counters of failed logins.
type LoginStore interface {
	// Counters returns the counters of the keys in the order of keys, a zero
	// Counter of that key where nothing is remembered. It locks nothing.
	Counters(ctx context.Context, keys []CounterKey) ([]Counter, error)
	// LockedNow returns how many counters of each kind are locked at now.
	LockedNow(ctx context.Context, now time.Time) (map[CounterKind]int, error)
	// UnlockLink returns a link that was not used and expires after now;
	// fault.NotFound where there is none.
	UnlockLink(ctx context.Context, digest []byte, now time.Time) (UnlockLink, error)
	// InLoginTx runs fn in one transaction with the events it records. fn may
	// run again after a deadlock, so it sets its results anew.
	InLoginTx(ctx context.Context, fn func(LoginTx) error) error
}

// LoginTx counts attempts in one commit with their events, and with the
// session they open. Locks are taken in the order of the methods: counters,
// then the user.
type LoginTx interface {
	audit.Sink
	changes.Sink
	// LockCounters is LoginStore.Counters with each counter locked until the
	// commit, in the order of keys, whether it existed or not.
	LockCounters(keys []CounterKey) ([]Counter, error)
	// SaveCounters stores locked counters. Those that are Blank are forgotten.
	SaveCounters(cs []Counter) error
	// ForgetCounters removes every counter of an identifier and returns how many
	// there were.
	ForgetCounters(identifier [32]byte) (int, error)
	// PruneCounters removes at most limit counters that ended before a time, and
	// returns how many.
	PruneCounters(before time.Time, limit int) (int, error)
	// HoldPassword reports whether the user is active and their password hash is
	// still hash, and if so keeps it that way until the commit. Where next is not
	// empty it replaces hash.
	HoldPassword(user ident.UserID, hash, next string) (bool, error)
	// AddLockNotice adds a notice, unless it exists or its identifier has most of
	// them already of locks after since.
	AddLockNotice(n LockNotice, since time.Time, most int) error
	// UseUnlockLink marks a link used and reports whether it had not been, and
	// had not expired at now.
	UseUnlockLink(digest []byte, now time.Time) (bool, error)
}

// LoginReader finds the people who log in. Store is one.
type LoginReader interface {
	// User returns a user by identifier; fault.NotFound where there is none.
	User(ctx context.Context, user ident.UserID) (User, error)
	// UserByCanonical returns a user by canonical e-mail; fault.NotFound where
	// there is none.
	UserByCanonical(ctx context.Context, canonical string) (User, error)
	// Home returns the organisation the user logs in to; fault.NotFound where
	// they belong nowhere.
	Home(ctx context.Context, user ident.UserID) (ident.OrgID, error)
	// Member returns one member of the tenant; fault.NotFound where the user is none.
	Member(ctx context.Context, t ident.Tenant, user ident.UserID) (Member, error)
}
