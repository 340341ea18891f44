package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// ClientProof is what a request brings to show which client asks.
type ClientProof struct {
	Authorization string // the header; empty: none was sent
	Params        Params // client_id, client_secret, client_assertion, client_assertion_type
	Origin        ident.Origin
}

// ClientAuthenticator finds out which registered client asks (RFC 6749 §2.3).
// Every field but RemoteKeys and Usage is required.
type ClientAuthenticator struct {
	Clients    *Clients
	Assertions AssertionStore
	Issuer     string // what an assertion's aud must be
	Now        func() time.Time
	// RemoteKeys fetches the JWK Set of a client that registered a jwks_uri;
	// where nil such clients cannot authenticate.
	RemoteKeys KeyFetcher
	Usage      *ClientUsage
}

// clientMethods is every way to authenticate, in the order in which they are
// looked for.
var clientMethods = []clientMethod{
	secretBasic,
	assertion,
	secretPost,
	publicClient,
}

// clientMethod is one way to authenticate.
type clientMethod struct {
	// claim reads whom the request says it comes from; ok is false where the
	// request does not use the method.
	claim func(ClientProof) (c claimed, ok bool)
	// serves reports whether the method is one that the client was registered for.
	serves func(AuthMethod) bool
	// prove is nil where the client is who it says.
	prove func(context.Context, *ClientAuthenticator, Registered, claimed) error
}

// claimed is an unproven client with its proof.
type claimed struct {
	id     string
	secret string // a client_secret, or an assertion
	kind   string // client_assertion_type
}

// Why a client is refused, for the audit log. The caller is never told.
const (
	refusedUnknown   = "unknown_client"
	refusedDisabled  = "client_disabled"
	refusedMethod    = "wrong_method"
	refusedSecret    = "wrong_secret"
	refusedAssertion = "bad_assertion"
	refusedReplay    = "assertion_replayed"
	refusedKeys      = "keys_unavailable"
)

// refusedClient is a client that did not prove who it is, and why.
type refusedClient struct{ reason string }

func (r refusedClient) Error() string { return r.reason }

// Authenticate returns the client that asks, active and proven. It is
// fault.InvalidClient where it is not, with one answer for every reason, and
// fault.Malformed where the request uses several methods or names two clients.
func (a *ClientAuthenticator) Authenticate(ctx context.Context, p ClientProof) (Registered, error) {
	m, c, err := claimOf(p)
	if err != nil {
		return Registered{}, err
	}
	r, err := a.prove(ctx, m, c)
	var refused refusedClient
	switch {
	case err == nil:
		return r, nil
	case errors.As(err, &refused):
		a.Usage.refused(r, refused.reason, p.Origin)
		return Registered{}, errInvalidClient()
	default:
		return Registered{}, err
	}
}

func (a *ClientAuthenticator) prove(ctx context.Context, m clientMethod, c claimed) (Registered, error) {
	r, err := a.Clients.Lookup(ctx, ident.ClientID(c.id))
	switch {
	case errors.Is(err, fault.NotFound):
		// As much work as a wrong secret costs (SEC-OAU-26).
		_ = Registered{Secrets: []ClientSecret{{Digest: make([]byte, 32)}}}.SecretMatches(c.secret, a.Now())
		return Registered{}, refusedClient{refusedUnknown}
	case err != nil:
		return Registered{}, err
	case !m.serves(r.AuthMethod):
		return r, refusedClient{refusedMethod}
	}
	if err := m.prove(ctx, a, r, c); err != nil {
		return r, err
	}
	if !r.Active() {
		return r, refusedClient{refusedDisabled}
	}
	return r, nil
}

// claimOf finds the one method that the request uses (RFC 6749 §2.3: no more
// than one).
func claimOf(p ClientProof) (m clientMethod, c claimed, err error) {
	used := 0
	for _, candidate := range clientMethods {
		if found, ok := candidate.claim(p); ok {
			if used++; used == 1 {
				m, c = candidate, found
			}
		}
	}
	named := p.Params["client_id"]
	switch {
	case used == 0:
		return m, c, errInvalidClient()
	case used > 1:
		return m, c, fault.New(fault.Malformed, "The client authenticates in more than one way.")
	case named != "" && named != c.id:
		return m, c, fault.New(fault.Malformed, "The request names two clients.")
	}
	return m, c, nil
}

// secretBasic is client_secret_basic. Both halves are form-encoded before they
// are joined (RFC 6749 §2.3.1).
var secretBasic = clientMethod{
	claim: func(p ClientProof) (claimed, bool) {
		if p.Authorization == "" {
			return claimed{}, false
		}
		// Another scheme, or one that cannot be read, proves nothing: it is used,
		// and fails for the client that nobody is.
		scheme, encoded, _ := strings.Cut(p.Authorization, " ")
		if !strings.EqualFold(scheme, "Basic") {
			return claimed{}, true
		}
		both, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, " "))
		id, secret, ok := strings.Cut(string(both), ":")
		if err != nil || !ok {
			return claimed{}, true
		}
		id, err1 := url.QueryUnescape(id)
		secret, err2 := url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return claimed{}, true
		}
		return claimed{id: id, secret: secret}, true
	},
	serves: func(m AuthMethod) bool { return m == AuthSecretBasic },
	prove:  proveSecret,
}

// secretPost is client_secret_post.
var secretPost = clientMethod{
	claim: func(p ClientProof) (claimed, bool) {
		return claimed{id: p.Params["client_id"], secret: p.Params["client_secret"]}, p.Params["client_secret"] != ""
	},
	serves: func(m AuthMethod) bool { return m == AuthSecretPost },
	prove:  proveSecret,
}

func proveSecret(_ context.Context, a *ClientAuthenticator, r Registered, c claimed) error {
	if !r.SecretMatches(c.secret, a.Now()) {
		return refusedClient{refusedSecret}
	}
	return nil
}

// publicClient names itself and proves nothing (RFC 6749 §2.1).
var publicClient = clientMethod{
	claim: func(p ClientProof) (claimed, bool) {
		alone := p.Authorization == "" && p.Params["client_secret"] == "" && p.Params["client_assertion"] == "" && p.Params["client_assertion_type"] == ""
		return claimed{id: p.Params["client_id"]}, alone && p.Params["client_id"] != ""
	},
	serves: func(m AuthMethod) bool { return m == AuthNone },
	prove:  func(context.Context, *ClientAuthenticator, Registered, claimed) error { return nil },
}
