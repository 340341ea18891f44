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

// listSigningKeys serves GET /api/v1/signing-keys, newest first. There are too
// few to page.
func (s *Server) listSigningKeys(ctx context.Context, _ ident.Caller, _ none) (page[signingKey], error) {
	found, err := s.Services.Ring.Keys(ctx)
	out := page[signingKey]{Data: make([]signingKey, len(found))}
	for i, k := range found {
		out.Data[len(found)-1-i] = signingKey{
			ID: k.ID, Algorithm: k.Algorithm, State: k.State,
			CreatedAt: timestamp{k.CreatedAt}, ActivatedAt: timestamp{k.ActivatedAt}, RetiredAt: timestamp{k.RetiredAt},
		}
	}
	return out, err
}
