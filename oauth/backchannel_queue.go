package oauth

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// PendingLogout is a session that ended and whose client must be told (OpenID
// Connect Back-Channel Logout 1.0). Storage adds it in the commit that ends the
// session, by whatever path, where the client has a backchannel_logout_uri.
type PendingLogout struct {
	Session  ident.SessionID
	Client   ident.ClientID
	User     ident.UserID
	Org      ident.OrgID
	EndedAt  time.Time
	DueAt    time.Time // not to be tried before
	Attempts int       // how often it was begun
}

// LogoutQueue keeps the logouts that are to be delivered, for every replica and
// across restarts. Each is delivered at least once.
type LogoutQueue interface {
	// DueLogouts returns at most limit logouts that are due at now, the longest
	// due first.
	DueLogouts(ctx context.Context, now time.Time, limit int) ([]PendingLogout, error)
	// ClaimLogout counts an attempt and keeps everybody else from making one
	// until the given time. It reports false, and does nothing, where the logout
	// is no longer as p says: somebody else was first.
	ClaimLogout(ctx context.Context, p PendingLogout, until time.Time) (bool, error)
	// PostponeLogout makes a logout due at the given time, unless it was begun
	// again since p was claimed.
	PostponeLogout(ctx context.Context, p PendingLogout, due time.Time) error
	// SettleLogout forgets a logout and records e in the same commit. It does
	// neither where the logout is gone.
	SettleLogout(ctx context.Context, p PendingLogout, e audit.Event) error
	// NextLogout returns when the next logout is due; zero where there is none.
	NextLogout(ctx context.Context) (time.Time, error)
}
