package outbound

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults and limits of Client.
const (
	// DefaultTimeout bounds one request: name, connection, TLS, answer.
	DefaultTimeout = 5 * time.Second
	// DefaultMaxBytes bounds the body of an answer.
	DefaultMaxBytes = 256 << 10

	maxHeaderBytes = 16 << 10
)

// What may become of a request. Every error of this package is one of them.
var (
	// ErrRefused means that the address may not be asked; nothing was sent.
	ErrRefused = errors.New("outbound request refused")
	// ErrUnreachable means that no answer came: name, connection, certificate
	// or time.
	ErrUnreachable = errors.New("outbound request failed")
	// ErrAnswer means that an answer came and is not what was asked for.
	ErrAnswer = errors.New("outbound answer refused")
)

// Resolver finds the addresses of a name; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer connects to an address, which is never a name; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Client asks servers whose addresses others chose. The zero Client is ready
// to use and speaks to public addresses on port 443 only. It follows no
// redirect, so that no header of a request goes where it was not sent; it keeps
// no cookies, no connection that a request does not ask to be kept, and takes no
// proxy from the environment. It is safe for concurrent use, and not to be copied.
type Client struct {
	Resolver Resolver       // net.DefaultResolver where nil
	Dialer   Dialer         // a net.Dialer where nil
	Roots    *x509.CertPool // the system's where nil
	Timeout  time.Duration  // of one request; DefaultTimeout where zero

	// Ports may be used besides 443.
	Ports []uint16
	// Networks may be reached although they are not public. An allowed network
	// is allowed whole: whoever allows 64:ff9b::/96 allows what the translator
	// reaches. On loopback, every port and http are allowed too.
	Networks []netip.Prefix

	once   sync.Once
	shared *http.Transport // holds the connections that are kept
}

// Request is one question.
type Request struct {
	Method string // GET where empty
	URL    string
	Header map[string]string
	Body   []byte

	Accept   []string // media types in lower case, one of which a 2xx answer with a body must have; any where empty
	MaxBytes int64    // of the answer's body; DefaultMaxBytes where zero

	// Keep, where not empty, lets the connection serve further requests with the
	// same Keep to the same host at the same addresses, one after another: who
	// shares one shares what its server may do to it. The host's addresses are
	// asked for and judged for each request all the same. Where a kept connection
	// fails before an answer begins the request is sent once more, so that it must
	// bear to arrive twice.
	Keep string
}

// Response is a whole answer. Its status may be any from 200 on: a redirect is
// an answer too.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do asks once. The error is ErrRefused, ErrUnreachable or ErrAnswer.
func (c *Client) Do(ctx context.Context, r Request) (Response, error) {
	t, err := parse(r.URL)
	if err != nil {
		return Response{}, err
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := c.resolve(ctx, t)
	if err != nil {
		return Response{}, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, t.url.String(), bytes.NewReader(r.Body))
	if err != nil {
		return Response{}, fmt.Errorf("%w: %s: not a request", ErrRefused, t.host)
	}
	req.Header.Set("User-Agent", "tokenhouse")
	if len(r.Accept) > 0 {
		req.Header.Set("Accept", strings.Join(r.Accept, ", "))
	}
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	transport, done := c.transportFor(&req, way{ctx, t, addrs}, r.Keep)
	defer done()
	res, err := transport.RoundTrip(req) // bare, it follows no redirect
	if err != nil {
		return Response{}, fmt.Errorf("%w: %s: %w", ErrUnreachable, t.host, err)
	}
	defer res.Body.Close()
	return r.read(res, t.host)
}

func (c *Client) resolver() Resolver {
	if c.Resolver == nil {
		return net.DefaultResolver
	}
	return c.Resolver
}

// read takes the answer as far as it is the one that was asked for.
func (r Request) read(res *http.Response, host string) (Response, error) {
	if res.StatusCode < 200 {
		return Response{}, fmt.Errorf("%w: %s answered %d", ErrAnswer, host, res.StatusCode)
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return Response{}, fmt.Errorf("%w: %s encoded the body, unasked", ErrAnswer, host)
	}
	limit := r.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if res.ContentLength > limit {
		return Response{}, fmt.Errorf("%w: %s announces %d bytes, at most %d are read", ErrAnswer, host, res.ContentLength, limit)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return Response{}, fmt.Errorf("%w: %s: read the answer: %w", ErrUnreachable, host, err)
	}
	if int64(len(body)) > limit {
		return Response{}, fmt.Errorf("%w: %s sends more than %d bytes", ErrAnswer, host, limit)
	}
	if ok := res.StatusCode < 300; ok && len(body) > 0 && len(r.Accept) > 0 && !hasType(res.Header, r.Accept) {
		return Response{}, fmt.Errorf("%w: %s sends %.100q, not %s", ErrAnswer, host, res.Header.Get("Content-Type"), strings.Join(r.Accept, " or "))
	}
	return Response{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// hasType reports whether an answer states one of the media types (RFC 9110
// §8.3), parameters aside.
func hasType(h http.Header, types []string) bool {
	stated, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && slices.Contains(types, stated)
}
