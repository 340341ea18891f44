package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens/verify"
)

// wire is how a fault looks outside.
type wire struct {
	status int
	code   string // the code member; clients program against it
	text   string // the error member, as the KubeWatch document words it
	title  string // the title member (RFC 9457 §3.1.3)
	detail string // the detail member where the fault brings none
	oauth  string // the error parameter of RFC 6749 §5.2 and RFC 6750 §3.1
}

// wires has one row for every fault.Code; a test compares the two.
var wires = map[fault.Code]wire{
	fault.Internal:    {500, "INTERNAL", "internal error", "Internal error", "Something went wrong on our side.", "server_error"},
	fault.Unavailable: {503, "UNAVAILABLE", "unavailable", "Temporarily unavailable", "The service cannot answer now. Try again later.", "temporarily_unavailable"},

	fault.Malformed:        {400, "INVALID_REQUEST", "invalid request", "Invalid request", "The request cannot be read.", "invalid_request"},
	fault.TooLarge:         {413, "BODY_TOO_LARGE", "body too large", "Body too large", "The body is larger than 64 KiB.", "invalid_request"},
	fault.UnsupportedMedia: {415, "UNSUPPORTED_MEDIA_TYPE", "unsupported media type", "Unsupported media type", "Send application/json.", "invalid_request"},
	fault.MethodNotAllowed: {405, "METHOD_NOT_ALLOWED", "method not allowed", "Method not allowed", "This path does not answer this method.", "invalid_request"},
	fault.Invalid:          {422, "VALIDATION_FAILED", "validation failed", "Validation failed", "Some values were refused.", "invalid_request"},
	fault.InvalidCursor:    {400, "INVALID_CURSOR", "invalid cursor", "Invalid cursor", "The cursor does not belong to this list.", "invalid_request"},

	fault.Unauthenticated:      {401, "INVALID_TOKEN", "unauthorized", "Unauthorized", "No credential was presented.", "invalid_token"},
	fault.InvalidToken:         {401, "INVALID_TOKEN", "invalid token", "Invalid token", "The token is invalid.", "invalid_token"},
	fault.InvalidAPIKey:        {401, "INVALID_API_KEY", "unauthorized", "Invalid API key", "The API key is invalid.", "invalid_token"},
	fault.AmbiguousCredentials: {400, "AMBIGUOUS_CREDENTIALS", "ambiguous credentials", "Ambiguous credentials", "Present exactly one credential.", "invalid_request"},
	fault.InvalidCredentials:   {401, "INVALID_CREDENTIALS", "unauthorized", "Invalid credentials", "Invalid email or password.", "invalid_grant"},
	fault.AccountLocked:        {423, "ACCOUNT_LOCKED", "account locked", "Account locked", "Too many failed attempts. Try again later.", "access_denied"},
	fault.AccountDisabled:      {403, "ACCOUNT_DISABLED", "account disabled", "Account disabled", "The account is disabled.", "access_denied"},

	fault.InsufficientPermissions: {403, "INSUFFICIENT_PERMISSIONS", "forbidden", "Insufficient permissions", "The credential lacks a required permission.", "insufficient_scope"},
	fault.CrossOrigin:             {403, "CROSS_ORIGIN", "forbidden", "Cross-origin request", "Another site may not do this with the browser's cookies.", "access_denied"},
	fault.InsecureTransport:       {403, "INSECURE_TRANSPORT", "https required", "HTTPS required", "Use https.", "invalid_request"},

	fault.NotFound:    {404, "NOT_FOUND", "not found", "Not found", "There is no such thing here.", "invalid_request"},
	fault.Conflict:    {409, "CONFLICT", "conflict", "Conflict", "The present state does not allow this.", "invalid_request"},
	fault.RateLimited: {429, "RATE_LIMITED", "rate limited", "Too many requests", "Slow down.", "slow_down"},

	fault.UnsupportedGrant:   {400, "UNSUPPORTED_GRANT_TYPE", "unsupported grant type", "Unsupported grant type", "This grant type is not supported.", "unsupported_grant_type"},
	fault.InvalidClient:      {401, "INVALID_CLIENT", "invalid client", "Invalid client", "The client is unknown or did not prove who it is.", "invalid_client"},
	fault.UnauthorizedClient: {400, "UNAUTHORIZED_CLIENT", "unauthorized client", "Unauthorized client", "The client may not use this grant.", "unauthorized_client"},
	fault.InvalidScope:       {400, "INVALID_SCOPE", "invalid scope", "Invalid scope", "The scope is unknown or exceeds the grant.", "invalid_scope"},
	fault.InvalidTarget:      {400, "INVALID_TARGET", "invalid target", "Invalid target", "The resource is unknown or was not granted.", "invalid_target"},

	fault.InvalidRedirectURI:    {400, "INVALID_REDIRECT_URI", "invalid redirect URI", "Invalid redirect URI", "A redirect URI was refused.", "invalid_redirect_uri"},
	fault.InvalidClientMetadata: {400, "INVALID_CLIENT_METADATA", "invalid client metadata", "Invalid client metadata", "Some metadata of the client was refused.", "invalid_client_metadata"},
}

