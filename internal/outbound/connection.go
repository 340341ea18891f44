package outbound

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	dialTimeout = 2 * time.Second // for each address, so that a dead one leaves time for the next

	// How long and how many connections are kept for the next request.
	keptFor = 30 * time.Second
	maxKept = 128
)

// way is where a request may go: to the addresses of its target that were just
// judged, until ctx ends.
type way struct {
	ctx    context.Context
	target target
	addrs  []netip.AddrPort
}

type wayKey struct{}

// transportFor returns what carries req, and what to do when the answer was read.
//
// Without keep that is a transport of the request's own. With it it is a shared
// one, and the host by which that knows its connections is not the target's: it
// is a hash of everything that requests must have in common to share one, the
// permitted addresses among it, so that a name that moves leads nobody to where
// it was.
func (c *Client) transportFor(req **http.Request, w way, keep string) (*http.Transport, func()) {
	ctx := context.WithValue(w.ctx, wayKey{}, w)
	if keep == "" {
		*req = (*req).WithContext(ctx)
		own := c.transport()
		own.DisableKeepAlives = true
		return own, own.CloseIdleConnections
	}
	c.once.Do(func() { c.shared = c.transport() })
	var used *bounded
	until, _ := w.ctx.Deadline()
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		conn := i.Conn
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		used = conn.(*bounded)
		used.serve(*req, until)
	}}
	*req = (*req).WithContext(httptrace.WithClientTrace(ctx, trace))
	r := *req
	r.Host = w.target.url.Host
	r.URL.Host = w.shared(keep)
	r.Header["Idempotency-Key"] = nil // not sent; it says that the request may be sent again
	return c.shared, func() {
		if used != nil {
			used.rest(r)
		}
	}
}

// shared names what the requests have in common that may share a connection.
func (w way) shared(keep string) string {
	addrs := make([]string, len(w.addrs))
	for i, a := range w.addrs {
		addrs[i] = a.String()
	}
	slices.Sort(addrs) // a name's addresses come in any order
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", keep, w.target.url.Host, strings.Join(addrs, " ")))
	return hex.EncodeToString(sum[:16])
}

func (c *Client) transport() *http.Transport {
	plain := new(http.Protocols)
	plain.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil, // a proxy would resolve the name again, for itself
		DialContext:            c.connect,
		DialTLSContext:         c.connectTLS,
		DisableCompression:     true, // so that what is counted is what was sent
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           maxKept,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        keptFor,
		Protocols:              plain,
	}
}

// connect connects to the first of the request's addresses that answers; what
// the transport calls the address is of no meaning.
func (c *Client) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	w := ctx.Value(wayKey{}).(way)
	var d Dialer = &net.Dialer{}
	if c.Dialer != nil {
		d = c.Dialer
	}
	var failures []error
	for _, a := range w.addrs {
		one, cancel := context.WithTimeout(w.ctx, dialTimeout)
		conn, err := d.DialContext(one, "tcp", a.String())
		cancel()
		if err == nil {
			b := &bounded{Conn: conn}
			until, _ := w.ctx.Deadline()
			b.serve(nil, until)
			return b, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func (c *Client) connectTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := c.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := ctx.Value(wayKey{}).(way)
	conn := tls.Client(raw, &tls.Config{RootCAs: c.Roots, ServerName: w.target.host, MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(w.ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// bounded is a connection that nothing keeps open for longer than its request,
// not even the closing of TLS, which would grant itself five seconds more.
// Between two requests nothing may come on it.
type bounded struct {
	net.Conn

	mu    sync.Mutex
	of    *http.Request // the one being served; nil at first
	rests bool
	until time.Time // zero while it rests
}

// serve begins the time of a request.
func (b *bounded) serve(r *http.Request, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of, b.until, b.rests = r, until, false
	_ = b.Conn.SetDeadline(until) // where it fails the connection is closed, which shows at its next use
}

// rest ends the time of a request, unless another was begun.
func (b *bounded) rest(r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == r {
		b.until, b.rests = time.Time{}, true
		_ = b.Conn.SetDeadline(time.Time{})
	}
}

// Read ends the connection where something comes that nobody asked for: it would
// be taken for the next request's answer, or logged.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rests {
		return 0, io.EOF
	}
	return n, err
}

func (b *bounded) SetDeadline(t time.Time) error      { return b.Conn.SetDeadline(b.earlier(t)) }
func (b *bounded) SetReadDeadline(t time.Time) error  { return b.Conn.SetReadDeadline(b.earlier(t)) }
func (b *bounded) SetWriteDeadline(t time.Time) error { return b.Conn.SetWriteDeadline(b.earlier(t)) }

func (b *bounded) earlier(t time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.until.IsZero() && (t.IsZero() || t.After(b.until)) {
		return b.until
	}
	return t
}
