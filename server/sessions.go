package server

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/ident"
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
}

type sessionList struct{ pageRequest }

func (r *sessionList) read(i *input) error { return r.readPage(i) }

// listSessions serves GET /api/v1/sessions: the caller's own.
func (s *Server) listSessions(ctx context.Context, caller ident.Caller, req sessionList) (page[session], error) {
	found, err := s.Services.Sessions.Sessions(ctx, caller, req.ask())
	if err != nil {
		return page[session]{}, err
	}
	key := func(f tokens.Family) string { return string(f.ID) }
	return paged(s, req.pageRequest, found, key, func(f tokens.Family) session {
		return session{
			ID: f.ID, Current: f.ID == caller.Session, User: f.User, Client: f.Client, Method: f.Method,
			CreatedAt: timestamp{f.CreatedAt}, LastSeenAt: timestamp{f.Seen.At}, ExpiresAt: timestamp{f.ExpiresAt},
			IP: addressText(f.Seen.IP), UserAgent: f.Seen.UserAgent,
		}
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
	return none{}, s.Services.Sessions.RevokeSession(ctx, caller, req.id)
}
