package accounts

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Mailer sends mail: mail.Sender.
type Mailer interface {
	// LoginLocked returns nil once a mail server took the letter,
	// ErrMailRefused where one never will, and another error where a later try
	// may help. It returns within a minute.
	LoginLocked(ctx context.Context, l LockLetter) error
	// Invited is LoginLocked for an invitation.
	Invited(ctx context.Context, l InvitedLetter) error
}

// ErrMailRefused is the answer of a mail server that takes no such mail, today
// or tomorrow (RFC 5321 §4.2.1: 5yz).
var ErrMailRefused = errors.New("the mail server refused the mail")

// LockLetter tells the owner of an account of a lock. Nothing in it was chosen
// by whoever caused the lock.
type LockLetter struct {
	ID      string // the same at every attempt to send it
	To      string // an address
	Scope   LockScope
	Source  netip.Addr // from where the last wrong password came; may be zero
	At      time.Time
	Until   time.Time
	Link    string // lets one browser past the lock; empty where it would not help
	Expires time.Time
}

// Limits of sending mails.
const (
	// mailLease is how long an attempt may take before another replica makes the
	// next: twice what a Mailer takes.
	mailLease = 2 * time.Minute
	// mailBatch bounds how many are sent at once.
	mailBatch = 8
)

// mailRetries is how long after each attempt that failed the next is made. After
// the last there is none.
var mailRetries = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour}

// MailResult is how one attempt to send a mail ended; a metric's label.
type MailResult string

// The results.
const (
	MailTaken   MailResult = "sent"    // a mail server took it
	MailRetried MailResult = "retried" // it failed, and is tried again
	MailFailed  MailResult = "failed"  // it was refused, or failed for the last time
)

// MailResults lists every MailResult.
func MailResults() []MailResult {
	return []MailResult{MailTaken, MailRetried, MailFailed}
}

// LockMail sends the notices of locks. Every field but Observe is required.
type LockMail struct {
	Queue  LockNoticeQueue
	Users  LoginReader
	Mailer Mailer
	// Page is the address of the page behind an unlock link's token.
	Page   func(token secret.Plain) string
	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
	// Observe, where set, is told how each attempt ended.
	Observe func(MailResult)
}

// Deliver sends what is due now, and returns when the next is: zero where
// nothing waits. Replicas share the work. When ctx ends, what was begun is
// brought to its end and nothing else is begun.
func (m *LockMail) Deliver(ctx context.Context) (time.Time, error) {
	due := func(ctx context.Context) ([]LockNotice, error) {
		return m.Queue.DueLockNotices(ctx, m.Now(), mailBatch)
	}
	if err := attemptDue(ctx, due, m.attempt); err != nil {
		return time.Time{}, err
	}
	return m.Queue.NextLockNotice(ctx)
}

// attempt sends one notice, unless another replica does or nobody is to be told.
// Its error is the queue's: what becomes of the attempt itself is written there.
func (m *LockMail) attempt(ctx context.Context, n LockNotice) error {
	now := m.Now()
	user, err := m.Users.User(ctx, n.User)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	// Nobody, nobody any more, or nobody who logs in with a password.
	if user.Status != Active || user.PasswordHash == "" {
		return m.Queue.SettleLockNotice(ctx, n)
	}
	token, err := secret.Mint(m.Random, unlockPrefix)
	if err != nil {
		return err
	}
	link := UnlockLink{Digest: secret.Sum(token.Reveal()), Identifier: n.Identifier, User: n.User, ExpiresAt: now.Add(UnlockLinkTTL)}
	won, err := m.Queue.ClaimLockNotice(ctx, n, now.Add(mailLease), link)
	if err != nil || !won {
		return err
	}
	n.Attempts++
	l := LockLetter{ID: n.ID, To: user.mailbox(), Scope: n.Scope, Source: n.Source, At: n.LockedAt, Until: n.Until}
	if n.Scope != LockedSession { // who is signed in is not shut out
		l.Link, l.Expires = m.Page(token), link.ExpiresAt
	}
	return m.settle(ctx, n, user, m.Mailer.LoginLocked(ctx, l))
}

// settle writes down how an attempt ended.
func (m *LockMail) settle(ctx context.Context, n LockNotice, user User, failure error) error {
	now := m.Now()
	e := audit.Event{
		Time: now, Name: audit.MailSent, Outcome: audit.Success, Actor: audit.Actor{Type: "system"}, Org: n.Org,
		Targets: []audit.Target{{Type: "user", ID: string(user.ID), Name: user.Email}}, Meta: map[string]string{"mail": "login_locked", "scope": string(n.Scope)},
	}
	if failure != nil {
		m.Log.WarnContext(ctx, "a mail was not sent", "user", user.ID, "attempt", n.Attempts, "err", failure)
	}
	result, wait := outcomeOf(failure, n.Attempts)
	m.observe(result)
	switch result {
	case MailTaken:
		return m.Queue.SettleLockNotice(ctx, n, e)
	case MailRetried:
		return m.Queue.PostponeLockNotice(ctx, n, now.Add(wait))
	}
	e.Name, e.Outcome, e.Reason = audit.MailFailed, audit.Failure, failedFor(failure)
	return m.Queue.SettleLockNotice(ctx, n, e)
}

func (m *LockMail) observe(r MailResult) {
	if m.Observe != nil {
		m.Observe(r)
	}
}

// Behind is the age of the oldest mail that waits; zero where none does.
func (m *LockMail) Behind(ctx context.Context) (time.Duration, error) {
	oldest, err := m.Queue.OldestLockNotice(ctx)
	if err != nil || oldest.IsZero() {
		return 0, err
	}
	return m.Now().Sub(oldest), nil
}

// mailPruned is how many notices and links one Prune removes at most of each.
const mailPruned = 500

// Prune forgets what no longer matters. Where it reports more, there may be.
func (m *LockMail) Prune(ctx context.Context) (more bool, err error) {
	n, err := m.Queue.PruneLockNotices(ctx, m.Now().Add(-noticeWindow), mailPruned)
	return n == mailPruned, err
}

// mailbox is the address to which the user's mail goes: the name before the @ is
// the mail server's to read, so it stays as it was typed; the domain is DNS's.
func (u User) mailbox() string {
	name, _, _ := strings.Cut(u.Email, "@")
	_, domain, _ := strings.Cut(u.Canonical, "@")
	return name + "@" + domain
}
