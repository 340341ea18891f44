package drills_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/housetest"
)

// patience bounds what should take no time.
const patience = 30 * time.Second

// frame is a frame of HTTP/2 (RFC 9113 §4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	head = append(head, kind, flags)
	return string(binary.BigEndian.AppendUint32(head, stream)) + payload
}

// preface is what a client begins HTTP/2 with (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// SEC-DOS-05: the server speaks no HTTP/2, with or without an upgrade, so none
// of its floods finds anybody who listens: the connection is closed after one
// answer, and whatever else was sent is not read.
func TestHTTP2IsNotSpoken(t *testing.T) {
	h := housetest.Start(t, housetest.Options{})
	settings := frame(4, 0, 0, "")
	request := frame(1, 5, 1, "\x82\x87\x84") // GET / in one HEADERS frame
	for name, flood := range map[string]string{
		"rapid reset":  request + frame(3, 0, 1, "\x00\x00\x00\x08"),
		"CONTINUATION": frame(1, 0, 1, "") + frame(9, 0, 1, strings.Repeat("a", 1000)),
		"SETTINGS":     settings,
		"PING":         frame(6, 0, 0, "12345678"),
	} {
		t.Run(name, func(t *testing.T) {
			conn := h.Dial(t)
			sent := make(chan int64, 1)
			go func() {
				n, _ := io.WriteString(conn, preface+settings) // it is cut off
				total := int64(n)
				for range 100_000 {
					n, err := io.WriteString(conn, flood)
					total += int64(n)
					if err != nil {
						break
					}
				}
				sent <- total
			}()
			answer, _ := io.ReadAll(conn) // a reset is as good as an end
			if len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 4") && !strings.HasPrefix(string(answer), "HTTP/1.1 505") {
				t.Errorf("the answer is %.100q", answer)
			}
			_ = conn.Close()
			t.Logf("%d bytes could be sent; the answer has %d", <-sent, len(answer))
		})
	}
	t.Run("upgrade", func(t *testing.T) {
		conn := h.Dial(t)
		if _, err := fmt.Fprintf(conn, "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK || res.ProtoMajor != 1 || res.Header.Get("Upgrade") != "" {
			t.Errorf("%s %v", res.Proto, res.Status)
		}
	})
	h.Login(h.Admin)
}
