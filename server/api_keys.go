package server

import (
	"cmp"
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// apiKey is an API key as every reply shows it: without its value.
type apiKey struct {
	ID          ident.APIKeyID     `json:"id"`
	Name        string             `json:"name"`
	Hint        string             `json:"hint"`
	Permissions []scope.Permission `json:"permissions"` // in the order they were asked for
	Status      apikeys.Status     `json:"status"`
	apiKeyOwner
	CreatedBy  string    `json:"created_by"` // the user or the key that made it
	CreatedAt  timestamp `json:"created_at"`
	LastUsedAt timestamp `json:"last_used_at"`
	ExpiresAt  timestamp `json:"expires_at"`
	RevokedAt  timestamp `json:"revoked_at"`
	RevokedBy  *string   `json:"revoked_by"`
	shownRules
	Current  *currentSecret  `json:"current_secret"`
	Previous *previousSecret `json:"previous_secret"` // of a rotation whose grace has not been cleaned up
}

// apiKeyOwner is whose permissions cap a key's.
type apiKeyOwner struct {
	Owner     ident.UserID `json:"owner"`
	OwnerKind string       `json:"owner_kind"`
	OwnerName string       `json:"owner_name,omitempty"` // in lists, and where one key is read
}

// previousSecret tells whether a rotated value is still in use, and where.
type previousSecret struct {
	Hint       string    `json:"hint"`
	ValidUntil timestamp `json:"valid_until"`
	shownUse
}

func apiKeyOf(k apikeys.Key) apiKey {
	out := apiKey{
		ID: k.ID, Name: k.Name, Hint: k.Hint(), Permissions: k.Permissions, Status: k.Status, apiKeyOwner: apiKeyOwner{Owner: k.Owner, OwnerKind: ownerKind(k.Owner)},
		CreatedBy: cmp.Or(string(k.CreatedBy.Key), string(k.CreatedBy.User), string(ident.Operator)),
		CreatedAt: timestamp{k.CreatedAt}, LastUsedAt: timestamp{k.LastUsed.At}, ExpiresAt: timestamp{k.ExpiresAt}, RevokedAt: timestamp{k.RevokedAt},
	}
	if k.RevokedBy != "" {
		out.RevokedBy = &k.RevokedBy
	}
	out.shownRules = shownRulesOf(k.Rules)
	if len(k.Secrets) > 0 {
		now := k.Secrets[0]
		out.Current = &currentSecret{Hint: "…" + now.Last4, CreatedAt: timestamp{now.CreatedAt}, shownUse: shownUseOf(now.LastUsed)}
	}
	if len(k.Secrets) > 1 {
		old := k.Secrets[1]
		out.Previous = &previousSecret{Hint: "…" + old.Last4, ValidUntil: timestamp{old.ValidUntil}, shownUse: shownUseOf(old.LastUsed)}
	}
	return out
}

// newAPIKey is the only reply that shows the value of a key.
type newAPIKey struct {
	apiKey
	Value string `json:"api_key"`
}

type apiKeyRequest struct {
	Name        string    `json:"name"`
	Permissions []string  `json:"permissions"`
	Preset      string    `json:"preset"`
	ExpiresAt   timestamp `json:"expires_at"`
	Owner       string    `json:"owner"` // a service account; the caller where empty
	keyRules
}

// createAPIKey serves POST /api/v1/api-keys.
func (s *Server) createAPIKey(ctx context.Context, caller ident.Caller, req apiKeyRequest) (newAPIKey, error) {
	owner, err := ownerID(req.Owner)
	if err != nil {
		return newAPIKey{}, err
	}
	k, value, err := s.Services.APIKeys.Create(ctx, caller, apikeys.New{
		Name: req.Name, Permissions: req.Permissions, Preset: req.Preset, ExpiresAt: req.ExpiresAt.Time, Owner: owner, Rules: req.rules(),
	})
	if err != nil {
		return newAPIKey{}, err
	}
	return newAPIKey{apiKey: apiKeyOf(k), Value: value.Reveal()}, nil
}

type apiKeyList struct {
	pageRequest
	filter apikeys.Filter
}

func (r *apiKeyList) read(i *input) error {
	status, err := i.value("status")
	if err != nil {
		return err
	}
	owner, err := i.value("owner")
	if err != nil {
		return err
	}
	if r.filter.Owner, err = ownerID(owner); err != nil {
		return err
	}
	r.filter.Status = apikeys.Status(status)
	return r.readPage(i, status, owner)
}

// listAPIKeys serves GET /api/v1/api-keys: every key of the organisation, or
// those of one status or owner.
func (s *Server) listAPIKeys(ctx context.Context, caller ident.Caller, req apiKeyList) (page[apiKey], error) {
	found, err := s.Services.APIKeys.Find(ctx, caller, req.filter, req.ask())
	if err != nil {
		return page[apiKey]{}, err
	}
	out := paged(s, req.pageRequest, found, func(k apikeys.Key) string { return string(k.ID) }, apiKeyOf)
	for i := range out.Data {
		if err := s.named(ctx, caller.Org, &out.Data[i]); err != nil {
			return page[apiKey]{}, err
		}
	}
	return out, nil
}

type apiKeyByID struct{ id ident.APIKeyID }

func (r *apiKeyByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseAPIKeyID)
	return err
}

