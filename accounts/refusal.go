package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// ceiling refuses a caller who lacks any of what is given or taken away.
func ceiling(c ident.Caller, permissions scope.Set) error {
	if lacking := c.Permissions.Lacks(permissions); len(lacking) > 0 {
		return fault.Lacking(lacking.Strings()...)
	}
	return nil
}

// operatorOnly refuses everyone but the command line.
func operatorOnly(c ident.Caller) error {
	if c.Kind != ident.Operator {
		return fault.New(fault.InsufficientPermissions, "Only the operator of the deployment may do this, on the command line.")
	}
	return nil
}

// refused records why a caller was refused, where that is a security event,
// and returns the refusal. It runs after the transaction ended. A refusal that
// cannot be recorded is answered as the failure to record it.
func (p *People) refused(ctx context.Context, c ident.Caller, target audit.Target, err error) error {
	name := audit.PermissionDenied
	switch {
	case errors.Is(err, fault.InsufficientPermissions):
	case errors.Is(err, fault.NotFound):
		elsewhere, lookErr := p.exists(ctx, target)
		if lookErr != nil {
			return lookErr
		}
		if !elsewhere {
			return err
		}
		name = audit.CrossOrgDenied
	default:
		return err
	}
	e := audit.By(c, p.Now(), name, target)
	e.Outcome, e.Reason = audit.Denied, fault.Of(err).Reason
	if recordErr := p.Recorder.RecordAll(ctx, e); recordErr != nil {
		return recordErr
	}
	return err
}

// exists reports whether the target is somebody's, though not the caller's.
func (p *People) exists(ctx context.Context, target audit.Target) (bool, error) {
	var err error
	switch target.Type {
	case "user":
		_, err = p.Store.User(ctx, ident.UserID(target.ID))
	case "service_account":
		return p.Store.ServiceAccountExists(ctx, ident.UserID(target.ID))
	case "invitation":
		return p.Store.InvitationExists(ctx, ident.InvitationID(target.ID))
	case "org":
		_, err = p.Store.Org(ctx, ident.OrgID(target.ID))
	default:
		return false, nil
	}
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// until is when tokens issued before at have all expired.
func (p *People) until(at time.Time) time.Time { return at.Add(p.tokenTTL()) }
