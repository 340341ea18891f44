package apikeys

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// PermServiceAccounts is what it takes to give a key to a service account.
const PermServiceAccounts scope.Permission = "service-accounts:manage"

// OwnerInactive is the status of a key whose owner is disabled, or no longer
// belongs to the organisation: it is refused as long as that lasts.
const OwnerInactive Status = "owner_inactive"

// statuses are those that a list can be narrowed to.
var statuses = []Status{Active, RotationDue, OwnerInactive, Quarantined, Expired, Revoked}

var ownerField = fault.Field{Name: "owner", Detail: "must be an active member or service account of the organisation"}

// judgeOwner says who owns the key k that the caller makes: the caller's user;
// for the operator whoever is named; and for whoever may manage service
// accounts one of those, whose role must allow what the key shall do.
func (s *Service) judgeOwner(ctx context.Context, caller ident.Caller, asked ident.UserID, k *Key) ([]fault.Field, error) {
	k.Owner = caller.User
	if caller.Kind != ident.Operator {
		switch {
		case asked == "" || asked == caller.User:
			return nil, nil
		case !asked.IsServiceAccount():
			return []fault.Field{{Name: "owner", Detail: "must be a service account, or left out for a key of one's own"}}, nil
		case !caller.May(PermServiceAccounts):
			return nil, fault.Lacking(string(PermServiceAccounts))
		}
	}
	k.Owner = asked
	st, err := s.Owners.Standing(ctx, k.Owner, k.Org)
	switch {
	case err != nil:
		return nil, err
	case !st.Active:
		return []fault.Field{ownerField}, nil
	case !asked.IsServiceAccount():
		return nil, nil
	}
	if lacks := st.Permissions.Lacks(s.concrete(k.Permissions)); len(lacks) > 0 {
		return []fault.Field{{Name: "permissions", Detail: "go beyond the role of the service account: " + strings.Join(lacks.Strings(), " ")}}, nil
	}
	return nil, nil
}

// tellOwners puts OwnerInactive in the place of a status that says the key can
// be used where its owner is not active.
func (s *Service) tellOwners(ctx context.Context, keys []Key) error {
	for i := range keys {
		k := &keys[i]
		if k.Status != Active && k.Status != RotationDue {
			continue
		}
		st, err := s.Owners.Standing(ctx, k.Owner, k.Org)
		if err != nil {
			return err
		}
		if !st.Active {
			k.Status = OwnerInactive
		}
	}
	return nil
}

// Filter narrows a list of keys. The zero Filter lets every key pass.
type Filter struct {
	Owner  ident.UserID
	Status Status
}

// check refuses a status that no key has.
func (f Filter) check() error {
	if f.Status == "" || slices.Contains(statuses, f.Status) {
		return nil
	}
	words := make([]string, len(statuses))
	for i, st := range statuses {
		words[i] = string(st)
	}
	return fault.Refuse("status", "must be one of "+strings.Join(words, ", "))
}

// Selection is a Filter as storage applies it.
type Selection struct {
	Filter
	Now          time.Time
	RotateBefore time.Time // a key whose secret is older is due for rotation
	EndedBefore  time.Time // a key that was made then or before has expired by policy; zero: none has
}
