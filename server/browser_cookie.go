package server

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// browserSize is the size of what names a browser, in bytes.
const browserSize = 16

// browserMaxAge is how long a browser keeps its name. It is no credential.
const browserMaxAge = 30 * 24 * time.Hour

// newBrowser names a browser that has no name yet: 128 random bits.
func newBrowser(random io.Reader) (string, error) {
	b, err := secret.Bytes(random, browserSize)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// browserName accepts a name that newBrowser could have made. Any other came
// from somebody else and counts as none.
func browserName(value string) string {
	if strings.ContainsAny(value, "\r\n") { // which base64 would skip
		return ""
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(value); err != nil || len(b) != browserSize {
		return ""
	}
	return value
}

// setBrowser gives the browser its name.
func (s *Server) setBrowser(h http.Header, name string) {
	j := s.jar()
	add(h, j.set(j.browser, everywhere, name, browserMaxAge))
}

// setBrowserSession puts the session at our own pages into the browser's jar;
// an empty value takes it away, with the attributes it was set with (SEC-WEB-10).
func (s *Server) setBrowserSession(h http.Header, value string) {
	j, age := s.jar(), s.Pages.SessionTTL
	if value == "" {
		age = 0
	}
	add(h, j.set(j.session, everywhere, value, age))
}
