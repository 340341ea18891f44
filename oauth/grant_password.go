package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// password opens a session for an e-mail and a password. It is for our own
// login dialects and pages only: RFC 9700 §2.4 forbids that other clients see
// passwords.
var password = grant{
	typ:    GrantPassword,
	params: []string{"username", "password", "proof"},
	client: firstPartyOnly,
	earn: func(ctx context.Context, p *Provider, c Client, r Request) (earned, error) {
		v, err := p.Logins.Authenticate(ctx, accounts.Attempt{
			Identifier: r.Params["username"], Password: secret.Of(r.Params["password"]),
			Answer: r.Params["proof"], Device: r.Device, Client: c.ID, Origin: r.Origin,
		})
		if err != nil {
			return earned{}, err
		}
		l := &login{p, v, c, r, earned{
			user: v.User.ID, org: v.Home, session: ident.NewSessionID(p.Now(), p.Random), device: v.Device,
		}}
		if l.earned.session, err = l.present(ctx); err != nil {
			return earned{}, l.drop(ctx, err)
		}
		l.earned.record, l.earned.refuse, l.earned.drop = l.record, l.refuse, l.drop
		return l.earned, nil
	},
}

// login is a right password on its way to a session.
type login struct {
	p        *Provider
	verified *accounts.Verified
	client   Client
	request  Request
	earned   earned
}

// record commits the login as one: the counters start anew, a stale hash is
// replaced, the session exists, and the log says so.
func (l *login) record(ctx context.Context, access tokens.Access) (earned, error) {
	now := l.p.Now()
	var family tokens.Family
	var refresh secret.Plain
	var held bool
	err := l.p.Store.InExchangeTx(ctx, func(tx Tx) (err error) {
		if held, err = l.verified.Settle(tx, now); err != nil || !held {
			return err
		}
		if family, refresh, err = l.open(tx, now, access); err != nil {
			return err
		}
		e := l.verified.Event(audit.LoginSucceeded, now)
		e.Session = family.ID
		return tx.Record(e)
	})
	switch {
	case errors.Is(err, fault.AccountDisabled): // since the password was checked
		return earned{}, l.refuse(ctx, accounts.ReasonUserDisabled)
	case err != nil:
		return earned{}, l.drop(ctx, err)
	case !held:
		return earned{}, errRaced
	}
	e := l.earned
	if l.client.Browser {
		e.browser = refresh
		return e, nil
	}
	if e.refresh = refresh; !refresh.IsZero() {
		e.refreshExpires = l.p.Sessions.ExpiryOf(family)
	}
	return e, nil
}

// present is the session that the login is going to have: in a browser, the
// one it has already where that is the same user's. What happens to it until
// the commit decides there.
func (l *login) present(ctx context.Context) (ident.SessionID, error) {
	if !l.client.Browser || l.request.Session == "" {
		return l.earned.session, nil
	}
	f, err := l.p.Sessions.Store.Family(ctx, l.request.Session)
	switch {
	case errors.Is(err, fault.NotFound), err == nil && (f.User != l.earned.user || !f.Active(l.p.Now())):
		return l.earned.session, nil
	}
	return f.ID, err
}

// open opens the session, with its first refresh token or its cookie.
func (l *login) open(tx Tx, now time.Time, access tokens.Access) (tokens.Family, secret.Plain, error) {
	o := l.opening()
	o.Access = access
	if !l.client.Browser {
		return l.p.Sessions.Begin(tx, now, o)
	}
	in, err := l.p.Sessions.SignIn(tx, now, l.request.Session, o)
	return in.Family, in.Cookie, err
}

func (l *login) opening() tokens.Opening {
	o := tokens.Opening{
		ID: l.earned.session, User: l.earned.user, Org: l.earned.org, Client: l.client.ID, Method: "password",
		Origin: l.request.Origin, Proof: l.verified.Proof, Refreshable: l.client.Refreshable(),
	}
	if !o.Refreshable && !l.client.Browser {
		o.TTL = l.client.AccessTTL // the session ends with its only access token
	}
	return o
}

func (l *login) refuse(ctx context.Context, reason string) error {
	return l.p.Logins.Decline(ctx, l.verified, reason)
}

func (l *login) drop(ctx context.Context, cause error) error {
	return errors.Join(cause, l.p.Logins.Abandon(ctx, l.verified))
}
