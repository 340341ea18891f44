package house

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/outbound"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server"
	"github.com/tokenhouse/tokenhouse/server/demo"
	"github.com/tokenhouse/tokenhouse/server/pages"
	"github.com/tokenhouse/tokenhouse/tokens"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// state is what changes while the house stands.
type state struct {
	ops     *server.Ops
	public  *server.Server
	serving atomic.Bool   // Run follows the log of changes
	apart   atomic.Bool   // our clock and the database's disagree
	cleaned atomic.Int64  // unix microseconds of the last complete cleanup
	ended   chan struct{} // holds one while a session ended that nobody was told of yet
	locked  chan struct{} // holds one while a login was locked that nobody was told of yet
}

// readyTimeout bounds the question whether the database answers.
const readyTimeout = 2 * time.Second

// buildServer puts HTTP on top of everything.
func (h *House) buildServer(context.Context) error {
	signer := signing.Heard{Ring: h.Ring, Fresh: h.Feed.Fresh}
	minter := &tokens.Minter{
		Signer: signer, Issuer: h.conf.Issuer, Audience: h.conf.audience(), Now: h.env.Now, Random: h.env.Random,
		Cutoff: h.parts.revocations.Cutoff, Places: h.parts.places, StatusKey: h.statusKey(),
	}
	provider := &oauth.Provider{
		Store: h.DB.Exchanges(), Logins: h.Logins, Sessions: h.Sessions, Directory: h.Directory, Minter: minter,
		Clients: h.Clients, Now: h.env.Now, Random: h.env.Random, Observe: h.Metrics.TokenIssued, Issued: h.Activity().Issued, Usage: h.parts.clientUsage,
		Codes: h.DB.Authorizations(), Keys: h.APIKeys, IDs: &oauth.IDTokens{Signer: signer, Subjects: h.subjects(), Issuer: h.conf.Issuer},
	}
	proofs := h.clientProofs()
	s := &server.Server{
		Config: server.Config{
			Issuer: h.conf.Issuer, TrustedProxies: h.conf.HTTP.TrustedProxies, CORSOrigins: h.conf.HTTP.CORSOrigins,
			AccessTTL: h.conf.Tokens.AccessTTL, RefreshTTL: h.conf.Tokens.RefreshIdle,
			APIKeyPrefix: h.conf.APIKeys.Prefix, Registration: h.conf.Accounts.Registration == RegistrationOpen,
			Algorithms: h.Ring.SignsWith(),
		},
		Services: server.Services{
			People: h.People, Logins: h.Logins, Directory: h.Directory, Sessions: h.Sessions, APIKeys: h.APIKeys,
			Ring: h.Ring, Feed: h.parts.revoked, StatusLists: h.parts.statusLists, OAuth: provider,
			ClientServices: server.ClientServices{
				Clients: h.Clients, Registrations: h.registrations(), Proofs: proofs, Inspector: h.inspector(),
				Consents: h.consents(),
			},
			Session: oauth.SessionClient(h.conf.Tokens.SessionTTL), API: oauth.APIClient(h.conf.Tokens.AccessTTL),
			AuditServices: server.AuditServices{Audit: h.DB.Audit(), Exporter: h.AuditSealer(), Recorder: h.DB.Recorder(), Webhooks: h.Webhooks()},
			Replicas:      h.Feed,
		},
		Pages: server.PageServices{
			Authorizer: h.authorizer(proofs), Logouts: h.logouts(), Client: oauth.BrowserClient(h.conf.Tokens.AccessTTL),
			Forms: purpose{h.parts.secrets, sealing.FormToken}, SessionTTL: h.conf.Tokens.BrowserAbsolute,
			Console: h.Console(),
			Puzzle:  h.conf.Accounts.Proof.puzzle(), Mails: h.conf.Mail.enabled(),
		},
		Tokens:  h.verifier(),
		Cursors: purpose{h.parts.secrets, sealing.CursorKey},
		Mounts:  h.mounts(),
		Observe: server.Observer{Tracer: h.env.Tracer, Request: h.Metrics.Request, Credential: h.Metrics.Verified, Refused: h.parts.refusals.Count},
		Log:     h.env.Logger, Now: h.env.Now, Random: h.env.Random, Clock: h.clock,
	}
	public, err := s.Handler()
	if err != nil {
		return err
	}
	h.Handler, h.state.public = public, s
	h.state.ops = &server.Ops{Metrics: h.Metrics.Handler(), Ready: h.ready, Pprof: h.conf.HTTP.Pprof}
	h.Ops = h.state.ops.Handler()
	return nil
}

