package demo

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
)

// Within carries requests to a handler of this process, as the network would.
// handler is asked for at each request, so that the handler may be made later
// than the transport.
func Within(handler func() http.Handler) http.RoundTripper { return within{handler} }

type within struct{ handler func() http.Handler }

// arrival is where the request that we answer came from. In one process
// tokenhouse must see that address, and not its own.
type arrival struct {
	remote    string
	forwarded []string
}

type arrivedKey struct{}

// RoundTrip implements http.RoundTripper.
func (t within) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	in.RequestURI = req.URL.RequestURI()
	in.Host = req.URL.Host
	in.RemoteAddr = "127.0.0.1:0"
	in.Body = http.NoBody
	if a, ok := req.Context().Value(arrivedKey{}).(arrival); ok {
		in.RemoteAddr = a.remote
		in.Header["X-Forwarded-For"] = a.forwarded
	}
	if req.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: req.URL.Hostname()}
	}
	out := &recorder{header: http.Header{}}
	t.handler().ServeHTTP(out, in)
	if out.status == 0 {
		out.WriteHeader(http.StatusOK)
	}
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.sent, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: req,
	}, nil
}

// recorder keeps what a handler answers. Headers count as they stood when the
// first byte was sent, as on the network.
type recorder struct {
	header http.Header
	sent   http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status, r.sent = status, r.header.Clone()
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}
