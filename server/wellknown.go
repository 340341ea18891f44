package server

import (
	"context"
	"encoding/json"
	"time"
)

// How long published documents may be believed without asking again. A key is
// published for longer than jwksAge before it signs.
const (
	jwksAge     = 5 * time.Minute
	metadataAge = 5 * time.Minute
)

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
		docs: documentOf("text/html; charset=utf-8", page, metadataAge),
	}
	out.docs.policy = policy
	return out, nil
}

// jwks serves GET /.well-known/jwks.json from the ring's ready bytes.
func (s *Server) jwks(context.Context) (document, error) {
	d := s.Services.Ring.JWKS()
	return document{kind: "application/json", body: d.Body, etag: d.ETag, maxAge: jwksAge}, nil
}

// revocations serves GET /.well-known/revocations, a signed list.
func (s *Server) revocations(ctx context.Context) (document, error) {
	d, err := s.Services.Feed.Document(ctx)
	return document{kind: "application/revocations+jwt", body: d.Body, etag: d.ETag, maxAge: d.MaxAge}, err
}

// metadata describes the deployment (RFC 8414 §2, OpenID Connect Discovery 1.0
// §3), as far as there is something to describe: no authorization endpoint and
// no token endpoint exist yet, and empty lists say so where leaving a member
// out would promise its default.
type metadata struct {
	Issuer           string   `json:"issuer"`
	JWKSURI          string   `json:"jwks_uri"`
	ResponseTypes    []string `json:"response_types_supported"`
	GrantTypes       []string `json:"grant_types_supported"`
	SubjectTypes     []string `json:"subject_types_supported"`
	IDTokenAlgs      []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	Documentation    string   `json:"service_documentation"`
	Revocations      string   `json:"revocations_uri"` // ours: the signed list of revocations
}

func (s *Server) metadata() metadata {
	return metadata{
		Issuer: s.Config.Issuer, JWKSURI: s.Config.Issuer + "/.well-known/jwks.json",
		ResponseTypes: []string{}, GrantTypes: []string{}, TokenAuthMethods: []string{},
		SubjectTypes: []string{"public"}, IDTokenAlgs: []string{"ES256"},
		Documentation: s.Config.Issuer + "/docs", Revocations: s.Config.Issuer + "/.well-known/revocations",
	}
}
