package apikeys

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// List returns a page of all keys of the caller's organisation, newest first,
// whoever owns them, revoked and expired ones included. It needs api-keys:read.
func (s *Service) List(ctx context.Context, caller ident.Caller, p ident.Page) ([]Key, error) {
	return s.Find(ctx, caller, Filter{}, p)
}

// Find is List of the keys that f lets pass. A status that no key has is
// fault.Invalid.
func (s *Service) Find(ctx context.Context, caller ident.Caller, f Filter, p ident.Page) ([]Key, error) {
	if !caller.May(PermRead) {
		return nil, fault.Lacking(string(PermRead))
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	now := s.Now()
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return nil, err
	}
	selected := Selection{Filter: f, Now: now, RotateBefore: now.Add(-s.rotateAfter())}
	if policy.MaxLifetime > 0 {
		selected.EndedBefore = now.Add(-policy.MaxLifetime)
	}
	keys, err := s.Store.APIKeys(ctx, caller.Tenant(), selected, p)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		keys[i] = s.shown(keys[i], policy, now)
	}
	return keys, s.tellOwners(ctx, keys)
}

// Get returns a key of the caller's organisation. It needs api-keys:read.
func (s *Service) Get(ctx context.Context, caller ident.Caller, id ident.APIKeyID) (Key, error) {
	if !caller.May(PermRead) {
		return Key{}, fault.Lacking(string(PermRead))
	}
	now := s.Now()
	k, err := s.find(ctx, caller, id, now)
	if err != nil {
		return Key{}, err
	}
	policy, err := s.presentPolicy(ctx, k.Org)
	if err != nil {
		return Key{}, err
	}
	one := []Key{s.shown(k, policy, now)}
	err = s.tellOwners(ctx, one)
	return one[0], err
}

// shown is k as it is told: its end as the policy leaves it, and its status.
func (s *Service) shown(k Key, p Policy, now time.Time) Key {
	k = p.bound(k)
	k.Status = k.statusAt(now, s.rotateAfter())
	return k
}

// Rename gives a key another name: see Change.
func (s *Service) Rename(ctx context.Context, caller ident.Caller, id ident.APIKeyID, name string) (Key, error) {
	return s.Change(ctx, caller, id, Changes{Name: &name})
}

// Rotate gives a key a new credential, which is never shown again. The old one
// works until grace ends, 0 to MaxGrace from now; an older one ends at once.
// It needs api-keys:rotate, and where the key is not the caller's own
// api-keys:manage and everything that the key may do, since whoever rotates a
// key holds it. Of rotations that happen together one wins and the others are
// fault.Conflict, as is a key that is revoked or expired, under the policy too:
// the life of a key counts from its creation. A key that was given more than the
// policy permits now may be rotated: it does no more by that.
func (s *Service) Rotate(ctx context.Context, caller ident.Caller, id ident.APIKeyID, grace time.Duration) (Key, secret.Plain, error) {
	now := s.Now()
	seen, err := s.findOwn(ctx, caller, id, PermRotate, now)
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	if err := s.mayHold(ctx, caller, seen, policy); err != nil {
		return Key{}, secret.Plain{}, s.denied(ctx, caller, err, now, targetOf(&seen))
	}
	if grace < 0 || grace > MaxGrace {
		return Key{}, secret.Plain{}, fault.Refuse("grace", "must be between 0s and 720h (30 days)")
	}
	generation := seen.Secrets[0].Generation
	plain, fresh, err := s.newSecret(seen, generation+1, now)
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	var k Key
	err = s.Store.InTx(ctx, func(tx Tx) error {
		var err error
		if k, err = tx.LockAPIKey(caller.Tenant(), id); err != nil {
			return err
		}
		held := !k.HeldAt.IsZero()
		k.HeldAt = time.Time{}
		if refusal(&k, &fresh, policy, now) != "" {
			return errOver(&k, policy, now)
		}
		if k.Secrets[0].Generation != generation {
			return fault.New(fault.Conflict, "The key was rotated by somebody else just now.")
		}
		old := k.Secrets[0]
		if old.ValidUntil = now.Add(grace); held { // that one is known to somebody
			old.ValidUntil = now
			if err := tx.UpdateAPIKey(k); err != nil {
				return err
			}
		}
		k.Secrets = []Secret{fresh, old}
		if err := tx.PutAPIKeySecrets(k.ID, k.Secrets); err != nil {
			return err
		}
		e := event(caller, k, audit.APIKeyRotated, now)
		e.Meta = map[string]string{"grace": grace.String()}
		return note(tx, caller, k, e)
	})
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	return s.shown(k, policy, now), plain, nil
}

