package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	ID         ident.SessionID `json:"id"`
	User       ident.UserID    `json:"user_id"`
	Client     ident.ClientID  `json:"client_id"`
	ClientName string          `json:"client_name,omitempty"` // of a client that the user allowed
	CreatedAt  string          `json:"created_at"`
	LastUsed   string          `json:"last_used_at"`
	ExpiresAt  string          `json:"expires_at"`
	IP         string          `json:"ip"`
	UserAgent  string          `json:"user_agent"`
	Clients    []signedInView  `json:"clients,omitempty"` // that a browser's session signed in to
}

type signedInView struct {
	ID       ident.ClientID `json:"client_id"`
	Name     string         `json:"name"`
	LastUsed string         `json:"last_used_at"`
	Offline  bool           `json:"offline"`
}

// sessionViews shows sessions with the clients that are behind them.
func sessionViews(ctx context.Context, h *house.House, caller ident.Caller, families []tokens.Family) ([]sessionView, error) {
	var below []tokens.Family
	byBrowser := map[ident.SessionID][]tokens.Family{}
	for chunk := range slices.Chunk(families, pageSize) {
		found, err := h.Sessions.Delegated(ctx, caller, chunk)
		if err != nil {
			return nil, err
		}
		for browser, fs := range found {
			byBrowser[browser], below = fs, append(below, fs...)
		}
	}
	names, err := h.Clients.Names(ctx, slices.Concat(families, below))
	if err != nil {
		return nil, err
	}
	out := make([]sessionView, len(families))
	for i, f := range families {
		v := sessionView{
			ID: f.ID, User: f.User, Client: f.Client, ClientName: names[f.Client], CreatedAt: stamp(f.CreatedAt),
			LastUsed: stamp(f.Seen.At), ExpiresAt: stamp(f.ExpiresAt), UserAgent: f.Seen.UserAgent,
		}
		if f.Seen.IP.IsValid() {
			v.IP = f.Seen.IP.String()
		}
		for _, d := range byBrowser[f.ID] {
			v.Clients = append(v.Clients, signedInView{d.Client, names[d.Client], stamp(d.Seen.At), d.Delegation.Offline})
		}
		out[i] = v
	}
	return out, nil
}

// client is who the session is for, in one cell: the client that the user
// allowed, and for a browser those that it signed in to.
func (v sessionView) client() string {
	if len(v.Clients) == 0 {
		return cmp.Or(v.ClientName, string(v.Client))
	}
	names := make([]string, len(v.Clients))
	for i, c := range v.Clients {
		names[i] = cmp.Or(c.Name, string(c.ID))
	}
	return string(v.Client) + ": " + strings.Join(names, ", ")
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
	views, err := sessionViews(ctx, h, caller, families)
	if err != nil {
		return err
	}
	return printList(c, views, func(v sessionView) sessionView { return v }, []column[sessionView]{
		{"id", func(v sessionView) string { return string(v.ID) }},
		{"user", func(v sessionView) string { return string(v.User) }},
		{"client", sessionView.client},
		{"created", func(v sessionView) string { return v.CreatedAt }},
		{"last used", func(v sessionView) string { return v.LastUsed }},
		{"ip", func(v sessionView) string { return v.IP }},
		{"user agent", func(v sessionView) string { return v.UserAgent }},
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
