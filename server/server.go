// Package server is the HTTP face of tokenhouse: routes, decoding, cookies and
// the one table of failures. It holds no rule about tokens.
package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// Config is what the operator chose about HTTP.
type Config struct {
	Issuer         string         // public URL; every link and cookie follows it, never a header
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are believed
	CORSOrigins    []string       // web origins that may call us with a browser's cookies
	AccessTTL      time.Duration  // Max-Age of the access cookie: 1 h by default
	RefreshTTL     time.Duration  // Max-Age of the refresh cookie: 7 days by default
	APIKeyPrefix   string         // tells an API key from a token in the Authorization header
	Registration   bool           // whether strangers may register
	Algorithms     []string       // what we sign with
}

// Services are the domain, as the handlers use it.
type Services struct {
	People      *accounts.People
	Logins      Unlocker
	Directory   *accounts.Directory
	Sessions    *tokens.Service
	APIKeys     *apikeys.Service
	Ring        *signing.Ring
	Feed        *tokens.RevocationFeed
	StatusLists *tokens.StatusLists
	OAuth       *oauth.Provider
	ClientServices
	AuditServices
	Session  oauth.Client // of POST /auth/login
	API      oauth.Client // of POST /api/v1/auth/login
	Replicas Everywhere
}

// AuditServices are the log, and whom it is sent to.
type AuditServices struct {
	Audit    audit.Reader
	Exporter AuditExporter
	Recorder audit.Recorder
	Webhooks *webhooks.Service
}

// ClientServices are the domain of registered clients.
type ClientServices struct {
	Clients       *oauth.Clients
	Registrations *oauth.Registrations // let clients register themselves
	Proofs        *oauth.ClientAuthenticator
	Inspector     *oauth.Inspector
	Consents      *oauth.Consents
}

// Unlocker opens what failed logins closed: accounts.Authenticator.
type Unlocker interface {
	// UnlockLinkValid reports whether an unlock link could be used now.
	UnlockLinkValid(ctx context.Context, token secret.Plain) (bool, error)
	// UseUnlockLink uses a link up and returns the new value of the browser's
	// device cookie; fault.InsufficientPermissions where the link is no good.
	UseUnlockLink(ctx context.Context, token secret.Plain, device string, o ident.Origin) (cookie string, err error)
	// Unlock is fault.NotFound for a user who is no member of the caller's
	// organisation.
	Unlock(ctx context.Context, caller ident.Caller, user ident.UserID) error
}

// Observer counts. Every field may be nil.
type Observer struct {
	// Request is told of each request answered, by the template of its route;
	// the template is empty where no route matched.
	Request func(route, method string, status int, took time.Duration)
	// Credential is told how the verification of a credential ended: kind
	// "access_token" or "api_key", result "ok" or the refusal's reason.
	Credential func(kind, result string)
	// Tracer makes a span of each request.
	Tracer *tracing.Tracer
	// Refused is told of each access token that was refused: why, when, and
	// where it came from.
	Refused func(reason string, at time.Time, from ident.Origin)
}

// Mount is a handler of another package under one of our routes: the
// demonstration resource server, pages. It has the request id, the transport
// rules and the forgery check of every route, and judges credentials itself.
type Mount struct {
	Method  string
	Path    string // as in routes: "/api/v1/agents/:id"
	Handler http.Handler
	Public  bool // whether it answers without a credential
}

// Server answers HTTP. All fields are required but Mounts, Observe and Clock.
type Server struct {
	Config   Config
	Services Services
	Pages    PageServices
	Tokens   *verify.Verifier // of access tokens; its RevocationSource may be nil, as Services.Sessions is asked
	Cursors  CursorKeys
	Mounts   []Mount
	Observe  Observer
	Log      *slog.Logger
	Now      func() time.Time
	Random   io.Reader
	// Clock fails while Now cannot be believed: fixed documents alone are served then.
	Clock func() error

	origins   origins
	proxies   proxies
	documents documents
	journal   journal
}

// Handler returns everything that is served in public. It fails where the
// configuration or the embedded description is unusable. Call it once.
func (s *Server) Handler() (http.Handler, error) {
	issuer, err := url.Parse(s.Config.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("server: issuer %q is not a URL", s.Config.Issuer)
	}
	if s.origins, err = originsOf(issuer, s.Config.CORSOrigins); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if s.documents, err = s.makeDocuments(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.proxies = s.Config.TrustedProxies
	return s.arrive(s.cors(s.protect(s.engine()))), nil
}

func (s *Server) jar() jar { return jarOf(s.origins.https) }
