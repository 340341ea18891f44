package outputs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
)

// Limits of a conversation with a receiver.
const (
	dialTimeout = 5 * time.Second
	sendTimeout = 30 * time.Second
	// closeWait is how long the receiver has to close its side after ours.
	closeWait = 5 * time.Second
	// maxDatagram is what fits into one datagram, in bytes.
	maxDatagram = 65_000
)

// What a receiver may do instead of ending its side.
var (
	errRefused = errors.New("the receiver broke off")
	errOpen    = errors.New("the receiver did not end its side after ours, so that nobody knows what it read; for one that never does there is confirm=off")
)

// syslog speaks RFC 5424 to a receiver. Syslog has no acknowledgement, so over
// TCP and TLS each batch has a connection of its own, which we end first: a
// receiver that ends its side too has read everything. What is not confirmed
// that way is sent again.
type syslog struct {
	Target
	from    Process
	version string
}

// message is the event as RFC 5424 §6 has it.
func (s *syslog) message(e audit.Event) ([]byte, error) {
	const logAudit = 13 // the facility "log audit" (RFC 5424 §6.2.1)
	severity := map[audit.Severity]int{audit.Information: 6, audit.Warning: 4, audit.Alarm: 3}[e.Name.Severity()]
	text, err := s.encode(e, s.version)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("<%d>1 %s %s tokenhouse %d %s - ", logAudit*8+severity, e.Time.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		headerField(s.from.Host, 255), s.from.PID, headerField(string(e.Name), 32))
	return append([]byte(head), text...), nil
}

// headerField is printable ASCII without spaces, or the nil value.
func headerField(v string, most int) string {
	v = strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return -1
		}
		return c
	}, v)
	if v == "" {
		return "-"
	}
	return v[:min(len(v), most)]
}

func (s *syslog) send(ctx context.Context, events []audit.Event) error {
	if s.network == "udp" {
		return s.sendDatagrams(ctx, events)
	}
	var frames []byte
	for _, e := range events {
		m, err := s.message(e)
		if err != nil {
			return err
		}
		frames = append(strconv.AppendInt(frames, int64(len(m)), 10), ' ') // octet counting: RFC 5425 §4.3, RFC 6587 §3.4.1
		frames = append(frames, m...)
	}
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // what counts was confirmed or not
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	timer := time.AfterFunc(sendTimeout, func() { _ = conn.Close() })
	defer timer.Stop()
	if _, err := conn.Write(frames); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if s.blind {
		return nil
	}
	timer.Stop()
	return confirmed(conn)
}

// confirmed waits for the receiver to end its side.
func confirmed(conn net.Conn) error {
	wait := time.AfterFunc(closeWait, func() { _ = conn.Close() })
	_, err := io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
	switch {
	case !wait.Stop():
		return errOpen
	case err != nil:
		return fmt.Errorf("%w: %w", errRefused, err)
	default:
		return nil
	}
}

// halfCloser is a connection whose sending side can be ended alone.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func (s *syslog) dial(ctx context.Context) (halfCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s.network == "tcp" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
		if err != nil {
			return nil, err
		}
		return conn.(*net.TCPConn), nil
	}
	conf, err := s.tls.config()
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// config reads the files anew, so that a renewed certificate needs no restart.
func (f tlsFiles) config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.serverName}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// sendDatagrams sends one message a datagram (RFC 5426 §3.1). Nobody learns
// whether they arrive.
func (s *syslog) sendDatagrams(ctx context.Context, events []audit.Event) error {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "udp", s.address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is buffered
	for _, e := range events {
		m, err := s.message(e)
		if err != nil {
			return err
		}
		if _, err := conn.Write(m[:min(len(m), maxDatagram)]); err != nil {
			return err
		}
	}
	return nil
}
