// Package tokens is what a caller presents: access tokens, families of refresh
// tokens, and what of both was revoked.
package tokens

import (
	"net/netip"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Family is one login on one device: one session, and every refresh token
// descended from it. Whatever is known of it is this one row, however often it
// was refreshed.
type Family struct {
	ID          ident.SessionID
	User        ident.UserID
	Org         ident.OrgID
	Client      ident.ClientID
	Method      string // how the user proved who they are: "password"
	CreatedAt   time.Time
	ExpiresAt   time.Time // the absolute end; no refresh moves it
	Refreshable bool      // whether refresh tokens were given out at all
	// AuthenticatedAt is when the user last proved who they are (auth_time,
	// OpenID Connect Core 1.0 §2).
	AuthenticatedAt time.Time
	Delegation      Delegation
	Ended           Ended
	Seen            Seen
	Chain           Chain
	Holder          Holder
	// Version counts the changes of the row, for compare-and-swap. Storage
	// raises it; nobody else writes it.
	Version int64
}

// Delegation is what a family owes to an authorization request: the zero one
// is a first-party login, or a browser's own session.
type Delegation struct {
	// Browser is the session at our own pages in which it was allowed. It ends
	// with that, unless Offline.
	Browser ident.SessionID
	Offline bool // offline_access was granted (OpenID Connect Core 1.0 §11)
	// Authorization is what was granted, as the oauth package writes it.
	Authorization string
}

// BrowserClient is the client of browser sessions: the logins at our own pages.
const BrowserClient ident.ClientID = "cli_browser"

// IsBrowser reports whether the family is a browser's own session: what the
// cookie of our own pages stands for, and what delegated families depend on.
func (f Family) IsBrowser() bool { return f.Client == BrowserClient }

// IsDelegated reports whether the family is what a user allowed a client, not a
// login of their own.
func (f Family) IsDelegated() bool { return f.Delegation != Delegation{} }

// Ended says when and why a family was revoked; the zero Ended is a live one.
type Ended struct {
	At     time.Time
	Reason string // "logout", "signed_out", "signed_out_everywhere", "reuse_detected", "user_disabled", "password_changed", "replaced", "expired", …
}

// Seen is the last time the current generation was handed out to its holder,
// within half a minute, and from where.
type Seen struct {
	At        time.Time
	IP        netip.Addr
	UserAgent string
}

// Chain is where a family stands in the row of its refresh tokens, which are
// numbered by generation from 0, and what access tokens went with them.
type Chain struct {
	Generation uint32    // the newest one: "cur"; last handed out at Seen.At
	LastUsed   uint32    // the one that was rotated last; 0 also before that
	PreviousAt time.Time // when LastUsed had last been handed out
	RetryKey   Digest    // of the Idempotency-Key of the request that made cur
	Contested  Contested
	Live       Live // the places of access tokens that may be alive
}

// Contested are generations that two parties may hold: each was handed out,
// never seen since, and then its predecessor came from elsewhere. The zero
// Contested is none.
type Contested struct {
	From, To uint32 // both inclusive
	At       time.Time
	Agent    Digest // the user agent that came from elsewhere
}

// Holder is whom the current generation was handed to.
type Holder struct {
	Network string // the /24 or /56 of the address, "" where unknown
	Agent   Digest // of the user agent
	Proof   Digest // what the family is bound to since its login; zero: not bound
	Proven  bool   // whether the holder showed that proof
}

// Digest is the first half of a SHA-256; zero stands for nothing.
type Digest [16]byte

// Active reports whether the family neither ended nor expired at now.
func (f Family) Active(now time.Time) bool {
	return f.Ended.At.IsZero() && now.Before(f.ExpiresAt)
}
