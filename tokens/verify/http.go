package verify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

type contextKey struct{}

// WithClaims returns a context that carries the claims of a verified token.
// Middleware calls it; so may an adapter for another framework.
func WithClaims(ctx context.Context, c Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// ClaimsFrom returns the claims that Middleware verified; false where the
// request did not pass through it.
func ClaimsFrom(ctx context.Context) (Claims, bool) {
	c, ok := ctx.Value(contextKey{}).(Claims)
	return c, ok
}

// BearerToken returns the token of the Authorization header (RFC 6750 §2.1).
// The scheme may be written in any case. It answers ErrMissing where there is
// no bearer token and ErrInvalid where there are two headers or two words. A
// token in the query or in a form is not looked for: it would end up in logs.
func BearerToken(r *http.Request) (string, error) {
	switch values := r.Header.Values("Authorization"); len(values) {
	case 0:
		return "", ErrMissing
	case 1:
		return bearer(values[0])
	default:
		return "", ErrInvalid.because("several Authorization headers")
	}
}

func bearer(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrMissing.because("another authentication scheme")
	}
	token = strings.Trim(token, " ")
	if token == "" {
		return "", ErrMissing.because("an empty bearer token")
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' || c == ',' {
			return "", ErrInvalid.because("characters that no token has")
		}
	}
	return token, nil
}

// Middleware lets a request with a good access token pass to next, with its
// claims in the context, and answers every other one as WriteError does.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := BearerToken(r)
		var c Claims
		if err == nil {
			c, err = v.Verify(r.Context(), token)
		}
		if err != nil {
			if v.Report != nil {
				v.Report(r.Context(), err)
			}
			WriteError(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithClaims(r.Context(), c)))
	})
}

// Require lets a request pass to next where the claims in its context allow the
// permission, and answers 403 otherwise. It stands behind Middleware; without
// it every request is answered 401.
func Require(permission string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch c, ok := ClaimsFrom(r.Context()); {
		case !ok:
			WriteError(w, ErrMissing)
		case !c.Allows(permission):
			WriteError(w, Lacking(permission))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// problem is the body of a refusal (RFC 9457 §3) with the members that clients
// of both documented dialects read.
type problem struct {
	Type       string   `json:"type"`
	Title      string   `json:"title"`
	Status     int      `json:"status"`
	Detail     string   `json:"detail"`
	StatusCode int      `json:"status_code"`
	Code       string   `json:"code"`
	Error      string   `json:"error"`
	RequestID  string   `json:"request_id,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Required   []string `json:"required,omitempty"`
}

// titles are the same for every problem of one type (RFC 9457 §3.1.3).
var titles = map[string]string{
	ErrInvalid.Code: "Invalid token", ErrForbidden.Code: "Insufficient permissions", ErrUnavailable.Code: "Temporarily unavailable",
}

// problemType is the URI of a code, as tokenhouse itself writes it.
func problemType(code string) string {
	return "urn:tokenhouse:problem:" + strings.ReplaceAll(strings.ToLower(code), "_", "-")
}

// WriteError answers with the refusal as application/problem+json, and with a
// challenge for 401 and 403 (RFC 6750 §3). An error that is not an *Error is
// answered like ErrUnavailable. The request id, where the response has an
// X-Request-Id header already, is repeated in the body. The cause is not shown.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = ErrUnavailable
	}
	h := w.Header()
	if c := challenge(e); c != "" {
		h.Set("WWW-Authenticate", c)
	}
	if e.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	body, err := json.Marshal(problem{
		Type: problemType(e.Code), Title: titles[e.Code], Status: e.Status, Detail: e.Detail, StatusCode: e.Status,
		Code: e.Code, Error: e.Text, RequestID: h.Get("X-Request-Id"), Reason: e.Reason, Required: e.Required,
	})
	if err != nil { // strings and numbers always encode
		body = nil
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

// challenge is the WWW-Authenticate value. A request without a credential
// learns the scheme only (RFC 6750 §3.1).
func challenge(e *Error) string {
	switch {
	case e.Status == http.StatusForbidden:
		return `Bearer error="insufficient_scope", error_description="` + quotable(e.Detail) + `", scope="` + quotable(strings.Join(e.Required, " ")) + `"`
	case e.Status != http.StatusUnauthorized:
		return ""
	case errors.Is(e, ErrMissing):
		return "Bearer"
	default:
		return `Bearer error="invalid_token", error_description="` + quotable(e.Detail) + `"`
	}
}

// quotable drops what may not stand in a quoted string of the challenge.
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, s)
}
