package housetest

import (
	"net"
	"strings"
	"testing"
	"time"
)

// connectionTime is how long a connection of Dial lasts.
const connectionTime = 30 * time.Second

// Dial connects to the first replica, for what no client of HTTP would say. The
// connection ends with the test, and fails where that takes too long.
func (h *Harness) Dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.Replicas[0].URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(connectionTime)); err != nil {
		t.Fatal(err)
	}
	return conn
}
