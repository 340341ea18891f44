package oauth

import (
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The clients that are part of tokenhouse: one for each of its login dialects,
// and one for API keys.
const (
	// SessionClientID names the client behind POST /auth/login.
	SessionClientID ident.ClientID = "cli_session"
	// APIClientID names the client behind POST /api/v1/auth/login.
	APIClientID ident.ClientID = "cli_api"
	// BrowserClientID names the client that our own pages are: its families are
	// the sessions of browsers, in which people allow other clients something.
	BrowserClientID ident.ClientID = "cli_browser"
	// APIKeyClientID names the client of tokens that an API key was exchanged for
	// where no registered client asked.
	APIKeyClientID ident.ClientID = "cli_api_key"
)

// FirstParty reports whether a client is part of tokenhouse.
func FirstParty(id ident.ClientID) bool {
	return id == SessionClientID || id == APIClientID || id == BrowserClientID || id == APIKeyClientID
}

// Client is an application that may ask for tokens.
type Client struct {
	ID           ident.ClientID
	FirstParty   bool          // part of tokenhouse itself: may see passwords
	Confidential bool          // has authenticated itself (RFC 6749 §2.1)
	Grants       []string      // the grant types it may use
	AccessTTL    time.Duration // how long its access tokens live
	Org          ident.OrgID   // whose client it is; empty for a first-party one
	Ceiling      scope.Set     // the most its tokens carry; a first-party one has no such bound
	Browser      bool          // gets a cookie for our own pages, in place of a refresh token
	Registered   *Registered   // as it was registered; nil for a first-party one
}

// Client returns the registered client as one that may ask for tokens, which
// live for ttl. Authenticate it first.
func (r Registered) Client(ttl time.Duration) Client {
	return Client{ID: r.ID, Confidential: r.Confidential(), Grants: r.Grants, AccessTTL: ttl, Org: r.Org, Ceiling: r.Permissions(), Registered: &r}
}

// SessionClient returns the first-party client whose access token is the whole
// session: it lives for ttl (24 h by default) and nothing renews it.
func SessionClient(ttl time.Duration) Client {
	return Client{ID: SessionClientID, FirstParty: true, Grants: []string{GrantPassword}, AccessTTL: ttl}
}

// APIClient returns the first-party client whose short access tokens (1 h by
// default) are renewed with a refresh token.
func APIClient(ttl time.Duration) Client {
	return Client{ID: APIClientID, FirstParty: true, Grants: []string{GrantPassword, GrantRefreshToken}, AccessTTL: ttl}
}

// BrowserClient returns the first-party client behind our own login page. Its
// access tokens live for ttl and leave the server nowhere: the browser gets a
// cookie.
func BrowserClient(ttl time.Duration) Client {
	return Client{ID: BrowserClientID, FirstParty: true, Grants: []string{GrantPassword}, AccessTTL: ttl, Browser: true}
}

// Refreshable reports whether the client is given refresh tokens.
func (c Client) Refreshable() bool { return slices.Contains(c.Grants, GrantRefreshToken) }
