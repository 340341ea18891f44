package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// hurried is a listener with the limits of production, each a hundredth as long.
func hurried(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := HTTPServer(h, slog.New(slog.DiscardHandler))
	for _, limit := range []*time.Duration{&srv.ReadHeaderTimeout, &srv.ReadTimeout, &srv.WriteTimeout, &srv.IdleTimeout} {
		if *limit <= 0 {
			t.Fatal("a limit is missing")
		}
		*limit /= 100
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }() // ends when srv closes
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

// SEC-DOS-01: clients that send or read too slowly are cut off, however they
// dawdle, while others are served.
func TestSlowClientsAreCutOff(t *testing.T) {
	stuck := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/quick", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/body", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 1<<20)
		for {
			if _, err := w.Write(chunk); err != nil {
				stuck <- err
				return
			}
		}
	})
	addr := hurried(t, mux)
	dial := func(send string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		fmt.Fprint(c, send)
		return c
	}

	for name, send := range map[string]string{
		"half a header":      "GET /quick HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"no request":         "",
		"half a body":        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"an idle keep-alive": "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		c := dial(send)
		// Reading ends when the server closes; the deadline is for a server that never does.
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	dial("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n") // and never reads
	if err := <-stuck; err == nil {
		t.Error("a reader that does not read is waited for")
	}
	c := dial("GET /quick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", res, err)
	}
	_ = res.Body.Close()
}

// SEC-DOS-03: a header over the limit is 431 before anything of ours runs.
func TestHugeHeadersAreRefused(t *testing.T) {
	addr := hurried(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was asked") }))
	for name, header := range map[string]string{
		"one line":      "X-Long: " + string(bytes.Repeat([]byte("x"), 64<<10)) + "\r\n",
		"many lines":    string(bytes.Repeat([]byte("X-Many: 0123456789012345678901234567890123456789\r\n"), 1000)),
		"many cookies":  "Cookie: " + string(bytes.Repeat([]byte("a=b; "), 10000)) + "\r\n",
		"a long target": "",
	} {
		target := "/"
		if header == "" {
			target += string(bytes.Repeat([]byte("x"), 64<<10))
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, header) }() // cut off half-way
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		_, _ = res.Body.Close(), c.Close()
	}
}
