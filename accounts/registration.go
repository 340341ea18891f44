package accounts

import (
	"context"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Registration is what a stranger asks for.
type Registration struct {
	Email            string
	Password         secret.Plain
	Name             string
	OrganizationName string // the person's name or address where empty
}

// Register creates a person with an organisation of their own. To whoever asks
// it does the same for an address that has an account: it answers nil, at the
// price of one hash and one commit, and only the operator's audit log knows
// (SEC-LOG-26).
func (p *People) Register(ctx context.Context, r Registration, o ident.Origin) error {
	start := p.Now()
	u, org, err := p.newcomer(start, r)
	if err != nil {
		return err
	}
	if u.PasswordHash, err = p.Hasher.Hash(ctx, r.Password.Reveal()); err != nil {
		return err
	}
	actor := audit.Actor{Type: string(ident.Anonymous), Name: u.Email}
	err = p.Store.InTx(ctx, func(tx Tx) error {
		added, err := tx.InsertUser(u)
		if err != nil {
			return err
		}
		if !added {
			return tx.Record(audit.Event{
				Time: start, Name: audit.UserRegistered, Outcome: audit.Failure, Reason: "email_taken", Actor: actor, Origin: o,
			})
		}
		return found(tx, u, org, audit.Event{Time: start, Outcome: audit.Success, Actor: actor, Origin: o})
	})
	if err != nil {
		return err
	}
	if p.Answer != nil && p.RegisterTime > 0 {
		return p.Answer(ctx, start.Add(p.RegisterTime))
	}
	return nil
}

// newcomer judges a registration and makes what it will become.
func (p *People) newcomer(at time.Time, r Registration) (User, Org, error) {
	email, err := ParseEmail(r.Email)
	if err != nil {
		return User{}, Org{}, err
	}
	name, err := cleanName("name", r.Name)
	if err != nil {
		return User{}, Org{}, err
	}
	orgName, err := cleanName("organization_name", r.OrganizationName)
	if err != nil {
		return User{}, Org{}, err
	}
	if err := p.Policy.Check("password", r.Password.Reveal(), email.Typed, name, orgName); err != nil {
		return User{}, Org{}, err
	}
	if orgName == "" {
		orgName = name
	}
	if orgName == "" {
		orgName, _, _ = strings.Cut(email.Typed, "@")
	}
	u := p.newUser(at, email, name)
	org := Org{ID: ident.NewOrgID(at, p.Random), Name: orgName, Slug: slugOf(orgName), Status: Active, CreatedAt: at}
	return u, org, nil
}

func (p *People) newUser(at time.Time, e Email, name string) User {
	return User{
		ID: ident.NewUserID(at, p.Random), Email: e.Typed, Canonical: e.Canonical, Name: name, Status: Active,
		CreatedAt: at, PasswordChangedAt: at,
	}
}

// found adds the organisation of a new user, who owns it. base says who did it.
func found(tx Tx, u User, org Org, base audit.Event) error {
	org, err := addOrg(tx, org)
	if err != nil {
		return err
	}
	if _, err := tx.InsertMembership(Membership{User: u.ID, Org: org.ID, Role: RoleOwner, CreatedAt: base.Time}); err != nil {
		return err
	}
	base.Org = org.ID
	registered, created, joined := base, base, base
	registered.Name, registered.Targets = audit.UserRegistered, []audit.Target{userTarget(u)}
	created.Name, created.Targets = audit.OrgCreated, []audit.Target{orgTarget(org)}
	joined.Name, joined.Targets, joined.Meta = audit.MemberAdded, []audit.Target{userTarget(u)}, map[string]string{"role": RoleOwner}
	if base.Actor.Type != string(ident.Anonymous) {
		registered.Name = audit.UserCreated
	}
	return record(tx, created, registered, joined)
}

// addOrg inserts org, with another slug where the proposed one is taken.
func addOrg(tx OrgTx, org Org) (Org, error) {
	added, err := tx.InsertOrg(org)
	if err != nil || added {
		return org, err
	}
	// The end of an identifier is random: nobody can take the slug beforehand.
	org.Slug += "-" + string(org.ID[len(org.ID)-8:])
	added, err = tx.InsertOrg(org)
	if err == nil && !added {
		err = fault.New(fault.Conflict, "The organisation's slug is taken.")
	}
	return org, err
}

func record(s audit.Sink, events ...audit.Event) error {
	for _, e := range events {
		if err := s.Record(e); err != nil {
			return err
		}
	}
	return nil
}

func userTarget(u User) audit.Target {
	return audit.Target{Type: "user", ID: string(u.ID), Name: u.Email}
}

func orgTarget(o Org) audit.Target { return audit.Target{Type: "org", ID: string(o.ID), Name: o.Name} }
