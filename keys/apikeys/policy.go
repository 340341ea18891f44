package apikeys

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// PermPolicy is what it takes to set the policy of an organisation. To read it
// takes PermRead.
const PermPolicy scope.Permission = "api-keys:policy"

// Bounds of Policy.MaxLifetime, other than none.
const (
	MinPolicyLifetime = time.Hour
	MaxPolicyLifetime = 10 * 365 * 24 * time.Hour
)

// Policy is what an organisation lets its API keys be, whoever owns them. It
// caps every use of a key, of one that is older than the policy too: the key may
// do what the key, its owner and the policy all permit, and ends with the policy's
// lifetime. The zero Policy narrows nothing.
type Policy struct {
	Permissions scope.Set     // no key may do more; nil: no ceiling. May hold wildcards
	MaxLifetime time.Duration // from the creation of a key to its end, rotated or not; zero: no bound
}

// PolicyChanges are what shall be different about a policy. What is nil stays.
type PolicyChanges struct {
	Permissions *[]string      // "*:*" is no ceiling
	MaxLifetime *time.Duration // zero is no bound
}

// PolicyStore reads policies.
type PolicyStore interface {
	// APIKeyPolicy returns the policy of the tenant: the zero Policy where there
	// is none, or no such organisation.
	APIKeyPolicy(ctx context.Context, t ident.Tenant) (Policy, error)
}

// PolicyTx changes policies.
type PolicyTx interface {
	// LockAPIKeyPolicy is PolicyStore.APIKeyPolicy and keeps others from changing it
	// until the commit; fault.NotFound where there is no such organisation.
	LockAPIKeyPolicy(t ident.Tenant) (Policy, error)
	// PutAPIKeyPolicy stores the policy.
	PutAPIKeyPolicy(t ident.Tenant, p Policy) error
}

// Ceiling is Permissions, and *:* where there are none.
func (p Policy) Ceiling() scope.Set {
	if p.Permissions == nil {
		return scope.Of("*:*")
	}
	return p.Permissions
}

// end is when a key of those times ends under the policy; zero: never.
func (p Policy) end(created, expires time.Time) time.Time {
	latest := created.Add(p.MaxLifetime)
	if p.MaxLifetime > 0 && (expires.IsZero() || expires.After(latest)) {
		return latest
	}
	return expires
}

// over reports whether k has ended at now.
func (p Policy) over(k *Key, now time.Time) bool {
	end := p.end(k.CreatedAt, k.ExpiresAt)
	return !end.IsZero() && !now.Before(end)
}

// bound is k as the policy leaves it: it expires no later than that lets it.
func (p Policy) bound(k Key) Key {
	k.ExpiresAt = p.end(k.CreatedAt, k.ExpiresAt)
	return k
}

// exceeds reports whether p lets keys do what q does not, or live longer.
func (p Policy) exceeds(q Policy) bool {
	longer := q.MaxLifetime > 0 && (p.MaxLifetime == 0 || p.MaxLifetime > q.MaxLifetime)
	return longer || len(q.Ceiling().Lacks(p.Ceiling())) > 0
}

// permits names what k was given beyond the ceiling, wildcards included: what a
// wildcard will cover must be within it too.
func (p Policy) permits(k *Key) []fault.Field {
	if lacks := p.Ceiling().Lacks(scope.Of(k.Permissions...)); len(lacks) > 0 {
		return []fault.Field{{Name: "permissions", Detail: "go beyond what the organisation lets API keys do: " + strings.Join(lacks.Strings(), " ")}}
	}
	return nil
}

// outlives refuses a new key that would not end in time, and names the last
// moment that it may.
func (p Policy) outlives(k *Key) []fault.Field {
	if p.end(k.CreatedAt, k.ExpiresAt).Equal(k.ExpiresAt) {
		return nil
	}
	latest := k.CreatedAt.Add(p.MaxLifetime).UTC().Format(time.RFC3339)
	return []fault.Field{{Name: "expires_at", Detail: "must be given, and not be later than the organisation lets API keys live: " + latest}}
}

func (p Policy) describe() map[string]string {
	life := ""
	if p.MaxLifetime > 0 {
		life = PeriodText(p.MaxLifetime)
	}
	return map[string]string{"permissions": p.Ceiling().String(), "max_lifetime": life}
}

