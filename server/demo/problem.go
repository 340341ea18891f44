package demo

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// problem is the body of a refusal of ours, in the shape that tokenhouse's own
// have (RFC 9457).
type problem struct {
	Type       string  `json:"type"`
	Title      string  `json:"title"`
	Status     int     `json:"status"`
	Detail     string  `json:"detail"`
	StatusCode int     `json:"status_code"`
	Code       string  `json:"code"`
	Error      string  `json:"error"`
	RequestID  string  `json:"request_id,omitempty"`
	Fields     []field `json:"fields,omitempty"`
}

type field struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// refuse makes a problem. Codes and texts are those of tokenhouse, so that a
// client needs one reader for both.
func refuse(status int, code, text, detail string) problem {
	kind := strings.ReplaceAll(strings.ToLower(code), "_", "-")
	title := strings.ToUpper(text[:1]) + text[1:]
	return problem{Type: "urn:tokenhouse:problem:" + kind, Title: title, Status: status, StatusCode: status, Code: code, Error: text, Detail: detail}
}

var (
	errNotFound  = refuse(http.StatusNotFound, "NOT_FOUND", "not found", "There is no such thing here.")
	errMethod    = refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "method not allowed", "This path does not answer this method.")
	errMalformed = refuse(http.StatusBadRequest, "INVALID_REQUEST", "invalid request", "The body is not one JSON object.")
	errTooLarge  = refuse(http.StatusRequestEntityTooLarge, "BODY_TOO_LARGE", "body too large", "The body is larger than 64 KiB.")
	errMedia     = refuse(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "unsupported media type", "Send application/json.")
	errCursor    = refuse(http.StatusBadRequest, "INVALID_CURSOR", "invalid cursor", "The cursor does not belong to this list.")
	errInternal  = refuse(http.StatusInternalServerError, "INTERNAL", "internal error", "Something went wrong on our side.")
	errFull      = refuse(http.StatusConflict, "CONFLICT", "conflict", "The demonstration keeps no more rows; delete some.")
)

// invalid names the one field that was refused.
func invalid(name, detail string) *problem {
	p := refuse(http.StatusUnprocessableEntity, "VALIDATION_FAILED", "validation failed", name+": "+detail)
	p.Fields = []field{{name, detail}}
	return &p
}

func fail(w http.ResponseWriter, p problem) {
	p.RequestID = w.Header().Get("X-Request-Id")
	w.Header().Set("Cache-Control", "no-store")
	write(w, p.Status, "application/problem+json", p)
}

func answer(w http.ResponseWriter, status int, body any) { write(w, status, "application/json", body) }

func write(w http.ResponseWriter, status int, mediaType string, body any) {
	text, err := json.Marshal(body)
	if err != nil { // strings, numbers and times of this era always encode
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
