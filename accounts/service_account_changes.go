package accounts

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// ServiceAccountPatch says what to change of a service account; nil leaves it
// as it is.
type ServiceAccountPatch struct {
	Name        *string
	Description *string
	Role        *string
	Status      *Status
}

// check judges and tidies what can be judged without looking at the account.
func (ch *ServiceAccountPatch) check() error {
	if ch.Name != nil {
		name, err := cleanName("name", *ch.Name)
		switch {
		case err != nil:
			return err
		case name == "":
			return fault.Refuse("name", "must not be empty")
		case strings.HasPrefix(name, "svc_") || strings.Contains(name, "@"):
			return fault.Refuse("name", "must not look like an identifier or an e-mail address")
		}
		ch.Name = &name
	}
	if ch.Description != nil {
		text, err := cleanDescription(*ch.Description)
		if err != nil {
			return err
		}
		ch.Description = &text
	}
	if ch.Status != nil && *ch.Status != Active && *ch.Status != Disabled {
		return fault.Refuse("status", "must be active or disabled")
	}
	return nil
}

// UpdateServiceAccount changes a service account of the caller's organisation
// in one commit. A role is given and taken, and the account enabled and
// disabled, only by whoever holds all that the role permits. What the account
// loses its API keys lose at once.
func (p *People) UpdateServiceAccount(ctx context.Context, c ident.Caller, id ident.UserID, change ServiceAccountPatch) (ServiceAccount, error) {
	if err := change.check(); err != nil {
		return ServiceAccount{}, err
	}
	var s ServiceAccount
	err := p.Store.InTx(ctx, func(tx Tx) error {
		var at time.Time
		var err error
		if s, at, err = p.lockService(tx, c, id); err != nil {
			return err
		}
		for _, apply := range []func(Tx, ident.Caller, *ServiceAccount, time.Time) error{
			change.describe, p.withRole(change.Role), p.withStatus(change.Status),
		} {
			if err := apply(tx, c, &s, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return ServiceAccount{}, p.refused(ctx, c, serviceTarget(ServiceAccount{ID: id}), err)
	}
	return s, nil
}

// lockService locks a service account of the caller's organisation, then the
// organisation, whose roles say what it may do. The clock is read afterwards: a
// token issued before the change is not younger.
func (p *People) lockService(tx Tx, c ident.Caller, id ident.UserID) (ServiceAccount, time.Time, error) {
	s, err := tx.LockServiceAccount(c.Tenant(), id)
	if err != nil {
		return s, time.Time{}, err
	}
	_, err = tx.LockOrg(s.Org)
	return s, p.Now(), err
}

// describe changes name and description.
func (ch *ServiceAccountPatch) describe(tx Tx, c ident.Caller, s *ServiceAccount, at time.Time) error {
	before := *s
	if ch.Name != nil {
		s.Name = *ch.Name
	}
	if ch.Description != nil {
		s.Description = *ch.Description
	}
	if *s == before {
		return nil
	}
	if err := stored(tx.UpdateServiceAccount(*s)); err != nil {
		return err
	}
	return tx.Record(audit.By(c, at, audit.ServiceUpdated, serviceTarget(before)))
}

// withRole changes the role.
func (p *People) withRole(role *string) func(Tx, ident.Caller, *ServiceAccount, time.Time) error {
	return func(tx Tx, c ident.Caller, s *ServiceAccount, at time.Time) error {
		if role == nil || *role == s.Role {
			return nil
		}
		given, err := p.permitted(tx, s.Org, *role)
		if err != nil {
			return err
		}
		if err := ceiling(c, given); err != nil {
			return err
		}
		if err := p.mayTake(tx, c, s.Org, s.Role); err != nil {
			return err
		}
		e := audit.By(c, at, audit.ServiceRoleSet, serviceTarget(*s))
		e.Meta = map[string]string{"from": s.Role, "to": *role}
		s.Role = *role
		if err := stored(tx.UpdateServiceAccount(*s)); err != nil {
			return err
		}
		if err := tx.Record(e); err != nil {
			return err
		}
		return p.cutOff(tx, s.ID, at)
	}
}

// withStatus disables or enables.
func (p *People) withStatus(status *Status) func(Tx, ident.Caller, *ServiceAccount, time.Time) error {
	return func(tx Tx, c ident.Caller, s *ServiceAccount, at time.Time) error {
		if status == nil || *status == s.Status {
			return nil
		}
		if err := p.mayTake(tx, c, s.Org, s.Role); err != nil {
			return err
		}
		s.Status = *status
		if err := stored(tx.UpdateServiceAccount(*s)); err != nil {
			return err
		}
		name := audit.ServiceEnabled
		if s.Status == Disabled {
			name = audit.ServiceDisabled
		}
		if err := tx.Record(audit.By(c, at, name, serviceTarget(*s))); err != nil {
			return err
		}
		return p.cutOff(tx, s.ID, at)
	}
}

// DeleteServiceAccount removes a service account of the caller's organisation.
// While it owns API keys that can be used it is fault.Conflict: whoever means
// to end them at once disables it, and whoever means to keep them gives them
// another owner. The caller must hold all that its role permits.
func (p *People) DeleteServiceAccount(ctx context.Context, c ident.Caller, id ident.UserID) error {
	err := p.Store.InTx(ctx, func(tx Tx) error {
		s, at, err := p.lockService(tx, c, id)
		if err != nil {
			return err
		}
		if err := p.mayTake(tx, c, s.Org, s.Role); err != nil {
			return err
		}
		keys, err := tx.UsableAPIKeys(id, at)
		if err != nil {
			return err
		}
		if keys > 0 {
			return fault.New(fault.Conflict, fmt.Sprintf("The service account owns %d API keys that can be used; revoke them or give them another owner first.", keys)).Because("owns_api_keys")
		}
		if err := tx.DeleteServiceAccount(id); err != nil {
			return err
		}
		e := audit.By(c, at, audit.ServiceDeleted, serviceTarget(s))
		e.Meta = map[string]string{"role": s.Role}
		if err := tx.Record(e); err != nil {
			return err
		}
		return p.cutOff(tx, id, at)
	})
	if err != nil {
		return p.refused(ctx, c, serviceTarget(ServiceAccount{ID: id}), err)
	}
	return nil
}
