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

// Newcomer is what an invited person chose.
type Newcomer struct {
	Token    secret.Plain
	Name     string
	Password secret.Plain
}

// InvitationBehind returns the invitation that a link leads to while it is open;
// fault.NotFound else, whatever is wrong with the link. It uses nothing up.
func (p *People) InvitationBehind(ctx context.Context, token secret.Plain) (Invitation, error) {
	i, err := p.Store.InvitationByLink(ctx, secret.Sum(token.Reveal()))
	if err != nil {
		return Invitation{}, err
	}
	if i = i.at(p.Now()); i.State != InvitationOpen {
		return Invitation{}, fault.NotFound
	}
	return i, nil
}

// InvitedInto returns the organisation that a link leads to where the user is a
// member of it already and the link was for their address; fault.NotFound else.
func (p *People) InvitedInto(ctx context.Context, token secret.Plain, user ident.UserID) (Member, error) {
	i, err := p.Store.InvitationByLink(ctx, secret.Sum(token.Reveal()))
	if err != nil {
		return Member{}, err
	}
	m, err := p.Store.Member(ctx, ident.Caller{Org: i.Org}.Tenant(), user)
	if err == nil && m.Canonical != i.Canonical {
		err = fault.NotFound
	}
	return m, err
}

// AcceptAs makes the caller, whose address is invited, a member. Of several who
// accept one succeeds; a link that is no good is fault.InsufficientPermissions,
// whatever is wrong with it.
func (p *People) AcceptAs(ctx context.Context, c ident.Caller, token secret.Plain) (Member, error) {
	i, err := p.InvitationBehind(ctx, token)
	if err != nil {
		return Member{}, orNotInvited(err)
	}
	var m Member
	err = p.Store.InTx(ctx, func(tx Tx) error {
		u, err := tx.LockUser(c.User)
		if err != nil {
			return err
		}
		if u.Canonical != i.Canonical || u.Status != Active {
			return fault.NotFound
		}
		m, err = p.join(tx, u, i, c.Origin)
		return err
	})
	if err != nil {
		return Member{}, p.notAccepted(ctx, i, c.Origin, err)
	}
	return m, nil
}

// AcceptNew makes the person that is invited, and makes them a member. To whoever
// has the link it does the same for an address that has an account: it answers nil
// at the same price, and changes nothing. The owner of that account signs in and
// accepts with AcceptAs.
func (p *People) AcceptNew(ctx context.Context, n Newcomer, o ident.Origin) error {
	start := p.Now()
	i, err := p.InvitationBehind(ctx, n.Token) // first, so that a stranger cannot make us hash
	if err != nil {
		return orNotInvited(err)
	}
	u, err := p.invited(ctx, start, i, n)
	if err != nil {
		return err
	}
	err = p.Store.InTx(ctx, func(tx Tx) error {
		added, err := tx.InsertUser(u)
		if err != nil {
			return err
		}
		actor := audit.Actor{Type: string(ident.Anonymous), Name: u.Email, Via: "invitation"}
		registered := audit.Event{Time: start, Name: audit.UserRegistered, Outcome: audit.Success, Actor: actor, Origin: o}
		if !added {
			registered.Outcome, registered.Reason = audit.Failure, "email_taken"
			return tx.Record(registered) // to no organisation: who has an account is nobody's business
		}
		registered.Org, registered.Targets = i.Org, []audit.Target{userTarget(u)}
		if err := tx.Record(registered); err != nil {
			return err
		}
		_, err = p.join(tx, u, i, o)
		return err
	})
	if err != nil {
		return p.notAccepted(ctx, i, o, err)
	}
	if p.Answer != nil && p.RegisterTime > 0 {
		return p.Answer(ctx, start.Add(p.RegisterTime))
	}
	return nil
}

// invited is the person whom an invitation makes.
func (p *People) invited(ctx context.Context, at time.Time, i Invitation, n Newcomer) (User, error) {
	name, err := cleanName("name", n.Name)
	if err != nil {
		return User{}, err
	}
	if err := p.Policy.Check("password", n.Password.Reveal(), i.Email, name, i.OrgName); err != nil {
		return User{}, err
	}
	u := p.newUser(at, Email{Typed: i.Email, Canonical: i.Canonical}, name)
	u.PasswordHash, err = p.Hasher.Hash(ctx, n.Password.Reveal())
	return u, err
}

