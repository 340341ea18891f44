package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

const (
	// logoutPath is the logout endpoint (OpenID Connect RP-Initiated Logout 1.0 §2).
	logoutPath = "/oauth2/logout"
	// confirmPath is where our own page says that the user wants it.
	confirmPath = logoutPath + "/confirm"
)

// startLogout serves GET /oauth2/logout: at once for who may ask for that, else
// after the user agreed.
func (s *Server) startLogout(ctx context.Context, v visitor) (step, error) {
	out, err := s.Pages.Logouts.Request(ctx, v.farewell())
	switch {
	case err != nil:
		return step{}, err
	case out.Confirm:
		return s.askLogout(ctx, v)
	default:
		return v.gone(out), nil
	}
}

// startLogoutPosted serves POST /oauth2/logout. Such a form comes from the
// client's site, so the browser kept our cookies back (SameSite=Lax); the GET
// that follows brings them. Nothing is done here, which is why other sites may
// send this form, and what it says goes on sealed: an ID token that was posted
// appears in no address.
func (s *Server) startLogoutPosted(ctx context.Context, v visitor) (step, error) {
	request, err := s.Pages.Logouts.Forward(ctx, v.params)
	if err != nil {
		return step{}, err
	}
	next := goTo(withParam(logoutPath, oauth.ForwardParam, request))
	next.passing = true
	return next, nil
}

// confirmLogout serves POST /oauth2/logout/confirm, which only our own page
// sends. One that was open for too long, or is somebody else's, asks again.
func (s *Server) confirmLogout(ctx context.Context, v visitor) (step, error) {
	if v.session.ID != "" && !s.genuine(v, formLogout, v.params["form_token"]) {
		return s.askLogout(ctx, v)
	}
	out, err := s.Pages.Logouts.Confirmed(ctx, v.farewell())
	if err != nil {
		return step{}, err
	}
	return v.gone(out), nil
}

func (s *Server) askLogout(ctx context.Context, v visitor) (step, error) {
	who, err := s.Services.Directory.Standing(ctx, v.session.User, v.session.Org)
	if err != nil {
		return step{}, err
	}
	return show(pages.LogOut{Form: s.pageForm(v, formLogout, ""), User: who.Email}), nil
}

// farewell is the visitor as the logout endpoint sees it.
func (v visitor) farewell() oauth.LogoutVisit {
	return oauth.LogoutVisit{Params: v.params, Session: v.session, Origin: v.origin}
}

// gone is the step after the session: back to the client, by way of a page
// where others are to be told in frames.
func (v visitor) gone(out oauth.LogoutOutcome) step {
	var next step
	if out.Redirect != "" && len(out.Frontchannel) == 0 {
		next = goTo(out.Redirect)
	} else {
		next = show(pages.LoggedOut{Frames: out.Frontchannel, Redirect: out.Redirect})
	}
	next.over = v.cookie != ""
	return next
}
