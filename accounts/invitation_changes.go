package accounts

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Invite offers the owner of an address a place in the caller's organisation,
// with a role that the caller could give (see Update). The answer is the same
// whether the address has an account or not. An address that is a member's, or
// is invited already, is fault.Conflict; more than the organisation may send in a
// day is fault.RateLimited.
func (p *People) Invite(ctx context.Context, c ident.Caller, email, role string) (Offer, error) {
	e, err := ParseEmail(email)
	if err != nil {
		return Offer{}, err
	}
	at := p.Now()
	made := Invitation{
		ID: ident.NewInvitationID(at, p.Random), Org: c.Tenant().Org(), Email: e.Typed, Canonical: e.Canonical, Role: role,
		State: InvitationOpen, CreatedAt: at,
	}
	var offer Offer
	err = p.Store.InTx(ctx, func(tx Tx) error {
		offer = Offer{Invitation: made}
		permitted, err := p.mayOffer(tx, c, made.Org, role)
		if err != nil {
			return err
		}
		if err := p.uninvited(tx, made, at); err != nil {
			return err
		}
		offer.vouch(c, permitted, at)
		if err := tx.InsertInvitation(offer.Invitation); err != nil {
			return err
		}
		if offer.Link, err = p.send(tx, offer.Invitation, at); err != nil {
			return err
		}
		return tx.Record(invitationEvent(c, at, audit.InvitationCreated, offer.Invitation))
	})
	if err != nil {
		return Offer{}, p.refused(ctx, c, audit.Target{Type: "role", ID: role}, err)
	}
	return offer, nil
}

// ResendInvitation sends an invitation again and lets it last from now. The
// caller vouches for it from then on, so they must be able to give its role.
func (p *People) ResendInvitation(ctx context.Context, c ident.Caller, id ident.InvitationID) (Offer, error) {
	var offer Offer
	err := p.Store.InTx(ctx, func(tx Tx) error {
		found, permitted, err := p.lockInvitation(tx, c, id)
		if err != nil {
			return err
		}
		if found.State != InvitationOpen {
			return fault.New(fault.Conflict, "The invitation is "+string(found.State)+"; make another one.")
		}
		if member, err := tx.MemberByEmail(found.Org, found.Canonical); err != nil || member {
			return orMember(err)
		}
		at := p.Now()
		offer = Offer{Invitation: found}
		offer.vouch(c, permitted, at)
		if err := tx.UpdateInvitation(offer.Invitation); err != nil {
			return err
		}
		if offer.Link, err = p.send(tx, offer.Invitation, at); err != nil {
			return err
		}
		return tx.Record(invitationEvent(c, at, audit.InvitationResent, offer.Invitation))
	})
	if err != nil {
		return Offer{}, p.refused(ctx, c, invitationTarget(Invitation{ID: id}), err)
	}
	return offer, nil
}

// RevokeInvitation takes an invitation back. One that is open no more is
// fault.Conflict.
func (p *People) RevokeInvitation(ctx context.Context, c ident.Caller, id ident.InvitationID) error {
	err := p.Store.InTx(ctx, func(tx Tx) error {
		found, _, err := p.lockInvitation(tx, c, id)
		if err != nil {
			return err
		}
		was, err := tx.SettleInvitation(id, InvitationRevoked)
		if err == nil && !was {
			err = fault.New(fault.Conflict, "The invitation is "+string(found.State)+" already.")
		}
		if err != nil {
			return err
		}
		return tx.Record(invitationEvent(c, p.Now(), audit.InvitationRevoked, found))
	})
	if err != nil {
		return p.refused(ctx, c, invitationTarget(Invitation{ID: id}), err)
	}
	return nil
}

// Invitations lists the invitations of the caller's organisation, newest first.
func (p *People) Invitations(ctx context.Context, c ident.Caller, page ident.Page) ([]Invitation, error) {
	found, err := p.Store.Invitations(ctx, c.Tenant(), page)
	now := p.Now()
	for i := range found {
		found[i] = found[i].at(now)
	}
	return found, err
}

// InvitationByID returns an invitation of the caller's organisation. Any other is
// fault.NotFound; where it exists, the attempt is recorded.
func (p *People) InvitationByID(ctx context.Context, c ident.Caller, id ident.InvitationID) (Invitation, error) {
	i, err := p.Store.OneInvitation(ctx, c.Tenant(), id)
	if err != nil {
		return Invitation{}, p.refused(ctx, c, invitationTarget(Invitation{ID: id}), err)
	}
	return i.at(p.Now()), nil
}

