package accounts

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Patch says what to change of a member; nil leaves it as it is.
type Patch struct {
	Name   *string
	Role   *string
	Status *Status
}

// subject is a member under change: the user and all their organisations are
// locked, so nothing it says changes before the commit.
type subject struct {
	User
	Org   Org          // the caller's
	Role  string       // in Org
	Every []Membership // the user's, Org included
	At    time.Time    // read after locking: a token issued before the change is not younger
}

// Update changes a member in one commit. Name and role need users:update,
// status needs users:disable; a role is given and taken only by whoever holds
// all that it permits. Name and status belong to the person, so they are
// changed by the operator, or where this organisation is the person's only one.
func (p *People) Update(ctx context.Context, c ident.Caller, user ident.UserID, change Patch) (Member, error) {
	if err := change.check(c); err != nil {
		return Member{}, p.refused(ctx, c, audit.Target{Type: "user", ID: string(user)}, err)
	}
	c, err := p.seat(ctx, c, user)
	if err != nil {
		return Member{}, err
	}
	var m Member
	err = p.Store.InTx(ctx, func(tx Tx) error {
		l, err := p.lock(tx, c, user)
		if err != nil {
			return err
		}
		if err := p.rename(tx, c, &l, change.Name); err != nil {
			return err
		}
		if err := p.setRole(tx, c, &l, change.Role); err != nil {
			return err
		}
		if err := p.setStatus(tx, c, &l, change.Status); err != nil {
			return err
		}
		i := slices.IndexFunc(l.Every, func(m Membership) bool { return m.Org == l.Org.ID })
		m = Member{User: l.User, Org: l.Org.ID, Role: l.Role, JoinedAt: l.Every[i].CreatedAt}
		return nil
	})
	if err != nil {
		return Member{}, p.refused(ctx, c, audit.Target{Type: "user", ID: string(user)}, err)
	}
	return m, nil
}

// SetRole is Update of the role alone.
func (p *People) SetRole(ctx context.Context, c ident.Caller, user ident.UserID, role string) (Member, error) {
	return p.Update(ctx, c, user, Patch{Role: &role})
}

// SetStatus is Update of the status alone.
func (p *People) SetStatus(ctx context.Context, c ident.Caller, user ident.UserID, s Status) (Member, error) {
	return p.Update(ctx, c, user, Patch{Status: &s})
}

// RemoveMember ends a membership and the user's sessions in the organisation.
// The person stays, and may belong elsewhere.
func (p *People) RemoveMember(ctx context.Context, c ident.Caller, user ident.UserID) error {
	c, err := p.seat(ctx, c, user)
	if err != nil {
		return err
	}
	err = p.Store.InTx(ctx, func(tx Tx) error {
		l, err := p.lock(tx, c, user)
		if err != nil {
			return err
		}
		if err := p.mayTake(tx, c, l.Org.ID, l.Role); err != nil {
			return err
		}
		if err := keepsOwner(tx, l.Org.ID, l.Role, user); err != nil {
			return err
		}
		if err := tx.SetMemberRole(l.Org.ID, user, ""); err != nil {
			return err
		}
		end := Ending{User: user, Org: l.Org.ID, Reason: "member_removed", At: l.At, Until: p.until(l.At)}
		if _, err := tx.EndSessions(end); err != nil {
			return err
		}
		e := audit.By(c, l.At, audit.MemberRemoved, userTarget(l.User))
		e.Meta = map[string]string{"role": l.Role}
		if err := tx.Record(e); err != nil {
			return err
		}
		return p.cutOff(tx, user, l.At) // what their API keys were exchanged for has no session
	})
	if err != nil {
		return p.refused(ctx, c, audit.Target{Type: "user", ID: string(user)}, err)
	}
	return nil
}

// check judges what can be judged without looking at the member.
func (ch *Patch) check(c ident.Caller) error {
	if (ch.Name != nil || ch.Role != nil) && !c.May(UsersUpdate) {
		return fault.Lacking(string(UsersUpdate))
	}
	if ch.Status != nil && !c.May(UsersDisable) {
		return fault.Lacking(string(UsersDisable))
	}
	if ch.Status != nil && *ch.Status != Active && *ch.Status != Disabled {
		return fault.Refuse("status", "must be active or disabled")
	}
	if ch.Name == nil {
		return nil
	}
	name, err := cleanName("name", *ch.Name)
	*ch = Patch{Name: &name, Role: ch.Role, Status: ch.Status}
	return err
}

// seat gives an operator of the whole deployment a place in the user's own
// organisation. Other callers keep theirs.
func (p *People) seat(ctx context.Context, c ident.Caller, user ident.UserID) (ident.Caller, error) {
	if c.Kind != ident.Operator || c.Org != "" {
		return c, nil
	}
	home, err := p.Store.Home(ctx, user)
	c.Org = home
	return c, err
}

