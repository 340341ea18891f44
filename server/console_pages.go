package server

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/server/console/shell"
	"github.com/tokenhouse/tokenhouse/server/pages"
)

// atPage takes the browser session of a person who holds the permission; any
// person's where it is empty. Whoever is signed out is asked to sign in.
func atPage(p scope.Permission) guard { return guard{kind: "page", permission: p} }

// consoleRoutes are the pages of the console.
func (s *Server) consoleRoutes() []route {
	out := make([]route, len(s.Pages.Console.Routes))
	for i, r := range s.Pages.Console.Routes {
		out[i] = route{r.Method, r.Path, atPage(r.Need), s.handleConsole(r)}
	}
	return out
}

// showHome serves GET /: whoever types our name looks for the console.
func (s *Server) showHome(c *gin.Context) { s.send(c, goTo("/console")) }

// consolePolicy allows our own files, and connections and forms to ourselves.
const consolePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// handleConsole adapts a page of the console.
func (s *Server) handleConsole(r shell.Route) gin.HandlerFunc {
	return func(c *gin.Context) {
		v, err := s.recognise(c.Request)
		if err != nil {
			s.send(c, s.failure(c.Request, err))
			return
		}
		s.keep(c.Writer.Header(), v, step{passing: v.fresh && c.Request.Method != http.MethodGet})
		if v.session.User == "" {
			s.askToSignIn(c)
			return
		}
		at, err := s.consoleVisit(c, v)
		var answer shell.Answer
		if err == nil {
			err = s.readConsoleForm(c, r, v, &at)
		}
		if err == nil {
			answer, err = s.Pages.Console.Do(c.Request.Context(), r, at)
		}
		if err != nil {
			s.failConsole(c, at, err)
			return
		}
		s.sendConsole(c, v, answer)
	}
}

// askToSignIn leads to the login and back. What was typed into a form is lost;
// a part of a page makes htmx ask for the whole of it.
func (s *Server) askToSignIn(c *gin.Context) {
	if c.Request.Header.Get("Hx-Request") != "" {
		c.Writer.Header().Set("HX-Refresh", "true")
		s.fail(c.Writer, c.Request, fault.Unauthenticated)
		return
	}
	back := c.Request.URL.Path
	if q := c.Request.URL.RawQuery; q != "" && c.Request.Method == http.MethodGet {
		back += "?" + q
	}
	s.send(c, goTo(withParam(loginPage, "return_to", back)))
}

// consoleVisit is the visitor as pages see them: with what they may do now.
func (s *Server) consoleVisit(c *gin.Context, v visitor) (shell.Visit, error) {
	ctx := c.Request.Context()
	in := inboundOf(ctx)
	who, err := s.Services.Directory.Standing(ctx, v.session.User, v.session.Org)
	if err != nil {
		return shell.Visit{}, err
	}
	if !who.Active {
		return shell.Visit{}, fault.AccountDisabled
	}
	in.caller.Email, in.caller.Permissions = who.Email, who.Permissions
	path := c.Request.URL.Path
	at := shell.Visit{
		Caller: in.caller, User: cmp.Or(who.Name, who.Email), Org: who.OrgName, SignedInAt: v.session.AuthenticatedAt, Now: in.at,
		Path: path, Partial: c.Request.Header.Get("Hx-Request") != "", Notice: s.takeNotice(c, v),
		Tools: shell.Tools{Token: func(path string) string { return s.formToken(v, consoleForm(path)) }},
	}
	return at.WithParams(c.Param), nil
}

// consoleForm is the form that is sent to a path.
func consoleForm(path string) string { return "console " + path }

// readConsoleForm reads what was sent, and refuses a form that is not from a page of
// this browser and session (SEC-WEB-05).
func (s *Server) readConsoleForm(c *gin.Context, r shell.Route, v visitor, at *shell.Visit) error {
	text := c.Request.URL.RawQuery
	if len(text) > maxQuery {
		return fault.New(fault.TooLarge, "The address is too long.")
	}
	if c.Request.Method != http.MethodGet {
		if text != "" {
			return fault.New(fault.Malformed, "Parameters belong in the body, none in the query.")
		}
		body, err := formBody(c.Writer, c.Request)
		if err != nil {
			return err
		}
		text = string(body)
	}
	values, err := consoleValues(text, r.Many)
	if err != nil {
		return err
	}
	at.Form = values
	if c.Request.Method != http.MethodGet {
		token := values.Get("form_token")
		delete(values, "form_token")
		if !s.genuine(v, consoleForm(at.Path), token) {
			return fault.New(fault.CrossOrigin, "This page had been open for too long, or somebody else sent it. Go back, load the page again and try once more.")
		}
		return nil
	}
	at.Query = withoutCursor(values)
	l := list{org: at.Caller.Org, route: at.Path, filter: at.Query}
	at.Seal = func(before string) string { return sealCursor(s.Cursors, l, before) }
	at.Open = func(cursor string) (string, error) { return openCursor(s.Cursors, l, cursor) }
	return nil
}

// withoutCursor is the query that says which list it is, in its one spelling.
func withoutCursor(values shell.Values) string {
	kept := url.Values{}
	for name, vs := range values {
		for _, value := range vs {
			if name != "after" && value != "" {
				kept.Add(name, value)
			}
		}
	}
	return kept.Encode()
}