// vouch notes for what, and on whose word, an invitation is good from now.
func (i *Invitation) vouch(c ident.Caller, permitted scope.Set, at time.Time) {
	i.Ceiling, i.Inviter, i.InvitedBy, i.ExpiresAt = permitted, c.User, c.Email, at.Add(InvitationTTL)
	switch c.Kind {
	case ident.Operator:
		i.InvitedBy = "the operator"
	case ident.ServiceClient:
		i.InvitedBy = string(c.Client)
	}
}

// mayOffer locks the organisation and returns what the role permits there, which
// must be within the caller's ceiling.
func (p *People) mayOffer(tx Tx, c ident.Caller, org ident.OrgID, role string) (scope.Set, error) {
	o, err := tx.LockOrg(org)
	if err != nil {
		return nil, err
	}
	if o.Status != Active {
		return nil, fault.New(fault.Conflict, "The organisation is disabled.")
	}
	permitted, err := p.permitted(tx, org, role)
	if err != nil {
		return nil, err
	}
	return permitted, ceiling(c, permitted)
}

// lockInvitation locks an invitation of the caller's organisation with it. The
// caller must be able to give its role; a role that is gone permits nothing, and
// no such invitation can be accepted.
func (p *People) lockInvitation(tx Tx, c ident.Caller, id ident.InvitationID) (Invitation, scope.Set, error) {
	org, err := tx.LockOrg(c.Tenant().Org())
	if err != nil {
		return Invitation{}, nil, err
	}
	found, err := tx.Invitation(org.ID, id)
	if err != nil {
		return Invitation{}, nil, err
	}
	permitted, err := p.permitted(tx, org.ID, found.Role)
	if errors.Is(err, fault.Invalid) {
		permitted, err = nil, nil
	}
	if err != nil {
		return Invitation{}, nil, err
	}
	return found, permitted, ceiling(c, permitted)
}

// uninvited refuses an address that is a member's or is invited already. It tells
// nothing about other organisations. An invitation that expired makes room.
func (p *People) uninvited(tx Tx, i Invitation, at time.Time) error {
	if member, err := tx.MemberByEmail(i.Org, i.Canonical); err != nil || member {
		return orMember(err)
	}
	before, err := tx.OpenInvitation(i.Org, i.Canonical)
	switch {
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case before.ExpiresAt.After(at):
		return fault.New(fault.Conflict, "This address is invited already; send the invitation again, or take it back first.")
	}
	_, err = tx.SettleInvitation(before.ID, InvitationExpired)
	return err
}

func orMember(err error) error {
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "This address is a member's already.")
}

// send queues the letter of an invitation. Where no mail is sent it makes the
// link instead, which is returned; either counts.
func (p *People) send(tx Tx, i Invitation, at time.Time) (secret.Plain, error) {
	n, first, err := tx.InvitationLettersOf(i.Org, at.Add(-invitationWindow))
	if err != nil {
		return secret.Plain{}, err
	}
	if n >= maxInvitationsOfOrg {
		refusal := fault.New(fault.RateLimited, "The organisation has sent as many invitations as it may within a day.")
		return secret.Plain{}, refusal.After(max(first.Add(invitationWindow).Sub(at), time.Second))
	}
	raw, err := secret.Bytes(p.Random, 16)
	if err != nil {
		return secret.Plain{}, err
	}
	l := InvitationLetter{ID: hex.EncodeToString(raw), Invitation: i.ID, Org: i.Org, Canonical: i.Canonical, CreatedAt: at}
	if p.Mails {
		l.DueAt = at
		return secret.Plain{}, tx.AddInvitationLetter(l)
	}
	token, err := secret.Mint(p.Random, invitationPrefix)
	if err == nil {
		err = tx.InsertInvitationLink(secret.Sum(token.Reveal()), i.ID)
	}
	if err == nil {
		err = tx.AddInvitationLetter(l)
	}
	return token, err
}

func invitationTarget(i Invitation) audit.Target {
	return audit.Target{Type: "invitation", ID: string(i.ID), Name: i.Email}
}

func invitationEvent(c ident.Caller, at time.Time, name audit.Name, i Invitation) audit.Event {
	e := audit.By(c, at, name, invitationTarget(i))
	e.Meta = map[string]string{"role": i.Role}
	return e
}
