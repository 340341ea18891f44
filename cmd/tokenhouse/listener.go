package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tokenhouse/tokenhouse/server"
)

// farewell is how long a stopping server lets clients that keep a connection
// come once more, so that they hear that it closes: who asks just as it is
// closed would get no answer.
const farewell = 250 * time.Millisecond

// listener is an address that answers from the start; what it answers changes
// once the house is open.
type listener struct {
	net     net.Listener
	server  *http.Server
	handler atomic.Pointer[http.Handler]
	leaving atomic.Bool
	open    atomic.Int64  // connections
	empty   chan struct{} // told when the last connection has gone
}

func listen(addr string, before http.Handler, log *slog.Logger) (*listener, error) {
	n, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; another server may be running, or choose another address with --listen or --ops-listen", err)
	}
	l := &listener{net: n, empty: make(chan struct{}, 1)}
	l.become(before)
	l.server = server.HTTPServer(http.HandlerFunc(l.answer), log)
	l.server.ConnState = l.count
	return l, nil
}

func (l *listener) answer(w http.ResponseWriter, r *http.Request) {
	if l.leaving.Load() {
		w.Header().Set("Connection", "close") // RFC 9112 §9.6
	}
	(*l.handler.Load()).ServeHTTP(w, r)
}

func (l *listener) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		l.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		if l.open.Add(-1) == 0 {
			select {
			case l.empty <- struct{}{}:
			default:
			}
		}
	}
}

func (l *listener) become(h http.Handler) { l.handler.Store(&h) }

// linger goes on answering for the given time, so that load balancers notice,
// and then until every connection has been told that it closes, within farewell.
func (l *listener) linger(d time.Duration) {
	l.leaving.Store(true)
	time.Sleep(d)
	last := time.NewTimer(farewell)
	defer last.Stop()
	for l.open.Load() > 0 {
		select {
		case <-l.empty:
		case <-last.C:
			return
		}
	}
}

// close ends what a failed start leaves; after a good end there is nothing left.
func (l *listener) close() { _ = l.server.Close() }

func (l *listener) addr() string { return l.net.Addr().String() }

// serve returns nil after a Shutdown or Close.
func (l *listener) serve() error {
	if err := l.server.Serve(l.net); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