// errOver tells why a key that has ended is not rotated.
func errOver(k *Key, p Policy, now time.Time) error {
	if k.RevokedAt.IsZero() && !(Policy{}).over(k, now) {
		ended := p.end(k.CreatedAt, k.ExpiresAt).UTC().Format(time.RFC3339)
		return fault.New(fault.Conflict, "The key is older than the organisation lets API keys be, since "+ended+": make another.")
	}
	return fault.New(fault.Conflict, "A key that is revoked or expired cannot be rotated.")
}

// mayHold refuses a caller who would, by holding k, be able to do more. The
// owner, and the key itself, hold it already. A token that the key was exchanged
// for lasts minutes and may do less: it never becomes the key.
func (s *Service) mayHold(ctx context.Context, caller ident.Caller, k Key, p Policy) error {
	self := caller.Kind == ident.APIKey && k.ID == caller.Key
	switch {
	case self && caller.Token != "":
		return fault.New(fault.InsufficientPermissions, "A token that was exchanged for an API key cannot rotate it: present the key.")
	case self || caller.Kind == ident.Operator || caller.Kind == ident.Person && k.Owner == caller.User:
		return nil
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
	holder, k = p.bound(holder), p.bound(k)
	if !holder.ExpiresAt.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(holder.ExpiresAt)) {
		return fault.New(fault.Conflict, "A key cannot rotate one that outlives it.")
	}
	if len(k.Rules.Exceeds(holder.Rules)) > 0 {
		return fault.New(fault.Conflict, "A key cannot rotate one that may be used from more networks, or more often.")
	}
	return nil
}

// Revoke ends a key, and every key that it made and that those made. Replicas
// refuse them as soon as they hear. It needs api-keys:revoke, and
// api-keys:manage where the key is not the caller's own. A key that is revoked
// already is fault.NotFound.
func (s *Service) Revoke(ctx context.Context, caller ident.Caller, id ident.APIKeyID) error {
	return s.revoke(ctx, caller, id, true)
}

// RevokeAlone is Revoke that leaves the keys it made (cascade=false).
func (s *Service) RevokeAlone(ctx context.Context, caller ident.Caller, id ident.APIKeyID) error {
	return s.revoke(ctx, caller, id, false)
}

func (s *Service) revoke(ctx context.Context, caller ident.Caller, id ident.APIKeyID, cascade bool) error {
	now := s.Now()
	if _, err := s.findOwn(ctx, caller, id, PermRevoke, now); err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(tx Tx) error {
		k, err := tx.LockAPIKey(caller.Tenant(), id)
		if err != nil {
			return err
		}
		if !k.RevokedAt.IsZero() {
			return errNoKey()
		}
		if err := end(tx, caller, k, event(caller, k, audit.APIKeyRevoked, now)); err != nil || !cascade {
			return err
		}
		return endDescendants(tx, caller, id, now)
	})
}

func end(tx Tx, caller ident.Caller, k Key, e audit.Event) error {
	k.RevokedAt, k.RevokedBy = e.Time, revoker(caller)
	if err := tx.UpdateAPIKey(k); err != nil {
		return err
	}
	return noteEnd(tx, k, e)
}

// findOwn finds a key that the caller may change with permission p: its own
// with p alone, another's with api-keys:manage too. A revoked key is gone.
func (s *Service) findOwn(ctx context.Context, caller ident.Caller, id ident.APIKeyID, p scope.Permission, now time.Time) (Key, error) {
	if !caller.May(p) {
		return Key{}, fault.Lacking(string(p))
	}
	k, err := s.find(ctx, caller, id, now)
	if err != nil {
		return Key{}, err
	}
	if !k.RevokedAt.IsZero() {
		return Key{}, errNoKey()
	}
	if !owns(caller, k) && !caller.May(PermManage) {
		return Key{}, s.denied(ctx, caller, fault.Lacking(string(PermManage)), now, targetOf(&k))
	}
	return k, nil
}

// owns reports whether k is the caller's: a person owns the keys made for
// them, a key itself and those it made.
func owns(caller ident.Caller, k Key) bool {
	switch caller.Kind {
	case ident.Person:
		return k.Owner == caller.User
	case ident.APIKey:
		return k.ID == caller.Key || k.CreatedBy.Key == caller.Key
	default:
		return caller.Kind == ident.Operator
	}
}
