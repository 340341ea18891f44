package tokens

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// The permissions to act on other people's sessions. A person needs none for
// their own.
const (
	readSessions   scope.Permission = "sessions:read"
	revokeSessions scope.Permission = "sessions:revoke"
)

// Sessions lists the caller's own living sessions in their organisation, newest
// first. Whoever is not a person needs sessions:read.
func (s *Service) Sessions(ctx context.Context, c ident.Caller, page ident.Page) ([]Family, error) {
	if c.Kind == ident.Person {
		return s.list(ctx, c, c.User, page)
	}
	return s.SessionsOf(ctx, c, c.User, page)
}

// OwnSession returns a living session of the caller's own in their organisation;
// fault.NotFound where it is none.
func (s *Service) OwnSession(ctx context.Context, c ident.Caller, id ident.SessionID) (Family, error) {
	f, err := s.Store.Family(ctx, id)
	if err != nil {
		return Family{}, err
	}
	if c.Kind != ident.Person || f.User != c.User || f.Org != c.Org || !f.Active(s.Now()) {
		return Family{}, fault.NotFound
	}
	return f, nil
}

// SessionsOf lists the living sessions of a user in the caller's organisation,
// or of everyone where user is empty, newest first. It needs sessions:read.
func (s *Service) SessionsOf(ctx context.Context, c ident.Caller, user ident.UserID, page ident.Page) ([]Family, error) {
	if !c.May(readSessions) {
		return nil, fault.Lacking(string(readSessions))
	}
	return s.list(ctx, c, user, page)
}

func (s *Service) list(ctx context.Context, c ident.Caller, user ident.UserID, page ident.Page) ([]Family, error) {
	q := s.living()
	q.User, q.Page = user, page
	return s.Store.Sessions(ctx, c.Tenant(), q)
}

// living selects the sessions that live now.
func (s *Service) living() Query {
	now, p := s.Now(), s.Policy.withDefaults()
	return Query{Now: now, IdleSince: now.Add(-p.Idle), BrowserIdleSince: now.Add(-p.BrowserIdle)}
}

// maxDelegated bounds how many delegated sessions are shown beside a list.
const maxDelegated = 1000

// Delegated returns what depends on the browser sessions among fs, by browser
// session, newest first and living: the clients that were signed in to. They
// are of the caller's organisation, as fs is, which they were allowed to list.
func (s *Service) Delegated(ctx context.Context, c ident.Caller, fs []Family) (map[ident.SessionID][]Family, error) {
	var browsers []ident.SessionID
	for _, f := range fs {
		if f.IsBrowser() {
			browsers = append(browsers, f.ID)
		}
	}
	if len(browsers) == 0 {
		return nil, nil
	}
	q := s.living()
	q.Page.Limit = maxDelegated
	found, err := s.Store.Delegated(ctx, c.Tenant(), browsers, q)
	if err != nil {
		return nil, err
	}
	out := make(map[ident.SessionID][]Family, len(browsers))
	for _, f := range found {
		out[f.Delegation.Browser] = append(out[f.Delegation.Browser], f)
	}
	return out, nil
}

// RevokeSession ends one session: an own one, or with sessions:revoke any of
// the caller's organisation. All others are fault.NotFound, and so is one that
// has ended already.
func (s *Service) RevokeSession(ctx context.Context, c ident.Caller, id ident.SessionID) error {
	now := s.Now().Truncate(time.Microsecond)
	var denied bool
	err := s.Store.InTx(ctx, func(tx Tx) error {
		denied = false
		f, err := tx.Family(id)
		if err != nil {
			return err
		}
		if f.Org != c.Org {
			denied = true
			e := audit.By(c, now, audit.CrossOrgDenied, audit.Target{Type: "session", ID: string(id)})
			e.Outcome = audit.Denied
			return tx.Record(e)
		}
		own := c.Kind == ident.Person && f.User == c.User
		if !f.Active(now) || !own && !c.May(revokeSessions) {
			return fault.NotFound
		}
		_, err = s.end(tx, f, ended{by: c, at: now, reason: "signed_out"})
		return err
	})
	if err == nil && denied {
		return fault.NotFound
	}
	return err
}

