package server

import (
	"context"
	"encoding/json"
	"time"
)

// JWKSAge is how long the JWK Set may be believed without asking again. A key
// is published for longer before it signs.
const JWKSAge = 5 * time.Minute

// metadataAge is the same for the other documents.
const metadataAge = 5 * time.Minute

// makeDocuments makes the documents that only the configuration decides.
func (s *Server) makeDocuments() (documents, error) {
	meta, err := json.Marshal(s.metadata())
	if err != nil {
		return documents{}, err
	}
	api, err := describe(s.Config.Issuer)
	if err != nil {
		return documents{}, err
	}
	page, policy, err := docs(s.Config.Issuer)
	if err != nil {
		return documents{}, err
	}
	out := documents{
		metadata: documentOf("application/json", meta, metadataAge), openapi: documentOf("application/json", api, metadataAge),
		docs: documentOf("text/html; charset=utf-8", page, metadataAge), assets: assets(), console: consoleAssets(),
	}
	out.docs.policy = policy
	return out, nil
}

// jwks serves GET /.well-known/jwks.json from the ring's ready bytes.
func (s *Server) jwks(context.Context) (document, error) {
	d := s.Services.Ring.JWKS()
	return document{kind: "application/json", body: d.Body, etag: d.ETag, maxAge: JWKSAge}, nil
}
