// Package oauth turns proofs of identity into tokens. A grant proves who is
// asking; Exchange does everything else, for every grant alike, and is the
// only place that mints. The package knows the protocol, not HTTP.
package oauth

import (
	"context"
	"log/slog"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// The grant types.
const (
	// GrantPassword is first-party only: RFC 9700 §2.4 forbids it to others.
	GrantPassword = "password"
	// GrantRefreshToken renews an access token (RFC 6749 §6).
	GrantRefreshToken = "refresh_token"
)

// Params are the parameters of a token request by their protocol names:
// "username", "password", "refresh_token", "scope". They hold credentials, so
// they never print.
type Params map[string]string

// String returns a fixed text.
func (Params) String() string { return "[redacted]" }

// GoString returns a fixed text.
func (Params) GoString() string { return "[redacted]" }

// LogValue logs a fixed text.
func (Params) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Request is a token request of an authenticated client.
type Request struct {
	Params   Params
	Origin   ident.Origin
	Device   string // the device cookie as presented; empty where there is none
	Proof    string // what binds the session to its holder beyond network and user agent, where there is one
	RetryKey string // Idempotency-Key of a refresh, where sent
}

// Person is whom the tokens are for, as far as a login reply shows them.
type Person struct {
	ID    ident.UserID
	Email string
	Name  string
}

// Response is what a token request earned. Its zero Refresh means that none is given.
type Response struct {
	User        Person
	Org         ident.OrgID
	Role        string
	Permissions scope.Set

	Session          ident.SessionID
	Access           secret.Plain
	AccessID         ident.TokenID
	IssuedAt         time.Time // whole seconds, as in the token
	ExpiresAt        time.Time // of Access, whole seconds
	Refresh          secret.Plain
	RefreshExpiresAt time.Time // of Refresh, as far as it is not used before

	Device string // the new value of the device cookie; empty: leave it as it is
}

// Provider answers token requests.
type Provider struct {
	Now func() time.Time
}

// Exchange answers a token request (RFC 6749 §3.2) of client c.
func (p *Provider) Exchange(ctx context.Context, typ string, c Client, r Request) (Response, error) {
	return Response{}, fault.New(fault.UnsupportedGrant, "This grant type is not supported.")
}
