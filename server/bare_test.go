package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

var noon = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

// bare is a server without services, for what needs none.
func bare(t testing.TB, conf Config) (*Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	if conf.Issuer == "" {
		conf.Issuer = "http://localhost:8080"
	}
	if conf.APIKeyPrefix == "" {
		conf.APIKeyPrefix = "th_live"
	}
	s := &Server{
		Config: conf, Now: func() time.Time { return noon }, Random: rand.Reader,
		Services: Services{Ring: &signing.Ring{}}, // the metadata name its algorithms
		Log:      slog.New(slog.NewJSONHandler(&log, nil)), Cursors: testKeys{1: []byte("0123456789abcdef0123456789abcdef")},
	}
	return s, &log
}

// mounted serves one handler of the test's own under the server's rules.
func mounted(t testing.TB, s *Server, method, path string, h http.HandlerFunc) http.Handler {
	t.Helper()
	s.Mounts = append(s.Mounts, Mount{Method: method, Path: path, Handler: h, Public: true})
	handler, err := s.Handler()
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// ask sends one request to h.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// echo serves an endpoint that returns its request.
func echo[Req any](t testing.TB) http.Handler {
	t.Helper()
	s, _ := bare(t, Config{})
	s.Config.Registration = true
	if _, err := s.Handler(); err != nil {
		t.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.POST("/:id", handle(s, http.StatusOK, func(_ context.Context, _ ident.Caller, r Req) (Req, error) { return r, nil }))
	return s.arrive(s.protect(e))
}

type testKeys map[uint8][]byte

func (k testKeys) Current() (uint8, []byte) {
	id := uint8(len(k))
	return id, k[id]
}

func (k testKeys) ByID(id uint8) ([]byte, bool) {
	key, ok := k[id]
	return key, ok
}
