package accounts

import (
	"context"
	"errors"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// NewUser is a member to create. Exactly one of Password and PasswordHash is
// given; the hash, a PHC string, by the operator only.
type NewUser struct {
	Email        string
	Name         string
	Role         string
	Password     secret.Plain
	PasswordHash string
}

// CreateUser adds a person to the caller's organisation. An address that has
// an account already is fault.Conflict.
func (p *People) CreateUser(ctx context.Context, c ident.Caller, n NewUser) (Member, error) {
	at := p.Now()
	u, err := p.judgeNew(ctx, c, n)
	if err != nil {
		return Member{}, err
	}
	var org Org
	err = p.Store.InTx(ctx, func(tx Tx) error {
		added, err := tx.InsertUser(u)
		if err != nil {
			return err
		}
		if !added {
			return fault.New(fault.Conflict, "An account with this e-mail address exists already.")
		}
		if org, err = p.admit(tx, c, u.ID, n.Role); err != nil {
			return err
		}
		created := audit.By(c, at, audit.UserCreated, userTarget(u))
		joined := audit.By(c, at, audit.MemberAdded, userTarget(u))
		created.Org, joined.Org = org.ID, org.ID
		joined.Meta = map[string]string{"role": n.Role}
		return record(tx, created, joined)
	})
	if err != nil {
		return Member{}, p.refused(ctx, c, audit.Target{Type: "role", ID: n.Role}, err)
	}
	return Member{User: u, Org: org.ID, Role: n.Role, JoinedAt: at}, nil
}

// judgeNew decides whether a person may be created as asked, and hashes their
// password.
func (p *People) judgeNew(ctx context.Context, c ident.Caller, n NewUser) (User, error) {
	email, err := ParseEmail(n.Email)
	if err != nil {
		return User{}, err
	}
	name, err := cleanName("name", n.Name)
	if err != nil {
		return User{}, err
	}
	u := p.newUser(p.Now(), email, name)
	if n.PasswordHash != "" {
		if err := operatorOnly(c); err != nil {
			return User{}, err
		}
		if err := CheckHash(n.PasswordHash); err != nil || !n.Password.IsZero() {
			return User{}, fault.Refuse("password_hash", ErrHash.Error()+", given instead of a password")
		}
		u.PasswordHash = n.PasswordHash
		return u, nil
	}
	org, err := p.Store.Org(ctx, c.Tenant().Org())
	if err != nil {
		return User{}, err
	}
	if err := p.Policy.Check("password", n.Password.Reveal(), email.Typed, name, org.Name); err != nil {
		return User{}, err
	}
	u.PasswordHash, err = p.Hasher.Hash(ctx, n.Password.Reveal())
	return u, err
}

// admit adds a member to the caller's organisation, within the caller's
// ceiling. The user is locked, or new in this transaction.
func (p *People) admit(tx Tx, c ident.Caller, user ident.UserID, role string) (Org, error) {
	org, err := tx.LockOrg(c.Tenant().Org())
	if err != nil {
		return Org{}, err
	}
	if org.Status != Active {
		return Org{}, fault.New(fault.Conflict, "The organisation is disabled.")
	}
	permitted, err := p.permitted(tx, org.ID, role)
	if err != nil {
		return Org{}, err
	}
	if err := ceiling(c, permitted); err != nil {
		return Org{}, err
	}
	added, err := tx.InsertMembership(Membership{User: user, Org: org.ID, Role: role, CreatedAt: p.Now()})
	if err == nil && !added {
		err = fault.New(fault.Conflict, "The user is a member already.")
	}
	return org, err
}

// permitted returns what a role allows in an organisation, for which the
// organisation is locked; a role that does not exist is refused.
func (p *People) permitted(tx OrgTx, org ident.OrgID, role string) (scope.Set, error) {
	if IsBuiltIn(role) {
		return Effective(p.Catalogue, role, nil), nil
	}
	r, err := tx.CustomRole(org, role)
	if errors.Is(err, fault.NotFound) {
		return nil, fault.Refuse("role", "is not a role of this organisation")
	}
	return Effective(p.Catalogue, role, r.Permissions), err
}

// AddMember makes an existing user a member of the caller's organisation. It is
// for the operator: an administrator must not learn who has an account.
func (p *People) AddMember(ctx context.Context, c ident.Caller, user ident.UserID, role string) (Member, error) {
	if err := operatorOnly(c); err != nil {
		return Member{}, err
	}
	at := p.Now()
	var m Member
	err := p.Store.InTx(ctx, func(tx Tx) error {
		u, err := tx.LockUser(user)
		if err != nil {
			return err
		}
		org, err := p.admit(tx, c, user, role)
		if err != nil {
			return err
		}
		m = Member{User: u, Org: org.ID, Role: role, JoinedAt: at}
		e := audit.By(c, at, audit.MemberAdded, userTarget(u))
		e.Meta = map[string]string{"role": role}
		if err := tx.Record(e); err != nil {
			return err
		}
		return tx.Announce(changes.Change{Kind: changes.User, Key: string(user), At: at})
	})
	if err != nil {
		return Member{}, err
	}
	return m, nil
}

// Members lists the members of the caller's organisation, newest user first.
func (p *People) Members(ctx context.Context, c ident.Caller, page ident.Page) ([]Member, error) {
	return p.Store.Members(ctx, c.Tenant(), page)
}

// Member returns one member of the caller's organisation. Anybody else is
// fault.NotFound; where they exist, the attempt is recorded.
func (p *People) Member(ctx context.Context, c ident.Caller, user ident.UserID) (Member, error) {
	m, err := p.Store.Member(ctx, c.Tenant(), user)
	if err != nil {
		return Member{}, p.refused(ctx, c, audit.Target{Type: "user", ID: string(user)}, err)
	}
	return m, nil
}

// UserByEmail returns any user of the deployment. It is for the operator.
func (p *People) UserByEmail(ctx context.Context, c ident.Caller, email string) (User, error) {
	if err := operatorOnly(c); err != nil {
		return User{}, err
	}
	e, err := ParseEmail(email)
	if err != nil {
		return User{}, err
	}
	return p.Store.UserByCanonical(ctx, e.Canonical)
}
