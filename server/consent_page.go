package server

import (
	"cmp"
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

const consentPage = "/consent"

// showConsent serves GET /consent.
func (s *Server) showConsent(ctx context.Context, v visitor) (step, error) {
	pending := v.params["pending"]
	q, err := s.Pages.Authorizer.Pending(ctx, v.visit(), pending)
	switch {
	case err != nil:
		return step{}, err
	case q.Asked == "":
		return goTo(withParam(authorizePath, "pending", pending)), nil
	case q.Asked != oauth.AskConsent:
		return asked(q), nil
	}
	org := v.session.Org
	if q.Client.Settings.OpenTo == oauth.OpenToOrganization {
		org = q.Client.Org
	}
	who, err := s.Services.Directory.Standing(ctx, v.session.User, org)
	if err != nil {
		return step{}, err
	}
	display := q.Client.Settings.Display
	page := pages.Consent{
		Form: s.pageForm(v, formConsent, q.Pending), Guest: guestOf(q), User: cmp.Or(q.User.Email, who.Email), Org: who.OrgName,
		Host: pages.Host(q.RedirectURI), Unknown: q.Client.Settings.Dynamic.Open,
		Links: pages.Links{Home: display.ClientURI, Policy: display.PolicyURI, Terms: display.TermsURI},
	}
	for _, name := range q.Scopes {
		page.Grants = append(page.Grants, pages.Grant{Scope: name, Text: pages.InWords(name), New: len(q.Remember) > 0 && !q.Remember.Has(name)})
	}
	return show(page), nil
}

// decide serves POST /consent. A form that was not made for this browser and
// its session decides nothing (SEC-OAU-53).
func (s *Server) decide(ctx context.Context, v visitor) (step, error) {
	decision := v.params["decision"]
	switch {
	case !s.genuine(v, formConsent, v.params["form_token"]):
		return step{}, fault.New(fault.CrossOrigin, "This page was not made for who is signed in now. Go back to the application and try again.")
	case decision != "allow" && decision != "deny":
		return step{}, fault.New(fault.Malformed, "The form has no decision.")
	}
	out, err := s.Pages.Authorizer.Decide(ctx, v.visit(), v.params["pending"], decision == "allow")
	return proceed(out, err)
}
