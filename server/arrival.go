package server

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// maxUserAgent is how much of a User-Agent is kept, in bytes.
const maxUserAgent = 512

// requestTimeout is how long an answer may take, body included: less than
// WriteTimeout, so that the client still hears of it.
const requestTimeout = WriteTimeout - 5*time.Second

// arrive is the outermost handler: it names the request, finds out where it
// came from, and writes the access log when it is answered. A request id sent
// by the client is not used: ours leads to one request only.
func (s *Server) arrive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.Now()
		in := &inbound{id: ident.NewRequestID(now, s.Random), at: now, secure: s.proxies.overTLS(r)}
		in.origin = ident.Origin{IP: s.proxies.clientIP(r), UserAgent: userAgent(r), Request: in.id}
		in.caller = ident.Caller{Kind: ident.Anonymous, Origin: in.origin}
		w.Header().Set("X-Request-Id", string(in.id))
		out := &reply{ResponseWriter: w}
		in.whole = context.WithValue(s.traced(r, in), inboundKey{}, in)
		ctx, cancel := context.WithTimeout(in.whole, requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		defer s.depart(r, in, out)
		defer s.catch(out, r)
		next.ServeHTTP(out, r)
	})
}

// traced begins the span of a request. Only a proxy that is trusted may say which
// trace it is part of: a stranger would join traces of others, and have each of
// their own requests recorded.
func (s *Server) traced(r *http.Request, in *inbound) context.Context {
	if s.Observe.Tracer == nil {
		return r.Context()
	}
	a := tracing.Arrival{Method: r.Method, RequestID: string(in.id)}
	if peer, ok := hop(r.RemoteAddr); ok && s.proxies.trusts(peer) {
		if sent := r.Header.Values("Traceparent"); len(sent) == 1 {
			a.Parent = sent[0]
		}
	}
	ctx, end := s.Observe.Tracer.Request(r.Context(), a)
	in.traced = end
	return ctx
}

// userAgent is bounded and valid UTF-8, as the audit log must be able to keep it.
func userAgent(r *http.Request) string {
	ua := r.UserAgent()
	return strings.ReplaceAll(strings.ToValidUTF8(ua[:min(len(ua), maxUserAgent)], ""), "\x00", "")
}

// catch turns a panic into a 500. The stack is in the log only (SEC-DOS-17).
func (s *Server) catch(out *reply, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it this way
		panic(p)
	}
	in := inboundOf(r.Context())
	s.Log.ErrorContext(r.Context(), "panic", "request_id", in.id, "route", in.route, "panic", p, "stack", string(debug.Stack()))
	if out.status != 0 {
		panic(http.ErrAbortHandler) // the reply has begun: all that is left is to break it off
	}
	clear(out.Header())
	out.Header().Set("X-Request-Id", string(in.id))
	s.fail(out, r, fault.Internal)
}

// depart writes one line. It holds the route's template and never the path or
// the query, because people paste credentials into both.
func (s *Server) depart(r *http.Request, in *inbound, out *reply) {
	took := s.Now().Sub(in.at)
	status := cmp.Or(out.status, http.StatusOK)
	s.remember(in, status)
	if s.Observe.Request != nil {
		s.Observe.Request(in.route, r.Method, status, took)
	}
	const most = 11 // with these, no allocation for the list
	attrs := append(make([]slog.Attr, 0, most),
		slog.String("request_id", string(in.id)), slog.String("method", r.Method[:min(len(r.Method), 16)]), slog.String("route", cmp.Or(in.route, "unmatched")),
		slog.Int("status", status), slog.Duration("took", took), slog.Int64("bytes", out.bytes),
		slog.String("ip", addressText(in.origin.IP)), slog.String("user_agent", in.origin.UserAgent),
	)
	if in.code != "" {
		attrs = append(attrs, slog.String("code", in.code))
	}
	if in.caller.Kind != ident.Anonymous {
		attrs = append(attrs, slog.String("caller", in.caller.ID()), slog.String("org", string(in.caller.Org)))
	}
	s.Log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
	if in.traced != nil {
		in.traced(tracing.Departure{Route: in.route, Status: status, Code: in.code})
	}
}

// reply remembers what was answered.
type reply struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (w *reply) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *reply) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }
