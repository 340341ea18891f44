package apikeys

import (
	"context"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Changes are what shall be different about a key. What is nil stays.
type Changes struct {
	Name     *string
	Networks *[]netip.Prefix
	Limits   *[]Limit
	Quota    *Quota // the zero Quota takes it away
}

func (c Changes) rules(of Rules) (Rules, error) {
	if c.Networks != nil {
		of.Networks = *c.Networks
	}
	if c.Limits != nil {
		of.Limits = *c.Limits
	}
	if c.Quota != nil {
		of.Quota = *c.Quota
	}
	r, fields := of.canonical()
	if err := fault.Refusals(fields); err != nil {
		return Rules{}, err
	}
	return r, nil
}

// Change gives a key another name or other rules. It needs api-keys:create, and
// api-keys:manage where the key is not the caller's own. Rules that allow more
// than before need what it takes to create such a key: everything that the key
// may do, and, where a key asks, rules that are no wider than its own, so that no
// key widens itself. The rules of a key stay within those of the key that made
// it (Rules.Exceeds), and so those of a key that made others cannot become
// narrower than theirs: that is fault.Conflict. A key that was given more than the
// policy of the organisation permits now is not widened either.
func (s *Service) Change(ctx context.Context, caller ident.Caller, id ident.APIKeyID, c Changes) (Key, error) {
	now := s.Now()
	seen, err := s.findOwn(ctx, caller, id, PermCreate, now)
	if err != nil {
		return Key{}, err
	}
	if c == (Changes{}) {
		return Key{}, fault.Refuse("name", "or networks, limits or quota must be given")
	}
	if c.Name != nil {
		name := strings.TrimSpace(*c.Name)
		if c.Name = &name; !nameOK(name) {
			return Key{}, fault.Refusals([]fault.Field{nameField})
		}
	}
	rules, err := c.rules(seen.Rules)
	if err != nil {
		return Key{}, err
	}
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return Key{}, err
	}
	if len(rules.Exceeds(seen.Rules)) > 0 {
		if err := fault.Refusals(policy.permits(&seen)); err != nil {
			return Key{}, err
		}
		if err := s.mayWiden(ctx, caller, seen, rules); err != nil {
			return Key{}, s.denied(ctx, caller, err, now, targetOf(&seen))
		}
	}
	var k Key
	err = s.Store.InTx(ctx, func(tx Tx) (err error) {
		k, err = change(tx, caller, seen, c, now)
		return err
	})
	if err != nil {
		return Key{}, err
	}
	return s.shown(k, policy, now), nil
}

// mayWiden refuses a caller who could not make such a key.
func (s *Service) mayWiden(ctx context.Context, caller ident.Caller, k Key, rules Rules) error {
	switch caller.Kind {
	case ident.Operator:
		return nil
	case ident.ServiceClient:
		return fault.New(fault.InsufficientPermissions, "A service client makes no keys, nor may it let one do more.")
	}
	if lacks := caller.Permissions.Lacks(s.concrete(k.Permissions)); len(lacks) > 0 {
		return fault.Lacking(lacks.Strings()...)
	}
	if caller.Kind != ident.APIKey {
		return nil
	}
	holder, err := s.Store.APIKey(ctx, caller.Tenant(), caller.Key)
	if err != nil {
		return err
	}
	if lacks := scope.Of(holder.Permissions...).Lacks(scope.Of(k.Permissions...)); len(lacks) > 0 {
		return fault.Lacking(lacks.Strings()...)
	}
	if err := fault.Refusals(rules.Exceeds(holder.Rules)); err != nil {
		return err
	}
	return nil
}

// change applies c to the key that was seen. Rows are locked from makers to what
// they made, as everywhere.
func change(tx Tx, caller ident.Caller, seen Key, c Changes, now time.Time) (Key, error) {
	var maker *Key
	if seen.CreatedBy.Key != "" {
		m, err := tx.LockAPIKey(caller.Tenant(), seen.CreatedBy.Key)
		if err != nil {
			return Key{}, err
		}
		maker = &m
	}
	k, err := tx.LockAPIKey(caller.Tenant(), seen.ID)
	if err != nil {
		return Key{}, err
	}
	if !k.RevokedAt.IsZero() {
		return Key{}, errNoKey()
	}
	if !reflect.DeepEqual(k.Rules, seen.Rules) {
		return Key{}, fault.New(fault.Conflict, "The key was changed by somebody else just now.")
	}
	before := k
	if c.Name != nil {
		k.Name = *c.Name
	}
	if k.Rules, err = c.rules(k.Rules); err != nil {
		return Key{}, err
	}
	if !reflect.DeepEqual(k.Rules, before.Rules) {
		if err := withinFamily(tx, caller, k, maker, now); err != nil {
			return Key{}, err
		}
	}
	if err := tx.UpdateAPIKey(k); err != nil {
		return Key{}, err
	}
	e := event(caller, k, audit.APIKeyUpdated, now)
	e.Targets[0].Name = before.Name
	e.Meta = changed(before, k)
	return k, note(tx, caller, k, e)
}

// withinFamily holds the rules of k within those of its maker, and those of the
// keys it made within its own.
func withinFamily(tx Tx, caller ident.Caller, k Key, maker *Key, now time.Time) error {
	if maker != nil {
		if err := fault.Refusals(k.Rules.Exceeds(maker.Rules)); err != nil {
			return err
		}
	}
	made, err := tx.LockAPIKeysMadeBy(caller.Tenant(), k.ID)
	if err != nil {
		return err
	}
	for _, child := range made {
		gone := !child.RevokedAt.IsZero() || !child.ExpiresAt.IsZero() && !now.Before(child.ExpiresAt)
		if !gone && len(child.Rules.Exceeds(k.Rules)) > 0 {
			return fault.New(fault.Conflict, "A key that it made would be allowed more: narrow or revoke "+string(child.ID)+" first.")
		}
	}
	return nil
}

// changed tells what is different, before and after.
func changed(before, after Key) map[string]string {
	was, is := map[string]string{"name": before.Name}, map[string]string{"name": after.Name}
	before.Rules.describe(was, "")
	after.Rules.describe(is, "")
	out := make(map[string]string)
	for name := range is {
		if was[name] != is[name] {
			out[name+"_before"], out[name+"_after"] = was[name], is[name]
		}
	}
	return out
}
