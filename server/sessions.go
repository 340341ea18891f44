package server

import (
	"context"
	"maps"
	"slices"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// session is one login as its owner sees it.
type session struct {
	ID         ident.SessionID `json:"id"`
	Current    bool            `json:"current"` // it is the one that asks
	User       ident.UserID    `json:"user_id"`
	Client     ident.ClientID  `json:"client_id"`
	Method     string          `json:"method"`
	CreatedAt  timestamp       `json:"created_at"`
	LastSeenAt timestamp       `json:"last_seen_at"`
	ExpiresAt  timestamp       `json:"expires_at"`
	IP         string          `json:"ip"`
	UserAgent  string          `json:"user_agent"`
	// For is the client that the user allowed this session; none for a login of
	// their own.
	For *sessionClient `json:"client,omitempty"`
	// Clients are those that a browser's session signed in to and that depend on
	// it, or outlive it where offline.
	Clients []signedInClient `json:"clients,omitempty"`
}

type sessionClient struct {
	ID   ident.ClientID `json:"id"`
	Name string         `json:"name"`
}

type signedInClient struct {
	ID         ident.ClientID `json:"client_id"`
	Name       string         `json:"name"`
	LastSeenAt timestamp      `json:"last_seen_at"`
	Offline    bool           `json:"offline"`
}

// everyone, in place of a user's identifier, stands for the whole organisation.
const everyone = "*"

type sessionList struct {
	pageRequest
	whose string // empty: the caller's own
}

func (r *sessionList) read(i *input) (err error) {
	if r.whose, err = i.value("user_id"); err != nil {
		return err
	}
	if r.whose != "" && r.whose != everyone {
		if _, err := ident.ParseUserID(r.whose); err != nil {
			return fault.Refuse("user_id", "must be a user identifier, or * for everyone")
		}
	}
	return r.readPage(i, r.whose)
}

// sessions finds what req asks for. Those of others take sessions:read.
func (s *Server) sessions(ctx context.Context, caller ident.Caller, req sessionList) ([]tokens.Family, error) {
	switch req.whose {
	case "":
		if err := s.own(ctx, caller, accounts.SessionsRead); err != nil {
			return nil, err
		}
		if caller.Kind != ident.Person {
			return nil, fault.New(fault.InsufficientPermissions, "Only a person has sessions of their own; ask with user_id.")
		}
		return s.Services.Sessions.Sessions(ctx, caller, req.ask())
	case everyone:
		return s.Services.Sessions.SessionsOf(ctx, caller, "", req.ask())
	default:
		return s.Services.Sessions.SessionsOf(ctx, caller, ident.UserID(req.whose), req.ask())
	}
}

// own refuses a client of others that acts for a user and was not allowed the
// permission, where the user alone needs none.
func (s *Server) own(ctx context.Context, caller ident.Caller, p scope.Permission) error {
	if caller.Kind != ident.Person || oauth.FirstParty(caller.Client) || caller.May(p) {
		return nil
	}
	s.denied(ctx, caller, p)
	return fault.Lacking(string(p))
}

// listSessions serves GET /api/v1/sessions: living ones.
func (s *Server) listSessions(ctx context.Context, caller ident.Caller, req sessionList) (page[session], error) {
	found, err := s.sessions(ctx, caller, req)
	if err != nil {
		return page[session]{}, err
	}
	below, err := s.Services.Sessions.Delegated(ctx, caller, found)
	if err != nil {
		return page[session]{}, err
	}
	names, err := s.Services.Clients.Names(ctx, slices.Concat(append(slices.Collect(maps.Values(below)), found)...))
	if err != nil {
		return page[session]{}, err
	}
	key := func(f tokens.Family) string { return string(f.ID) }
	return paged(s, req.pageRequest, found, key, func(f tokens.Family) session {
		v := session{
			ID: f.ID, Current: f.ID == caller.Session, User: f.User, Client: f.Client, Method: f.Method,
			CreatedAt: timestamp{f.CreatedAt}, LastSeenAt: timestamp{f.Seen.At}, ExpiresAt: timestamp{f.ExpiresAt},
			IP: addressText(f.Seen.IP), UserAgent: f.Seen.UserAgent,
		}
		if f.IsDelegated() {
			v.For = &sessionClient{f.Client, names[f.Client]}
		}
		for _, d := range below[f.ID] {
			v.Clients = append(v.Clients, signedInClient{d.Client, names[d.Client], timestamp{d.Seen.At}, d.Delegation.Offline})
		}
		return v
	}), nil
}

type ended struct {
	Revoked int `json:"revoked"`
}

// endOtherSessions serves DELETE /api/v1/sessions: every session of the caller
// but the one that asks.
func (s *Server) endOtherSessions(ctx context.Context, caller ident.Caller, _ none) (ended, error) {
	n, err := s.Services.Sessions.RevokeOthers(ctx, caller, false)
	return ended{Revoked: n}, err
}

type sessionByID struct{ id ident.SessionID }

func (r *sessionByID) read(i *input) (err error) {
	r.id, err = pathID(i, "id", ident.ParseSessionID)
	return err
}

// endASession serves DELETE /api/v1/sessions/:id: an own one or, with
// sessions:revoke, one of the organisation.
func (s *Server) endASession(ctx context.Context, caller ident.Caller, req sessionByID) (none, error) {
	if err := s.own(ctx, caller, accounts.SessionsRevoke); err != nil {
		return none{}, err
	}
	return none{}, s.Services.Sessions.RevokeSession(ctx, caller, req.id)
}