// getAPIKey serves GET /api/v1/api-keys/:id.
func (s *Server) getAPIKey(ctx context.Context, caller ident.Caller, req apiKeyByID) (apiKey, error) {
	k, err := s.Services.APIKeys.Get(ctx, caller, req.id)
	if err != nil {
		return apiKey{}, err
	}
	out := apiKeyOf(k)
	return out, s.named(ctx, caller.Org, &out)
}

type changeAPIKey struct {
	apiKeyByID
	Name  *string `json:"name"`
	Owner *string `json:"owner"`
	keyRules
}

// changeAPIKey serves PATCH /api/v1/api-keys/:id.
func (s *Server) changeAPIKey(ctx context.Context, caller ident.Caller, req changeAPIKey) (apiKey, error) {
	if req.Owner != nil {
		return s.transferAPIKey(ctx, caller, req)
	}
	c := req.changes()
	c.Name = req.Name
	k, err := s.Services.APIKeys.Change(ctx, caller, req.id, c)
	return apiKeyOf(k), err
}

type rotateAPIKey struct {
	apiKeyByID
	Grace span `json:"grace"`
}

func (*rotateAPIKey) bodyOptional() {}

// rotateAPIKey serves POST /api/v1/api-keys/:id/rotate. Without a grace the old
// value stops working at once.
func (s *Server) rotateAPIKey(ctx context.Context, caller ident.Caller, req rotateAPIKey) (newAPIKey, error) {
	k, value, err := s.Services.APIKeys.Rotate(ctx, caller, req.id, req.Grace.Duration)
	if err != nil {
		return newAPIKey{}, err
	}
	return newAPIKey{apiKey: apiKeyOf(k), Value: value.Reveal()}, nil
}

type revokeAPIKey struct {
	apiKeyByID
	waiting
	alone bool
}

func (r *revokeAPIKey) read(i *input) error {
	cascade, err := i.value("cascade")
	if err != nil {
		return err
	}
	if cascade != "" && cascade != "true" && cascade != "false" {
		return fault.Refuse("cascade", "must be true or false")
	}
	r.alone = cascade == "false"
	if err := r.waiting.read(i); err != nil {
		return err
	}
	return r.apiKeyByID.read(i)
}

// revokeAPIKey serves DELETE /api/v1/api-keys/:id. The keys that the key made
// go with it, unless cascade=false. With wait=all it answers when no replica
// accepts them any more.
func (s *Server) revokeAPIKey(ctx context.Context, caller ident.Caller, req revokeAPIKey) (endedEverywhere, error) {
	do := s.Services.APIKeys.Revoke
	if req.alone {
		do = s.Services.APIKeys.RevokeAlone
	}
	if err := do(ctx, caller, req.id); err != nil {
		return endedEverywhere{}, err
	}
	return s.everywhere(ctx, req.waiting), nil
}