// maxFields is how many values a form may have: a role can be given every
// permission there is.
const maxFields = 1000

// consoleValues reads a form. A field is sent once, unless it is one of many.
func consoleValues(text string, many []string) (shell.Values, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, fault.New(fault.Malformed, "The form cannot be read.")
	}
	count := 0
	for name, vs := range values {
		count += len(vs)
		if len(vs) > 1 && !slices.Contains(many, name) || count > maxFields {
			return nil, fault.New(fault.Malformed, "A field was sent more than once.")
		}
		for _, v := range append(vs, name) {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return nil, fault.New(fault.Malformed, "A field is not text in UTF-8.")
			}
		}
	}
	return shell.Values(values), nil
}

func (s *Server) sendConsole(c *gin.Context, v visitor, a shell.Answer) {
	h := c.Writer.Header()
	if a.To != "" {
		if a.Notice != "" {
			s.giveNotice(h, v, a.Notice)
		}
		s.send(c, goTo(a.To))
		return
	}
	status := a.Status
	if f := a.Problem; f != nil {
		in := inboundOf(c.Request.Context())
		status, in.code, in.failed = wires[f.Code].status, wires[f.Code].code, f
		if f.RetryAfter > 0 {
			h.Set("Retry-After", retryAfter(f.RetryAfter))
		}
	}
	s.writeConsole(c, status, a.Page)
}

func (s *Server) writeConsole(c *gin.Context, status int, body []byte) {
	setAll(c.Writer.Header(), field{"Content-Type", "text/html; charset=utf-8"}, field{"Content-Length", strconv.Itoa(len(body))},
		field{"Content-Security-Policy", consolePolicy})
	c.Status(status)
	_, _ = c.Writer.Write(body) // the visitor may be gone
}

// failConsole shows a failure inside the console, or on a plain page where we do
// not know enough of the visitor.
func (s *Server) failConsole(c *gin.Context, at shell.Visit, err error) {
	plain := s.failure(c.Request, err)
	in := inboundOf(c.Request.Context())
	f := in.failed
	if f.Code == fault.InsufficientPermissions && at.Caller.User != "" {
		var lacking []scope.Permission
		for _, p := range f.Required {
			lacking = append(lacking, scope.Permission(p))
		}
		s.denied(c.Request.Context(), at.Caller, lacking...)
	}
	row := wires[f.Code]
	if at.Caller.User == "" || at.Token == nil {
		s.send(c, plain)
		return
	}
	failed := shell.Failure{Title: row.title, Text: row.detail, Code: row.code, Request: string(in.id), Required: f.Required}
	if row.status < http.StatusInternalServerError {
		failed.Text = cmp.Or(f.Detail, row.detail)
	}
	if f.Code == fault.InsufficientPermissions {
		failed.Title, failed.Text = "You may not see this", "Your role in this organisation does not allow it."
	}
	if f.RetryAfter > 0 {
		failed.Wait = pages.Wait(f.RetryAfter)
		c.Writer.Header().Set("Retry-After", retryAfter(f.RetryAfter))
	}
	at.Notice = ""
	body, err := s.Pages.Console.Fail(at, failed)
	if err != nil {
		s.fail(c.Writer, c.Request, err)
		return
	}
	s.writeConsole(c, row.status, body)
}

// failPlainly answers where no route does: people with a page, programs as always.
func (s *Server) failPlainly(c *gin.Context, code fault.Code) {
	if isOwnPage(c.Request.URL.Path) {
		s.send(c, s.failure(c.Request, code))
		return
	}
	s.fail(c.Writer, c.Request, code)
}

// noticeAge is how long a notice waits to be read.
const noticeAge = time.Minute

// giveNotice leaves a sentence for the page that the browser goes on to, bound
// to its session so that nobody else puts words into our mouth.
func (s *Server) giveNotice(h http.Header, v visitor, text string) {
	id, key := s.Pages.Forms.Current()
	raw := append([]byte{id}, noticeMAC(key, v, text)...)
	j := s.jar()
	add(h, j.set(j.notice, everywhere, base64.RawURLEncoding.EncodeToString(append(raw, text...)), noticeAge))
}

const noticeTag = 16 // bytes

func noticeMAC(key []byte, v visitor, text string) []byte {
	return secret.MAC(key, v.browser, "notice", v.cookie, text)[:noticeTag]
}

// takeNotice returns what giveNotice left, once.
func (s *Server) takeNotice(c *gin.Context, v visitor) string {
	j := s.jar()
	value, err := cookie(c.Request, j.notice)
	if err != nil || value == "" || c.Request.Method != http.MethodGet || c.Request.Header.Get("Hx-Request") != "" {
		return ""
	}
	add(c.Writer.Header(), j.set(j.notice, everywhere, "", 0))
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) <= 1+noticeTag {
		return ""
	}
	key, ok := s.Pages.Forms.ByID(raw[0])
	text := string(raw[1+noticeTag:])
	if !ok || !secret.Equal(raw[1:1+noticeTag], noticeMAC(key, v, text)) {
		return ""
	}
	return text
}
