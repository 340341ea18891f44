package server

import (
	"cmp"
	"context"
	"net/url"
	"strings"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

const loginPage = "/login"

// What the parameter account of the login page says.
const (
	accountCurrent = "current" // go on as who is signed in
	accountOther   = "other"   // sign in as somebody else
	accountNone    = "none"    // go back to the application without
)

// showLogin serves GET /login: the form, the choice of an account, or who is
// signed in.
func (s *Server) showLogin(ctx context.Context, v visitor) (step, error) {
	pending := v.params["pending"]
	switch {
	case pending == "":
		return s.showOwnLogin(ctx, v)
	case v.params["account"] == accountNone:
		out, err := s.Pages.Authorizer.Cancel(ctx, v.visit(), pending)
		return proceed(out, err)
	}
	q, err := s.Pages.Authorizer.Pending(ctx, v.visit(), pending)
	if err != nil {
		return step{}, err
	}
	other := v.params["account"] == accountOther
	switch {
	case q.Asked == "":
		return goTo(withParam(authorizePath, "pending", pending)), nil
	case q.Asked == oauth.AskConsent && !other:
		return asked(q), nil
	case q.Asked == oauth.AskAccount && !other:
		return show(pages.Accounts{Form: s.pageForm(v, formLogin, q.Pending), Guest: guestOf(q), User: q.User.Email}), nil
	default:
		return show(s.loginFor(v, q, other)), nil
	}
}

// showOwnLogin serves GET /login where no application waits.
func (s *Server) showOwnLogin(ctx context.Context, v visitor) (step, error) {
	back := localPath(v.params["return_to"])
	if v.session.User == "" {
		f := s.pageForm(v, formLogin, "")
		f.ReturnTo = back
		return show(pages.Login{Form: f}), nil
	}
	if back != "" {
		return goTo(back), nil
	}
	who, err := s.Services.Directory.Standing(ctx, v.session.User, v.session.Org)
	if err != nil {
		return step{}, err
	}
	return show(pages.SignedIn{User: who.Email, Name: who.Name, Org: who.OrgName}), nil
}

// signIn serves POST /login. Whoever signs in has a new session cookie
// afterwards, be it for the session that was there (SEC-WEB-02).
func (s *Server) signIn(ctx context.Context, v visitor) (step, error) {
	pending := v.params["pending"]
	if !s.genuine(v, formLogin, v.params["form_token"]) {
		return s.signInAgain(ctx, v, fault.New(fault.CrossOrigin, "This page had been open for too long. Please try again."))
	}
	if v.params["account"] == accountCurrent {
		out, err := s.Pages.Authorizer.Choose(ctx, v.visit(), pending)
		return proceed(out, err)
	}
	if v.params["email"] == "" || v.params["password"] == "" {
		return s.signInAgain(ctx, v, fault.New(fault.Invalid, "Please enter your e-mail and your password."))
	}
	got, err := s.Services.OAuth.Exchange(ctx, oauth.GrantPassword, s.Pages.Client, oauth.Request{
		Params: oauth.Params{"username": v.params["email"], "password": v.params["password"], "proof": s.proofOf(v)},
		Origin: v.origin, Device: v.device, Session: v.session.ID,
	})
	if err != nil {
		return s.signInAgain(ctx, v, err)
	}
	next := goTo(cmp.Or(localPath(v.params["return_to"]), loginPage))
	if pending != "" {
		next = goTo(withParam(authorizePath, "pending", pending))
	}
	next.session, next.device = got.Browser.Reveal(), got.Device
	return next, nil
}

// signInAgain shows the form once more, with what was wrong.
func (s *Server) signInAgain(ctx context.Context, v visitor, cause error) (step, error) {
	f := fault.Of(cause)
	problem, known := loginProblem(f)
	if !known {
		return step{}, cause
	}
	page := pages.Login{Form: s.pageForm(v, formLogin, "")}
	if pending := v.params["pending"]; pending != "" {
		q, err := s.Pages.Authorizer.Pending(ctx, v.visit(), pending)
		if err != nil {
			return step{}, err
		}
		page = s.loginFor(v, q, true)
	}
	page.ReturnTo = localPath(v.params["return_to"])
	page.Status, page.Email, page.Problem, page.Proof = wires[f.Code].status, v.params["email"], problem, s.proofFor(cause)
	if page.Proof != nil && f.Code == fault.AccountLocked {
		page.Proof.Wait = pages.Wait(f.RetryAfter)
		page.Problem = "There were too many failed attempts at this account. Please enter the password once more; this time there is a check besides."
	}
	next := show(page)
	next.retry = f.RetryAfter
	return next, nil
}

// loginProblem says in words why a login was refused, and whether there is a
// point in another try.
func loginProblem(f *fault.Error) (problem string, known bool) {
	switch f.Code {
	case fault.InvalidCredentials:
		return "The e-mail or the password is wrong.", true
	case fault.AccountLocked:
		return "There were too many failed attempts. Please try again in " + pages.Wait(f.RetryAfter) + ".", true
	case fault.RateLimited:
		return "There were too many attempts. Please try again in " + pages.Wait(f.RetryAfter) + ".", true
	case fault.Unavailable:
		return "The server is busy. Please try again in a moment.", true
	case fault.AccountDisabled:
		return "This account is disabled. Whoever runs the server can enable it.", true
	case fault.Invalid, fault.CrossOrigin:
		return f.Detail, true
	default:
		return "", false
	}
}

// loginFor is the form for an application that waits. other is for who is not
// to be reminded of the account that is signed in.
func (s *Server) loginFor(v visitor, q oauth.Question, other bool) pages.Login {
	l := pages.Login{Form: s.pageForm(v, formLogin, cmp.Or(q.Pending, v.params["pending"])), Guest: guestOf(q), MayLeave: true}
	if !other {
		l.Email = q.LoginHint
	}
	if !other && (q.Reason == "prompt" || q.Reason == "max_age") { // else it is not that user who is wanted
		l.User = q.User.Email
	}
	return l
}

func (s *Server) pageForm(v visitor, form, pending string) pages.Form {
	return pages.Form{Token: s.formToken(v, form), Pending: pending}
}

// localPath returns the address if it is a path of ours and can be read as
// nothing else by any browser, else nothing (SEC-WEB-14).
func localPath(address string) string {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@%/?"
	u, err := url.Parse(address)
	switch {
	case err != nil, len(address) > maxURLPath, !strings.HasPrefix(address, "/"), strings.Trim(address, allowed) != "", u.Host != "", u.Scheme != "":
		return ""
	case strings.Contains(u.Path, "//"), strings.ContainsAny(u.Path, "\\"), !printable(u.Path):
		return ""
	}
	return address
}

// maxURLPath is the longest path to go on to after a login, in bytes.
const maxURLPath = 2000
