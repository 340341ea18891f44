package apikeys

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/coherent"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

var (
	errUnknown = errors.New("no key has this lookup id")
	errKnown   = errors.New("some key has this lookup id")
)

// memory is what is known of keys without asking the database. Lookup ids that
// no key has are kept apart, so that a flood of them pushes no key out.
type memory struct {
	once    sync.Once
	keys    *coherent.Cache[string, *entry]
	unknown *coherent.Cache[string, struct{}]
	lookups *coherent.Cache[ident.APIKeyID, string]
	imports *coherent.Cache[string, string] // lookup ids by those of imports
	// policies are those of organisations that have a key in use.
	policies *coherent.Cache[ident.OrgID, Policy]
}

// entry is a key as it is stored, and what its owner was last found to leave of it.
type entry struct {
	key     Key
	allowed scope.Set // the key's permissions
	last    atomic.Pointer[ceiling]
}

type ceiling struct{ owner, policy, effective scope.Set }

func (s *Service) memory() *memory {
	s.cached.once.Do(func() {
		size := s.cacheSize()
		s.cached.keys = coherent.New[string, *entry](size, s.Fresh)
		s.cached.unknown = coherent.New[string, struct{}](size, s.Fresh)
		s.cached.lookups = coherent.New[ident.APIKeyID, string](size, s.Fresh)
		s.cached.imports = coherent.New[string, string](size, s.Fresh)
		s.cached.policies = coherent.New[ident.OrgID, Policy](size, s.Fresh)
	})
	return &s.cached
}

func (s *Service) cacheSize() int {
	if s.CacheSize == 0 {
		return DefaultCacheSize
	}
	return s.CacheSize
}

// lookup returns the key of a lookup id, or errUnknown.
func (s *Service) lookup(ctx context.Context, id string) (*entry, error) {
	return s.lookupFor(ctx, id, &attempt{paid: true})
}

// lookupFor is lookup for somebody who may be guessing. What is in memory they
// may ask; a question to the database is counted as a wrong key until the key is
// known to be right, and fault.RateLimited where there were too many.
func (s *Service) lookupFor(ctx context.Context, id string, a *attempt) (*entry, error) {
	m := s.memory()
	return m.keys.Get(ctx, id, func(ctx context.Context, id string) (*entry, error) {
		var found *entry
		_, err := m.unknown.Get(ctx, id, func(ctx context.Context, id string) (struct{}, error) {
			if err := s.pay(a); err != nil {
				return struct{}{}, err
			}
			k, err := s.Store.APIKeyByLookup(ctx, id)
			if errors.Is(err, fault.NotFound) {
				return struct{}{}, nil
			}
			if err != nil {
				return struct{}{}, err
			}
			found = &entry{key: k, allowed: scope.Of(k.Permissions...)}
			return struct{}{}, errKnown // not to be kept among the unknown
		})
		switch {
		case errors.Is(err, errKnown):
			return found, nil
		case err != nil:
			return nil, err
		default:
			return nil, errUnknown
		}
	})
}

// pay counts a question to the database as a wrong key, once for each attempt.
func (s *Service) pay(a *attempt) error {
	if a.paid {
		return nil
	}
	if wait := s.wrong.take(a.source, s.Throttle.orDefault(), a.now); wait > 0 {
		return errThrottled(wait)
	}
	a.paid = true
	return nil
}

// effective is what the key allows while its owner may do owner, under the
// policy: concrete permissions, no more than any of them. It is computed once for
// each answer of Owners and each policy.
func (e *entry) effective(owner scope.Set, p Policy, all scope.Catalogue) scope.Set {
	if c := e.last.Load(); c != nil && slices.Equal(c.owner, owner) && slices.Equal(c.policy, p.Permissions) {
		return c.effective
	}
	c := &ceiling{owner: owner, policy: p.Permissions, effective: all.Expand(e.allowed.Meet(owner).Meet(p.Ceiling()))}
	e.last.Store(c)
	return c.effective
}

// Hear forgets keys and policies that changed, and that a lookup id had no key.
func (s *Service) Hear(cs []changes.Change) {
	m := s.memory()
	for _, c := range cs {
		switch c.Kind {
		case changes.APIKey:
			m.keys.Purge(c.Key)
			m.unknown.Purge(c.Key)
			m.hearImport(c.Key)
		case changes.APIKeyPolicy:
			m.policies.Purge(ident.OrgID(c.Key))
		}
	}
}

// Forget forgets every key and policy.
func (s *Service) Forget() {
	m := s.memory()
	m.keys.PurgeAll()
	m.unknown.PurgeAll()
	m.imports.PurgeAll()
	m.policies.PurgeAll()
}

var _ changes.Subscriber = (*Service)(nil)
