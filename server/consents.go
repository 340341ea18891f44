package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// consent is what its owner allowed a client.
type consent struct {
	Client    ident.ClientID `json:"client_id"`
	Name      string         `json:"client_name"`
	Scopes    []string       `json:"scopes"`
	GrantedAt timestamp      `json:"granted_at"`
	UpdatedAt timestamp      `json:"updated_at"`
}

// listConsents serves GET /api/v1/me/consents. There are too few to page.
func (s *Server) listConsents(ctx context.Context, caller ident.Caller, _ none) (page[consent], error) {
	found, err := s.Services.Consents.List(ctx, caller)
	out := page[consent]{Data: make([]consent, len(found))}
	for i, c := range found {
		out.Data[i] = consent{c.Client, c.ClientName, c.Scopes, timestamp{c.GrantedAt}, timestamp{c.UpdatedAt}}
	}
	return out, err
}

type consentByClient struct{ client ident.ClientID }

func (r *consentByClient) read(i *input) (err error) {
	r.client, err = pathID(i, "client_id", ident.ParseClientID)
	return err
}

// withdrawConsent serves DELETE /api/v1/me/consents/:client_id.
func (s *Server) withdrawConsent(ctx context.Context, caller ident.Caller, req consentByClient) (none, error) {
	return none{}, s.Services.Consents.Withdraw(ctx, caller, req.client)
}
