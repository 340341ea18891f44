package tokens

import (
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// EndOne ends one session, and what depends on it, within a transaction that
// is about more. It reports false where the session has ended, or expired, or
// never was.
func (s *Service) EndOne(tx Tx, by ident.Caller, id ident.SessionID, at time.Time, reason string) (bool, error) {
	at = at.Truncate(time.Microsecond)
	f, err := tx.Family(id)
	switch {
	case errors.Is(err, fault.NotFound):
		return false, nil
	case err != nil:
		return false, err
	case !f.Active(at):
		return false, nil
	}
	_, err = s.end(tx, f, ended{by: by, at: at, reason: reason})
	return err == nil, err
}
