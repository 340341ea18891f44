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
	Algorithm   string `json:"algorithm"`
	Immediately bool   `json:"immediately"` // sign with keys that verifiers may not know yet
}

func (*rotateSigningKeys) bodyOptional() {}

// rotateSigningKeys serves POST /api/v1/signing-keys/rotate, and answers with
// the next keys. The keys sign the tokens of every organisation, so it is for
// those who answer for the deployment.
func (s *Server) rotateSigningKeys(ctx context.Context, caller ident.Caller, req rotateSigningKeys) (page[signingKey], error) {
	if err := s.Services.People.JudgeDeployment(ctx, caller); err != nil {
		return page[signingKey]{}, err
	}
	var named []string
	if req.Algorithm != "" {
		named = []string{req.Algorithm}
	}
	rotate := s.Services.Ring.Rotate
	if req.Immediately {
		rotate = s.Services.Ring.RotateNow
	}
	fresh, err := rotate(ctx, caller, named...)
	return signingKeysOf(fresh), err
}

// signingKeyByID names a signing key. A kid of ours is a SHA-256 in base64.
type signingKeyByID struct {
	id string
}

func (r *signingKeyByID) read(i *input) error {
	r.id = i.c.Param("id")
	return nil
}

// revokeSigningKey serves POST /api/v1/signing-keys/:id/revoke: all that the key
// signed is refused, whosesoever it is.
func (s *Server) revokeSigningKey(ctx context.Context, caller ident.Caller, req signingKeyByID) (none, error) {
	if err := s.Services.People.JudgeDeployment(ctx, caller); err != nil {
		return none{}, err
	}
	return none{}, s.Services.Ring.Revoke(ctx, caller, req.id)
}
