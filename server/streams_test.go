package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
)

// oneConn is a listener with one connection.
type oneConn struct {
	conns chan net.Conn
}

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.UnixAddr{} }

// SEC-DOS-01: whoever follows a stream and reads it slowly, or not at all, is
// hung up on when one event has not arrived in time; whoever reads is not.
func TestSlowReadersOfAStreamAreHungUpOn(t *testing.T) {
	for name, c := range map[string]struct {
		read func(r io.Reader) error
		want time.Duration
	}{
		"reads":         {func(r io.Reader) error { _, err := r.Read(make([]byte, 64<<10)); return err }, time.Minute},
		"reads nothing": {func(io.Reader) error { return io.EOF }, eventTimeout},
		"a byte each second": {func(r io.Reader) error {
			time.Sleep(time.Second)
			_, err := r.Read(make([]byte, 1))
			return err
		}, eventTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				lasted := make(chan time.Duration, 1)
				stream := &eventStream{next: func(context.Context) (event, bool, error) {
					if time.Since(began) >= time.Minute {
						return event{}, false, nil
					}
					time.Sleep(100 * time.Millisecond)
					return event{id: "1", data: []byte(strings.Repeat("x", 10_000))}, true, nil
				}}
				gin.SetMode(gin.ReleaseMode)
				engine := gin.New()
				engine.GET("/", func(c *gin.Context) {
					stream.send(c.Request.Context(), c.Writer, controller(c.Writer))
					lasted <- time.Since(began)
				})
				ours, theirs := net.Pipe()
				listener := oneConn{make(chan net.Conn, 1)}
				listener.conns <- theirs
				server := &http.Server{Handler: engine, ReadHeaderTimeout: time.Minute}
				ended := make(chan struct{})
				go func() { defer close(ended); _ = server.Serve(listener) }()
				if _, err := fmt.Fprint(ours, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				read := make(chan struct{})
				go func() {
					defer close(read)
					for c.read(ours) == nil {
					}
				}()
				if got := <-lasted; got < c.want-time.Second || got > c.want+2*time.Second {
					t.Errorf("the stream lasted %s, want about %s", got, c.want)
				}
				_ = ours.Close()
				<-read
				close(listener.conns)
				_ = server.Close()
				<-ended
			})
		})
	}
}