// Reasons of an InvalidToken fault that have a text of their own in the error
// member.
var reasonTexts = map[string]string{
	verify.ErrExpired.Reason: verify.ErrExpired.Text,
	verify.ErrRevoked.Reason: verify.ErrRevoked.Text,
	verify.ErrNoOrg.Reason:   verify.ErrNoOrg.Text,
}

// problem is the body of every 4xx and 5xx: RFC 9457, and the members that the
// two source documents promise.
type problem struct {
	Type       string        `json:"type"`
	Title      string        `json:"title"`
	Status     int           `json:"status"`
	Detail     string        `json:"detail"`
	StatusCode int           `json:"status_code"`
	Code       string        `json:"code"`
	Error      string        `json:"error"`
	RequestID  string        `json:"request_id"`
	Reason     string        `json:"reason,omitempty"`
	Fields     []fault.Field `json:"fields,omitempty"`
	Required   []string      `json:"required,omitempty"`
	Proof      *challenge    `json:"proof,omitempty"`
}

// forgetting is a failure that also clears the session cookies.
type forgetting struct{ error }

func (f forgetting) Unwrap() error { return f.error }

// fail is the only way a failure becomes a response. What is 500 and above is
// logged here, once; the caller learns its request id and nothing else.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, in := fault.Of(err), inboundOf(r.Context())
	if f.Code == fault.Internal && r.Context().Err() != nil {
		f = fault.Wrap(err, fault.Unavailable, "") // out of time, not out of order
	}
	row, ok := wires[f.Code]
	if !ok {
		row = wires[fault.Internal]
	}
	p := problem{
		Type: "urn:tokenhouse:problem:" + strings.ToLower(strings.ReplaceAll(row.code, "_", "-")), Title: row.title,
		Status: row.status, StatusCode: row.status, Code: row.code, Error: row.text, Detail: row.detail, RequestID: string(in.id),
	}
	if row.status >= http.StatusInternalServerError {
		level := slog.LevelError
		if errors.Is(r.Context().Err(), context.Canceled) {
			level = slog.LevelInfo // the client went away: that is no failure of ours
		}
		s.Log.Log(r.Context(), level, "request failed", "request_id", in.id, "route", in.route, "code", f.Code, "err", err.Error())
	} else {
		p.Reason, p.Fields, p.Required, p.Proof = f.Reason, f.Fields, f.Required, challengeOf(err)
		if f.Detail != "" {
			p.Detail = f.Detail
		}
		if t, ok := reasonTexts[f.Reason]; ok && f.Code == fault.InvalidToken {
			p.Error = t
		}
	}
	h := w.Header()
	if f.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(f.RetryAfter))
	}
	if c := authenticateWith(f, row, p.Detail); c != "" {
		h.Set("WWW-Authenticate", c)
	}
	if errors.As(err, new(forgetting)) {
		s.clearSession(h)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	body, _ := json.Marshal(p) // strings and slices of them: cannot fail
	h.Set("Content-Length", strconv.Itoa(len(body)))
	in.code, in.failed = row.code, f
	w.WriteHeader(row.status)
	_, _ = w.Write(body) // the client may be gone
}

// retryAfter is whole seconds, rounded up so that a client that obeys is not
// early (RFC 9110 §10.2.3).
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}

// authenticateWith is the WWW-Authenticate of a 401 or of a 403 for lack of scope
// (RFC 6750 §3). A refused password has none: a browser would open its own
// dialog for it.
func authenticateWith(f *fault.Error, row wire, detail string) string {
	const scheme = `Bearer realm="tokenhouse"`
	switch f.Code {
	case fault.Unauthenticated:
		return scheme // RFC 6750 §3.1: no error code where no credential was sent
	case fault.InvalidToken, fault.InvalidAPIKey:
		return scheme + `, error="` + row.oauth + `", error_description="` + quotable(detail) + `"`
	case fault.InsufficientPermissions:
		c := scheme + `, error="` + row.oauth + `"`
		if len(f.Required) > 0 {
			c += `, scope="` + quotable(strings.Join(f.Required, " ")) + `"`
		}
		return c
	default:
		return ""
	}
}

// quotable keeps the characters that RFC 6750 §3 allows in error_description.
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, s)
}
