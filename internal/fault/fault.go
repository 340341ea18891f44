// Package fault defines the one kind of error that may reach a caller.
// Any other error is internal: it is logged, and the caller learns nothing
// but the request id.
package fault

import (
	"errors"
	"time"
)

// Code names a failure. Clients program against codes, so a code is never
// renamed and never reused. A Code is itself an error, so that
// errors.Is(err, fault.NotFound) reads well.
type Code string

// The failures tokenhouse knows. The server's error table has one row for
// each, and a test compares the two.
const (
	// Internal is every failure the caller can do nothing about.
	Internal Code = "internal"
	// Unavailable means a dependency (the database, the hashing pool, a stale
	// change feed) cannot answer now; retrying later helps.
	Unavailable Code = "unavailable"

	// Malformed is a body or parameter that cannot be read at all.
	Malformed Code = "malformed"
	// TooLarge is a body over the limit.
	TooLarge Code = "too_large"
	// UnsupportedMedia is a body of a content type we do not read.
	UnsupportedMedia Code = "unsupported_media"
	// MethodNotAllowed is a known path with another method.
	MethodNotAllowed Code = "method_not_allowed"
	// Invalid is a readable request with values we refuse; Fields says which.
	Invalid Code = "invalid"
	// InvalidCursor is a page cursor that we did not issue for this list.
	InvalidCursor Code = "invalid_cursor"

	// Unauthenticated means no credential was presented.
	Unauthenticated Code = "unauthenticated"
	// InvalidToken is an access or refresh token that is no good; Reason says why.
	InvalidToken Code = "invalid_token"
	// InvalidAPIKey is an API key that is no good; why is never told.
	InvalidAPIKey Code = "invalid_api_key"
	// AmbiguousCredentials means several credentials were presented where one
	// must be chosen.
	AmbiguousCredentials Code = "ambiguous_credentials"
	// InvalidCredentials is a wrong identifier or password; which is never told.
	InvalidCredentials Code = "invalid_credentials"
	// AccountLocked means too many failed attempts; RetryAfter says how long.
	AccountLocked Code = "account_locked"
	// AccountDisabled is told only after a right password.
	AccountDisabled Code = "account_disabled"

	// InsufficientPermissions names in Required what the credential lacks.
	InsufficientPermissions Code = "insufficient_permissions"
	// CrossOrigin is a cookie-authenticated change asked for by another site.
	CrossOrigin Code = "cross_origin"
	// InsecureTransport is cleartext HTTP where the issuer is https.
	InsecureTransport Code = "insecure_transport"

	// NotFound is a thing that does not exist, or not in the caller's organisation.
	NotFound Code = "not_found"
	// Conflict is a change that the present state does not allow.
	Conflict Code = "conflict"
	// RateLimited means slow down; RetryAfter says how long.
	RateLimited Code = "rate_limited"

	// UnsupportedGrant is a grant_type we do not have (RFC 6749 §5.2).
	UnsupportedGrant Code = "unsupported_grant"
	// InvalidClient is a client that is unknown, disabled or did not prove who it
	// is; which is never told (RFC 6749 §5.2).
	InvalidClient Code = "invalid_client"
	// UnauthorizedClient is a client that may not use this grant (RFC 6749 §5.2).
	UnauthorizedClient Code = "unauthorized_client"
	// InvalidScope is a scope that is unknown or exceeds the grant (RFC 6749 §5.2).
	InvalidScope Code = "invalid_scope"
	// InvalidTarget is a resource that is unknown or was not granted (RFC 8707 §2).
	InvalidTarget Code = "invalid_target"
	// InvalidRedirectURI is a registration with a redirect URI that we refuse
	// (RFC 7591 §3.2.2).
	InvalidRedirectURI Code = "invalid_redirect_uri"
	// InvalidClientMetadata is a registration with any other value that we
	// refuse (RFC 7591 §3.2.2).
	InvalidClientMetadata Code = "invalid_client_metadata"
)

// Codes lists every code; the wire table is tested against it.
func Codes() []Code {
	return []Code{
		Internal, Unavailable,
		Malformed, TooLarge, UnsupportedMedia, MethodNotAllowed, Invalid, InvalidCursor,
		Unauthenticated, InvalidToken, InvalidAPIKey, AmbiguousCredentials, InvalidCredentials, AccountLocked, AccountDisabled,
		InsufficientPermissions, CrossOrigin, InsecureTransport,
		NotFound, Conflict, RateLimited,
		UnsupportedGrant, InvalidClient, UnauthorizedClient, InvalidScope, InvalidTarget,
		InvalidRedirectURI, InvalidClientMetadata,
	}
}

func (c Code) Error() string { return string(c) }

// Field is one refused value of a request (code VALIDATION_FAILED).
type Field struct {
	Name   string `json:"name"`   // JSON path of the field: "permissions[1]"
	Detail string `json:"detail"` // what is wrong and what would be right
}

// Error is a failure with details that are safe to show to the caller.
type Error struct {
	Code       Code
	Detail     string        // one sentence for the caller; never contains a secret or a cause
	Reason     string        // machine-readable refinement: "expired", "revoked", "reuse_detected", "idle", "stale"
	Fields     []Field       // for Invalid
	Required   []string      // for InsufficientPermissions: what is lacking
	RetryAfter time.Duration // zero when waiting does not help
	Cause      error         // for the log only
}

// New returns a failure with a detail for the caller.
func New(code Code, detail string) *Error { return &Error{Code: code, Detail: detail} }

// Wrap is New with a cause for the log.
func Wrap(cause error, code Code, detail string) *Error {
	return &Error{Code: code, Detail: detail, Cause: cause}
}

// Refuse returns an Invalid failure for one field.
func Refuse(field, detail string) *Error {
	return Refusals([]Field{{Name: field, Detail: detail}})
}

// Refusals returns an Invalid failure for all the fields, or nil for none.
func Refusals(fields []Field) *Error {
	if len(fields) == 0 {
		return nil
	}
	return &Error{Code: Invalid, Detail: fields[0].Name + ": " + fields[0].Detail, Fields: fields}
}

// Lacking returns an InsufficientPermissions failure that names what is required.
func Lacking(required ...string) *Error {
	return &Error{Code: InsufficientPermissions, Detail: "The credential lacks a required permission.", Required: required}
}

// Because sets the machine-readable reason and returns e.
func (e *Error) Because(reason string) *Error { e.Reason = reason; return e }

// After sets how long to wait and returns e.
func (e *Error) After(d time.Duration) *Error { e.RetryAfter = d; return e }

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, code) true for a failure of that code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Of returns err as a failure. An error that is not one becomes Internal.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var c Code
	if errors.As(err, &c) {
		return &Error{Code: c, Cause: err}
	}
	return &Error{Code: Internal, Cause: err}
}
