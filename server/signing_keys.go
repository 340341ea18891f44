package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

// signingKey is a signing key without any key material.
type signingKey struct {
	ID          string        `json:"id"` // the kid
	Algorithm   string        `json:"algorithm"`
	State       signing.State `json:"state"`
	CreatedAt   timestamp     `json:"created_at"`
	ActivatedAt timestamp     `json:"activated_at"`
	RetiredAt   timestamp     `json:"retired_at"`
}

// signingKeysOf shows keys the other way round: newest first.
func signingKeysOf(keys []signing.Key) page[signingKey] {
	out := page[signingKey]{Data: make([]signingKey, len(keys))}
	for i, k := range keys {
		out.Data[len(keys)-1-i] = signingKey{
			ID: k.ID, Algorithm: k.Algorithm, State: k.State,
			CreatedAt: timestamp{k.CreatedAt}, ActivatedAt: timestamp{k.ActivatedAt}, RetiredAt: timestamp{k.RetiredAt},
		}
	}
	return out
}

// listSigningKeys serves GET /api/v1/signing-keys, newest first. There are too
// few to page.
func (s *Server) listSigningKeys(ctx context.Context, _ ident.Caller, _ none) (page[signingKey], error) {
	found, err := s.Services.Ring.Keys(ctx)
	return signingKeysOf(found), err
}

// rotateSigningKeys is what is rotated: every algorithm where none is named.
type rotateSigningKeys struct {
	Algorithm string `json:"algorithm"`
}

func (*rotateSigningKeys) bodyOptional() {}

// rotateSigningKeys serves POST /api/v1/signing-keys/rotate, and answers with
// the new keys. The keys sign the tokens of every organisation, so it is for
// those who answer for the deployment.
func (s *Server) rotateSigningKeys(ctx context.Context, caller ident.Caller, req rotateSigningKeys) (page[signingKey], error) {
	if err := s.Services.People.JudgeDeployment(ctx, caller); err != nil {
		return page[signingKey]{}, err
	}
	var named []string
	if req.Algorithm != "" {
		named = []string{req.Algorithm}
	}
	fresh, err := s.Services.Ring.Rotate(ctx, caller, named...)
	return signingKeysOf(fresh), err
}
