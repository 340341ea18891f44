package outbound_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// script runs a server that does what it likes with each connection to here,
// inside a bubble where time passes only while everybody waits.
func (i *internet) script(talk func(net.Conn)) {
	var talking sync.WaitGroup
	i.t.Cleanup(talking.Wait)
	i.name("client.example", here)
	i.host(here+":443", func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		talking.Go(func() {
			defer server.Close()
			talk(server)
		})
		return client, nil
	})
}

// speak runs talk after the handshake and the request.
func (i *internet) speak(talk func(io.ReadWriter)) {
	conf := i.tls("client.example")
	i.script(func(raw net.Conn) {
		conn := tls.Server(raw, conf)
		defer conn.Close()
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			i.t.Errorf("the server got %v", err)
			return
		}
		_ = req.Body.Close()
		talk(conn)
	})
}

// drip writes piece once in every interval until nobody reads.
func drip(w io.Writer, piece string, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(w, piece); err != nil {
			return
		}
	}
}

// hear says nothing and reads until the other side closes.
func hear(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

// flood writes piece until nobody reads, and counts the bytes.
func flood(w io.Writer, piece string, sent *int) {
	for {
		n, err := io.WriteString(w, piece)
		*sent += n
		if err != nil {
			return
		}
	}
}

const okHeader = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// SEC-INJ-14: whatever a server delays, it is given up after the timeout.
func TestSlowServersAreGivenUp(t *testing.T) {
	for name, talk := range map[string]func(io.ReadWriter){
		"no answer":    func(w io.ReadWriter) { hear(w) },
		"slow header":  func(w io.ReadWriter) { _, _ = io.WriteString(w, okHeader); drip(w, "X: y\r\n", time.Second) },
		"slow body":    func(w io.ReadWriter) { _, _ = io.WriteString(w, okHeader+"\r\n"); drip(w, "{", time.Second) },
		"stopped body": func(w io.ReadWriter) { _, _ = io.WriteString(w, okHeader+"Content-Length: 9\r\n\r\n{"); hear(w) },
		"slow chunks": func(w io.ReadWriter) {
			_, _ = io.WriteString(w, okHeader+"Transfer-Encoding: chunked\r\n\r\n")
			drip(w, "1\r\n{\r\n", time.Second)
		},
		"slow 1xx": func(w io.ReadWriter) { drip(w, "HTTP/1.1 103 Early Hints\r\n\r\n", time.Second) },
		"slow trailers": func(w io.ReadWriter) {
			_, _ = io.WriteString(w, okHeader+"Transfer-Encoding: chunked\r\n\r\n0\r\n")
			drip(w, "X: y\r\n", time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				web := newInternet(t)
				web.speak(talk)
				givesUp(t, web.client(), 5*time.Second)
			})
		})
	}
}

func givesUp(t *testing.T, c *outbound.Client, after time.Duration) {
	t.Helper()
	start := time.Now()
	_, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/"})
	fails(t, err, outbound.ErrUnreachable)
	if waited := time.Since(start); waited > after {
		t.Errorf("waited %v, want %v at most", waited, after)
	}
}

// SEC-INJ-14
func TestASilentHandshakeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		web.script(func(c net.Conn) { hear(c) })
		c := web.client()
		c.Timeout = 3 * time.Second
		givesUp(t, c, 3*time.Second)
	})
}

// SEC-INJ-14
func TestASilentResolverIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newInternet(t).client()
		c.Resolver = silent{}
		givesUp(t, c, 5*time.Second)
	})
}

type silent struct{}

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestADeadAddressLeavesTimeForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		web.speak(func(w io.ReadWriter) { _, _ = io.WriteString(w, okHeader+"Content-Length: 2\r\n\r\n{}") })
		web.name("client.example", there, here)
		web.host("["+there+"]:443", func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		if _, err := web.client().Do(t.Context(), outbound.Request{URL: "https://client.example/"}); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited > 2*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestTheCallersDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		web.speak(func(w io.ReadWriter) { hear(w) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := web.client().Do(ctx, outbound.Request{URL: "https://client.example/"})
		fails(t, err, outbound.ErrUnreachable)
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

// SEC-INJ-14: a server that sends without end, and fast, is cut off after a
// bounded number of bytes, long before the timeout.
func TestEndlessAnswersAreCutOff(t *testing.T) {
	kib := strings.Repeat("x", 1023) + "\n"
	for name, answer := range map[string]struct{ head, piece string }{
		"body":       {okHeader + "\r\n", kib},
		"chunks":     {okHeader + "Transfer-Encoding: chunked\r\n\r\n", "400\r\n" + kib + "\r\n"},
		"announced":  {okHeader + "Content-Length: 1000000000\r\n\r\n", kib},
		"headers":    {okHeader, "X: " + kib},
		"one header": {okHeader + "X: ", kib[:1000]},
		"1xx":        {"", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"},
		"extensions": {okHeader + "Transfer-Encoding: chunked\r\n\r\n1;", kib[:1000]},
		"trailers":   {okHeader + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n"},
		"no status":  {"", kib[:1000]},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				web := newInternet(t)
				sent, ended := 0, make(chan struct{})
				web.speak(func(w io.ReadWriter) {
					defer close(ended)
					go hear(w)
					if _, err := io.WriteString(w, answer.head); err == nil {
						flood(w, answer.piece, &sent)
					}
				})
				start := time.Now()
				_, err := web.client().Do(t.Context(), outbound.Request{URL: "https://client.example/"})
				if !errors.Is(err, outbound.ErrAnswer) && !errors.Is(err, outbound.ErrUnreachable) {
					t.Errorf("got %v", err)
				}
				if waited := time.Since(start); waited > 0 {
					t.Errorf("waited %v", waited)
				}
				<-ended
				if sent > outbound.DefaultMaxBytes+64<<10 {
					t.Errorf("%d bytes were taken", sent)
				}
			})
		})
	}
}

func TestAChangeOfProtocolIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		web.speak(func(w io.ReadWriter) {
			_, _ = io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		})
		_, err := web.client().Do(t.Context(), outbound.Request{URL: "https://client.example/"})
		fails(t, err, outbound.ErrAnswer)
	})
}
