package oauth

import (
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Visit is a browser at the authorization endpoint.
type Visit struct {
	// Params is the authorization request (RFC 6749 §4.1.1), or pending: one
	// that was put aside while a page asked something.
	Params Params
	// Browser is the value of a cookie that stays with the browser. A request
	// put aside for one browser is no good in another.
	Browser string
	// Session is the browser's own, alive; the zero Family where nobody is
	// logged in.
	Session tokens.Family
	Origin  ident.Origin
}

// Outcome is what an authorization request came to: one of its members is set.
// What is wrong before client and redirect URI are proved is an error instead,
// for a page of ours (RFC 9700 §4.11.2).
type Outcome struct {
	Reply *AuthorizationReply
	Ask   *Question
}

// ResponseMode is how an authorization response travels (OAuth 2.0 Multiple
// Response Type Encoding Practices §2.1, OAuth 2.0 Form Post Response Mode).
type ResponseMode string

// The response modes.
const (
	ModeQuery    ResponseMode = "query"
	ModeFragment ResponseMode = "fragment"
	ModeFormPost ResponseMode = "form_post"
)

// ResponseModes lists them, as discovery documents show them.
func ResponseModes() []ResponseMode { return []ResponseMode{ModeQuery, ModeFragment, ModeFormPost} }

// AuthorizationReply goes to the client by way of the browser: a code or an
// error, with state and iss (RFC 6749 §4.1.2, RFC 9207 §2).
type AuthorizationReply struct {
	RedirectURI string
	Mode        ResponseMode
	Params      []Param // in this order
}

// Param is one named value.
type Param struct{ Name, Value string }

// Asked is what a page of ours has to ask.
type Asked string

// The questions.
const (
	AskLogin   Asked = "login"
	AskAccount Asked = "account" // go on as this user, or as another
	AskConsent Asked = "consent"
)

// Question is what a page asks before the request goes on.
type Question struct {
	Asked   Asked
	Pending string // the request put aside: what the page sends back
	Client  Registered
	// RedirectURI is where the answer will go; it was proved to be the client's.
	RedirectURI string
	Scopes      Scopes // to be allowed; for AskConsent
	Remember    Scopes // of them, what was allowed before
	User        Person // who is logged in; zero where nobody is
	LoginHint   string
	Reason      string // why a known user must log in again: "prompt", "max_age", "id_token_hint"; empty: nobody is logged in
}
