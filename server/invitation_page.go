package server

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// invitationPage is where the link of an invitation leads.
const invitationPage = "/invitation"

// showInvitation serves GET /invitation. It uses nothing up.
func (s *Server) showInvitation(ctx context.Context, v visitor) (step, error) {
	return s.invitationFor(ctx, v, nil)
}

// invitationFor shows an invitation to whoever has its link: a button to whom it is
// for, and to a stranger a form and the way to sign in, whether or not the address has
// an account. problem is what was wrong with the form.
func (s *Server) invitationFor(ctx context.Context, v visitor, problem *fault.Error) (step, error) {
	token := secret.Of(v.params["token"])
	i, err := s.Services.People.InvitationBehind(ctx, token)
	if errors.Is(err, fault.NotFound) {
		return s.invitationGone(ctx, v, token)
	}
	if err != nil {
		return step{}, err
	}
	here := withParam(invitationPage, "token", token.Reveal())
	page := pages.Invitation{
		Form: s.pageForm(v, formInvitation, ""), Link: token.Reveal(), Email: i.Email, Org: i.OrgName, Role: i.Role, By: i.InvitedBy,
		Until: i.ExpiresAt, SignIn: withParam(loginPage, "return_to", here),
		Invited: pages.Invited{MinLength: s.Services.People.Policy.Least(), MaxLength: accounts.MaxLength},
	}
	if problem != nil {
		page.Status, page.Name, page.Problem, page.Problems = wires[problem.Code].status, v.params["name"], problem.Detail, map[string]string{}
		for _, f := range problem.Fields {
			page.Problems[f.Name] = f.Detail
		}
	}
	if v.session.User != "" {
		who, err := s.Services.Directory.Standing(ctx, v.session.User, v.session.Org)
		if err != nil {
			return step{}, err
		}
		page.User, page.Mine = who.Email, accounts.Identifier(who.Email) == i.Canonical
	}
	return show(page), nil
}

// invitationGone takes whoever joined by this link on to where they joined; to
// others it says that the link is no good.
func (s *Server) invitationGone(ctx context.Context, v visitor, token secret.Plain) (step, error) {
	if v.session.User == "" {
		return show(pages.NoInvitation{}), nil
	}
	m, err := s.Services.People.InvitedInto(ctx, token, v.session.User)
	switch {
	case errors.Is(err, fault.NotFound):
		return show(pages.NoInvitation{}), nil
	case err != nil:
		return step{}, err
	}
	return s.joined(ctx, m)
}

func (s *Server) joined(ctx context.Context, m accounts.Member) (step, error) {
	who, err := s.Services.Directory.Standing(ctx, m.ID, m.Org)
	return show(pages.Joined{Org: who.OrgName, Role: m.Role}), err
}

// acceptInvitation serves POST /invitation, which only our own page sends. One that
// was open for too long, or is another browser's, asks again.
func (s *Server) acceptInvitation(ctx context.Context, v visitor) (step, error) {
	if !s.genuine(v, formInvitation, v.params["form_token"]) {
		return s.showInvitation(ctx, v)
	}
	token := secret.Of(v.params["token"])
	var m accounts.Member
	var err error
	own := v.params["accept"] == "own"
	if own && v.session.User != "" {
		m, err = s.Services.People.AcceptAs(ctx, ident.Caller{Kind: ident.Person, User: v.session.User, Session: v.session.ID, Origin: v.origin}, token)
	} else {
		err = s.Services.People.AcceptNew(ctx, accounts.Newcomer{Token: token, Name: v.params["name"], Password: secret.Of(v.params["password"])}, v.origin)
	}
	switch {
	case errors.Is(err, fault.InsufficientPermissions):
		return show(pages.NoInvitation{}), nil
	case errors.Is(err, fault.Invalid):
		return s.invitationFor(ctx, v, fault.Of(err))
	case err != nil:
		return step{}, err
	case own:
		return s.joined(ctx, m)
	}
	return show(pages.Welcome{SignIn: withParam(loginPage, "return_to", withParam(invitationPage, "token", token.Reveal()))}), nil
}
