package outbound_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/outbound"
)

// talks answers every request on a connection to client.example, in a bubble of
// time, until answer returns false; more is what else it does on it afterwards.
func (i *internet) talks(answer func(*http.Request, io.Writer) bool, more func(net.Conn)) {
	conf := i.tls("client.example")
	i.script(func(raw net.Conn) {
		conn := tls.Server(raw, conf)
		defer conn.Close()
		from := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(from)
			if err != nil {
				return // the client has closed it
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if !answer(req, conn) {
				break
			}
		}
		if more != nil {
			more(conn)
		}
	})
}

const empty = okHeader + "Content-Length: 2\r\n\r\n{}"

func fine(_ *http.Request, w io.Writer) bool { _, err := io.WriteString(w, empty); return err == nil }

func keep(t *testing.T, c *outbound.Client, label string) {
	t.Helper()
	r, err := c.Do(t.Context(), outbound.Request{Method: "POST", URL: "https://client.example/hook", Keep: label, Body: []byte("{}")})
	if err != nil || r.Status != http.StatusOK || string(r.Body) != "{}" {
		t.Errorf("got %d %q, %v", r.Status, r.Body, err)
	}
}

// Requests with the same Keep share a connection; each asks for the addresses all the same.
func TestAConnectionIsKeptForThoseWhoMayShareIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		var hosts, headers atomic.Int64
		web.talks(func(r *http.Request, w io.Writer) bool {
			if r.Host == "client.example" {
				hosts.Add(1)
			}
			if len(r.Header["Idempotency-Key"]) > 0 || r.Header.Get("User-Agent") != "tokenhouse" {
				headers.Add(1)
			}
			return fine(r, w)
		}, nil)
		c := web.client()
		for range 5 {
			keep(t, c, "one")
			time.Sleep(20 * time.Second) // longer than a request may take
		}
		web.went(here + ":443")
		keep(t, c, "other")
		keep(t, c, "")
		keep(t, c, "")
		web.went(here+":443", here+":443", here+":443")
		keep(t, c, "one")
		web.went()
		if n := web.asked(); n != 9 {
			t.Errorf("%d names were looked up for 9 requests", n)
		}
		if hosts.Load() != 9 || headers.Load() != 0 {
			t.Errorf("%d requests named the host, %d have other headers", hosts.Load(), headers.Load())
		}
		time.Sleep(31 * time.Second)
		keep(t, c, "one")
		web.went(here + ":443")
		time.Sleep(time.Minute) // so that nothing is left
	})
}

// SEC-INJ-14: a kept connection is no way to where a name led before: one that
// leads elsewhere is connected to there, and one that leads to us is refused.
func TestAKeptConnectionDoesNotOutliveTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		web.talks(fine, nil)
		c := web.client()
		keep(t, c, "one")
		web.went(here + ":443")
		web.host("["+there+"]:443", func(ctx context.Context) (net.Conn, error) { return web.hosts[here+":443"](ctx) })
		web.name("client.example", there)
		keep(t, c, "one")
		web.went("[" + there + "]:443")
		web.name("client.example", "10.0.0.1")
		_, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/hook", Keep: "one"})
		fails(t, err, outbound.ErrRefused)
		web.went()
		web.name("client.example", "10.0.0.1", there) // one of its addresses may be asked
		keep(t, c, "one")
		web.went()
		time.Sleep(time.Minute)
	})
}

// What a server does to a kept connection costs the next request a new one, and
// nothing else.
func TestAKeptConnectionThatFails(t *testing.T) {
	for name, more := range map[string]func(net.Conn){
		"closed":      func(c net.Conn) { _ = c.Close() },
		"talks":       func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 500 Mine\r\nContent-Length: 0\r\n\r\n"); hear(c) },
		"closed late": func(c net.Conn) { time.Sleep(time.Second); _ = c.Close() },
		"closed at the request": func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				web := newInternet(t)
				web.talks(func(r *http.Request, w io.Writer) bool { fine(r, w); return false }, more)
				c := web.client()
				keep(t, c, "one")
				synctest.Wait()
				time.Sleep(2 * time.Second)
				keep(t, c, "one")
				web.went(here+":443", here+":443")
				time.Sleep(time.Minute)
			})
		})
	}
}

// SEC-INJ-14: the time of a request on a kept connection is bounded too.
func TestASlowAnswerOnAKeptConnectionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := newInternet(t)
		n := 0
		web.talks(func(r *http.Request, w io.Writer) bool {
			if n++; n == 1 {
				return fine(r, w)
			}
			_, _ = io.WriteString(w, okHeader)
			drip(w, "X: y\r\n", time.Second)
			return false
		}, nil)
		c := web.client()
		keep(t, c, "one")
		start := time.Now()
		_, err := c.Do(t.Context(), outbound.Request{URL: "https://client.example/", Keep: "one"})
		fails(t, err, outbound.ErrUnreachable)
		if waited := time.Since(start); waited > 5*time.Second || !strings.Contains(err.Error(), "client.example") {
			t.Errorf("waited %v: %v", waited, err)
		}
		web.went(here + ":443")
	})
}
