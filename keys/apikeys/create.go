package apikeys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Limits of a new key.
const (
	// MaxName is the longest name, in characters.
	MaxName = 100
	// MaxPermissions is how many permissions a key may have.
	MaxPermissions = 100

	maxCollisions = 8 // lookup ids tried before giving up; one collision is a rarity already
)

// presets are sets of permissions by name.
var presets = map[string][]string{
	// What an agent in a cluster does: read metrics, manage agents, no more.
	"admin-agent": {"metrics:read", "agents:*"},
}

// New is a key to be made.
type New struct {
	Name        string // 1 to 100 characters
	Permissions []string
	Preset      string       // "admin-agent", instead of Permissions
	ExpiresAt   time.Time    // zero: as late as allowed: see Settings.MaxLifetime, and the key that makes it
	Rules       Rules        // what is empty is as in the key that makes it
	Owner       ident.UserID // a service account, or for the operator anybody; the caller's user where empty
}

// Create makes a key of the caller's organisation and returns it with its
// credential, which is never shown again. The caller needs api-keys:create and
// everything that the key shall do; a key that makes another must have been
// given that too, and the other expires no later than itself. It may do no more
// than the policy of the organisation permits, and must end in its time. What is
// wrong with n is fault.Invalid, what the caller lacks fault.InsufficientPermissions.
func (s *Service) Create(ctx context.Context, caller ident.Caller, n New) (Key, secret.Plain, error) {
	if !caller.May(PermCreate) {
		return Key{}, secret.Plain{}, fault.Lacking(string(PermCreate))
	}
	now := s.Now()
	policy, err := s.presentPolicy(ctx, caller.Tenant().Org())
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	k, err := s.judgeNew(ctx, caller, n, policy, now)
	if err != nil {
		return Key{}, secret.Plain{}, s.denied(ctx, caller, err, now)
	}
	for range maxCollisions {
		made, plain, err := s.insert(ctx, caller, k, policy)
		if err == nil {
			return s.shown(made, policy, now), plain, nil
		}
		if !errors.Is(err, fault.Conflict) {
			return Key{}, secret.Plain{}, s.denied(ctx, caller, err, now)
		}
	}
	return Key{}, secret.Plain{}, errors.New("every lookup id that was tried is taken: the random source repeats itself")
}

// judgeNew checks everything that does not depend on the key that makes it.
func (s *Service) judgeNew(ctx context.Context, caller ident.Caller, n New, policy Policy, now time.Time) (Key, error) {
	k := Key{Org: caller.Org, Owner: caller.User, Prefix: s.prefix(), CreatedAt: now, ExpiresAt: n.ExpiresAt}
	k.CreatedBy = Creator{User: caller.User}
	switch caller.Kind {
	case ident.APIKey:
		k.CreatedBy = Creator{Key: caller.Key}
	case ident.ServiceClient:
		return k, fault.New(fault.InsufficientPermissions, "A key belongs to a person; a service client is none.")
	}
	var fields []fault.Field
	if k.Name = strings.TrimSpace(n.Name); !nameOK(k.Name) {
		fields = append(fields, nameField)
	}
	permissions, refused := s.permissions(n)
	k.Permissions = permissions
	fields = append(fields, refused...)
	k.Rules, refused = n.Rules.canonical()
	fields = append(append(append(fields, refused...), policy.permits(&k)...), s.judgeEnd(caller, &k, policy)...)
	refused, err := s.judgeOwner(ctx, caller, n.Owner, &k)
	if err != nil {
		return Key{}, err
	}
	if err := fault.Refusals(append(fields, refused...)); err != nil {
		return Key{}, err
	}
	if lacks := caller.Permissions.Lacks(s.concrete(k.Permissions)); len(lacks) > 0 {
		return Key{}, fault.Lacking(lacks.Strings()...)
	}
	return k, s.generations(ctx, caller)
}

// judgeEnd judges when the new key k shall expire. What a key makes may end with
// its maker, which insert knows.
func (s *Service) judgeEnd(caller ident.Caller, k *Key, policy Policy) []fault.Field {
	if refused := s.expiry(k.ExpiresAt, k.CreatedAt); len(refused) > 0 || caller.Kind == ident.APIKey {
		return refused
	}
	k.ExpiresAt = s.capped(k.ExpiresAt, k.CreatedAt)
	return policy.outlives(k)
}

// expiry judges when a new key shall expire by the settings.
func (s *Service) expiry(asked, now time.Time) []fault.Field {
	latest := now.Add(s.MaxLifetime)
	switch {
	case !asked.IsZero() && !asked.After(now):
		return []fault.Field{{Name: "expires_at", Detail: "must be in the future"}}
	case s.MaxLifetime > 0 && asked.After(latest):
		return []fault.Field{{Name: "expires_at", Detail: "must not be later than keys may live here: " + latest.UTC().Format(time.RFC3339)}}
	}
	return nil
}

// capped is the end of a key where nobody may name a later one.
func (s *Service) capped(ends, now time.Time) time.Time {
	latest := now.Add(s.MaxLifetime)
	if s.MaxLifetime > 0 && (ends.IsZero() || ends.After(latest)) {
		return latest.Truncate(time.Second)
	}
	return ends
}

var nameField = fault.Field{Name: "name", Detail: fmt.Sprintf("must be 1 to %d printable characters", MaxName)}

// nameOK accepts what can be shown on one line.
func nameOK(name string) bool {
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= MaxName && !strings.ContainsFunc(name, unicode.IsControl)
}

