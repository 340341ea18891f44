package server

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// keyPolicy is what an organisation lets its API keys be.
type keyPolicy struct {
	Permissions []string `json:"permissions"`  // the ceiling; "*:*" where there is none
	MaxLifetime *string  `json:"max_lifetime"` // from creation to the end; null: no bound
}

func keyPolicyOf(p apikeys.Policy) keyPolicy {
	out := keyPolicy{Permissions: p.Ceiling().Strings()}
	if p.MaxLifetime > 0 {
		life := apikeys.PeriodText(p.MaxLifetime)
		out.MaxLifetime = &life
	}
	return out
}

// getKeyPolicy serves GET /api/v1/organizations/:id/key-policy.
func (s *Server) getKeyPolicy(ctx context.Context, caller ident.Caller, req organizationByID) (keyPolicy, error) {
	if err := s.ownOrganization(ctx, caller, req.id); err != nil {
		return keyPolicy{}, err
	}
	p, err := s.Services.APIKeys.Policy(ctx, caller)
	return keyPolicyOf(p), err
}

type keyPolicyPatch struct {
	organizationByID
	Permissions *[]string `json:"permissions"`
	MaxLifetime *span     `json:"max_lifetime"`
}

// setKeyPolicy serves PATCH /api/v1/organizations/:id/key-policy.
func (s *Server) setKeyPolicy(ctx context.Context, caller ident.Caller, req keyPolicyPatch) (keyPolicy, error) {
	if err := s.ownOrganization(ctx, caller, req.id); err != nil {
		return keyPolicy{}, err
	}
	c := apikeys.PolicyChanges{Permissions: req.Permissions}
	if req.MaxLifetime != nil {
		c.MaxLifetime = new(time.Duration)
		*c.MaxLifetime = req.MaxLifetime.Duration
	}
	p, err := s.Services.APIKeys.SetPolicy(ctx, caller, c)
	return keyPolicyOf(p), err
}

// ownOrganization refuses every organisation but the caller's, and has the
// attempt recorded.
func (s *Server) ownOrganization(ctx context.Context, caller ident.Caller, id ident.OrgID) error {
	_, err := s.Services.People.Org(ctx, caller, id)
	return err
}
