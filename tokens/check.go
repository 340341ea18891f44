package tokens

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// AccessID is what of an access token decides whether it was revoked.
type AccessID struct {
	Token    ident.TokenID
	Session  ident.SessionID // may be empty
	Key      ident.APIKeyID  // that it was exchanged for; may be empty
	User     ident.UserID
	IssuedAt time.Time
}

// tokenRevoked is the answer to a revoked access token. The text is part of the
// interface.
func tokenRevoked() error {
	return fault.New(fault.InvalidToken, "Token has been revoked").Because(string(Revoked))
}

// Check refuses an access token that was revoked: fault.InvalidToken (revoked).
// While the change feed is silent it asks the database, and is
// fault.Unavailable where that does not answer either.
func (s *Service) Check(ctx context.Context, a AccessID) error {
	if s.Revocations != nil {
		if _, yes := s.Revocations.Refuses(a); yes {
			return tokenRevoked()
		}
		if s.Fresh() {
			return nil
		}
	}
	reason, err := s.Store.Revoked(ctx, a)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "Whether the token was revoked cannot be told now.")
	}
	if reason != "" {
		return tokenRevoked()
	}
	return nil
}
