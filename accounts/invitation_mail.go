package accounts

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// InvitedLetter invites somebody. Whoever invites chooses nothing in it but the
// name of an organisation, which no mail program takes for a link.
type InvitedLetter struct {
	ID      string // the same at every attempt to send it
	To      string // an address
	Org     string
	Role    string
	Link    string
	Expires time.Time
}

// postponed is how long a letter waits to somebody who has had enough for today.
const postponed = 6 * time.Hour

// InvitationMail sends the letters of invitations. Every field but Observe is
// required.
type InvitationMail struct {
	Queue  InvitationQueue
	Mailer Mailer
	// Page is the address of the page behind a link's token.
	Page   func(token secret.Plain) string
	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
	// Observe, where set, is told how each attempt ended.
	Observe func(MailResult)
}

// Deliver sends what is due now, and returns when the next is: zero where
// nothing waits. Replicas share the work.
func (m *InvitationMail) Deliver(ctx context.Context) (time.Time, error) {
	due := func(ctx context.Context) ([]InvitationLetter, error) {
		return m.Queue.DueInvitations(ctx, m.Now(), mailBatch)
	}
	if err := attemptDue(ctx, due, m.attempt); err != nil {
		return time.Time{}, err
	}
	return m.Queue.NextInvitation(ctx)
}

// attempt sends one letter, unless another replica does, the invitation is open no
// more, or the address was sent enough today. Replicas that count in the same
// moment may send one more each.
func (m *InvitationMail) attempt(ctx context.Context, l InvitationLetter) error {
	now := m.Now()
	i, err := m.Queue.InvitationOf(ctx, l)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || i.at(now).State != InvitationOpen {
		return m.Queue.SettleInvitationLetter(ctx, l, time.Time{})
	}
	had, err := m.Queue.InvitationsSentTo(ctx, l, now.Add(-invitationWindow))
	if err != nil {
		return err
	}
	if had >= maxInvitationsTo {
		return m.Queue.PostponeInvitation(ctx, l, now.Add(postponed))
	}
	token, err := secret.Mint(m.Random, invitationPrefix)
	if err != nil {
		return err
	}
	won, err := m.Queue.ClaimInvitation(ctx, l, now.Add(mailLease), secret.Sum(token.Reveal()))
	if err != nil || !won {
		return err
	}
	l.Attempts++
	to := User{Email: i.Email, Canonical: i.Canonical}
	return m.settle(ctx, l, i, m.Mailer.Invited(ctx, InvitedLetter{
		ID: l.ID, To: to.mailbox(), Org: plainName(i.OrgName), Role: i.Role, Link: m.Page(token), Expires: i.ExpiresAt,
	}))
}

// settle writes down how an attempt ended.
func (m *InvitationMail) settle(ctx context.Context, l InvitationLetter, i Invitation, failure error) error {
	now := m.Now()
	e := audit.Event{
		Time: now, Name: audit.MailSent, Outcome: audit.Success, Actor: audit.Actor{Type: "system"}, Org: l.Org,
		Targets: []audit.Target{invitationTarget(i)}, Meta: map[string]string{"mail": "invitation"},
	}
	if failure != nil {
		m.Log.WarnContext(ctx, "a mail was not sent", "invitation", l.Invitation, "attempt", l.Attempts, "err", failure)
	}
	result, wait := outcomeOf(failure, l.Attempts)
	if m.Observe != nil {
		m.Observe(result)
	}
	switch result {
	case MailTaken:
		return m.Queue.SettleInvitationLetter(ctx, l, now, e)
	case MailRetried:
		return m.Queue.PostponeInvitation(ctx, l, now.Add(wait))
	}
	e.Name, e.Outcome, e.Reason = audit.MailFailed, audit.Failure, failedFor(failure)
	return m.Queue.SettleInvitationLetter(ctx, l, time.Time{}, e)
}

// Behind is the age of the oldest letter that waits; zero where none does.
func (m *InvitationMail) Behind(ctx context.Context) (time.Duration, error) {
	now := m.Now()
	oldest, err := m.Queue.OldestInvitation(ctx, now)
	if err != nil || oldest.IsZero() {
		return 0, err
	}
	return now.Sub(oldest), nil
}

// PruneInvitations forgets invitations that expired long ago. Where it reports
// more, there may be.
func PruneInvitations(ctx context.Context, q InvitationQueue, now time.Time) (more bool, err error) {
	n, err := q.PruneInvitations(ctx, now.Add(-keepInvitations), mailPruned)
	return n == mailPruned, err
}

// longestPlainName is how much of an organisation's name goes into a letter, in
// characters.
const longestPlainName = 60

// plainName is a name as a letter may show it: whatever mail programs make links
// of is no part of it.
func plainName(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("&'’-", r)
	})
	runes := []rune(strings.Join(words, " "))
	if len(runes) > longestPlainName {
		runes = append(runes[:longestPlainName-1], '…')
	}
	return string(runes)
}
