package server

import (
	"context"
	"net/url"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// authorizePath is the authorization endpoint.
const authorizePath = "/oauth2/authorize"

// startAuthorization serves GET /oauth2/authorize (RFC 6749 §3.1), for a fresh request
// or for one that was put aside.
func (s *Server) startAuthorization(ctx context.Context, v visitor) (step, error) {
	out, err := s.Pages.Authorizer.Authorize(ctx, v.visit())
	return proceed(out, err)
}

// startPosted serves POST /oauth2/authorize (OpenID Connect Core 1.0
// §3.1.2.1). Such a form comes from the client's site, so the browser kept our
// cookies back (SameSite=Lax). The same request by GET brings them. Nothing is
// done here, which is why other sites may send this form.
func (s *Server) startPosted(_ context.Context, v visitor) (step, error) {
	values := url.Values{}
	for name, value := range v.params {
		values.Set(name, value)
	}
	query := values.Encode()
	if len(query) > maxPageQuery {
		return step{}, fault.New(fault.TooLarge, "The request is too long.")
	}
	next := goTo(authorizePath + "?" + query)
	next.passing = true
	return next, nil
}

// proceed is the step that an outcome of the authorization endpoint asks for.
func proceed(out oauth.Outcome, err error) (step, error) {
	switch {
	case err != nil:
		return step{}, err
	case out.Reply != nil:
		return replied(*out.Reply), nil
	case out.Ask != nil:
		return asked(*out.Ask), nil
	default:
		return step{}, fault.Internal
	}
}

// asked goes to the page that asks the question.
func asked(q oauth.Question) step {
	path := loginPage
	if q.Asked == oauth.AskConsent {
		path = consentPage
	}
	return goTo(withParam(path, "pending", q.Pending))
}

// replied takes the response to the client, by way of the browser. A form can
// be sent to a web server only: what has another scheme gets a query.
func replied(r oauth.AuthorizationReply) step {
	web := strings.HasPrefix(r.RedirectURI, "https://") || strings.HasPrefix(r.RedirectURI, "http://")
	if r.Mode == oauth.ModeFormPost && web {
		page := pages.FormPost{Action: r.RedirectURI, Host: pages.Host(r.RedirectURI)}
		for _, p := range r.Params {
			page.Fields = append(page.Fields, pages.Field(p))
		}
		return show(page)
	}
	var query strings.Builder
	for i, p := range r.Params {
		if i > 0 {
			query.WriteByte('&')
		}
		query.WriteString(url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value))
	}
	mark := "?"
	switch {
	case r.Mode == oauth.ModeFragment:
		mark = "#"
	case strings.HasSuffix(r.RedirectURI, "?"):
		mark = ""
	case strings.Contains(r.RedirectURI, "?"):
		mark = "&" // RFC 6749 §3.1.2: the query that was registered stays
	}
	return goTo(r.RedirectURI + mark + query.String())
}

// maxGuestAddresses bounds the length of a policy.
const maxGuestAddresses = 12

// guestOf is the client as our pages show it, and where signing in to it may
// lead: to the address of this request, and from there to its own sites. One
// that answers with a redirect to a site that it never named is stopped by
// browsers that hold a form's policy against all redirects after it.
func guestOf(q oauth.Question) pages.Guest {
	addresses := append([]string{q.RedirectURI, q.Client.Settings.Display.ClientURI}, q.Client.RedirectURIs...)
	addresses = append(addresses, q.Client.Logout.RedirectURIs...)
	return pages.Guest{Name: q.Client.Name, Redirects: addresses[:min(len(addresses), maxGuestAddresses)]}
}
