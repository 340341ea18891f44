// Package pages serves what people look at in a browser. Pages work without
// JavaScript, and load nothing from elsewhere.
package pages

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

//go:embed templates
var templates embed.FS

//go:embed assets/style.css
var stylesheet []byte

// policy lets a page load our stylesheet and send forms to us, and nothing else.
const policy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// maxForm bounds a form, in bytes.
const maxForm = 64 << 10

// SetupPeople judges set-up links and lets the first administrator choose, once
// for each link. accounts.People does.
type SetupPeople interface {
	SetupLinkValid(ctx context.Context, token secret.Plain) (bool, error)
	CompleteSetup(ctx context.Context, s accounts.Setup, o ident.Origin) error
}

// Setup is the page behind the set-up link of the first start: whoever has the
// link chooses the administrator's e-mail, password and organisation, once.
// All fields are required.
type Setup struct {
	People    SetupPeople
	MinLength int // of a password, for the hint
	Origin    func(*http.Request) ident.Origin
	Log       *slog.Logger
}

// setupForm is what the page shows and what it sends back.
type setupForm struct {
	Token     string
	Email     string
	Org       string
	MinLength int
	MaxLength int
	Problem   string            // about the form as a whole
	Problems  map[string]string // by field
}

// view is a template and what goes into it.
type view struct {
	status int
	name   string
	data   any
}

var parsed = template.Must(template.ParseFS(templates, "templates/*.html"))

// Show answers GET /setup?token=….
func (s *Setup) Show(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	good, err := s.People.SetupLinkValid(r.Context(), secret.Of(token))
	switch {
	case err != nil:
		s.write(w, r, s.failure(r, err))
	case !good:
		s.write(w, r, gone())
	default:
		s.write(w, r, s.form(http.StatusOK, setupForm{Token: token}))
	}
}

// Submit answers POST /setup. That the request comes from our own page has been
// judged before (server.origins), and the link is good for one use.
func (s *Setup) Submit(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		s.write(w, r, message(status, "This form could not be read", "Go back and try again."))
		return
	}
	f := setupForm{
		Token: r.PostForm.Get("token"),
		Email: strings.TrimSpace(r.PostForm.Get("email")),
		Org:   strings.TrimSpace(r.PostForm.Get("organization_name")),
	}
	err := s.People.CompleteSetup(r.Context(), accounts.Setup{
		Token: secret.Of(f.Token), Email: f.Email, Password: secret.Of(r.PostForm.Get("password")), OrgName: f.Org,
	}, s.Origin(r))
	s.write(w, r, s.outcome(r, f, err))
}

// Style answers GET /setup/style.css.
func (s *Setup) Style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	s.send(w, r, http.StatusOK, stylesheet)
}

// outcome is the page that follows a submitted form.
func (s *Setup) outcome(r *http.Request, f setupForm, err error) view {
	e := fault.Of(err)
	switch {
	case err == nil:
		return view{http.StatusOK, "setup_done.html", f}
	case e.Code == fault.InsufficientPermissions: // the one refusal of a link
		return gone()
	case e.Code == fault.Invalid:
		f.Problems = map[string]string{}
		for _, field := range e.Fields {
			f.Problems[field.Name] = field.Detail
		}
		f.Problem = "Please correct what is marked below."
		return s.form(http.StatusUnprocessableEntity, f)
	case e.Code == fault.Conflict:
		f.Problem = "Another account has this e-mail address already."
		return s.form(http.StatusConflict, f)
	}
	return s.failure(r, err)
}

func (s *Setup) form(status int, f setupForm) view {
	f.MinLength, f.MaxLength = s.MinLength, accounts.MaxLength
	return view{status, "setup_form.html", f}
}

func gone() view {
	return message(http.StatusGone, "This link is not valid any more",
		"It was used already, has expired, or is incomplete. Whoever runs the server can make a new one: tokenhouse user setup-link")
}

// failure tells nothing but that it is not the visitor's fault.
func (s *Setup) failure(r *http.Request, err error) view {
	e := fault.Of(err)
	if e.Code == fault.Unavailable || e.Code == fault.RateLimited {
		return message(http.StatusServiceUnavailable, "The server is busy", "Nothing was changed. Please try again in a moment.")
	}
	s.Log.ErrorContext(r.Context(), "the set-up page failed", "request_id", s.Origin(r).Request, "err", err)
	return message(http.StatusInternalServerError, "Something went wrong", "Nothing was changed. The log of the server tells more.")
}

func message(status int, title, text string) view {
	return view{status, "message.html", struct{ Title, Text string }{title, text}}
}

func (s *Setup) write(w http.ResponseWriter, r *http.Request, v view) {
	var page bytes.Buffer
	if err := parsed.ExecuteTemplate(&page, v.name, v.data); err != nil {
		s.Log.ErrorContext(r.Context(), "a page could not be made", "page", v.name, "err", err)
		http.Error(w, "Something went wrong.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address holds the token
	s.send(w, r, v.status, page.Bytes())
}

func (s *Setup) send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		s.Log.DebugContext(r.Context(), "a page was not delivered", "err", err)
	}
}
