package tokens

import (
	"cmp"
	"context"
	"errors"
	"math"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// browserTouch is how old Family.Seen of a browser session may get before it is
// written anew, so that a page costs no write.
const browserTouch = 5 * time.Minute

// browserOver is the answer to a cookie that stands for nobody. It never says why.
func browserOver() error {
	return fault.New(fault.InvalidToken, "The browser is not signed in")
}

// Browser returns the session that the cookie of a browser stands for. It is
// fault.InvalidToken, with the zero Family, where the cookie is none of ours, is
// not the newest of its session, or the session has ended, expired or was
// unused for too long. It costs one read, and a write every five minutes; a
// cookie that was forged costs nothing.
//
// A session that was once seen to be over is over: a clock that is set back
// does not bring it to life again.
func (s *Service) Browser(ctx context.Context, cookie string) (Family, error) {
	g, ok := read(browserPrefix, cookie, s.BrowserMACs)
	if !ok {
		return Family{}, browserOver()
	}
	f, err := s.Store.Family(ctx, g.Session)
	now := s.Now().Truncate(time.Microsecond)
	switch {
	case errors.Is(err, fault.NotFound):
		return Family{}, browserOver()
	case err != nil:
		return Family{}, err
	case !f.IsBrowser() || !f.Ended.At.IsZero() || g.Generation != f.Chain.Generation:
		return Family{}, browserOver()
	case s.browserLapsed(f, now):
		if err := s.lapse(ctx, f.ID, now); err != nil {
			return Family{}, err
		}
		return Family{}, browserOver()
	case now.Sub(f.Seen.At) < browserTouch: // also where the clock was set back: Seen never goes back
		return f, nil
	}
	next := f
	next.Seen.At = now
	won, err := s.Store.Advance(ctx, f, next)
	if err != nil {
		return Family{}, err
	}
	if !won { // somebody else saw it, or it ended: ask again
		return s.browserAgain(ctx, g, now)
	}
	next.Version++
	return next, nil
}

// browserAgain judges once more, after somebody else changed the family.
func (s *Service) browserAgain(ctx context.Context, g generationOf, now time.Time) (Family, error) {
	f, err := s.Store.Family(ctx, g.Session)
	switch {
	case err != nil && !errors.Is(err, fault.NotFound):
		return Family{}, err
	case err != nil || !f.Ended.At.IsZero() || g.Generation != f.Chain.Generation || s.browserLapsed(f, now):
		return Family{}, browserOver()
	}
	return f, nil
}

// browserLapsed reports whether a browser session lived too long, or was
// unused for too long.
func (s *Service) browserLapsed(f Family, now time.Time) bool {
	return !now.Before(f.ExpiresAt) || !now.Before(f.Seen.At.Add(s.Policy.withDefaults().BrowserIdle))
}

// lapse writes down that a browser session is over. What it delegated goes on:
// nobody logged out. No event tells of it, since nobody did it.
func (s *Service) lapse(ctx context.Context, id ident.SessionID, now time.Time) error {
	return s.Store.InTx(ctx, func(tx Tx) error {
		f, err := tx.Family(id)
		if errors.Is(err, fault.NotFound) || err == nil && (!f.Ended.At.IsZero() || !s.browserLapsed(f, now)) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.SaveFamily(f.ended(now, string(Expired)))
	})
}

// Reauthenticate notes that the user of a living browser session proved again
// who they are, and returns the session with its new cookie. The old one is
// dead from the commit on, and the session's life begins anew. It is
// fault.InvalidToken where the session is not alive, or another user's.
func (s *Service) Reauthenticate(tx Tx, now time.Time, id ident.SessionID, o Opening) (Family, secret.Plain, error) {
	now = now.Truncate(time.Microsecond)
	f, err := tx.Family(id)
	switch {
	case errors.Is(err, fault.NotFound):
		return Family{}, secret.Plain{}, browserOver()
	case err != nil:
		return Family{}, secret.Plain{}, err
	case !f.IsBrowser() || !f.Ended.At.IsZero() || s.browserLapsed(f, now) || f.User != o.User || f.Chain.Generation == math.MaxUint32:
		return Family{}, secret.Plain{}, browserOver()
	}
	f.Chain.Generation++
	f.Method, f.AuthenticatedAt = cmp.Or(o.Method, f.Method), authenticatedAt(o, now)
	f.ExpiresAt = now.Add(cmp.Or(o.TTL, s.Policy.withDefaults().BrowserAbsolute))
	f.Seen = Seen{At: now, IP: o.Origin.IP, UserAgent: o.Origin.UserAgent}
	f.Holder.Network, f.Holder.Agent = networkOf(o.Origin.IP), textDigest(o.Origin.UserAgent)
	f.Chain.Live = s.issued(f, o.Access, now)
	if err := tx.SaveFamily(f); err != nil {
		return Family{}, secret.Plain{}, err
	}
	f.Version++
	cookie, err := write(browserPrefix, generationOf{f.ID, f.Chain.Generation}, s.BrowserMACs)
	return f, cookie, err
}

// SignedIn is what a login in a browser came to.
type SignedIn struct {
	Family Family
	Cookie secret.Plain // the value of the browser's cookie from now on
	// Ended are the families that ended because another user took the browser's
	// place, as they were: the old browser session and what depended on it.
	Ended []Family
}

// SignIn opens the session of a browser whose present session is given, or
// empty. The same user's goes on, reauthenticated; another user's ends, with
// what depends on it.
func (s *Service) SignIn(tx Tx, now time.Time, present ident.SessionID, o Opening) (SignedIn, error) {
	now = now.Truncate(time.Microsecond)
	o.Browser = true
	var in SignedIn
	if present != "" {
		var err error
		in.Family, in.Cookie, err = s.Reauthenticate(tx, now, present, o)
		if err == nil {
			return in, nil
		}
		if !errors.Is(err, fault.InvalidToken) {
			return SignedIn{}, err
		}
		if in.Ended, err = s.replace(tx, now, present, o); err != nil {
			return SignedIn{}, err
		}
	}
	var err error
	in.Family, in.Cookie, err = s.Begin(tx, now, o)
	return in, err
}

// replace ends the browser session that a login of another user takes the
// place of; nothing where it has ended already.
func (s *Service) replace(tx Tx, now time.Time, present ident.SessionID, o Opening) ([]Family, error) {
	f, err := tx.Family(present)
	if errors.Is(err, fault.NotFound) || err == nil && (!f.IsBrowser() || !f.Ended.At.IsZero()) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	by := ident.Caller{Kind: ident.Person, User: f.User, Org: f.Org, Session: f.ID, Client: f.Client, Origin: o.Origin}
	return s.end(tx, f, ended{by: by, at: now, reason: "replaced"})
}

// EndBrowser ends a browser session and, in the same commit, what depends on
// it, which it returns, as it was: the clients are to be told. It is
// fault.NotFound where no such browser session lives. The caller holds its
// cookie; nothing else is asked of them.
func (s *Service) EndBrowser(ctx context.Context, by ident.Caller, id ident.SessionID, reason string) ([]Family, error) {
	now := s.Now().Truncate(time.Microsecond)
	var children []Family
	err := s.Store.InTx(ctx, func(tx Tx) error {
		f, err := tx.Family(id)
		switch {
		case err != nil:
			return err
		case !f.IsBrowser() || !f.Ended.At.IsZero():
			return fault.NotFound
		}
		all, err := s.end(tx, f, ended{by: by, at: now, reason: reason})
		if err == nil {
			children = all[1:]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return children, nil
}

// EndClientFamilies ends what a user gave a client, offline or not, and returns
// it, as it was. It is for whoever withdraws a consent: the caller is not asked
// for any permission.
func (s *Service) EndClientFamilies(ctx context.Context, by ident.Caller, user ident.UserID, client ident.ClientID, reason string) ([]Family, error) {
	at := s.Now().Truncate(time.Microsecond)
	var all []Family
	err := s.Store.InTx(ctx, func(tx Tx) (err error) {
		all, err = s.EndIn(tx, by, Ending{User: user, Client: client, Reason: reason, At: at})
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// EndIn ends the sessions that e selects, announces and records each, within a
// transaction that is about more. It fills in Until.
func (s *Service) EndIn(tx Tx, by ident.Caller, e Ending) ([]Family, error) {
	e.Until = s.Until(e.At)
	all, err := tx.EndSessions(e)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if err := tx.Record(revocation(by, f.ID, e.At, e.Reason)); err != nil {
			return nil, err
		}
	}
	return all, nil
}
