package apikeys

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// MaxGenerations is how many keys may stand in a line in which each made the
// next: revoking the first takes as many steps.
const MaxGenerations = 8

// generations refuses a key at the end of the longest line.
func (s *Service) generations(ctx context.Context, caller ident.Caller) error {
	if caller.Kind != ident.APIKey {
		return nil
	}
	id := caller.Key
	for range MaxGenerations - 1 {
		k, err := s.Store.APIKey(ctx, caller.Tenant(), id)
		if err != nil {
			return err
		}
		if id = k.CreatedBy.Key; id == "" {
			return nil
		}
	}
	return fault.New(fault.Conflict, fmt.Sprintf("There are %d generations of keys before; such a key makes no more.", MaxGenerations))
}

// FamilyTx changes a key and what it made together.
type FamilyTx interface {
	// LockAPIKeysMadeBy is Tx.LockAPIKey for every key that one of the keys made,
	// revoked or not.
	LockAPIKeysMadeBy(t ident.Tenant, makers ...ident.APIKeyID) ([]Key, error)
	// RevokeAPIKeys stores the revocation of keys.
	RevokeAPIKeys(keys []ident.APIKeyID, r Revocation) error
	// SetAPIKeyOwner stores the owner of a key.
	SetAPIKeyOwner(id ident.APIKeyID, owner ident.UserID) error
}

// endDescendants revokes what the key made, a generation at a time: whoever
// makes a key locks its maker, so that none is missed. A child that was revoked
// alone is passed through: what it made goes as well.
func endDescendants(tx Tx, caller ident.Caller, id ident.APIKeyID, now time.Time) error {
	for makers := []ident.APIKeyID{id}; len(makers) > 0; {
		children, err := tx.LockAPIKeysMadeBy(caller.Tenant(), makers...)
		if err != nil {
			return err
		}
		makers = nil
		var live []ident.APIKeyID
		for _, k := range children {
			makers = append(makers, k.ID)
			if !k.RevokedAt.IsZero() {
				continue
			}
			live = append(live, k.ID)
			e := event(caller, k, audit.APIKeyRevoked, now)
			e.Reason = "maker_revoked"
			if err := noteEnd(tx, k, e); err != nil {
				return err
			}
		}
		if len(live) == 0 {
			continue
		}
		if err := tx.RevokeAPIKeys(live, Revocation{RevokedAt: now, RevokedBy: revoker(caller)}); err != nil {
			return err
		}
	}
	return nil
}

// noteEnd records the end of k, and tells every replica to forget it and to
// refuse the tokens that it was exchanged for.
func noteEnd(tx Tx, k Key, e audit.Event) error {
	if err := tx.Record(e); err != nil {
		return err
	}
	if err := tx.Announce(endOfTokens(k.ID, e.Time)); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.APIKey, Key: k.Lookup, At: e.Time})
}

// revoker is who ends a key.
func revoker(caller ident.Caller) string {
	switch caller.Kind {
	case ident.Operator:
		return string(ident.Operator)
	case ident.Anonymous:
		return leakReporter
	default:
		return caller.ID()
	}
}
