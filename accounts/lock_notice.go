package accounts

import (
	"context"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// LockNotice is a lock that the owner of the identifier is to be told of. It is
// added in the commit that locks, so that no lock is forgotten and none is told
// twice. Identifiers that nobody has get notices too, of which nothing comes: a
// guess costs the same whether there is an account or not.
type LockNotice struct {
	ID         string // of this lock: hexadecimal
	Identifier [32]byte
	User       ident.UserID // empty: nobody has the identifier
	Org        ident.OrgID  // of User
	Scope      LockScope
	Source     netip.Addr // of the attempt that locked
	LockedAt   time.Time
	Until      time.Time
	DueAt      time.Time // not to be sent before; zero: there is nothing left to do
	Attempts   int       // how often sending was begun
}

// LockScope says what is locked.
type LockScope string

// The scopes.
const (
	LockedNetwork LockScope = "pair"    // the identifier, from one network prefix
	LockedDevice  LockScope = "device"  // the identifier, on one known device
	LockedPool    LockScope = "pool"    // the identifier, from everywhere but known devices
	LockedSession LockScope = "session" // the password of who is signed in, in one session
)

// The most notices for one identifier within noticeWindow. A lock of everything
// is always told, since it lasts as long as the window; of the others, which a
// stranger can cause with each address they have, a few.
const (
	noticeWindow     = time.Hour
	maxNotices       = 3
	maxNoticesOfPool = maxNotices + 2
)

// LockNoticeQueue keeps the notices that are to be sent, for every replica and
// across restarts. Each is sent at least once: a second time only where a
// replica dies between sending it and saying so.
type LockNoticeQueue interface {
	// DueLockNotices returns at most limit notices that are due at now, the
	// longest due first.
	DueLockNotices(ctx context.Context, now time.Time, limit int) ([]LockNotice, error)
	// ClaimLockNotice counts an attempt, keeps everybody else from making one
	// until the given time, and adds the link that is to be sent. It reports
	// false, and does nothing, where the notice is no longer as n says: somebody
	// else was first.
	ClaimLockNotice(ctx context.Context, n LockNotice, until time.Time, l UnlockLink) (bool, error)
	// PostponeLockNotice makes a notice due at the given time, unless it was
	// begun again since n was claimed.
	PostponeLockNotice(ctx context.Context, n LockNotice, due time.Time) error
	// SettleLockNotice makes a notice due never again and records the events in
	// the same commit. It does neither where it was settled before.
	SettleLockNotice(ctx context.Context, n LockNotice, events ...audit.Event) error
	// NextLockNotice returns when the next notice is due; zero where there is none.
	NextLockNotice(ctx context.Context) (time.Time, error)
	// OldestLockNotice returns when the lock was of the oldest notice that somebody
	// is still to be told; zero where there is none.
	OldestLockNotice(ctx context.Context) (time.Time, error)
	// PruneLockNotices removes at most limit settled notices of locks before a
	// time, and at most limit links that expired before it. It returns how many
	// it removed of the kind of which it removed more.
	PruneLockNotices(ctx context.Context, before time.Time, limit int) (int, error)
}

// tell adds a notice of the lock that c has just become.
func (a *Authenticator) tell(tx LoginTx, t *attempt, c Counter) error {
	if !a.Mails {
		return nil
	}
	n := LockNotice{
		Identifier: t.owner, User: t.user.ID, Org: t.home, Scope: LockScope(c.Kind), Source: t.Origin.IP,
		LockedAt: t.start, Until: c.LockedUntil, DueAt: t.start,
	}
	most := maxNotices
	switch {
	case c.Kind == SourceCounter:
		return nil // it is about a network and nobody's account
	case c.Kind == ProofCounter:
		return nil // the pool was full before
	case c.Kind == PoolCounter:
		most = maxNoticesOfPool
	case c.Level > 1:
		return nil // it is the same trouble as before
	case t.method == reauthentication:
		n.Scope = LockedSession
	}
	_, pepper := a.Secrets.Current(sealing.LockoutPepper)
	n.ID = hex.EncodeToString(secret.MAC(pepper, "notice", string(c.Hash[:]), strconv.FormatInt(t.start.UnixMicro(), 10))[:16])
	return tx.AddLockNotice(n, t.start.Add(-noticeWindow), most)
}
