package oauth

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// authorizationCode redeems what a user allowed (RFC 6749 §4.1.3, OpenID
// Connect Core 1.0 §3.1.3). A request that does not prove to come from whom
// the code was given to leaves the code as it is; one that does, for a code
// that was used, ends what the first use gave (RFC 9700 §2.1.1).
var authorizationCode = grant{
	typ:    GrantAuthorizationCode,
	params: []string{"code", "redirect_uri", "code_verifier", "resource"},
	client: anyClient,
	earn: func(ctx context.Context, p *Provider, c Client, r Request) (earned, error) {
		plain := r.Params["code"]
		if plain == "" {
			return earned{}, fault.New(fault.Malformed, "The parameter code is required.")
		}
		found, err := p.Codes.Code(ctx, codeDigest(plain))
		switch {
		case errors.Is(err, fault.NotFound):
			return earned{}, invalidGrant("unknown_code")
		case err != nil:
			return earned{}, err
		}
		d := &redemption{p: p, code: found, client: c, origin: r.Origin}
		if err := d.prove(r.Params); err != nil {
			return earned{}, err
		}
		if !found.UsedAt.IsZero() {
			return earned{}, d.reused(ctx)
		}
		now := p.Now()
		if !now.Before(found.ExpiresAt) {
			return earned{}, invalidGrant("expired")
		}
		d.earned = earned{
			user: found.User, org: found.Org, session: ident.NewSessionID(now, p.Random), first: true, authorization: &d.code.Authorization,
			record: d.record, refuse: d.refuse, drop: func(_ context.Context, cause error) error { return cause },
		}
		return d.earned, nil
	},
}

// redemption is a code on its way to a family of tokens.
type redemption struct {
	p      *Provider
	code   Code
	client Client
	origin ident.Origin
	earned earned
}

// prove holds that the request is of the client that the code was given to,
// and of the very authorization request (RFC 6749 §4.1.3, RFC 7636 §4.6).
func (d *redemption) prove(params Params) error {
	switch {
	case d.code.Client != d.client.ID:
		return invalidGrant("wrong_client")
	case d.code.RedirectURI != params["redirect_uri"]:
		return invalidGrant("wrong_redirect_uri")
	}
	return checkVerifier(d.code.Challenge, params["code_verifier"])
}

// record opens the family in one commit with the use of the code: of many who
// redeem one code together one is first, on whatever replica.
func (d *redemption) record(ctx context.Context, access tokens.Access) (earned, error) {
	now := d.p.Now()
	var family tokens.Family
	var refresh secret.Plain
	var first bool
	err := d.p.Store.InExchangeTx(ctx, func(tx Tx) (err error) {
		if err := d.allowed(tx); err != nil {
			return err
		}
		if first, err = tx.UseCode(d.code.Digest, d.earned.session, now, now.Add(usedCodeKept)); err != nil || !first {
			return err
		}
		o, err := d.opening()
		if err != nil {
			return err
		}
		o.Access = access
		if family, refresh, err = d.p.Sessions.Begin(tx, now, o); err != nil {
			return err
		}
		e := audit.By(d.caller(family.ID), now, audit.CodeRedeemed, audit.Target{Type: "client", ID: string(d.client.ID)})
		e.Meta = map[string]string{"scope": d.code.Authorization.Scopes.String()}
		return tx.Record(e)
	})
	switch {
	case errors.Is(err, fault.AccountDisabled):
		return earned{}, d.refuse(ctx, accounts.ReasonUserDisabled)
	case errors.Is(err, fault.InvalidToken): // the browser session, or the consent, ended meanwhile
		return earned{}, invalidGrant("ended")
	case err != nil:
		return earned{}, err
	case !first:
		return earned{}, d.overtaken(ctx)
	}
	e := d.earned
	if e.refresh = refresh; !refresh.IsZero() {
		e.refreshExpires = d.p.Sessions.ExpiryOf(family)
	}
	return e, nil
}

// allowed holds that the user still allows the client what they were asked
// for: a consent may be withdrawn in the very moment in which its code is made.
func (d *redemption) allowed(tx CodeTx) error {
	if d.client.Registered.Settings.SkipConsent {
		return nil
	}
	stands, err := tx.HoldConsent(d.code.User, d.client.ID)
	if err == nil && !stands {
		err = invalidGrant("consent_withdrawn")
	}
	return err
}

func (d *redemption) opening() (tokens.Opening, error) {
	a := d.code.Authorization
	text, err := a.text()
	o := tokens.Opening{
		ID: d.earned.session, User: d.code.User, Org: d.code.Org, Client: d.client.ID, Method: GrantAuthorizationCode,
		Origin: d.origin, Refreshable: d.client.Refreshable(), AuthenticatedAt: a.Authenticated.At(),
		Delegation: tokens.Delegation{
			Browser: d.code.Browser, Offline: d.client.Refreshable() && a.Scopes.Has(ScopeOfflineAccess), Authorization: text,
		},
	}
	if !o.Refreshable {
		o.TTL = d.client.AccessTTL // the session ends with its only access token
	}
	return o, err
}

// overtaken is the answer to whoever was second by less than it takes to look.
func (d *redemption) overtaken(ctx context.Context) error {
	found, err := d.p.Codes.Code(ctx, d.code.Digest)
	switch {
	case errors.Is(err, fault.NotFound): // the consent was withdrawn
		return invalidGrant("unknown_code")
	case err != nil:
		return err
	}
	d.code = found
	return d.reused(ctx)
}

// reused ends what the first use of the code gave: of the two who had it, one
// stole it (RFC 9700 §2.1.1, RFC 6749 §4.1.2). That is on record before the
// refusal is answered.
func (d *redemption) reused(ctx context.Context) error {
	now := d.p.Now()
	err := d.p.Store.InExchangeTx(ctx, func(tx Tx) error {
		by := d.caller(d.code.Family)
		ended, err := d.p.Sessions.EndOne(tx, by, d.code.Family, now, "code_reused")
		if err != nil || !ended {
			return err
		}
		e := audit.By(by, now, audit.CodeReused, audit.Target{Type: "client", ID: string(d.client.ID)})
		e.Outcome, e.Reason = audit.Denied, "code_reused"
		return tx.Record(e)
	})
	if err != nil {
		return err
	}
	return invalidGrant("reused")
}

func (d *redemption) caller(session ident.SessionID) ident.Caller {
	return ident.Caller{Kind: ident.Person, User: d.code.User, Org: d.code.Org, Session: session, Client: d.client.ID, Origin: d.origin}
}

// refuse is the answer where the user may no longer enter. The code stays
// unused; it expires soon.
func (d *redemption) refuse(_ context.Context, reason string) error { return invalidGrant(reason) }
