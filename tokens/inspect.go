package tokens

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// IsRefreshToken reports whether the text is a refresh token of this server,
// whatever became of it. No database is asked.
func (s *Service) IsRefreshToken(text string) bool {
	_, err := parse(text, s.MACs)
	return err == nil
}

// Inspection is a refresh token that would be served now.
type Inspection struct {
	Family    Family
	ExpiresAt time.Time // of the token, as far as it is not used before
}

// Inspect returns what a refresh token stands for while it is the newest of its
// family, and fault.InvalidToken otherwise. It changes nothing and costs one
// read (RFC 7662 §2.2).
func (s *Service) Inspect(ctx context.Context, token string) (Inspection, error) {
	g, err := parse(token, s.MACs)
	if err != nil {
		return Inspection{}, err
	}
	f, err := s.Store.Family(ctx, g.Session)
	switch {
	case errors.Is(err, fault.NotFound):
		return Inspection{}, refusal(Expired)
	case err != nil:
		return Inspection{}, err
	}
	i := Inspection{Family: f, ExpiresAt: s.ExpiryOf(f)}
	now := s.Now()
	switch {
	case !f.Ended.At.IsZero():
		return Inspection{}, refusal(Revoked)
	case !now.Before(i.ExpiresAt):
		return Inspection{}, refusal(Expired)
	case g.Generation != f.Chain.Generation:
		return Inspection{}, refusal(Stale)
	}
	return i, nil
}

// RevokeAccess refuses one access token from now on, and nothing else that its
// session, by.Session, has (RFC 7009 §2.1). The token counts as revoked until
// it expires. at is where it stands, zero where it has no status.
func (s *Service) RevokeAccess(ctx context.Context, by ident.Caller, token ident.TokenID, expires time.Time, at Place) error {
	now := s.Now().Truncate(time.Microsecond)
	until := expires.Add(s.stay()) // a token of the same name may have been issued a little later
	return s.Store.InTx(ctx, func(tx Tx) error {
		err := tx.Announce(changes.Change{Kind: changes.TokenRevoked, Key: string(token), At: now, Until: until})
		if err != nil {
			return err
		}
		if err := vacate(tx, by.Session, LivePlace{at, until}, now); err != nil {
			return err
		}
		e := audit.By(by, now, audit.TokenRevoked, audit.Target{Type: "token", ID: string(token)})
		e.Reason = "client_revoked"
		return tx.Record(e)
	})
}
