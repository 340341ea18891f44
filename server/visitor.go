package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
	"github.com/tokenhouse/tokenhouse/server/pages"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// PageServices are the domain, as our own pages use it.
type PageServices struct {
	Authorizer *oauth.Authorizer
	Logouts    *oauth.Logouts
	Client     oauth.Client  // of POST /login
	Forms      CursorKeys    // authenticate forms
	SessionTTL time.Duration // Max-Age of the cookie of a browser session
	Console    shell.Console // the pages of the console
	Puzzle     pages.Puzzle  // what logins that need a proof show; zero where work is asked for, or nothing
	Mails      bool          // whether owners are mailed when they are locked out
}

// visitor is a browser at one of our pages.
type visitor struct {
	params  oauth.Params  // of the query, or of the form
	browser string        // its name, which it keeps
	fresh   bool          // the name was given just now
	session tokens.Family // of the browser, alive; zero where nobody is signed in
	cookie  string        // what session was found by
	stale   bool          // it showed a cookie that stands for nobody
	device  string
	origin  ident.Origin
}

// visit is the visitor as the authorization endpoint sees it.
func (v visitor) visit() oauth.Visit {
	return oauth.Visit{Params: v.params, Browser: v.browser, Session: v.session, Origin: v.origin}
}

// step is what a page comes to: something to look at, or an address to go on to.
type step struct {
	view    pages.View
	to      string        // where set, there is no view
	session string        // of the browser from now on; empty: as it was
	device  string        // the new device cookie; empty: as it was
	over    bool          // the session ended: its cookie goes
	retry   time.Duration // what to wait
	passing bool          // another site sent a form, so that the browser kept our cookies back: they stay as they are
}

// goTo goes on to an address.
func goTo(address string) step { return step{to: address} }

// show shows a page.
func show(v interface{ View() pages.View }) step { return step{view: v.View()} }

// pageEndpoint is one page: a visitor in, a step out, no HTTP.
type pageEndpoint func(context.Context, visitor) (step, error)

// handlePage adapts a page. What goes wrong is shown as a page too, which leads
// to no other site (RFC 9700 §4.11.2).
func handlePage(s *Server, fn pageEndpoint) gin.HandlerFunc {
	return func(c *gin.Context) {
		v, err := s.welcome(c.Writer, c.Request)
		var next step
		if err == nil {
			next, err = fn(c.Request.Context(), v)
		}
		next.passing = next.passing || err != nil && v.fresh // a form of another site, it may be: see passing
		s.keep(c.Writer.Header(), v, next)
		if err != nil {
			next = s.failure(c.Request, err)
		}
		s.send(c, next)
	}
}

// keep sets the cookies. One that stands for nobody goes (SEC-WEB-09).
func (s *Server) keep(h http.Header, v visitor, next step) {
	if next.passing {
		return
	}
	if v.fresh && v.browser != "" {
		s.setBrowser(h, v.browser)
	}
	switch {
	case next.session != "":
		s.setBrowserSession(h, next.session)
	case v.stale || next.over:
		s.setBrowserSession(h, "")
	}
	s.setDevice(h, next.device)
}

func (s *Server) send(c *gin.Context, next step) {
	h := c.Writer.Header()
	if next.retry > 0 {
		h.Set("Retry-After", retryAfter(next.retry))
	}
	if next.to != "" {
		// RFC 9700 §4.12: 303, so that no browser sends a password on.
		h.Set("Location", next.to)
		c.Status(http.StatusSeeOther)
		c.Writer.WriteHeaderNow()
		return
	}
	page, err := next.view.Render()
	if err != nil {
		s.fail(c.Writer, c.Request, err)
		return
	}
	setAll(h, field{"Content-Type", "text/html; charset=utf-8"}, field{"Content-Length", strconv.Itoa(len(page))},
		field{"Content-Security-Policy", next.view.Policy()})
	c.Status(next.view.Status)
	_, _ = c.Writer.Write(page) // the visitor may be gone
}

// welcome finds out who is at the page, and what they brought.
func (s *Server) welcome(w http.ResponseWriter, r *http.Request) (visitor, error) {
	params, err := pageParams(w, r)
	if err != nil {
		return visitor{origin: inboundOf(r.Context()).origin}, err
	}
	v, err := s.recognise(r)
	v.params = params
	return v, err
}

// recognise finds out who is at a page by the cookies.
func (s *Server) recognise(r *http.Request) (visitor, error) {
	in, j := inboundOf(r.Context()), s.jar()
	v := visitor{origin: in.origin}
	name, err := cookie(r, j.browser)
	if err != nil {
		return v, err
	}
	if v.browser = browserName(name); v.browser == "" {
		v.fresh = true
		if v.browser, err = newBrowser(s.Random); err != nil {
			return v, err
		}
	}
	if v.cookie, err = cookie(r, j.session); err != nil {
		return v, err
	}
	if v.device, err = cookie(r, j.device); err != nil || v.cookie == "" {
		return v, err
	}
	v.session, err = s.Services.Sessions.Browser(r.Context(), v.cookie)
	if errors.Is(err, fault.InvalidToken) {
		v.cookie, v.stale, err = "", true, nil
	}
	if err == nil && v.session.User != "" {
		in.caller = ident.Caller{Kind: ident.Person, Org: v.session.Org, User: v.session.User, Session: v.session.ID, Client: v.session.Client, Origin: in.origin}
	}
	return v, err
}

// maxPageQuery is the longest query of a page, in bytes: a request put aside
// is a third longer than it was.
const maxPageQuery = 16 << 10

// pageParams reads the query and the form, of which the body is read once. A
// parameter is given at most once, be it in both (RFC 6749 §3.1).
func pageParams(w http.ResponseWriter, r *http.Request) (oauth.Params, error) {
	text := r.URL.RawQuery
	if len(text) > maxPageQuery {
		return nil, fault.New(fault.TooLarge, "The address is too long.")
	}
	if r.Method == http.MethodPost {
		body, err := formBody(w, r)
		if err != nil {
			return nil, err
		}
		text = strings.Trim(text+"&"+string(body), "&")
	}
	return parseParams(text)
}

// failure is the page of what went wrong. What is 500 and above is logged here.
func (s *Server) failure(r *http.Request, err error) step {
	f, in := fault.Of(err), inboundOf(r.Context())
	if f.Code == fault.Internal && r.Context().Err() != nil {
		f = fault.Wrap(err, fault.Unavailable, "") // out of time, not out of order
	}
	row, ok := wires[f.Code]
	if !ok {
		row = wires[fault.Internal]
	}
	page := pages.Failure{Status: row.status, Code: row.oauth, Text: row.detail, Request: string(in.id)}
	if row.status >= http.StatusInternalServerError {
		s.Log.ErrorContext(r.Context(), "request failed", "request_id", in.id, "route", in.route, "code", f.Code, "err", err.Error())
	} else {
		page.Code, page.Text = cmp.Or(f.Reason, row.oauth), cmp.Or(f.Detail, row.detail)
	}
	if f.RetryAfter > 0 {
		page.Retry = pages.Wait(f.RetryAfter)
	}
	in.code, in.failed = row.code, f
	return step{view: page.View(), retry: f.RetryAfter}
}

// withParam adds a parameter to a path of ours.
func withParam(path, name, value string) string {
	return path + "?" + name + "=" + url.QueryEscape(value)
}
