package apikeys

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// find returns a key of the caller's organisation. To ask for another
// organisation's is answered like an unknown one, and recorded.
func (s *Service) find(ctx context.Context, caller ident.Caller, id ident.APIKeyID, now time.Time) (Key, error) {
	k, err := s.Store.APIKey(ctx, caller.Tenant(), id)
	if !errors.Is(err, fault.NotFound) {
		return k, err
	}
	if exists, err := s.Store.APIKeyExists(ctx, id); err != nil {
		return Key{}, err
	} else if exists {
		e := audit.By(caller, now, audit.CrossOrgDenied, audit.Target{Type: "api_key", ID: string(id)})
		e.Outcome = audit.Denied
		if err := s.record(ctx, e); err != nil {
			return Key{}, err
		}
	}
	return Key{}, errNoKey()
}

func errNoKey() error { return fault.New(fault.NotFound, "There is no such API key.") }

// denied records that a known caller lacks a permission, where err says so, and
// returns err. A refusal that cannot be recorded is answered as that failure.
// What the permission of the whole operation lacks is for the route to record.
func (s *Service) denied(ctx context.Context, caller ident.Caller, err error, now time.Time, targets ...audit.Target) error {
	if !errors.Is(err, fault.InsufficientPermissions) {
		return err
	}
	e := audit.By(caller, now, audit.PermissionDenied, targets...)
	e.Outcome, e.Reason = audit.Denied, "insufficient_permissions"
	e.Meta = map[string]string{"required": strings.Join(fault.Of(err).Required, " ")}
	if recordErr := s.record(ctx, e); recordErr != nil {
		return recordErr
	}
	return err
}

func (s *Service) record(ctx context.Context, e audit.Event) error {
	return s.Store.InTx(ctx, func(tx Tx) error { return tx.Record(e) })
}
