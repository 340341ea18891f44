package accounts

import (
	"context"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Self returns the person who asks. What an API key or a client says of its
// owner is in the Directory.
func (p *People) Self(ctx context.Context, c ident.Caller) (User, error) {
	if err := personOnly(c); err != nil {
		return User{}, err
	}
	return p.Store.User(ctx, c.User)
}

// ChangeName gives the caller another name, by which every organisation they
// belong to will know them. It may be empty. Nobody needs a permission for it.
func (p *People) ChangeName(ctx context.Context, c ident.Caller, name string) (User, error) {
	if err := personOnly(c); err != nil {
		return User{}, err
	}
	name, err := cleanName("name", name)
	if err != nil {
		return User{}, err
	}
	var u User
	err = p.Store.InTx(ctx, func(tx Tx) error {
		if u, err = tx.LockUser(c.User); err != nil {
			return err
		}
		if u.Status != Active {
			return fault.New(fault.AccountDisabled, "The account is disabled.")
		}
		if u.Name == name {
			return nil
		}
		u.Name = name
		if err := tx.UpdateUser(u); err != nil {
			return err
		}
		at := p.Now()
		if err := tx.Record(audit.By(c, at, audit.UserUpdated, userTarget(u))); err != nil {
			return err
		}
		return tx.Announce(changes.Change{Kind: changes.User, Key: string(u.ID), At: at})
	})
	if err != nil {
		return User{}, err
	}
	return u, nil
}

// personOnly refuses whoever is not a person who signed in.
func personOnly(c ident.Caller) error {
	if c.Kind != ident.Person {
		return fault.New(fault.InsufficientPermissions, "Only a signed-in person has an account of their own.")
	}
	return nil
}
