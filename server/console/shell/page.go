package shell

import (
	"context"
	"net/http"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// Page is one page, or what its form is sent to: a visit in, a reply out, no
// HTTP. An error is shown by the shell as the failure it is.
type Page func(context.Context, Visit) (Reply, error)

// Route says where a page answers, and to whom.
type Route struct {
	Method string // GET shows, POST acts
	Path   string // "/console/webhooks/:id"; a form is sent to the path it is shown at
	// Need is the permission without which the page is neither shown nor linked;
	// empty where anybody who is signed in may see it.
	Need scope.Permission
	// Fresh asks for the password first where it was not entered within
	// FreshFor. A POST that is Fresh has a GET of the same path to come back to.
	Fresh bool
	Many  []string // fields that may be sent more than once: checkboxes
	Serve Page
}

// Reply is what a page comes to. Make one with To, Show, ShowForm, ShowConfirm,
// ShowSecret or Fragment.
type Reply struct {
	to, notice string
	view       View
	templates  *Templates
	name       string
	fragment   bool
}

// To goes on to an address of ours (303). The notice, which may be empty, is
// shown once there; it is no place for secrets.
func To(address, notice string) Reply { return Reply{to: address, notice: notice} }

// ShowForm shows a page that is one form.
func ShowForm(v View) Reply { return own.Show("form.html", v) }

// ShowTable shows a page that is one list.
func ShowTable(v View, t Table) Reply { v.Data = t; return own.Show("table.html", v) }

// ShowConfirm shows what will happen, and the form that makes it happen.
func ShowConfirm(c Confirm) Reply {
	c.Form.Danger = !c.Harmless
	return own.Show("confirm.html", View{Title: c.Title, Lead: c.Lead, Back: c.Back, Form: c.Form, Data: c, Problem: c.Problem})
}

// ShowSecret shows a secret for the only time. It is the answer to the POST that
// made the secret, so that it is in no address, no cookie and no history.
func ShowSecret(s Secret) Reply { return own.Show("secret.html", View{Title: s.Title, Data: s}) }

// View is a page to look at.
type View struct {
	Title   string // the heading, and the window's title
	Lead    string // one or two sentences below it
	Back    Link   // one level up
	Actions []Link // what one can do here, the main one first
	Form    Form   // the page's own form; filled in again where Problem is set
	Data    any    // for the template: .Data
	// Problem is why what was sent was refused. Where the person can mend it, the
	// page is shown again with it, beside the fields it names; else it is the
	// page's failure.
	Problem error
	Live    bool     // the page uses htmx
	Scripts []string // more files of Assets that the page loads: "password.js"
	Narrow  bool     // for reading and for short forms
}

// Link is somewhere to go.
type Link struct {
	Text, To string
	Main     bool // the one thing that people come for
	Danger   bool
}

// correctable says of which failures a form is shown again.
func correctable(f *fault.Error) bool {
	switch f.Code {
	case fault.Invalid, fault.Conflict, fault.RateLimited, fault.InvalidCredentials, fault.AccountLocked, fault.Unavailable,
		fault.InvalidScope, fault.InvalidTarget, fault.InvalidRedirectURI, fault.InvalidClientMetadata:
		return true
	default:
		return false
	}
}

// Answer is a reply ready to be sent.
type Answer struct {
	Status int    // of the page; 200 or that of Problem, which the server knows
	To     string // where set, there is no page
	Notice string
	Page   []byte
	// Problem is set where a form is shown again.
	Problem *fault.Error
}

// StepUp is the answer that asks for the password first.
func StepUp(v Visit) Answer { return Answer{To: againPath + "?return_to=" + v.escapedSelf()} }

const againPath = "/login/again"

// Do answers a visit of the route by a person who is signed in, whose form was
// found genuine.
func (c *Console) Do(ctx context.Context, r Route, v Visit) (Answer, error) {
	if r.Need != "" && !v.Caller.May(r.Need) {
		return Answer{}, fault.Lacking(string(r.Need))
	}
	if r.Fresh && !v.Fresh() {
		return StepUp(v), nil
	}
	reply, err := r.Serve(ctx, v)
	if err != nil {
		return Answer{}, err
	}
	if reply.to != "" {
		return Answer{To: reply.to, Notice: reply.notice}, nil
	}
	a := Answer{Status: http.StatusOK}
	if reply.view.Problem != nil {
		a.Problem = fault.Of(reply.view.Problem)
		if !correctable(a.Problem) {
			return Answer{}, reply.view.Problem
		}
		reply.view.Form = reply.view.Form.Again(v, a.Problem)
	}
	a.Page, err = c.render(reply, v, a.Problem)
	return a, err
}
