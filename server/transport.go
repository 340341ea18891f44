package server

import (
	"log/slog"
	"maps"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// What the listener should be set to, so that a slow or greedy client cannot
// hold on to it (SEC-DOS-01, SEC-DOS-03).
const (
	ReadHeaderTimeout = 5 * time.Second
	ReadTimeout       = 15 * time.Second
	WriteTimeout      = 30 * time.Second
	IdleTimeout       = 2 * time.Minute
	MaxHeaderBytes    = 32 << 10
)

// HTTPServer serves h under these limits. What net/http has to say of its
// clients is logged at debug level.
func HTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: ReadHeaderTimeout, ReadTimeout: ReadTimeout, WriteTimeout: WriteTimeout,
		IdleTimeout: IdleTimeout, MaxHeaderBytes: MaxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// hsts leaves subdomains out: what runs there is not ours to decide.
const hsts = "max-age=63072000"

// everyReply is shared by all replies: its values are replaced, never changed.
var everyReply = http.Header{
	"Cache-Control":           {"no-store"},
	"X-Content-Type-Options":  {"nosniff"},
	"X-Frame-Options":         {"DENY"},
	"Referrer-Policy":         {"same-origin"},
	"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"},
}

// protect sets the headers that every reply has, and answers nothing over
// cleartext where the issuer is https (O38). What a reply carries is stored
// nowhere unless its handler says otherwise (SEC-OAU-64).
func (s *Server) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), everyReply)
		if s.origins.https {
			if !inboundOf(r.Context()).secure {
				s.fail(w, r, fault.New(fault.InsecureTransport, "This service answers over https only."))
				return
			}
			w.Header().Set("Strict-Transport-Security", hsts)
		}
		asked := aboutAnother(r)
		if !canonical(asked) {
			s.fail(w, r, fault.NotFound)
			return
		}
		if err := s.origins.refuseForgery(r); err != nil {
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, asked)
	})
}

// canonical reports whether the path has its one spelling. Every other spelling
// is a path that does not exist, so that no proxy before us can be talked into
// seeing another route than we do (SEC-INJ-11).
func canonical(r *http.Request) bool {
	p := r.URL.Path
	return r.URL.RawPath == "" && path.Clean(p) == p && !strings.ContainsAny(p, ";\\%") && printable(p)
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}
