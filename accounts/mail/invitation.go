package mail

import (
	"context"
	"fmt"
	"strings"

	"github.com/tokenhouse/tokenhouse/accounts"
)

// invitedView is what the letter of an invitation says.
type invitedView struct {
	Service string
	Account string
	Org     string // empty: it has no name that a letter may show
	Role    string
	Link    string
	Expires string
}

// Invited sends the letter of an invitation.
func (s *Sender) Invited(ctx context.Context, l accounts.InvitedLetter) error {
	v := invitedView{Service: s.Service, Account: l.To, Org: l.Org, Role: l.Role, Link: l.Link, Expires: moment(l.Expires)}
	subject := "You are invited to " + s.Service
	if l.Org != "" {
		subject = "You are invited to " + l.Org + " at " + s.Service
	}
	w := words{subject: subject}
	var t, h strings.Builder
	if err := texts.ExecuteTemplate(&t, "invited.txt", v); err != nil {
		return fmt.Errorf("invited.txt: %w", err)
	}
	if err := htmls.ExecuteTemplate(&h, "invited.html", v); err != nil {
		return fmt.Errorf("invited.html: %w", err)
	}
	w.text, w.html = t.String(), h.String()
	return s.send(ctx, envelope{id: l.ID, to: l.To, subject: w.subject}, w)
}
