package outputs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	gosyslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// receiver keeps what a real receiver of syslog would: what a parser that
// nobody here wrote made of the bytes.
type receiver struct {
	mu       sync.Mutex
	messages []*rfc5424.SyslogMessage
	errs     []error
	arrived  chan struct{}
}

func newReceiver() *receiver { return &receiver{arrived: make(chan struct{}, 10_000)} }

func (r *receiver) take(res *gosyslog.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if res.Error != nil {
		r.errs = append(r.errs, res.Error)
		return
	}
	r.messages = append(r.messages, res.Message.(*rfc5424.SyslogMessage))
	r.arrived <- struct{}{}
}

// texts waits for n messages, which may have been on the way for a moment.
func (r *receiver) texts(t *testing.T, n int) []string {
	t.Helper()
	for range n {
		select {
		case <-r.arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("a message did not arrive")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) > 0 {
		t.Fatalf("the receiver could not read: %v", r.errs)
	}
	out := make([]string, len(r.messages))
	for i, m := range r.messages {
		out[i] = *m.Message
	}
	return out
}

// stream reads frames from every connection until the listener is closed.
func (r *receiver) stream(t *testing.T, l net.Listener) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				octetcounting.NewParser(gosyslog.WithListener(r.take), gosyslog.WithMaxMessageLength(1<<20)).Parse(conn)
			})
		}
	})
}

// datagrams reads one message from each datagram.
func (r *receiver) datagrams(t *testing.T) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m, err := rfc5424.NewParser().Parse(buf[:n])
			r.take(&gosyslog.Result{Message: m, Error: err})
		}
	}()
	return conn.LocalAddr().String()
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// memory is a log and the cursors on it, as storagetest promises them of a
// database.
type memory struct {
	mu     sync.Mutex
	events []audit.Event
	rows   map[string]row
	broken error // what AdvanceOutput answers, once
}

type row struct {
	at     Cursor
	holder string
	until  time.Time
}

func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		seq := int64(len(m.events) + 1)
		m.events = append(m.events, audit.Event{
			Seq: seq, ID: ident.EventID(fmt.Sprintf("evt_%d", seq)), Time: clock.Add(time.Duration(seq) * time.Millisecond), Name: audit.LoginFailed,
			Outcome: audit.Failure, Reason: "wrong_password", Actor: audit.Actor{Type: "anonymous"}, Origin: ident.Origin{
				IP: netip.MustParseAddr("203.0.113.7"), UserAgent: "a \"b\"\r\n<1>1 - é"},
		})
	}
}

func (m *memory) ClaimOutput(_ context.Context, c Claim) (Cursor, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, known := m.rows[c.Output]
	if known && r.holder != c.Holder && c.Now.Before(r.until) {
		return 0, false, nil
	}
	if !known && !c.Start {
		r.at = Cursor(len(m.events))
	}
	m.rows[c.Output] = row{r.at, c.Holder, c.Until}
	return r.at, true, nil
}

func (m *memory) AdvanceOutput(_ context.Context, c Claim, to Cursor) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.broken; err != nil {
		m.broken = nil
		return false, err
	}
	if m.rows[c.Output].holder != c.Holder {
		return false, nil
	}
	m.rows[c.Output] = row{to, c.Holder, c.Until}
	return true, nil
}

func (m *memory) EventsAfter(_ context.Context, from Cursor, limit int) ([]audit.Event, Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := min(len(m.events), int(from)+limit)
	return m.events[from:end], Cursor(end), nil
}

var (
	clock     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	errKilled = errors.New("killed")
)

// world is a log, and a time that stands still until it is moved.
type world struct {
	*memory
	now time.Time
}

func newWorld() *world { return &world{&memory{rows: map[string]row{}}, clock} }

// replica is one process that serves the target.
func (w *world) replica(t *testing.T, holder, target string) *Output {
	t.Helper()
	to, err := ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	return &Output{Target: to, Store: w.memory, Holder: holder, Version: "1.2.3", Process: Process{Host: "ho st", PID: 42}, Now: func() time.Time { return w.now }}
}
