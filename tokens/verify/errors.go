package verify

import (
	"fmt"
	"net/http"
)

// Error is a refusal. Everything in it but the cause may be shown to the
// caller. Compare with errors.Is and the Err values of this package.
type Error struct {
	Status   int      // HTTP status: 401, 403 or 503
	Code     string   // stable, for programs: "INVALID_TOKEN"
	Text     string   // the short public text: "token expired"
	Detail   string   // one sentence for people: "JWT token has expired"
	Reason   string   // refinement of the code: "expired", "revoked"; may be empty
	Required []string // for ErrForbidden: the permissions that are lacking
	cause    string
}

// The refusals. Their texts are part of the public contract.
var (
	// ErrMissing: the request carries no bearer token.
	ErrMissing = &Error{Status: http.StatusUnauthorized, Code: "INVALID_TOKEN", Text: "unauthorized", Detail: "No credential was presented."}
	// ErrInvalid: the token is malformed, not signed by a published key, or not
	// meant for us.
	ErrInvalid = &Error{Status: http.StatusUnauthorized, Code: "INVALID_TOKEN", Text: "invalid token", Detail: "The token is not valid.", Reason: "invalid"}
	// ErrExpired: the token was good and is no longer.
	ErrExpired = &Error{Status: http.StatusUnauthorized, Code: "INVALID_TOKEN", Text: "token expired", Detail: "JWT token has expired", Reason: "expired"}
	// ErrNoOrg: the token names no organisation.
	ErrNoOrg = &Error{Status: http.StatusUnauthorized, Code: "INVALID_TOKEN", Text: "missing org_id claim", Detail: "The token has no org_id claim.", Reason: "missing_org"}
	// ErrRevoked: the token, its session or its subject was signed out.
	ErrRevoked = &Error{Status: http.StatusUnauthorized, Code: "INVALID_TOKEN", Text: "invalid token", Detail: "Token has been revoked", Reason: "revoked"}
	// ErrForbidden: the token is good and lacks a permission.
	ErrForbidden = &Error{Status: http.StatusForbidden, Code: "INSUFFICIENT_PERMISSIONS", Text: "forbidden", Detail: "The credential lacks a required permission."}
	// ErrUnavailable: keys or revocations are out of reach, so nothing can be
	// said of the token. It is no reason to sign anybody out.
	ErrUnavailable = &Error{Status: http.StatusServiceUnavailable, Code: "UNAVAILABLE", Text: "unavailable", Detail: "The token cannot be verified at the moment."}
)

// Error returns the public text and the cause. It is for the log.
func (e *Error) Error() string {
	if e.cause == "" {
		return e.Text
	}
	return e.Text + ": " + e.cause
}

// Is makes errors.Is(err, ErrExpired) true for every refusal of that sort.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Text == e.Text && t.Reason == e.Reason
}

// because returns a copy of e with a cause for the log. A cause never quotes
// the token.
func (e *Error) because(format string, args ...any) *Error {
	c := *e
	c.cause = fmt.Sprintf(format, args...)
	return &c
}

// Lacking returns an ErrForbidden that names the permissions required.
func Lacking(required ...string) *Error {
	e := *ErrForbidden
	e.Required = required
	return &e
}
