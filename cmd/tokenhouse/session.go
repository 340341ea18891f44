package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/tokens"
)

func (p *process) sessionCommand() *cobra.Command {
	list := p.userDo("list", "List the living sessions of an organisation, newest first", "  tokenhouse session list --org acme --user jane@example.com", p.listSessions)
	list.Flags().String("user", "", "e-mail address or id of a member; everybody where left out")
	revoke := p.userDo("revoke ID", "End a session: its tokens are refused at once, on every replica", "  tokenhouse session revoke sess_01j… --org acme", p.revokeSession)
	revoke.Args = exactly("the id of the session")
	return group("session", "Look at logins, and end them", list, revoke)
}

type sessionView struct {
	ID        ident.SessionID `json:"id"`
	User      ident.UserID    `json:"user_id"`
	Client    ident.ClientID  `json:"client_id"`
	CreatedAt string          `json:"created_at"`
	LastUsed  string          `json:"last_used_at"`
	ExpiresAt string          `json:"expires_at"`
	IP        string          `json:"ip"`
	UserAgent string          `json:"user_agent"`
}

func sessionViewOf(f tokens.Family) sessionView {
	v := sessionView{
		ID: f.ID, User: f.User, Client: f.Client, CreatedAt: stamp(f.CreatedAt),
		LastUsed: stamp(f.Seen.At), ExpiresAt: stamp(f.ExpiresAt), UserAgent: f.Seen.UserAgent,
	}
	if f.Seen.IP.IsValid() {
		v.IP = f.Seen.IP.String()
	}
	return v
}

func (p *process) listSessions(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	var user ident.UserID
	if name, _ := c.Flags().GetString("user"); name != "" {
		var err error
		if user, err = findUser(ctx, h, caller, name); err != nil {
			return err
		}
	}
	families, err := everything(func(pg ident.Page) ([]tokens.Family, error) { return h.Sessions.SessionsOf(ctx, caller, user, pg) },
		func(f tokens.Family) string { return string(f.ID) })
	if err != nil {
		return err
	}
	return printList(c, families, sessionViewOf, []column[tokens.Family]{
		{"id", func(f tokens.Family) string { return string(f.ID) }},
		{"user", func(f tokens.Family) string { return string(f.User) }},
		{"created", func(f tokens.Family) string { return sessionViewOf(f).CreatedAt }},
		{"last used", func(f tokens.Family) string { return sessionViewOf(f).LastUsed }},
		{"ip", func(f tokens.Family) string { return sessionViewOf(f).IP }},
		{"user agent", func(f tokens.Family) string { return sessionViewOf(f).UserAgent }},
	})
}

func (p *process) revokeSession(ctx context.Context, c *cobra.Command, h *house.House, caller ident.Caller) error {
	id, err := ident.ParseSessionID(c.Flags().Arg(0))
	if err != nil {
		return errors.New("that is not the id of a session, which begins with sess_; see tokenhouse session list")
	}
	err = h.Sessions.RevokeSession(ctx, caller, id)
	if errors.Is(err, fault.NotFound) {
		return fmt.Errorf("the organisation has no living session %s; see tokenhouse session list", id)
	}
	if err != nil {
		return err
	}
	return printThing(c, map[string]any{"id": id, "revoked": true}, field{"id", string(id)}, field{"revoked", "yes"})
}