// policyOf returns the policy of an organisation, from memory where it is there.
func (s *Service) policyOf(ctx context.Context, org ident.OrgID) (Policy, error) {
	return s.memory().policies.Get(ctx, org, s.presentPolicy)
}

// presentPolicy returns it as the database has it now.
func (s *Service) presentPolicy(ctx context.Context, org ident.OrgID) (Policy, error) {
	return s.Store.APIKeyPolicy(ctx, ident.Caller{Org: org}.Tenant())
}

// Policy returns the policy of the caller's organisation. It needs api-keys:read.
func (s *Service) Policy(ctx context.Context, caller ident.Caller) (Policy, error) {
	if !caller.May(PermRead) {
		return Policy{}, fault.Lacking(string(PermRead))
	}
	return s.presentPolicy(ctx, caller.Tenant().Org())
}

// SetPolicy changes the policy of the caller's organisation, and every replica
// applies it to each use of a key from when it hears. It needs api-keys:policy.
// An API key, and a token that one was exchanged for, may narrow the policy and
// never widen it, as no key widens itself.
func (s *Service) SetPolicy(ctx context.Context, caller ident.Caller, c PolicyChanges) (Policy, error) {
	if !caller.May(PermPolicy) {
		return Policy{}, fault.Lacking(string(PermPolicy))
	}
	now := s.Now()
	if c == (PolicyChanges{}) {
		return Policy{}, fault.Refuse("permissions", "or max_lifetime must be given")
	}
	asked, refused := s.judgePolicy(c)
	if err := fault.Refusals(refused); err != nil {
		return Policy{}, err
	}
	var p Policy
	err := s.Store.InTx(ctx, func(tx Tx) error {
		before, err := tx.LockAPIKeyPolicy(caller.Tenant())
		if err != nil {
			return err
		}
		p = before
		if c.Permissions != nil {
			p.Permissions = asked.Permissions
		}
		if c.MaxLifetime != nil {
			p.MaxLifetime = asked.MaxLifetime
		}
		if p.MaxLifetime == before.MaxLifetime && slices.Equal(p.Permissions, before.Permissions) {
			return nil
		}
		if caller.Kind == ident.APIKey && p.exceeds(before) {
			return fault.New(fault.InsufficientPermissions, "An API key may narrow the policy that binds it, and not widen it: a person must.")
		}
		return putPolicy(tx, caller, before, p, now)
	})
	if err != nil {
		return Policy{}, s.denied(ctx, caller, err, now, policyTarget(caller.Tenant()))
	}
	return p, nil
}

func putPolicy(tx Tx, caller ident.Caller, before, p Policy, now time.Time) error {
	if err := tx.PutAPIKeyPolicy(caller.Tenant(), p); err != nil {
		return err
	}
	e := audit.By(caller, now, audit.APIKeyPolicySet, policyTarget(caller.Tenant()))
	e.Org, e.Meta = caller.Tenant().Org(), make(map[string]string)
	was, is := before.describe(), p.describe()
	for name := range is {
		if was[name] != is[name] {
			e.Meta[name+"_before"], e.Meta[name+"_after"] = was[name], is[name]
		}
	}
	if err := tx.Record(e); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.APIKeyPolicy, Key: string(caller.Tenant().Org()), At: now})
}

func policyTarget(t ident.Tenant) audit.Target {
	return audit.Target{Type: "org", ID: string(t.Org())}
}

// judgePolicy reads what shall be different.
func (s *Service) judgePolicy(c PolicyChanges) (Policy, []fault.Field) {
	var p Policy
	var refused []fault.Field
	if c.Permissions != nil {
		var ps []scope.Permission
		ps, refused = s.permissions(New{Permissions: *c.Permissions})
		if p.Permissions = scope.Of(ps...); slices.Contains(ps, "*:*") {
			p.Permissions = nil
		}
	}
	if c.MaxLifetime != nil {
		p.MaxLifetime = *c.MaxLifetime
		if p.MaxLifetime != 0 && (p.MaxLifetime < MinPolicyLifetime || p.MaxLifetime > MaxPolicyLifetime) || p.MaxLifetime%time.Second != 0 {
			refused = append(refused, fault.Field{Name: "max_lifetime", Detail: "must be whole seconds between 1h and 87600h (10 years), or 0s for no bound"})
		}
	}
	return p, refused
}
