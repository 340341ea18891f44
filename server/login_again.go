package server

import (
	"cmp"
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// againPage asks who is signed in for the password once more, before something
// dangerous. It is below loginPage, so that the device's mark is sent to it.
const againPage = loginPage + "/again"

// showAgain serves GET /login/again.
func (s *Server) showAgain(ctx context.Context, v visitor) (step, error) {
	back := localPath(v.params["return_to"])
	if v.session.User == "" {
		if back == "" {
			return goTo(loginPage), nil
		}
		return goTo(withParam(loginPage, "return_to", back)), nil
	}
	return s.askAgain(ctx, v, nil)
}

// proveAgain serves POST /login/again. It is a login: lockout and audit are those
// of every other, and the session has a new cookie afterwards (SEC-WEB-02).
func (s *Server) proveAgain(ctx context.Context, v visitor) (step, error) {
	switch {
	case v.session.User == "":
		return s.showAgain(ctx, v)
	case !s.genuine(v, formAgain, v.params["form_token"]):
		return s.askAgain(ctx, v, fault.New(fault.CrossOrigin, "This page had been open for too long. Please try again."))
	case v.params["password"] == "":
		return s.askAgain(ctx, v, fault.New(fault.Invalid, "Please enter your password."))
	}
	who, err := s.Services.Directory.Standing(ctx, v.session.User, v.session.Org)
	if err != nil {
		return step{}, err
	}
	got, err := s.Services.OAuth.Exchange(ctx, oauth.GrantPassword, s.Pages.Client, oauth.Request{
		Params: oauth.Params{"username": who.Email, "password": v.params["password"], "proof": s.proofOf(v)},
		Origin: v.origin, Device: v.device, Session: v.session.ID,
	})
	if err != nil {
		return s.askAgain(ctx, v, err)
	}
	next := goTo(cmp.Or(localPath(v.params["return_to"]), loginPage))
	next.session, next.device = got.Browser.Reveal(), got.Device
	return next, nil
}

// askAgain shows the form, with what was wrong where something was.
func (s *Server) askAgain(ctx context.Context, v visitor, cause error) (step, error) {
	who, err := s.Services.Directory.Standing(ctx, v.session.User, v.session.Org)
	if err != nil {
		return step{}, err
	}
	page := pages.Again{User: who.Email, Form: pages.Form{Token: s.formToken(v, formAgain), ReturnTo: localPath(v.params["return_to"])}}
	if cause == nil {
		return show(page), nil
	}
	f := fault.Of(cause)
	problem, known := loginProblem(f)
	if !known {
		return step{}, cause
	}
	if f.Code == fault.InvalidCredentials {
		problem = "The password is wrong."
	}
	page.Status, page.Problem, page.Proof = wires[f.Code].status, problem, s.proofFor(cause)
	next := show(page)
	next.retry = f.RetryAfter
	return next, nil
}
