package apikeys

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// MaxTokenLife is the longest that an access token lives which a key was
// exchanged for (RFC 8693).
const MaxTokenLife = 15 * time.Minute

// tokenMargin is how much longer than its tokens the end of a key is
// remembered: a replica that has not heard of it yet may mint a little later,
// and verifiers allow for clocks that differ.
const tokenMargin = 5 * time.Minute

// endOfTokens tells every replica, and who verifies offline, to refuse the
// tokens that the key was exchanged for.
func endOfTokens(id ident.APIKeyID, at time.Time) changes.Change {
	return changes.Change{Kind: changes.APIKeyRevoked, Key: string(id), At: at, Until: at.Add(MaxTokenLife + tokenMargin)}
}

// Exchangeable is what a key gives to whoever presents it to be exchanged for
// a token.
type Exchangeable struct {
	Caller    ident.Caller // as Verify has it
	Allowed   scope.Set    // the key's own permissions within the policy, wildcards included, whatever its owner may do
	ExpiresAt time.Time    // the end of the key; zero: never
}

// Exchange is Verify for a token that others will believe without asking: what
// was verified, and the policy, is read again from the database, whatever is
// remembered. It costs two reads more.
func (s *Service) Exchange(ctx context.Context, presented string, o ident.Origin) (Exchangeable, error) {
	caller, err := s.Verify(ctx, presented, o)
	if err != nil {
		return Exchangeable{}, err
	}
	k, err := s.Store.APIKey(ctx, caller.Tenant(), caller.Key)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return Exchangeable{}, err
	}
	if err != nil {
		return Exchangeable{}, errInvalidKey()
	}
	policy, err := s.presentPolicy(ctx, k.Org)
	if err != nil {
		return Exchangeable{}, err
	}
	if sec := s.match(&k, presented); sec == nil || refusal(&k, sec, policy, s.Now()) != "" {
		return Exchangeable{}, errInvalidKey()
	}
	allowed := scope.Of(k.Permissions...).Meet(policy.Ceiling())
	return Exchangeable{Caller: caller, Allowed: allowed, ExpiresAt: policy.end(k.CreatedAt, k.ExpiresAt)}, nil
}

func errInvalidKey() error { return fault.New(fault.InvalidAPIKey, "The API key is not valid.") }

// Holder tells who holds a token that was exchanged for the key of that id: the
// caller that the key itself would be now, but for what the token narrows. It
// is fault.InvalidAPIKey where the key could not be used any more, and costs no
// database statement while the key is warm. Limits are those of the exchange: a
// token takes nothing from them.
func (s *Service) Holder(ctx context.Context, org ident.OrgID, id ident.APIKeyID) (ident.Caller, error) {
	_, caller, err := s.holder(ctx, org, id)
	return caller, err
}

// HolderFrom is Holder of a token that was presented to us: the networks of the
// key hold for it too.
func (s *Service) HolderFrom(ctx context.Context, org ident.OrgID, id ident.APIKeyID, o ident.Origin) (ident.Caller, error) {
	e, caller, err := s.holder(ctx, org, id)
	if err == nil && !e.key.Rules.Admits(o.IP) {
		return ident.Caller{}, errInvalidKey()
	}
	caller.Origin = o
	return caller, err
}

func (s *Service) holder(ctx context.Context, org ident.OrgID, id ident.APIKeyID) (*entry, ident.Caller, error) {
	e, err := s.byID(ctx, ident.Caller{Org: org}.Tenant(), id)
	switch {
	case errors.Is(err, fault.NotFound), errors.Is(err, errUnknown):
		return nil, ident.Caller{}, errInvalidKey()
	case err != nil:
		return nil, ident.Caller{}, err
	}
	policy, err := s.policyOf(ctx, org)
	if err != nil {
		return nil, ident.Caller{}, err
	}
	if e.key.ID != id || e.key.Org != org || refusal(&e.key, &Secret{}, policy, s.Now()) != "" {
		return nil, ident.Caller{}, errInvalidKey()
	}
	standing, err := s.Owners.Standing(ctx, e.key.Owner, org)
	if err != nil {
		return nil, ident.Caller{}, err
	}
	if !standing.Active {
		return nil, ident.Caller{}, errInvalidKey()
	}
	return e, ident.Caller{
		Kind: ident.APIKey, Org: org, User: e.key.Owner, Email: standing.Email, Key: id,
		Permissions: e.effective(standing.Permissions, policy, s.Catalogue),
	}, nil
}

// byID returns what lookup does, for a key by its id. The lookup id of a key
// never changes, so that what is remembered of it needs no purge.
func (s *Service) byID(ctx context.Context, t ident.Tenant, id ident.APIKeyID) (*entry, error) {
	lookup, err := s.memory().lookups.Get(ctx, id, func(ctx context.Context, id ident.APIKeyID) (string, error) {
		k, err := s.Store.APIKey(ctx, t, id)
		return k.Lookup, err
	})
	if err != nil {
		return nil, err
	}
	return s.lookup(ctx, lookup)
}
