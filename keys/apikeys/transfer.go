package apikeys

import (
	"context"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Transfer gives a key another owner: an active member of the organisation, or
// a service account of it. From then on the key may do what it was given and
// the new owner may do. It needs api-keys:manage, everything that the key was
// given, as if the caller made it, within the policy, and for a service account
// service-accounts:manage. The credential stays the same, so whoever held it
// holds it still: rotate the key where that is no longer wanted. A key that is
// revoked is fault.NotFound, one that has expired fault.Conflict.
func (s *Service) Transfer(ctx context.Context, caller ident.Caller, id ident.APIKeyID, owner ident.UserID) (Key, error) {
	now := s.Now()
	seen, err := s.findOwn(ctx, caller, id, PermManage, now)
	if err != nil {
		return Key{}, err
	}
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return Key{}, err
	}
	if err := s.mayGive(ctx, caller, giving{seen, owner, policy}); err != nil {
		return Key{}, s.denied(ctx, caller, err, now, targetOf(&seen))
	}
	var k Key
	err = s.Store.InTx(ctx, func(tx Tx) error {
		var err error
		if k, err = tx.LockAPIKey(caller.Tenant(), id); err != nil {
			return err
		}
		switch {
		case !k.RevokedAt.IsZero():
			return errNoKey()
		case policy.over(&k, now):
			return fault.New(fault.Conflict, "A key that has expired cannot be given away.")
		case k.Owner == owner:
			return nil
		}
		before := k.Owner
		k.Owner = owner
		if err := tx.SetAPIKeyOwner(id, owner); err != nil {
			return err
		}
		e := event(caller, k, audit.APIKeyTransferred, now)
		e.Meta = map[string]string{"from": string(before), "to": string(owner)}
		return note(tx, caller, k, e)
	})
	if err != nil {
		return Key{}, err
	}
	return s.shown(k, policy, now), nil
}

// giving is a key on its way to another owner.
type giving struct {
	key    Key
	owner  ident.UserID
	policy Policy
}

// mayGive refuses a caller who could not make such a key, and an owner who
// could not use it.
func (s *Service) mayGive(ctx context.Context, caller ident.Caller, g giving) error {
	k, owner := g.key, g.owner
	if owner.IsServiceAccount() && !caller.May(PermServiceAccounts) {
		return fault.Lacking(string(PermServiceAccounts))
	}
	if lacks := caller.Permissions.Lacks(s.concrete(k.Permissions)); len(lacks) > 0 {
		return fault.Lacking(lacks.Strings()...)
	}
	if err := s.mayHold(ctx, caller, k, g.policy); err != nil {
		return err
	}
	if err := fault.Refusals(g.policy.permits(&k)); err != nil {
		return err
	}
	st, err := s.Owners.Standing(ctx, owner, k.Org)
	if err == nil && !st.Active {
		err = fault.Refusals([]fault.Field{ownerField})
	}
	return err
}
