// Package mail sends letters to people over SMTP.
package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Security says how the connection to the mail server is kept from others.
type Security string

// The kinds of security.
const (
	StartTLS Security = "starttls" // in clear, then TLS or nothing (RFC 3207)
	TLS      Security = "tls"      // from the first byte (RFC 8314 §3.3)
	None     Security = "none"     // for a mail server that is as near as the database
)

// Securities lists every Security.
func Securities() []Security { return []Security{StartTLS, TLS, None} }

// timeout bounds a conversation with the mail server.
const timeout = 20 * time.Second

// Sender hands letters to a mail server.
type Sender struct {
	Server   string // host:port
	Security Security
	Username string       // empty: the mail server asks for none
	Password secret.Plain // shown over TLS only
	From     string       // "name@example.com" or "Name <name@example.com>"
	// Roots are the authorities that may vouch for the mail server; those of the
	// machine where nil.
	Roots *x509.CertPool
	// Service is the host that people know the service by; letters name it, and
	// we greet the mail server with it.
	Service string
	Now     func() time.Time
}

var _ accounts.Mailer = (*Sender)(nil)

// ParseFrom reads the address that letters come from.
func ParseFrom(from string) (*netmail.Address, error) {
	if strings.ContainsFunc(from, unicode.IsControl) {
		return nil, errors.New("it holds control characters")
	}
	return netmail.ParseAddress(from)
}

// LoginLocked sends the letter about a lock.
func (s *Sender) LoginLocked(ctx context.Context, l accounts.LockLetter) error {
	words, err := s.lockWords(l)
	if err != nil {
		return err
	}
	return s.send(ctx, envelope{id: l.ID, to: l.To, subject: words.subject}, words)
}

// envelope says which letter goes to whom.
type envelope struct{ id, to, subject string }

func (s *Sender) send(ctx context.Context, e envelope, w words) error {
	m, err := s.message(e, w)
	if err != nil {
		return errors.Join(accounts.ErrMailRefused, err)
	}
	c, err := s.client()
	if err != nil {
		return fmt.Errorf("mail server: %w", err)
	}
	conversation, err := c.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return err
	}
	if known, _ := conversation.Extension("SMTPUTF8"); !known && !ascii(e.to) { // RFC 6531 §3.2
		err = errors.Join(accounts.ErrMailRefused, errors.New("the mail server takes addresses in ASCII only"))
	} else {
		err = c.SendWithSMTPClient(conversation, m)
	}
	err = errors.Join(err, c.CloseWithSMTPClient(conversation))
	var refusal *gomail.SendError
	switch {
	case m.IsDelivered():
		return nil // whatever was wrong with the goodbye
	case errors.As(err, &refusal) && refusal.ErrorCode() >= 500:
		return errors.Join(accounts.ErrMailRefused, err)
	}
	return err
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// message puts the letter together. What could be read as another header or
// another address is refused (SEC-INJ-16).
func (s *Sender) message(e envelope, w words) (*gomail.Msg, error) {
	from, err := ParseFrom(s.From)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if strings.Count(e.to, "@") != 1 || strings.ContainsFunc(e.to+e.id+e.subject, forbidden) {
		return nil, errors.New("the address cannot be written to")
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(from)
	m.ToMailAddress(&netmail.Address{Address: e.to})
	m.Subject(e.subject)
	m.SetDateWithValue(s.Now())
	m.SetMessageIDWithValue(e.id + "@" + s.Service)
	// RFC 3834 §5: no program is to answer.
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(gomail.TypeTextPlain, w.text)
	m.AddAlternativeString(gomail.TypeTextHTML, w.html)
	return m, nil
}

// forbidden reports what ends a line, and what else no header shows.
func forbidden(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

func (s *Sender) client() (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(s.Server)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	options := []gomail.Option{
		gomail.WithPort(n), gomail.WithTimeout(timeout), gomail.WithHELO(s.Service),
		gomail.WithTLSConfig(&tls.Config{ServerName: host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}),
	}
	switch s.Security {
	case TLS:
		options = append(options, gomail.WithSSL())
	case None:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if s.Username != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.Username), gomail.WithPassword(s.Password.Reveal()))
	}
	return gomail.NewClient(host, options...)
}
