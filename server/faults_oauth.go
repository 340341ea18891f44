package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// oauthFailure is the body of a failure at an OAuth endpoint (RFC 6749 §5.2).
type oauthFailure struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id"` // ours, as in every failure
}

// failOAuth is fail for the endpoints whose failures RFC 6749 §5.2 words. It
// reads the same table.
func (s *Server) failOAuth(w http.ResponseWriter, r *http.Request, err error) {
	f, in := fault.Of(err), inboundOf(r.Context())
	if f.Code == fault.Internal && r.Context().Err() != nil {
		f = fault.Wrap(err, fault.Unavailable, "") // out of time, not out of order
	}
	row, ok := wires[f.Code]
	if !ok {
		row = wires[fault.Internal]
	}
	status, name := oauthForm(f.Code, row)
	body := oauthFailure{Error: name, Description: quotable(row.detail), RequestID: string(in.id)}
	h := w.Header()
	switch {
	case status >= http.StatusInternalServerError:
		s.Log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.Any("request_id", in.id), slog.String("route", in.route),
			slog.String("code", string(f.Code)), slog.String("err", err.Error()))
	case f.Detail != "":
		body.Description = quotable(f.Detail)
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="tokenhouse", charset="UTF-8"`) // RFC 9110 §11.6.1: every 401 has one
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(f.RetryAfter))
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	text, _ := json.Marshal(body) // strings: cannot fail
	h.Set("Content-Length", strconv.Itoa(len(text)))
	in.code, in.failed = row.code, f
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may be gone
}

// oauthForm is the status and the error code of a failure. A token that was
// presented to be exchanged is a grant that is no good; what cannot be read is
// 400, whatever is wrong with it.
func oauthForm(c fault.Code, row wire) (status int, name string) {
	switch {
	case c == fault.InvalidClient, c == fault.TooLarge, c == fault.RateLimited, row.status >= http.StatusInternalServerError:
		return row.status, row.oauth
	case c == fault.InvalidToken:
		return http.StatusBadRequest, "invalid_grant"
	default:
		return http.StatusBadRequest, row.oauth
	}
}