// permissions reads the permissions of n in their order, each once.
func (s *Service) permissions(n New) ([]scope.Permission, []fault.Field) {
	words, at := n.Permissions, func(i int) string { return fmt.Sprintf("permissions[%d]", i) }
	if n.Preset != "" {
		words, at = presets[n.Preset], func(int) string { return "preset" }
		if words == nil {
			return nil, []fault.Field{{Name: "preset", Detail: "is not known; admin-agent is"}}
		}
		if len(n.Permissions) > 0 {
			return nil, []fault.Field{{Name: "preset", Detail: "cannot be combined with permissions"}}
		}
	}
	if len(words) == 0 || len(words) > MaxPermissions {
		return nil, []fault.Field{{Name: "permissions", Detail: fmt.Sprintf("must hold 1 to %d permissions", MaxPermissions)}}
	}
	var out []scope.Permission
	var refused []fault.Field
	for i, w := range words {
		p, err := scope.ParsePermission(w)
		switch {
		case err != nil:
			refused = append(refused, fault.Field{Name: at(i), Detail: err.Error()})
		case !s.Catalogue.Knows(p):
			refused = append(refused, fault.Field{Name: at(i), Detail: "is not a permission of this deployment"})
		case !slices.Contains(out, p):
			out = append(out, p)
		}
	}
	return out, refused
}

// concrete is everything that exists today and that the permissions cover.
func (s *Service) concrete(ps []scope.Permission) scope.Set {
	return s.Catalogue.Expand(scope.Of(ps...))
}

// insert stores the key under a new lookup id; fault.Conflict where that is taken.
func (s *Service) insert(ctx context.Context, caller ident.Caller, k Key, policy Policy) (Key, secret.Plain, error) {
	var err error
	if k.Lookup, err = secret.Text(s.Random, lookupSize); err != nil {
		return Key{}, secret.Plain{}, err
	}
	plain, sec, err := s.newSecret(k, 1, k.CreatedAt)
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	k.ID, k.Secrets = ident.NewAPIKeyID(k.CreatedAt, s.Random), []Secret{sec}
	wanted, rules := k.ExpiresAt, k.Rules
	err = s.Store.InTx(ctx, func(tx Tx) error {
		k.ExpiresAt, k.Rules = wanted, rules
		if caller.Kind == ident.APIKey {
			// The lock orders this insert with the revocation of the parent, which
			// would otherwise miss the child.
			parent, err := tx.LockAPIKey(caller.Tenant(), caller.Key)
			if err != nil {
				return err
			}
			if k.ExpiresAt, err = delegated(policy.bound(parent), k); err != nil {
				return err
			}
			k.Rules = rules.inheriting(parent.Rules)
			if err := fault.Refusals(k.Rules.Exceeds(parent.Rules)); err != nil {
				return err
			}
		}
		k.ExpiresAt = s.capped(k.ExpiresAt, k.CreatedAt)
		if err := fault.Refusals(policy.outlives(&k)); err != nil {
			return err
		}
		if err := tx.InsertAPIKey(k); err != nil {
			return err
		}
		e := event(caller, k, audit.APIKeyCreated, k.CreatedAt)
		e.Meta = changed(Key{Name: k.Name}, k)
		return note(tx, caller, k, e)
	})
	if err != nil {
		return Key{}, secret.Plain{}, err
	}
	return k, plain, nil
}

// delegated judges whether parent may make k, and returns when k expires. The
// caller's own permissions were checked already; this holds k within what the
// parent was given, wildcards included, whatever the catalogue will hold.
func delegated(parent, k Key) (time.Time, error) {
	if !parent.RevokedAt.IsZero() || !parent.ExpiresAt.IsZero() && !k.CreatedAt.Before(parent.ExpiresAt) {
		return time.Time{}, fault.New(fault.InvalidAPIKey, "The API key is not valid.")
	}
	if lacks := scope.Of(parent.Permissions...).Lacks(scope.Of(k.Permissions...)); len(lacks) > 0 {
		return time.Time{}, fault.Lacking(lacks.Strings()...)
	}
	switch {
	case k.ExpiresAt.IsZero():
		return parent.ExpiresAt, nil
	case !parent.ExpiresAt.IsZero() && k.ExpiresAt.After(parent.ExpiresAt):
		return time.Time{}, fault.Refuse("expires_at", "must not be later than that of the key that makes it: "+parent.ExpiresAt.UTC().Format(time.RFC3339))
	default:
		return k.ExpiresAt, nil
	}
}

// newSecret makes a credential for k and what is stored of it.
func (s *Service) newSecret(k Key, generation int, now time.Time) (secret.Plain, Secret, error) {
	plain, err := mint(s.Random, k.Prefix, k.Lookup)
	if err != nil {
		return secret.Plain{}, Secret{}, err
	}
	id, pepper := s.Peppers.Current(sealing.APIKeyPepper)
	return plain, Secret{Generation: generation, Digest: secret.MAC(pepper, plain.Reveal()), Pepper: id, Last4: last4(plain), CreatedAt: now}, nil
}

func (s *Service) prefix() string {
	if s.Prefix == "" {
		return DefaultPrefix
	}
	return s.Prefix
}

// event is an event about k. It is filed under k's id, whoever made it.
func event(caller ident.Caller, k Key, name audit.Name, now time.Time) audit.Event {
	e := audit.By(caller, now, name, targetOf(&k))
	e.Key, e.Org = k.ID, k.Org
	return e
}

// note records e, and tells every replica to forget k.
func note(tx Tx, caller ident.Caller, k Key, e audit.Event) error {
	if err := tx.Record(e); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.APIKey, Key: k.Lookup, At: e.Time})
}
