package mail_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/accounts/mail"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/smtptest"
)

var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// letter is one about a lock.
func letter() accounts.LockLetter {
	return accounts.LockLetter{
		ID: "0123456789abcdef", To: "anna@example.com", Scope: accounts.LockedPool, Source: netip.MustParseAddr("198.51.100.7"),
		At: noon, Until: noon.Add(40 * time.Minute), Link: "https://id.example/login/unlock?token=th_unlock_abc", Expires: noon.Add(15 * time.Minute),
	}
}

// sender reaches the sink and trusts it.
func sender(t *testing.T, s *smtptest.Sink, security mail.Security) *mail.Sender {
	t.Helper()
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &mail.Sender{
		Server: s.Address, Security: security, From: `"Tokens, of ours" <tokens@id.example>`, Roots: roots,
		Service: "id.example", Now: func() time.Time { return noon },
	}
}

func TestALetterArrivesAsItWasWritten(t *testing.T) {
	s := smtptest.Start(t, smtptest.Options{})
	if err := sender(t, s, mail.StartTLS).LoginLocked(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	m := s.Next(t, 1)
	if !m.Secure || m.From != "tokens@id.example" || m.To != "anna@example.com" || m.Subject != "Too many wrong passwords at id.example" {
		t.Errorf("%+v", m)
	}
	for header, want := range map[string]string{
		"From": `"Tokens, of ours" <tokens@id.example>`, "To": "<anna@example.com>", "Date": "Mon, 01 Mar 2027 12:00:00 +0000",
		"Message-Id": "<0123456789abcdef@id.example>", "Auto-Submitted": "auto-generated", "User-Agent": "", "X-Mailer": "", "Bcc": "", "Cc": "",
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	for _, part := range []string{m.Text, m.HTML} {
		for _, want := range []string{"anna@example.com", "198.51.100.7", "1 March 2027, 12:00 UTC", "1 March 2027, 12:40 UTC", "1 March 2027, 12:15 UTC", "th_unlock_abc"} {
			if !strings.Contains(part, want) {
				t.Errorf("no %q in %s", want, part)
			}
		}
	}
	if m.Link() != letter().Link || !strings.Contains(m.HTML, `<a href="`+letter().Link+`">`) {
		t.Errorf("link %q\n%s", m.Link(), m.HTML)
	}
}

// Each scope says what is locked and what is not; who is signed in gets no link.
func TestWhatALetterSaysOfEachLock(t *testing.T) {
	s := smtptest.Start(t, smtptest.Options{})
	out := sender(t, s, mail.StartTLS)
	for i, tt := range []struct {
		scope accounts.LockScope
		says  string
	}{
		{accounts.LockedNetwork, "from that network"},
		{accounts.LockedPool, "from a browser that has not done so before"},
		{accounts.LockedDevice, "on a device that has signed in"},
		{accounts.LockedSession, "in a session that is signed in"},
	} {
		l := letter()
		if l.Scope = tt.scope; tt.scope == accounts.LockedSession {
			l.Link, l.Expires = "", time.Time{}
		}
		if err := out.LoginLocked(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		m := s.Next(t, i+1)
		if !strings.Contains(m.Text, tt.says) || !strings.Contains(m.HTML, tt.says) {
			t.Errorf("%s: %s", tt.scope, m.Text)
		}
		if links := strings.Contains(m.Text+m.HTML, "http"); links != (l.Link != "") {
			t.Errorf("%s: a link: %v", tt.scope, links)
		}
	}
}

func TestNothingIsSaidInClear(t *testing.T) {
	names := func(m *mail.Sender) { m.Username, m.Password = "tokens", secret.Of("hush-hush") }
	for name, tt := range map[string]struct {
		server   smtptest.Options
		security mail.Security
		change   func(*mail.Sender)
		taken    bool
	}{
		"starttls":                              {smtptest.Options{}, mail.StartTLS, nil, true},
		"tls from the first byte":               {smtptest.Options{Implicit: true}, mail.TLS, nil, true},
		"clear, where chosen":                   {smtptest.Options{Plain: true}, mail.None, nil, true},
		"a server without TLS":                  {smtptest.Options{Plain: true}, mail.StartTLS, nil, false},
		"a server without TLS from the start":   {smtptest.Options{}, mail.TLS, nil, false},
		"a certificate of strangers":            {smtptest.Options{}, mail.StartTLS, func(m *mail.Sender) { m.Roots = nil }, false},
		"the same, TLS from the first byte":     {smtptest.Options{Implicit: true}, mail.TLS, func(m *mail.Sender) { m.Roots = nil }, false},
		"a name and a password":                 {smtptest.Options{Username: "tokens", Password: "hush-hush"}, mail.StartTLS, names, true},
		"the same, TLS from the first byte too": {smtptest.Options{Implicit: true, Username: "tokens", Password: "hush-hush"}, mail.TLS, names, true},
		"a wrong password":                      {smtptest.Options{Username: "tokens", Password: "another"}, mail.StartTLS, names, false},
		"no password":                           {smtptest.Options{Username: "tokens", Password: "hush-hush"}, mail.StartTLS, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := smtptest.Start(t, tt.server)
			out := sender(t, s, tt.security)
			if tt.change != nil {
				tt.change(out)
			}
			err := out.LoginLocked(t.Context(), letter())
			if (err == nil) != tt.taken || len(s.Mails()) != map[bool]int{true: 1}[tt.taken] {
				t.Fatalf("%v, %d mails", err, len(s.Mails()))
			}
			if err != nil && strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("the password is in %v", err)
			}
			if tt.taken && (s.Mails()[0].Secure == tt.server.Plain || s.Mails()[0].Login != tt.server.Username) {
				t.Errorf("%+v", s.Mails()[0])
			}
		})
	}
}

// What a later try may help is told from what it never will.
func TestRefusalsOfTheMailServer(t *testing.T) {
	s := smtptest.Start(t, smtptest.Options{})
	out := sender(t, s, mail.StartTLS)
	for _, tt := range []struct {
		answer error
		never  bool
	}{{smtptest.Temporary, false}, {smtptest.Permanent, true}} {
		s.Refuse(func(int) error { return tt.answer })
		if err := out.LoginLocked(t.Context(), letter()); err == nil || errors.Is(err, accounts.ErrMailRefused) != tt.never {
			t.Errorf("%v: %v", tt.answer, err)
		}
	}
	out.Server = "127.0.0.1:1"
	if err := out.LoginLocked(t.Context(), letter()); err == nil || errors.Is(err, accounts.ErrMailRefused) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sender(t, s, mail.StartTLS).LoginLocked(ctx, letter()); err == nil {
		t.Error("sent although it was given up")
	}
}

// RFC 6531: an address of any script arrives, where the mail server takes it.
func TestAnAddressOfAnyScript(t *testing.T) {
	l := letter()
	l.To = "jürgen@xn--mller-kva.example"
	s := smtptest.Start(t, smtptest.Options{})
	if err := sender(t, s, mail.StartTLS).LoginLocked(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if m := s.Next(t, 1); m.To != l.To || !strings.Contains(m.Text, l.To) {
		t.Errorf("%+v", m)
	}
	old := smtptest.Start(t, smtptest.Options{ASCII: true})
	if err := sender(t, old, mail.StartTLS).LoginLocked(t.Context(), l); !errors.Is(err, accounts.ErrMailRefused) {
		t.Errorf("a server that knows ASCII only: %v", err)
	}
}

// SEC-INJ-16, SEC-WEB-13: nothing that goes into a letter ends a line of its
// head, adds a recipient, is read as a template, or is markup.
func TestNothingInALetterIsMoreThanText(t *testing.T) {
	s := smtptest.Start(t, smtptest.Options{})
	for _, to := range []string{
		"anna@example.com\r\nBcc: eve@evil.example", "anna@example.com\nSubject: x", "anna@example.com\x00", "anna@example.com>\r\nRCPT TO:<eve@evil.example",
		"anna@example.com, eve@evil.example", "Anna <anna@example.com>, eve@evil.example", "", "anna", "anna@example.com\u2028Bcc: eve", "anna\u202e@example.com",
	} {
		l := letter()
		l.To = to
		if err := sender(t, s, mail.StartTLS).LoginLocked(t.Context(), l); !errors.Is(err, accounts.ErrMailRefused) {
			t.Errorf("to %q: %v", to, err)
		}
	}
	for name, change := range map[string]func(*mail.Sender, *accounts.LockLetter){
		"service":    func(m *mail.Sender, _ *accounts.LockLetter) { m.Service = "x\r\nBcc: eve@evil.example" },
		"from":       func(m *mail.Sender, _ *accounts.LockLetter) { m.From = "a@id.example\r\nBcc: eve@evil.example" },
		"from, name": func(m *mail.Sender, _ *accounts.LockLetter) { m.From = "\"a\r\nBcc: eve\" <a@id.example>" },
		"id":         func(_ *mail.Sender, l *accounts.LockLetter) { l.ID = "1>\r\nBcc: eve@evil.example" },
	} {
		l, out := letter(), sender(t, s, mail.StartTLS)
		change(out, &l)
		if err := out.LoginLocked(t.Context(), l); err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	if n := len(s.Mails()); n != 0 {
		t.Fatalf("%d mails left: %+v", n, s.Mails())
	}
	// Every character that an address of ours may have (RFC 5322 §3.2.3), and a
	// link that is not: as text they arrive unchanged, and nothing reads them.
	l := letter()
	l.To = "{{.Link}}!#$%&'*+-/=?^_`{|}~@example.com"
	l.Link = `https://id.example/"><script>alert(1)</script>{{.Account}}`
	if err := sender(t, s, mail.StartTLS).LoginLocked(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	m := s.Next(t, 1)
	if m.To != l.To || !strings.Contains(m.Text, l.To) || !strings.Contains(m.Text, "{{.Account}}") || strings.Contains(m.HTML, "<script") {
		t.Errorf("%+v", m)
	}
	l.Link = "javascript:alert(1)"
	if err := sender(t, s, mail.StartTLS).LoginLocked(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if m := s.Next(t, 2); strings.Contains(m.HTML, `href="javascript:`) {
		t.Errorf("%s", m.HTML)
	}
}