// join adds the membership that an invitation offers. The user is locked, or new
// in this transaction.
func (p *People) join(tx Tx, u User, offered Invitation, o ident.Origin) (Member, error) {
	org, err := tx.LockOrg(offered.Org)
	if err != nil {
		return Member{}, err
	}
	i, err := tx.Invitation(org.ID, offered.ID)
	if err != nil {
		return Member{}, err
	}
	at := p.Now()
	if i.at(at).State != InvitationOpen || org.Status != Active {
		return Member{}, fault.NotFound
	}
	if err := p.stillMeant(tx, i); err != nil {
		return Member{}, err
	}
	if was, err := tx.SettleInvitation(i.ID, InvitationAccepted); err != nil || !was {
		return Member{}, orNone(err)
	}
	m := Member{User: u, Org: org.ID, Role: i.Role, JoinedAt: at}
	added, err := tx.InsertMembership(Membership{User: u.ID, Org: org.ID, Role: i.Role, CreatedAt: at})
	if err != nil || !added {
		return Member{}, orNone(err)
	}
	actor := audit.Actor{Type: string(ident.Person), ID: string(u.ID), Name: u.Email, Org: org.ID, Via: "invitation"}
	accepted := audit.Event{
		Time: at, Name: audit.InvitationAccepted, Outcome: audit.Success, Actor: actor, Origin: o, Org: org.ID,
		Targets: []audit.Target{invitationTarget(i)}, Meta: map[string]string{"role": i.Role, "invited_by": i.InvitedBy},
	}
	joined := accepted
	joined.Name, joined.Targets, joined.Meta = audit.MemberAdded, []audit.Target{userTarget(u)}, map[string]string{"role": i.Role}
	if err := record(tx, accepted, joined); err != nil {
		return Member{}, err
	}
	return m, tx.Announce(changes.Change{Kind: changes.User, Key: string(u.ID), At: at})
}

// stillMeant refuses an invitation whose role permits more than when it was
// offered, or more than whoever offered it may give by now.
func (p *People) stillMeant(tx Tx, i Invitation) error {
	permitted, err := p.permitted(tx, i.Org, i.Role)
	if errors.Is(err, fault.Invalid) {
		return fault.NotFound // the role is gone
	}
	if err != nil {
		return err
	}
	if len(i.Ceiling.Lacks(permitted)) > 0 {
		return fault.NotFound
	}
	if i.Inviter == "" {
		return nil
	}
	f, err := tx.Facts(i.Inviter, i.Org)
	if err != nil {
		return err
	}
	judge := Directory{Catalogue: p.Catalogue}
	if now := judge.Judge(i.Inviter, i.Org, f).Permissions; !now.Allows(UsersCreate) || len(now.Lacks(permitted)) > 0 {
		return fault.NotFound
	}
	return nil
}

// notAccepted records that a link was no good, and words it.
func (p *People) notAccepted(ctx context.Context, i Invitation, o ident.Origin, err error) error {
	if !errors.Is(err, fault.NotFound) {
		return err
	}
	e := audit.Event{
		Time: p.Now(), Name: audit.InvitationRefused, Outcome: audit.Denied, Reason: "invalid_link", Origin: o, Org: i.Org,
		Actor: audit.Actor{Type: string(ident.Anonymous), Via: "invitation"}, Targets: []audit.Target{invitationTarget(i)},
	}
	if err := p.Recorder.RecordAll(ctx, e); err != nil {
		return err
	}
	return orNotInvited(fault.NotFound)
}

// orNotInvited words the one refusal of a link.
func orNotInvited(err error) error {
	if !errors.Is(err, fault.NotFound) {
		return err
	}
	return fault.New(fault.InsufficientPermissions, "This invitation is not valid: it was used, was taken back, has expired, or never existed.").Because("invalid_link")
}

func orNone(err error) error {
	if err != nil {
		return err
	}
	return fault.NotFound
}
