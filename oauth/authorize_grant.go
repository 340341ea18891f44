package oauth

import (
	"context"
	"slices"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// grant gives the client a code. Where the user was asked, that they allowed it
// is remembered in the same commit.
func (q *authorizing) grant(ctx context.Context, n need) (Outcome, error) {
	plain, err := secret.Mint(q.Random, CodePrefix)
	if err != nil {
		return Outcome{}, err
	}
	c := q.code(plain, n.org)
	by := q.caller(n.org)
	target := targetOf(q.client)
	err = q.Store.InAuthorizationTx(ctx, func(tx AuthorizationTx) error {
		if n.asked == AskConsent {
			if err := tx.PutConsent(q.allowed(n.consent)); err != nil {
				return err
			}
			e := audit.By(by, q.now, audit.ConsentGranted, target)
			e.Meta = map[string]string{"scope": q.wants.allow.String()}
			if err := tx.Record(e); err != nil {
				return err
			}
		}
		if err := tx.InsertCode(c); err != nil {
			return err
		}
		e := audit.By(by, q.now, audit.AuthorizationGranted, target)
		e.Meta = map[string]string{"scope": c.Authorization.Scopes.String()}
		return tx.Record(e)
	})
	if err != nil {
		return Outcome{}, err
	}
	return q.to.with(Param{"code", plain.Reveal()}).outcome(q), nil
}

// code is what is stored of a code.
func (q *authorizing) code(plain secret.Plain, org ident.OrgID) Code {
	s := q.visit.Session
	c := Code{
		Digest: codeDigest(plain.Reveal()), Client: q.client.ID, User: s.User, Org: org, Browser: s.ID,
		Challenge: q.wants.challenge, Authorization: q.wants.authorization, CreatedAt: q.now, ExpiresAt: q.now.Add(CodeTTL),
	}
	if q.wants.sentRedirect {
		c.RedirectURI = q.to.RedirectURI
	}
	c.Authorization.Authenticated.Time = s.AuthenticatedAt.Unix()
	c.Authorization.Authenticated.Methods = methodsOf(s.Method)
	return c
}

// methodsOf says in the words of RFC 8176 §2 how a user proved who they are.
func methodsOf(method string) []string {
	if method == "password" {
		return []string{"pwd"}
	}
	return nil
}

// allowed is what the user allows from now on: what they did, and this.
func (q *authorizing) allowed(before Consent) Consent {
	c := Consent{User: q.visit.Session.User, Client: q.client.ID, GrantedAt: before.GrantedAt, UpdatedAt: q.now}
	if c.GrantedAt.IsZero() {
		c.GrantedAt = q.now
	}
	c.Scopes = once(slices.Concat(before.Scopes, q.wants.allow))
	return c
}

// deny records that nothing was granted, and why, and returns what the client
// is told; where it cannot be recorded, that failure.
func (q *authorizing) deny(ctx context.Context, reason string) error {
	e := audit.By(q.caller(q.org()), q.now, audit.AuthorizationDenied, targetOf(q.client))
	e.Outcome, e.Reason = audit.Denied, reason
	if err := q.Store.InAuthorizationTx(ctx, func(tx AuthorizationTx) error { return tx.Record(e) }); err != nil {
		return err
	}
	if reason == "denied" || reason == "cancelled" {
		return refuse("access_denied", "The user did not allow it.")
	}
	return refuse("access_denied", "The user may not use this application.")
}
