// Package pages serves what people look at in a browser. Pages work without
// JavaScript, and load nothing from elsewhere.
package pages

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

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

// outcome is the page that follows a submitted form.
func (s *Setup) outcome(r *http.Request, f setupForm, err error) View {
	e := fault.Of(err)
	switch {
	case err == nil:
		return View{Status: http.StatusOK, name: "setup_done.html", data: f}
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

func (s *Setup) form(status int, f setupForm) View {
	f.MinLength, f.MaxLength = s.MinLength, accounts.MaxLength
	return View{Status: status, name: "setup_form.html", data: f}
}

func gone() View {
	return message(http.StatusGone, "This link is not valid any more",
		"It was used already, has expired, or is incomplete. Whoever runs the server can make a new one: tokenhouse user setup-link")
}

// failure tells nothing but that it is not the visitor's fault.
func (s *Setup) failure(r *http.Request, err error) View {
	e := fault.Of(err)
	if e.Code == fault.Unavailable || e.Code == fault.RateLimited {
		return message(http.StatusServiceUnavailable, "The server is busy", "Nothing was changed. Please try again in a moment.")
	}
	s.Log.ErrorContext(r.Context(), "the set-up page failed", "request_id", s.Origin(r).Request, "err", err)
	return message(http.StatusInternalServerError, "Something went wrong", "Nothing was changed. The log of the server tells more.")
}

func message(status int, title, text string) View {
	return View{Status: status, name: "message.html", data: struct{ Title, Text string }{title, text}}
}

func (s *Setup) write(w http.ResponseWriter, r *http.Request, v View) {
	page, err := v.Render()
	if err != nil {
		s.Log.ErrorContext(r.Context(), "a page could not be made", "err", err)
		http.Error(w, "Something went wrong.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", v.Policy())
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address holds the token
	h.Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(v.Status)
	if _, err := w.Write(page); err != nil {
		s.Log.DebugContext(r.Context(), "a page was not delivered", "err", err)
	}
}
