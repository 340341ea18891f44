package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
)

// ErrClock is what Ops.Ready answers where only the clock keeps the server from
// being ready.
var ErrClock = errors.New("our clock and the database's are too far apart")

// Ops is the listener for operators: never reachable from outside.
type Ops struct {
	// Metrics answers /metrics.
	Metrics http.Handler
	// Ready answers nil while requests can be served: the database answers and
	// the change feed is heard.
	Ready func(context.Context) error
	// Pprof adds /debug/pprof/.
	Pprof bool

	draining atomic.Bool
}

// Drain makes /readyz answer 503 from now on, so that load balancers send
// nobody new while the requests in flight are finished.
func (o *Ops) Drain() { o.draining.Store(true) }

// Handler returns the operators' routes.
func (o *Ops) Handler() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", o.Metrics)
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	m.HandleFunc("GET /readyz", o.ready)
	if o.Pprof {
		m.HandleFunc("GET /debug/pprof/", pprof.Index)
		m.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return m
}

// ready tells why not in words that hold no address and no name: whoever can
// reach this listener by mistake learns nothing of the database.
func (o *Ops) ready(w http.ResponseWriter, r *http.Request) {
	if o.draining.Load() {
		say(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if err := o.Ready(r.Context()); errors.Is(err, ErrClock) {
		say(w, http.StatusServiceUnavailable, "clock skew")
		return
	} else if err != nil {
		say(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	say(w, http.StatusOK, "ready")
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the prober may be gone
}
