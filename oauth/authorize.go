package oauth

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// ObjectFetcher gets what a client published at an address that it registered.
type ObjectFetcher interface {
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// Authorizer answers authorization requests (RFC 6749 §4.1, OpenID Connect
// Core 1.0 §3.1.2). Every field but Objects is required.
type Authorizer struct {
	Clients   ClientSource
	Directory *accounts.Directory
	Store     AuthorizationStore
	Sealer    Sealer               // of the requests put aside
	Keys      *ClientAuthenticator // knows by which keys clients sign
	Objects   ObjectFetcher        // where nil, request_uri is not supported
	IDKeys    VerificationKeys     // by which ID tokens that come back as hints are known
	Subjects  *Subjects
	Issuer    string
	Audience  string // the default one of access tokens
	Now       func() time.Time
	Random    io.Reader
}

// Authorize answers a fresh request, or goes on with the one that Params name
// as pending. What is wrong before client and redirect URI are proved is
// fault.Malformed, with Reason "invalid_client", "invalid_redirect_uri" or
// that of the error the client would be told, for a page of ours; everything
// else goes to the client. A pending request that is not this browser's is
// fault.CrossOrigin, one that is too old fault.Malformed with Reason "expired".
//
// A request that is answered at once costs one read, of the consent, and one
// commit, of the code, besides the read of the session that v brings
// (TestCostOfAnAuthorization holds it).
func (a *Authorizer) Authorize(ctx context.Context, v Visit) (Outcome, error) {
	q, err := a.arrive(ctx, v, v.Params["pending"])
	if err != nil {
		return q.answer(ctx, err)
	}
	return q.proceed(ctx)
}

// Pending returns what is to be asked for a request put aside, as of now. Its
// Question has an empty Asked where nothing is left to ask: go to Authorize.
func (a *Authorizer) Pending(ctx context.Context, v Visit, pending string) (Question, error) {
	q, err := a.arrive(ctx, v, orNone(pending))
	if err != nil {
		return Question{}, pageFault(err)
	}
	n, err := q.need(ctx)
	if err != nil {
		return Question{}, pageFault(err)
	}
	return q.question(ctx, n)
}

// Decide goes on with what the user answered when asked for consent. It is
// fault.CrossOrigin where the browser is not the one that was asked, or is no
// longer logged in as who was asked.
func (a *Authorizer) Decide(ctx context.Context, v Visit, pending string, allow bool) (Outcome, error) {
	q, err := a.arrive(ctx, v, orNone(pending))
	if err != nil {
		return q.answer(ctx, err)
	}
	if v.Session.User == "" || q.aside.Asked != v.Session.User {
		return Outcome{}, notTheirs()
	}
	if !allow {
		return q.answer(ctx, q.deny(ctx, "denied"))
	}
	n, err := q.need(ctx)
	switch {
	case err != nil:
		return q.answer(ctx, err)
	case n.asked == AskConsent:
		return q.grant(ctx, n)
	}
	return q.reply(ctx, n) // meanwhile something else is to be asked, or nothing
}

// Choose goes on as the user who is logged in, after AskAccount.
func (a *Authorizer) Choose(ctx context.Context, v Visit, pending string) (Outcome, error) {
	q, err := a.arrive(ctx, v, orNone(pending))
	if err != nil {
		return q.answer(ctx, err)
	}
	if v.Session.User == "" || q.aside.Account != v.Session.User {
		return Outcome{}, notTheirs()
	}
	q.aside.Chosen = v.Session.User
	return q.proceed(ctx)
}

// Cancel tells the client that the user wants none of it: access_denied.
func (a *Authorizer) Cancel(ctx context.Context, v Visit, pending string) (Outcome, error) {
	q, err := a.arrive(ctx, v, orNone(pending))
	if err != nil {
		return q.answer(ctx, err)
	}
	return q.answer(ctx, q.deny(ctx, "cancelled"))
}

// orNone keeps a request put aside that is missing from being a fresh one.
func orNone(pending string) string {
	if pending == "" {
		return "-"
	}
	return pending
}

// authorizing is one authorization request on its way to an answer.
type authorizing struct {
	*Authorizer
	visit  Visit
	now    time.Time
	params Params // as they count: those of a request object are among them
	aside  aside
	client Registered
	to     AuthorizationReply // where errors go; its RedirectURI is empty until it is proved
	wants  wants
}

// wants is what the checks understood of a request.
type wants struct {
	authorization Authorization
	allow         Scopes // what the user must allow: the scopes, and those of the claims
	prompt        []string
	maxAge        *int64 // seconds
	subject       string // who must be logged in, as the client knows them; empty: anybody
	challenge     string
	sentRedirect  bool
}

// arrive runs every check on the request, fresh or put aside. Its first result
// is never nil.
func (a *Authorizer) arrive(ctx context.Context, v Visit, pending string) (*authorizing, error) {
	q := &authorizing{Authorizer: a, visit: v, now: a.Now().Truncate(time.Microsecond), params: v.Params}
	if pending != "" {
		put, err := a.open(pending, v.Browser, q.now)
		if err != nil {
			return q, err
		}
		q.aside, q.params = put, put.Params
	} else {
		q.aside = aside{Created: q.now.UnixMicro()}
	}
	for _, c := range checks {
		if err := c.run(ctx, q); err != nil {
			return q, err
		}
	}
	return q, nil
}

// proceed answers the request, or says what to ask first.
func (q *authorizing) proceed(ctx context.Context) (Outcome, error) {
	n, err := q.need(ctx)
	if err != nil {
		return q.answer(ctx, err)
	}
	return q.reply(ctx, n)
}

func (q *authorizing) reply(ctx context.Context, n need) (Outcome, error) {
	if n.asked == "" {
		return q.grant(ctx, n)
	}
	ask, err := q.question(ctx, n)
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Ask: &ask}, nil
}