// verifier judges access tokens with the ring's own keys.
func (h *House) verifier() *verify.Verifier {
	return &verify.Verifier{
		Issuer: h.conf.Issuer, Audience: h.conf.audience(), Keys: verify.Finder(h.Ring.Find),
		Revoked: revokedTokens{h.Sessions, h.Ring}, Now: h.env.Now,
	}
}

// clientProofs finds out which registered client asks.
func (h *House) clientProofs() *oauth.ClientAuthenticator {
	return &oauth.ClientAuthenticator{
		Clients: h.Clients, Assertions: h.DB.ClientAssertions(), Issuer: h.conf.Issuer, Now: h.env.Now, Usage: h.parts.clientUsage,
		RemoteKeys: &outbound.KeyCache{Client: h.outbound(), Now: h.env.Now, Logger: h.env.Logger},
	}
}

// outbound asks the servers that clients name.
func (h *House) outbound() *outbound.Client { return h.conf.outbound() }

// inspector judges tokens for the clients they were issued to.
func (h *House) inspector() *oauth.Inspector {
	return &oauth.Inspector{
		Tokens: h.verifier(), Sessions: h.Sessions, Directory: h.Directory, Clients: h.Clients, Subjects: h.subjects(), Signer: h.Ring, Keys: h.APIKeys,
		Issuer: h.conf.Issuer, Now: h.env.Now,
	}
}

// mounts are the handlers of other packages under our routes.
func (h *House) mounts() []server.Mount {
	setup := &pages.Setup{People: h.People, MinLength: h.conf.Accounts.PasswordMinLength, Origin: server.OriginOf, Log: h.env.Logger}
	out := []server.Mount{
		{Method: http.MethodGet, Path: "/setup", Handler: http.HandlerFunc(setup.Show), Public: true},
		{Method: http.MethodPost, Path: "/setup", Handler: http.HandlerFunc(setup.Submit), Public: true},
	}
	if !h.conf.HTTP.Demo {
		return out
	}
	resource := (&demo.Resource{
		Issuer: h.conf.Issuer, Audience: h.conf.audience(), Transport: demo.Within(func() http.Handler { return h.Handler }),
		Cookies: []string{server.AccessCookie(strings.HasPrefix(h.conf.Issuer, "https://"))},
		Revoked: revokedTokens{h.Sessions, h.Ring}, Now: h.env.Now, Random: h.env.Random,
	}).Handler()
	for _, r := range demo.Routes() {
		out = append(out, server.Mount{Method: r.Method, Path: r.Path, Handler: resource})
	}
	return out
}

// routes are the templates of everything that may be served, for the metrics.
func routes() []string {
	out := append(append(server.RouteTemplates(), "/setup"), consolePaths()...)
	for _, r := range demo.Routes() {
		out = append(out, r.Path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ready answers nil while requests can be served.
func (h *House) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if !h.state.serving.Load() {
		return errors.New("the server is starting")
	}
	if err := h.compareClocks(ctx); err != nil { // first: the feed too is silent to a clock that jumped
		return err
	}
	if !h.Feed.Fresh() {
		return fault.New(fault.Unavailable, "The log of changes is silent.")
	}
	return h.DB.Ping(ctx)
}

// Drain makes the house say that it is not ready, so that load balancers send
// nobody new.
func (h *House) Drain() {
	h.state.ops.Drain()
	h.parts.revoked.End()
}

// Starting answers for the operations listener until a house is open: alive,
// and not ready.
func Starting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path == "/healthz" {
			_, _ = io.WriteString(w, "ok\n") // the prober may be gone
			return
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "starting\n")
	})
}
