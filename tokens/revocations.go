package tokens

import (
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Revocations is the set of what must be refused, in memory. Subscribe it to
// the change feed; the zero Revocations is ready to use once Now is set.
type Revocations struct {
	Now func() time.Time
}

var _ changes.Subscriber = (*Revocations)(nil)

// Hear adds the revocations among cs.
func (r *Revocations) Hear(cs []changes.Change) {}

// Forget does nothing: a revocation is never forgotten before its time.
func (r *Revocations) Forget() {}

// Refuses reports whether an access token must be refused, and why.
func (r *Revocations) Refuses(jti ident.TokenID, sid ident.SessionID, sub ident.UserID, iat time.Time) (reason string, yes bool) {
	return "", false
}

// Cutoff returns the moment at or before which every access token of the user
// counts as revoked.
func (r *Revocations) Cutoff(user ident.UserID) (time.Time, bool) { return time.Time{}, false }

// Entries lists what is refused at now, ordered by kind and key.
func (r *Revocations) Entries(now time.Time) []changes.Change { return nil }
