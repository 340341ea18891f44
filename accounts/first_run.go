package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// SetupLinkTTL is how long a set-up link can be used.
const SetupLinkTTL = 24 * time.Hour

// setupPrefix marks the token of a set-up link, for scanners.
const setupPrefix = "th_setup_"

// FirstAdmin are the credentials of the first administrator.
type FirstAdmin struct {
	Email    string
	Password secret.Plain
}

// First is what the first run made. Everything but Created is zero on every
// other run.
type First struct {
	Created     bool
	User        ident.UserID
	Org         ident.OrgID
	Link        secret.Plain // the token of the set-up link, shown once
	LinkExpires time.Time
}

// FirstRun makes the first organisation and its owner in a database that has
// no user. Of replicas that start at the same time exactly one creates
// (SEC-LOG-29).
func (p *People) FirstRun(ctx context.Context, a FirstAdmin) (First, error) {
	if any, err := p.Store.AnyUser(ctx); any || err != nil {
		return First{}, err
	}
	email, err := ParseEmail(a.Email)
	if err != nil {
		return First{}, err
	}
	if err := p.Policy.Check("password", a.Password.Reveal(), email.Typed); err != nil {
		return First{}, err
	}
	at := p.Now()
	u := p.newUser(at, email, "Administrator")
	if u.PasswordHash, err = p.Hasher.Hash(ctx, a.Password.Reveal()); err != nil {
		return First{}, err
	}
	org := Org{ID: ident.NewOrgID(at, p.Random), Name: "Default", Slug: "default", Status: Active, CreatedAt: at}
	token, link, err := p.newSetupLink(at, u.ID)
	if err != nil {
		return First{}, err
	}
	var first First
	err = p.Store.InTx(ctx, func(tx Tx) error {
		first = First{}
		if claimed, err := tx.ClaimFirstRun(at); err != nil || !claimed {
			return err
		}
		if any, err := tx.AnyUser(); err != nil || any {
			return err
		}
		if _, err := tx.InsertUser(u); err != nil {
			return err
		}
		if err := found(tx, u, org, audit.Event{Time: at, Outcome: audit.Success, Actor: audit.Actor{Type: "system", Name: "first run"}}); err != nil {
			return err
		}
		first = First{Created: true, User: u.ID, Org: org.ID, Link: token, LinkExpires: link.ExpiresAt}
		return tx.InsertSetupLink(link)
	})
	if err != nil {
		return First{}, err
	}
	return first, nil
}

// IssueSetupLink makes another set-up link. It is for the operator.
func (p *People) IssueSetupLink(ctx context.Context, c ident.Caller, user ident.UserID) (secret.Plain, time.Time, error) {
	if err := operatorOnly(c); err != nil {
		return secret.Plain{}, time.Time{}, err
	}
	token, link, err := p.newSetupLink(p.Now(), user)
	if err != nil {
		return secret.Plain{}, time.Time{}, err
	}
	err = p.Store.InTx(ctx, func(tx Tx) error {
		if _, err := tx.LockUser(user); err != nil {
			return err
		}
		return tx.InsertSetupLink(link)
	})
	if err != nil {
		return secret.Plain{}, time.Time{}, err
	}
	return token, link.ExpiresAt, nil
}

func (p *People) newSetupLink(at time.Time, user ident.UserID) (secret.Plain, SetupLink, error) {
	token, err := secret.Mint(p.Random, setupPrefix)
	return token, SetupLink{Digest: secret.Sum(token.Reveal()), User: user, ExpiresAt: at.Add(SetupLinkTTL)}, err
}

// SetupLinkValid reports whether CompleteSetup would accept the token now. It
// uses nothing up.
func (p *People) SetupLinkValid(ctx context.Context, token secret.Plain) (bool, error) {
	return p.Store.SetupLinkValid(ctx, secret.Sum(token.Reveal()), p.Now())
}

// Setup is what the first administrator chose.
type Setup struct {
	Token    secret.Plain
	Email    string
	Password secret.Plain
	OrgName  string // the name stays where empty
}

// CompleteSetup gives the first administrator the credentials they chose. A
// link serves once: of several uses one succeeds, and every other is refused
// with 403, whatever was wrong with it.
func (p *People) CompleteSetup(ctx context.Context, s Setup, o ident.Origin) error {
	// Asked first, so that a stranger cannot make us hash.
	if ok, err := p.SetupLinkValid(ctx, s.Token); err != nil || !ok {
		return orRefused(err)
	}
	email, err := ParseEmail(s.Email)
	if err != nil {
		return err
	}
	name, err := cleanName("organization_name", s.OrgName)
	if err != nil {
		return err
	}
	if err := p.Policy.Check("password", s.Password.Reveal(), email.Typed, name); err != nil {
		return err
	}
	hash, err := p.Hasher.Hash(ctx, s.Password.Reveal())
	if err != nil {
		return err
	}
	err = p.Store.InTx(ctx, func(tx Tx) error {
		link, err := tx.UseSetupLink(secret.Sum(s.Token.Reveal()), p.Now())
		if err != nil {
			return err
		}
		return p.settle(tx, link.User, choice{email: email, hash: hash, orgName: name}, o)
	})
	if errors.Is(err, fault.NotFound) {
		return orRefused(nil)
	}
	return err
}

// orRefused is err, or the one refusal of a link.
func orRefused(err error) error {
	if err != nil {
		return err
	}
	return fault.New(fault.InsufficientPermissions, "This set-up link is not valid: it was used, has expired, or never existed.")
}

// choice is a Setup that was judged.
type choice struct {
	email   Email
	hash    string
	orgName string
}

// settle applies a choice to the user and to their oldest organisation.
func (p *People) settle(tx Tx, user ident.UserID, ch choice, o ident.Origin) error {
	u, err := tx.LockUser(user)
	if err != nil {
		return err
	}
	orgs, err := tx.OrgsOf(user)
	if err != nil {
		return err
	}
	if len(orgs) == 0 {
		return fault.NotFound
	}
	org, err := tx.LockOrg(orgs[0].Org)
	if err != nil {
		return err
	}
	at := p.Now()
	if _, err := tx.ReplaceHash(u.ID, u.PasswordHash, ch.hash, at); err != nil {
		return err
	}
	u.Email, u.Canonical = ch.email.Typed, ch.email.Canonical
	if free, err := tx.UpdateEmail(u); err != nil || !free {
		return orConflict(err)
	}
	if ch.orgName != "" {
		org.Name = ch.orgName
		if err := tx.UpdateOrg(org); err != nil {
			return err
		}
		if err := tx.Announce(changes.Change{Kind: changes.Org, Key: string(org.ID), At: at}); err != nil {
			return err
		}
	}
	// Whoever used the printed password so far must use the chosen one.
	if _, err := tx.EndSessions(Ending{User: u.ID, Reason: "password_changed", At: at, Until: p.until(at)}); err != nil {
		return err
	}
	if err := p.cutOff(tx, u.ID, at); err != nil {
		return err
	}
	actor := audit.Actor{Type: string(ident.Person), ID: string(u.ID), Name: u.Email, Org: org.ID, Via: "setup_link"}
	return tx.Record(audit.Event{
		Time: at, Name: audit.SetupCompleted, Outcome: audit.Success, Actor: actor, Origin: o, Org: org.ID,
		Targets: []audit.Target{userTarget(u), orgTarget(org)},
	})
}

func orConflict(err error) error {
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "An account with this e-mail address exists already.")
}
