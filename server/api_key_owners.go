package server

import (
	"cmp"
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// The kinds of owner.
const (
	ownerPerson  = "user"
	ownerService = "service_account"
)

func ownerKind(owner ident.UserID) string {
	if owner.IsServiceAccount() {
		return ownerService
	}
	return ownerPerson
}

// ownerID is the owner that a request names; empty where it names none.
func ownerID(name string) (ident.UserID, error) {
	if name == "" {
		return "", nil
	}
	id, err := ident.ParseOwnerID(name)
	if err != nil {
		return "", fault.Refuse("owner", "must be the id of a service account or a member")
	}
	return id, nil
}

// named adds the owner's name, a person's address where they have none; it
// stays empty of an owner that is gone. The directory answers from memory.
func (s *Server) named(ctx context.Context, org ident.OrgID, k *apiKey) error {
	standing, err := s.Services.Directory.Standing(ctx, k.Owner, org)
	k.OwnerName = cmp.Or(standing.Name, standing.Email)
	return err
}

// transferAPIKey serves PATCH /api/v1/api-keys/:id with an owner, which is
// changed alone: whoever may rename a key may not always give it away.
func (s *Server) transferAPIKey(ctx context.Context, caller ident.Caller, req changeAPIKey) (apiKey, error) {
	others := req.changes()
	if req.Name != nil || others != (apikeys.Changes{}) {
		return apiKey{}, fault.Refuse("owner", "must be changed alone")
	}
	owner, err := ownerID(*req.Owner)
	if err == nil && owner == "" {
		err = fault.Refuse("owner", "must not be empty")
	}
	if err != nil {
		return apiKey{}, err
	}
	k, err := s.Services.APIKeys.Transfer(ctx, caller, req.id, owner)
	return apiKeyOf(k), err
}
