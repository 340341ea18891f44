package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tokenhouse/tokenhouse/oauth"
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
		docs: documentOf("text/html; charset=utf-8", page, metadataAge), assets: assets(),
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
// §3), as far as there is something to describe: no authorization endpoint
// exists yet, and an empty list of response types says so where leaving it out
// would promise its default.
type metadata struct {
	Issuer           string   `json:"issuer"`
	JWKSURI          string   `json:"jwks_uri"`
	ResponseTypes    []string `json:"response_types_supported"`
	GrantTypes       []string `json:"grant_types_supported"`
	SubjectTypes     []string `json:"subject_types_supported"`
	IDTokenAlgs      []string `json:"id_token_signing_alg_values_supported"`
	Token            string   `json:"token_endpoint"`
	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	Documentation    string   `json:"service_documentation"`
	Revocations      string   `json:"revocations_uri"` // ours: the signed list of revocations
	tokenMetadata
}

// tokenMetadata describes what is done with tokens that exist.
type tokenMetadata struct {
	Introspection            string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	Revocation               string   `json:"revocation_endpoint"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs       []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
}

func (s *Server) metadata() metadata {
	at := func(path string) string { return s.Config.Issuer + path }
	var every, confidential []string
	for _, m := range oauth.AuthMethods() {
		if every = append(every, string(m)); m != oauth.AuthNone {
			confidential = append(confidential, string(m))
		}
	}
	algs := oauth.AssertionAlgorithms()
	return metadata{
		Issuer: s.Config.Issuer, JWKSURI: at("/.well-known/jwks.json"),
		ResponseTypes: []string{}, GrantTypes: oauth.GrantTypes(), SubjectTypes: []string{"public"}, IDTokenAlgs: []string{"ES256"},
		Token: at("/oauth2/token"), TokenAuthMethods: every, TokenAuthAlgs: algs,
		Documentation: at("/docs"), Revocations: at("/.well-known/revocations"),
		tokenMetadata: tokenMetadata{
			Introspection: at("/oauth2/introspect"), IntrospectionAuthMethods: confidential, IntrospectionAuthAlgs: algs,
			Revocation: at("/oauth2/revoke"), RevocationAuthMethods: every, RevocationAuthAlgs: algs,
		},
	}
}
