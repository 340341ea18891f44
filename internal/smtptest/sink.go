// Package smtptest runs a mail server for tests: a real one, over TCP, with TLS
// and AUTH, that keeps what it is sent and can be told to refuse.
package smtptest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/tokenhouse/tokenhouse/internal/tlstest"
)

// Options say what kind of mail server it is. The zero Options offer STARTTLS
// and ask for no name.
type Options struct {
	Plain    bool   // it offers no TLS at all
	Implicit bool   // it speaks TLS from the first byte
	Username string // who does not say this name and the password sends nothing
	Password string
	ASCII    bool // it does not know SMTPUTF8 (RFC 6531)
}

// Sink is a running mail server.
type Sink struct {
	Address string // host:port
	CAFile  string // PEM of the authority that vouches for it

	opts   Options
	mu     sync.Mutex
	mails  []Mail
	tries  int
	refuse func(try int) error
	came   chan struct{}
}

// Mail is a mail as it arrived.
type Mail struct {
	From, To string // of the envelope
	Header   mail.Header
	Subject  string // decoded
	Text     string
	HTML     string
	Raw      string
	Secure   bool   // it came over TLS
	Login    string // the name that was said
}

// Temporary and Permanent are answers of a mail server (RFC 5321 §4.2.1).
var (
	Temporary = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "come back later"}
	Permanent = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
)

// Start starts a mail server, which ends with the test.
func Start(t testing.TB, o Options) *Sink {
	t.Helper()
	s := &Sink{opts: o, came: make(chan struct{}, 1024)}
	certificate, ca := tlstest.Vouched(t, "127.0.0.1")
	s.CAFile = ca
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{sink: s, conn: c}, nil }))
	server.Domain, server.EnableSMTPUTF8, server.AllowInsecureAuth = "mail.test", !o.ASCII, o.Plain
	server.ReadTimeout, server.WriteTimeout = time.Minute, time.Minute
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Address = l.Addr().String()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	switch {
	case o.Implicit:
		l = tls.NewListener(l, config)
	case !o.Plain:
		server.TLSConfig = config
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return s
}

// Refuse makes the server answer each recipient with what judge says of the
// attempt, counted from 1; nil takes it. A nil judge takes everything.
func (s *Sink) Refuse(judge func(try int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.tries = judge, 0
}

// Tries is how many attempts there were since Refuse was last called.
func (s *Sink) Tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

// Mails is what arrived so far.
func (s *Sink) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Next waits until there are n mails, and returns the n-th.
func (s *Sink) Next(t testing.TB, n int) Mail {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		if all := s.Mails(); len(all) >= n {
			return all[n-1]
		}
		select {
		case <-s.came:
		case <-deadline.C:
			t.Fatalf("there are %d mails, want %d", len(s.Mails()), n)
		}
	}
}

// links are the addresses in a text.
var links = regexp.MustCompile(`https?://[^\s"<>]+`)

// Link is the one address in the mail; empty where there is none, or several.
func (m Mail) Link() string {
	found := links.FindAllString(m.Text, -1)
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// session is one conversation.
type session struct {
	sink     *Sink
	conn     *smtp.Conn
	from, to string
	login    string
}

func (c *session) Reset()        { c.from, c.to = "", "" }
func (c *session) Logout() error { return nil }

func (c *session) AuthMechanisms() []string {
	if c.sink.opts.Username == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (c *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, password string) error {
		if name != c.sink.opts.Username || password != c.sink.opts.Password {
			return smtp.ErrAuthFailed
		}
		c.login = name
		return nil
	}), nil
}

func (c *session) Mail(from string, _ *smtp.MailOptions) error {
	if c.sink.opts.Username != "" && c.login == "" {
		return smtp.ErrAuthRequired
	}
	c.from = from
	return nil
}

func (c *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s := c.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.refuse != nil {
		if err := s.refuse(s.tries); err != nil {
			return err
		}
	}
	if c.to != "" {
		return errors.New("one recipient is enough")
	}
	c.to = to
	return nil
}

func (c *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m, err := parse(raw)
	if err != nil {
		return err
	}
	_, m.Secure = c.conn.TLSConnectionState()
	m.From, m.To, m.Login = c.from, c.to, c.login
	s := c.sink
	s.mu.Lock()
	s.mails = append(s.mails, m)
	s.mu.Unlock()
	s.came <- struct{}{}
	return nil
}

// parse reads a mail with the standard library, which did not write it.
func parse(raw []byte) (Mail, error) {
	read, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Mail{}, err
	}
	m := Mail{Header: read.Header, Raw: string(raw)}
	if m.Subject, err = new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject")); err != nil {
		return Mail{}, err
	}
	kind, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		return Mail{}, errors.Join(errors.New("not multipart/alternative"), err)
	}
	parts := multipart.NewReader(read.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err != nil {
			return Mail{}, err
		}
		var body io.Reader = part
		if strings.EqualFold(part.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
			body = quotedprintable.NewReader(part)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return Mail{}, err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			m.HTML = string(text)
		} else {
			m.Text = strings.ReplaceAll(string(text), "\r\n", "\n")
		}
	}
}
