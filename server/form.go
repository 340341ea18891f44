package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// maxParams is how many parameters a form may have.
const maxParams = 100

// form is a request to an OAuth endpoint: parameters of the body, and the
// client's credentials where they came in the header (RFC 6749 §2.3.1).
type form struct {
	params        oauth.Params
	authorization string
	accept        []string
	origin        ident.Origin
}

// formEndpoint is one OAuth endpoint: a form in, a typed value out, no HTTP.
type formEndpoint[Resp any] func(context.Context, form) (Resp, error)

// handleForm adapts an OAuth endpoint. It is handle with the bodies and the
// failures of RFC 6749.
func handleForm[Resp any](s *Server, fn formEndpoint[Resp]) gin.HandlerFunc {
	return func(c *gin.Context) {
		f, err := readForm(c.Writer, c.Request)
		var resp Resp
		if err == nil {
			resp, err = fn(c.Request.Context(), f)
		}
		if err != nil {
			s.failOAuth(c.Writer, c.Request, err)
			return
		}
		s.answer(c, http.StatusOK, resp)
	}
}

// readForm reads an application/x-www-form-urlencoded body of at most maxBody
// bytes. A parameter is given at most once, nothing is taken from the query, and
// an empty parameter counts as left out (RFC 6749 §3.2).
func readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return form{}, fault.New(fault.Malformed, "Parameters belong in the body, none in the query.")
	}
	auth := r.Header.Values("Authorization")
	if len(auth) > 1 {
		return form{}, fault.New(fault.Malformed, "The Authorization header was sent more than once.")
	}
	body, err := formBody(w, r)
	if err != nil {
		return form{}, err
	}
	f := form{accept: r.Header.Values("Accept"), origin: inboundOf(r.Context()).origin}
	if len(auth) == 1 {
		f.authorization = auth[0]
	}
	f.params, err = parseParams(string(body))
	return f, err
}

// parseParams reads parameters. Each is given at most once, but for resource,
// whose values are joined by blanks (RFC 8707 §2); an empty one counts as left
// out (RFC 6749 §3.1 and §3.2).
func parseParams(text string) (oauth.Params, error) {
	values, err := url.ParseQuery(text)
	if err != nil || len(values) > maxParams {
		return nil, fault.New(fault.Malformed, "The parameters cannot be read.")
	}
	out := oauth.Params{}
	for name, vs := range values {
		value := strings.Join(vs, " ")
		switch {
		case len(vs) > 1 && name != "resource":
			return nil, fault.New(fault.Malformed, "A parameter was given more than once.")
		case !utf8.ValidString(name+value) || strings.ContainsRune(name+value, 0):
			return nil, fault.New(fault.Malformed, "A parameter is not text in UTF-8.")
		case value != "":
			out[name] = value
		}
	}
	return out, nil
}

func formBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kinds := r.Header.Values("Content-Type")
	if len(kinds) != 1 || r.Header.Get("Content-Encoding") != "" {
		return nil, errNoForm
	}
	kind, params, err := mime.ParseMediaType(kinds[0])
	if err != nil || kind != "application/x-www-form-urlencoded" || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return nil, errNoForm
	}
	if r.ContentLength > maxBody {
		return nil, fault.TooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if errors.As(err, new(*http.MaxBytesError)) {
		return nil, fault.TooLarge
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "The body ended early.")
	}
	return body, nil
}

// errNoForm is a request that sends something else than a form.
var errNoForm = fault.New(fault.UnsupportedMedia, "Send application/x-www-form-urlencoded.")