// RevokeOthers signs the caller out everywhere, in every organisation, but for
// the present session unless includeCurrent. It returns how many sessions ended.
// Whoever is not a person needs sessions:revoke and acts in one organisation.
func (s *Service) RevokeOthers(ctx context.Context, c ident.Caller, includeCurrent bool) (int, error) {
	if c.Kind != ident.Person {
		return s.RevokeAllOf(ctx, c, c.User)
	}
	e := Ending{User: c.User, Except: c.Session}
	if includeCurrent {
		e.Except = ""
	}
	return s.endAll(ctx, c, e)
}

// RevokeAllOf ends every session of a user in the caller's organisation and
// returns how many there were. It needs sessions:revoke.
func (s *Service) RevokeAllOf(ctx context.Context, c ident.Caller, user ident.UserID) (int, error) {
	if !c.May(revokeSessions) {
		return 0, fault.Lacking(string(revokeSessions))
	}
	if c.Org == "" {
		return 0, fault.NotFound // an empty one would mean every organisation
	}
	return s.endAll(ctx, c, Ending{User: user, Org: c.Org})
}

func (s *Service) endAll(ctx context.Context, c ident.Caller, e Ending) (n int, err error) {
	e.Reason, e.At = "signed_out_everywhere", s.Now().Truncate(time.Microsecond)
	err = s.Store.InTx(ctx, func(tx Tx) error {
		all, err := s.EndIn(tx, c, e)
		n = len(all)
		return err
	})
	return n, err
}

// Logout ends the caller's session. It is fault.InvalidToken (revoked) where
// the session has ended already or the caller has none.
func (s *Service) Logout(ctx context.Context, c ident.Caller) error {
	if c.Session == "" {
		return tokenRevoked()
	}
	now := s.Now().Truncate(time.Microsecond)
	err := s.Store.InTx(ctx, func(tx Tx) error {
		f, err := tx.Family(c.Session)
		if err != nil {
			return err
		}
		if !f.Ended.At.IsZero() {
			return tokenRevoked()
		}
		_, err = s.end(tx, f, ended{by: c, at: now, reason: "logout"})
		return err
	})
	if errors.Is(err, fault.NotFound) {
		return tokenRevoked()
	}
	return err
}

// RevokePresented ends the session of a refresh token, whatever its generation
// (RFC 7009 §2.1): a logout without an access token. It is fault.InvalidToken
// where the token is none of ours or the client's, or its session has ended.
func (s *Service) RevokePresented(ctx context.Context, p Presented) error {
	g, err := parse(p.Token, s.MACs)
	if err != nil {
		return err
	}
	now := s.Now().Truncate(time.Microsecond)
	err = s.Store.InTx(ctx, func(tx Tx) error {
		f, err := tx.Family(g.Session)
		switch {
		case err != nil:
			return err
		case f.Client != p.Client:
			return malformed()
		case !f.Ended.At.IsZero():
			return refusal(revokedResult(f.Ended.Reason))
		case !f.Active(now):
			return refusal(Expired)
		}
		by := ident.Caller{Kind: ident.Person, User: f.User, Org: f.Org, Session: f.ID, Client: f.Client, Origin: p.Origin}
		_, err = s.end(tx, f, ended{by: by, at: now, reason: "logout"})
		return err
	})
	if errors.Is(err, fault.NotFound) {
		return refusal(Expired)
	}
	return err
}

// ended says who ends a session.
type ended struct {
	by     ident.Caller
	at     time.Time
	reason string
}

// end writes, announces and records the end of one session, and of all that
// depend on it. It returns them as they were, f first.
func (s *Service) end(tx Tx, f Family, e ended) ([]Family, error) {
	if err := tx.SaveFamily(f.ended(e.at, e.reason)); err != nil {
		return nil, err
	}
	if err := tx.Announce(sessionRevoked(f.ID, e.at, s.Until(e.at))); err != nil {
		return nil, err
	}
	if err := tx.Record(revocation(e.by, f.ID, e.at, e.reason)); err != nil {
		return nil, err
	}
	if !f.IsBrowser() {
		return []Family{f}, nil
	}
	children, err := s.EndIn(tx, e.by, Ending{Browser: f.ID, Reason: e.reason, At: e.at})
	return append([]Family{f}, children...), err
}

func revocation(c ident.Caller, id ident.SessionID, at time.Time, reason string) audit.Event {
	e := audit.By(c, at, audit.SessionRevoked, audit.Target{Type: "session", ID: string(id)})
	e.Reason, e.Session = reason, id
	return e
}
