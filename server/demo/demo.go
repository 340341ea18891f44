// Package demo is a tiny resource server to try tokenhouse with: agents,
// incidents, procedures and a few figures, kept in memory and separate for each
// organisation. It knows tokenhouse as any other resource server would: it
// verifies access tokens offline with tokens/verify, fetches the key set over
// HTTP, and asks the forward-authentication endpoint about API keys.
package demo

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// Resource is the demonstration resource server. Set the fields and call
// Handler once.
type Resource struct {
	Issuer   string // iss of the tokens it accepts
	Audience string // aud of the tokens it accepts
	// BaseURL is where tokenhouse answers; Issuer where empty.
	BaseURL string
	// Transport carries requests to tokenhouse; http.DefaultTransport where nil,
	// Within where tokenhouse runs in this process.
	Transport http.RoundTripper
	// Cookies are the names of cookies that may carry an access token. Name one
	// only where a check against cross-site forgery stands in front.
	Cookies []string
	// Revoked, where set, refuses revoked tokens at once; else they live until
	// they expire, as with any offline verifier.
	Revoked verify.RevocationSource
	Now     func() time.Time
	Random  io.Reader
}

// Route is one of the routes, with its path as gin writes templates.
type Route struct {
	Method     string
	Path       string // "/api/v1/agents/:id"
	Permission string // what the credential must carry
}

// Routes lists what Handler answers.
func Routes() []Route {
	return []Route{
		{http.MethodGet, "/api/v1/agents", "agents:read"},
		{http.MethodPost, "/api/v1/agents", "agents:create"},
		{http.MethodGet, "/api/v1/agents/:id", "agents:read"},
		{http.MethodDelete, "/api/v1/agents/:id", "agents:delete"},
		{http.MethodGet, "/api/v1/incidents", "incidents:read"},
		{http.MethodPost, "/api/v1/incidents", "incidents:create"},
		{http.MethodGet, "/api/v1/incidents/:id", "incidents:read"},
		{http.MethodDelete, "/api/v1/incidents/:id", "incidents:delete"},
		{http.MethodGet, "/api/v1/metrics", "metrics:read"},
		{http.MethodPost, "/api/v1/procedures/:id/execute", "procedures:execute"},
	}
}

// Handler returns the resource server.
func (d *Resource) Handler() http.Handler {
	base := d.BaseURL
	if base == "" {
		base = d.Issuer
	}
	client := &http.Client{Transport: d.Transport, Timeout: 10 * time.Second}
	a := &admission{
		resource: d, base: base, client: client,
		verifier: &verify.Verifier{
			Issuer: d.Issuer, Audience: d.Audience, Now: d.Now, Revoked: d.Revoked,
			Keys: &verify.RemoteKeys{URL: base + "/.well-known/jwks.json", Client: client, Now: d.Now, MinInterval: time.Second},
		},
	}
	handlers := (&desk{resource: d, orgs: map[string]*org{}}).handlers()
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, r := range Routes() {
		pattern := strings.ReplaceAll(r.Path, ":id", "{id}")
		mux.Handle(r.Method+" "+pattern, a.require(r.Permission, handlers[r.Method+" "+r.Path]))
		allowed[pattern] = append(allowed[pattern], r.Method)
	}
	for pattern, methods := range allowed {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			fail(w, errMethod)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fail(w, errNotFound) })
	return mux
}
