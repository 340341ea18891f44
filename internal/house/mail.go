package house

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/accounts/mail"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Mail says which mail server takes our mails. Where Server is empty we send none.
type Mail struct {
	Server   string       // host:port
	Security string       // starttls, tls or none
	Username string       // empty where the mail server asks for none
	Password secret.Plain // of Username
	From     string       // "Name <name@example.com>"
	CAFile   string       // PEM of the authorities that may vouch for the server; those of the machine where empty
}

func defaultMail() Mail { return Mail{Security: string(mail.StartTLS)} }

// enabled reports whether mails are sent.
func (m Mail) enabled() bool { return m.Server != "" }

func (m Mail) check(f *findings) {
	if !m.enabled() {
		if m.From != "" || m.Username != "" || m.CAFile != "" {
			f.warn("smtp_server", "no mail is sent, though other settings of mail are there", "host:port of a mail server, such as smtp.example.com:587")
		}
		return
	}
	host, port, err := net.SplitHostPort(m.Server)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 || host == "" {
		f.mistake("smtp_server", fmt.Sprintf("%q is not host:port", m.Server), "such as smtp.example.com:587, or :465 with smtp_security tls")
	}
	if !slices.Contains(mail.Securities(), mail.Security(m.Security)) {
		f.mistake("smtp_security", fmt.Sprintf("%q", m.Security), "starttls, tls or none")
	}
	if m.Security == string(mail.None) && !loopback(host) {
		if m.Username != "" {
			f.mistake("smtp_security", "everybody on the way could read the password", "starttls or tls")
		} else {
			f.warn("smtp_security", "everybody on the way can read the unlock links", "starttls or tls")
		}
	}
	if _, err := mail.ParseFrom(m.From); err != nil {
		f.mistake("smtp_from", "it is not an address that mails can come from", "such as tokenhouse@example.com, or Tokens <tokenhouse@example.com>")
	}
	if (m.Username == "") != m.Password.IsZero() {
		f.mistake("smtp_username", "a name without a password, or a password without a name", "both or neither")
	}
	if _, err := m.roots(); err != nil {
		f.mistake("smtp_ca_file", err.Error(), "the path of a PEM file with certificates of authorities")
	}
}

// roots are the authorities of CAFile; nil where there is none.
func (m Mail) roots() (*x509.CertPool, error) {
	if m.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(m.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// unlockPath is the page behind an unlock link. The cookies of devices are sent
// to what is below the login page.
const unlockPath = "/login/unlock"

// UnlockURL is the address of the page behind an unlock link's token.
func (c Config) UnlockURL(token secret.Plain) string {
	return c.Issuer + unlockPath + "?token=" + token.Reveal()
}

// invitationPath is the page behind the link of an invitation.
const invitationPath = "/invitation"

// InvitationURL is the address of the page behind an invitation's token.
func (c Config) InvitationURL(token secret.Plain) string {
	return c.Issuer + invitationPath + "?token=" + token.Reveal()
}

// How soon and how late mails that are waiting are looked for.
const (
	mailsSoonest = time.Second
	mailsLatest  = 15 * time.Second
)

// mails are what sends each kind of mail; nil where none is sent.
type mails struct {
	locks       *accounts.LockMail // tells people of locks
	invitations *accounts.InvitationMail
}

// buildMail makes what tells people of locks, and invites them.
func (h *House) buildMail(context.Context) error {
	c := h.conf.Mail
	if !c.enabled() {
		return nil
	}
	roots, err := c.roots()
	if err != nil {
		return fmt.Errorf("smtp_ca_file: %w", err)
	}
	issuer, err := url.Parse(h.conf.Issuer)
	if err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	h.Logins.Mails = true
	h.People.Mails = true
	sender := &mail.Sender{
		Server: c.Server, Security: mail.Security(c.Security), Username: c.Username, Password: c.Password, From: c.From,
		Roots: roots, Service: issuer.Hostname(), Now: h.env.Now,
	}
	observe := func(r accounts.MailResult) { h.Metrics.Mailed(string(r)) }
	h.parts.mails.locks = &accounts.LockMail{
		Queue: h.DB.LockNotices(), Users: h.DB.Accounts(), Page: h.conf.UnlockURL, Now: h.env.Now, Random: h.env.Random, Log: h.env.Logger,
		Mailer: sender, Observe: observe,
	}
	h.parts.mails.invitations = &accounts.InvitationMail{
		Queue: h.DB.InvitationQueue(), Page: h.conf.InvitationURL, Now: h.env.Now, Random: h.env.Random, Log: h.env.Logger,
		Mailer: sender, Observe: observe,
	}
	return nil
}

// mailsQueued wakes the sending of mails where a commit may have queued one.
func (h *House) mailsQueued(events []audit.Event) {
	queues := []audit.Name{audit.LoginLocked, audit.InvitationCreated, audit.InvitationResent}
	if !slices.ContainsFunc(events, func(e audit.Event) bool { return slices.Contains(queues, e.Name) }) {
		return
	}
	select {
	case h.state.locked <- struct{}{}:
	default: // it is awake already
	}
}

// SendMails sends the mails that are due now.
func (h *House) SendMails(ctx context.Context) error {
	if h.parts.mails.locks == nil {
		return nil
	}
	_, err := h.sendMails(ctx)
	return err
}

// sendMails sends what is due and returns when the next is.
func (h *House) sendMails(ctx context.Context) (time.Time, error) {
	next, err := h.parts.mails.locks.Deliver(ctx)
	other, otherErr := h.parts.mails.invitations.Deliver(ctx)
	if next.IsZero() || !other.IsZero() && other.Before(next) {
		next = other
	}
	behind, failure := h.parts.mails.locks.Behind(ctx)
	more, otherFailure := h.parts.mails.invitations.Behind(ctx)
	if failure == nil && otherFailure == nil {
		h.Metrics.MailBehind(max(behind, more))
	}
	return next, errors.Join(err, otherErr, failure, otherFailure)
}

// deliverMails sends mails until ctx ends: at once after a lock here, when an
// attempt is due again, and now and then for the replicas that cannot.
func (h *House) deliverMails(ctx context.Context) {
	if h.parts.mails.locks == nil {
		return
	}
	for {
		next, err := h.sendMails(ctx)
		if err != nil && ctx.Err() == nil {
			h.env.Logger.WarnContext(ctx, "mails could not be sent", "err", err)
		}
		wait := mailsLatest
		if err == nil && !next.IsZero() {
			wait = min(max(next.Sub(h.env.Now()), mailsSoonest), mailsLatest)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-h.state.locked:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// forgetMails removes the notices and the invitations that no longer matter.
func (h *House) forgetMails(ctx context.Context) (err error) {
	for more := h.parts.mails.locks != nil; more && err == nil && ctx.Err() == nil; {
		more, err = h.parts.mails.locks.Prune(ctx)
	}
	for more := true; more && err == nil && ctx.Err() == nil; {
		more, err = accounts.PruneInvitations(ctx, h.DB.InvitationQueue(), h.env.Now())
	}
	return err
}