// answer makes err what the client is told where it may be told at all (RFC
// 9700 §4.11.2): by way of the browser, at a redirect URI that was proved.
func (q *authorizing) answer(_ context.Context, err error) (Outcome, error) {
	var r refusal
	switch {
	case !errors.As(err, &r):
		return Outcome{}, err
	case r.page || q.to.RedirectURI == "":
		return Outcome{}, pageFault(err)
	}
	return q.to.with(Param{"error", r.code}, Param{"error_description", r.description}).outcome(q), nil
}

// with returns a reply that says ps.
func (r AuthorizationReply) with(ps ...Param) AuthorizationReply {
	r.Params = ps
	return r
}

// outcome adds what every reply has: the state, and who answers (RFC 9207 §2).
func (r AuthorizationReply) outcome(q *authorizing) Outcome {
	if state := q.params["state"]; state != "" {
		r.Params = append(r.Params, Param{"state", state})
	}
	r.Params = append(r.Params, Param{"iss", q.Issuer})
	return Outcome{Reply: &r}
}

// digestOfBrowser binds a request put aside to the browser.
func digestOfBrowser(cookie string) []byte { return secret.Sum("browser|" + cookie) }

// person is whoever is logged in, as the pages show them.
func (q *authorizing) person(ctx context.Context) (Person, error) {
	s := q.visit.Session
	if s.User == "" {
		return Person{}, nil
	}
	standing, err := q.Directory.Standing(ctx, s.User, s.Org)
	return Person{ID: s.User, Email: standing.Email, Name: standing.Name}, err
}

// caller is whoever is logged in, for the audit log.
func (q *authorizing) caller(org ident.OrgID) ident.Caller {
	s := q.visit.Session
	c := ident.Caller{Kind: ident.Person, Org: org, User: s.User, Session: s.ID, Client: q.client.ID, Origin: q.visit.Origin}
	if s.User == "" {
		c.Kind = ident.Anonymous
	}
	return c
}

// notTheirs is the answer to a request put aside that another browser, or
// another user, sends on.
func notTheirs() error {
	return fault.New(fault.CrossOrigin, "This request was begun in another browser or by another user. Go back to the application and start again.")
}