// lock locks a member of the caller's organisation and everything that bears
// on them; fault.NotFound where the user is no member.
func (p *People) lock(tx Tx, c ident.Caller, user ident.UserID) (subject, error) {
	var l subject
	var err error
	if l.User, err = tx.LockUser(user); err != nil {
		return l, err
	}
	if l.Every, err = tx.OrgsOf(user); err != nil {
		return l, err
	}
	if !slices.ContainsFunc(l.Every, func(m Membership) bool { return m.Org == c.Tenant().Org() }) {
		return l, fault.NotFound
	}
	for _, m := range l.Every {
		org, err := tx.LockOrg(m.Org)
		if err != nil {
			return l, err
		}
		if m.Org == c.Tenant().Org() {
			l.Org, l.Role = org, m.Role
		}
	}
	l.At = p.Now()
	return l, nil
}

// owns refuses a change of the person, not of the membership, by one of
// several organisations.
func (l *subject) owns(c ident.Caller) error {
	if c.Kind == ident.Operator || len(l.Every) == 1 || c.User == l.ID {
		return nil
	}
	return fault.New(fault.Conflict, "The user belongs to other organisations as well; change their role here, or remove them from this organisation.")
}

func (p *People) rename(tx Tx, c ident.Caller, l *subject, name *string) error {
	if name == nil || *name == l.Name {
		return nil
	}
	if err := l.owns(c); err != nil {
		return err
	}
	l.Name = *name
	if err := tx.UpdateUser(l.User); err != nil {
		return err
	}
	if err := tx.Record(audit.By(c, l.At, audit.UserUpdated, userTarget(l.User))); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.User, Key: string(l.ID), At: l.At})
}

func (p *People) setRole(tx Tx, c ident.Caller, l *subject, role *string) error {
	if role == nil || *role == l.Role {
		return nil
	}
	given, err := p.permitted(tx, l.Org.ID, *role)
	if err != nil {
		return err
	}
	if err := ceiling(c, given); err != nil {
		return err
	}
	if err := p.mayTake(tx, c, l.Org.ID, l.Role); err != nil {
		return err
	}
	if err := keepsOwner(tx, l.Org.ID, l.Role, l.ID); err != nil {
		return err
	}
	if err := tx.SetMemberRole(l.Org.ID, l.ID, *role); err != nil {
		return err
	}
	e := audit.By(c, l.At, audit.MemberRoleSet, userTarget(l.User))
	e.Meta = map[string]string{"from": l.Role, "to": *role}
	l.Role = *role
	if err := tx.Record(e); err != nil {
		return err
	}
	return p.cutOff(tx, l.ID, l.At)
}

// setStatus disables or enables the person everywhere. The last owner of an
// organisation is disabled by the operator only, who can name another.
func (p *People) setStatus(tx Tx, c ident.Caller, l *subject, s *Status) error {
	if s == nil || *s == l.Status {
		return nil
	}
	if err := l.owns(c); err != nil {
		return err
	}
	if err := p.mayTake(tx, c, l.Org.ID, l.Role); err != nil {
		return err
	}
	l.Status = *s
	name := audit.UserEnabled
	if *s == Disabled {
		name = audit.UserDisabled
		for _, m := range l.Every {
			err := keepsOwner(tx, m.Org, m.Role, l.ID)
			if c.Kind == ident.Operator && errors.Is(err, fault.Conflict) {
				err = nil // whoever runs the deployment may lock an organisation out
			}
			if err != nil {
				return err
			}
		}
		if _, err := tx.EndSessions(Ending{User: l.ID, Reason: "user_disabled", At: l.At, Until: p.until(l.At)}); err != nil {
			return err
		}
	}
	if err := tx.UpdateUser(l.User); err != nil {
		return err
	}
	if err := tx.Record(audit.By(c, l.At, name, userTarget(l.User))); err != nil {
		return err
	}
	return p.cutOff(tx, l.ID, l.At)
}

// cutOff makes every replica forget the user's standing and refuse the access
// tokens issued before.
func (p *People) cutOff(tx changes.Sink, user ident.UserID, at time.Time) error {
	if err := tx.Announce(changes.Change{Kind: changes.User, Key: string(user), At: at}); err != nil {
		return err
	}
	return tx.Announce(changes.Change{Kind: changes.SubjectCutoff, Key: string(user), At: at, Until: p.until(at)})
}

// mayTake refuses a caller who lacks any of what the role permits: nobody
// overrules somebody mightier. A role that is gone permits nothing.
func (p *People) mayTake(tx OrgTx, c ident.Caller, org ident.OrgID, role string) error {
	permitted, err := p.permitted(tx, org, role)
	if errors.Is(err, fault.Invalid) {
		return nil
	}
	if err != nil {
		return err
	}
	return ceiling(c, permitted)
}

// keepsOwner refuses to take the role of owner from the last active person who
// has it; a service account can name no other. The organisation is locked.
func keepsOwner(tx OrgTx, org ident.OrgID, role string, user ident.UserID) error {
	if role != RoleOwner {
		return nil
	}
	owners, err := tx.Holders(org, RoleOwner)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(owners, func(h Holder) bool { return h.User != user && h.Status == Active && !h.User.IsServiceAccount() }) {
		return nil
	}
	return fault.New(fault.Conflict, "The organisation needs at least one active owner; name another owner first.").Because("last_owner")
}
