package oauth

import (
	"context"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// ObjectFetcher gets what a client published at an address that it registered.
type ObjectFetcher interface {
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// HintReader reads ID tokens of ours that come back as hints.
type HintReader interface {
	// HintSubject verifies the signature and the issuer of an ID token, however
	// old, and returns its sub.
	HintSubject(ctx context.Context, token string) (string, error)
}

// Authorizer answers authorization requests (RFC 6749 §4.1, OpenID Connect
// Core 1.0 §3.1.2). Every field but Objects is required.
type Authorizer struct {
	Clients   ClientSource
	Directory *accounts.Directory
	Store     AuthorizationStore
	Sealer    Sealer // of the requests put aside
	Keys      *ClientAuthenticator
	Objects   ObjectFetcher // where nil, request_uri is not supported
	Hints     HintReader
	Subjects  *Subjects
	Issuer    string
	Audience  string // the default one of access tokens
	Now       func() time.Time
	Random    io.Reader
}

// Authorize answers a fresh request, or goes on with the one that Params name
// as pending. What is wrong before client and redirect URI are proved is
// fault.Malformed, with Reason "invalid_client", "invalid_redirect_uri" or
// "invalid_request", for a page of ours; everything else goes to the client.
// A pending request that is not this browser's is fault.CrossOrigin, one that
// is too old fault.Malformed with Reason "expired".
//
// A request that is answered at once costs one read, of the consent, and one
// commit, of the code, besides the read of the session that v brings.
func (a *Authorizer) Authorize(context.Context, Visit) (Outcome, error) {
	return Outcome{}, fault.Unavailable
}

// Pending returns what is to be asked for a request put aside, as of now. Its
// Question has an empty Asked where nothing is left to ask: go to Authorize.
func (a *Authorizer) Pending(ctx context.Context, v Visit, pending string) (Question, error) {
	return Question{}, fault.Unavailable
}

// Decide goes on with what the user answered when asked for consent. It is
// fault.CrossOrigin where the browser is not the one that was asked, or is no
// longer logged in as who was asked.
func (a *Authorizer) Decide(ctx context.Context, v Visit, pending string, allow bool) (Outcome, error) {
	return Outcome{}, fault.Unavailable
}

// Choose goes on as the user who is logged in, after AskAccount.
func (a *Authorizer) Choose(ctx context.Context, v Visit, pending string) (Outcome, error) {
	return Outcome{}, fault.Unavailable
}

// Cancel tells the client that the user wants none of it: access_denied.
func (a *Authorizer) Cancel(ctx context.Context, v Visit, pending string) (Outcome, error) {
	return Outcome{}, fault.Unavailable
}

