package accounts

import (
	"context"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// DefaultTokenTTL is the longest life of an access token in either dialect.
const DefaultTokenTTL = 24 * time.Hour

// People manages users, organisations, memberships and roles. Whether a caller
// may call a method at all is the business of the route or command that
// exposes it, which names the permission; People holds what depends on the
// data: the organisation, the ceiling (nobody grants or takes away what they
// lack), and the last owner.
type People struct {
	Store     Store
	Recorder  audit.Recorder // of refusals
	Hasher    *Hasher
	Prover    Prover
	Catalogue scope.Catalogue
	Policy    Policy
	// TokenTTL is how long a revocation must be remembered; DefaultTokenTTL
	// where zero.
	TokenTTL time.Duration
	// Answer, where set, delays the reply to a registration until the given
	// time, so that its duration tells nothing.
	Answer       func(ctx context.Context, at time.Time) error
	RegisterTime time.Duration // how long a registration takes; not delayed where zero
	Mails        bool          // invitations are sent by mail; else their links are shown to whoever invites
	Now          func() time.Time
	Random       io.Reader
}

// Prover checks the password that a signed-in person presents again, under the
// counters that guard a login. It answers fault.InvalidCredentials,
// fault.AccountLocked, fault.RateLimited or fault.Unavailable.
type Prover interface {
	Prove(ctx context.Context, caller ident.Caller, password secret.Plain) error
}

func (p *People) tokenTTL() time.Duration {
	if p.TokenTTL == 0 {
		return DefaultTokenTTL
	}
	return p.TokenTTL
}
