package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

// maxPermissions is how many permissions one custom role may list.
const maxPermissions = 256

// Roles lists the roles of the caller's organisation: the built-in ones, then
// the custom ones by name.
func (p *People) Roles(ctx context.Context, c ident.Caller) ([]Role, error) {
	custom, err := p.Store.Roles(ctx, c.Tenant())
	if err != nil {
		return nil, err
	}
	out := BuiltInRoles(p.Catalogue)
	for i := range out {
		out[i].Org = c.Tenant().Org()
	}
	return append(out, custom...), nil
}

// SetRolePermissions adds a custom role or replaces what it permits. The caller
// must hold everything the role permits and permitted. Whoever holds the role
// and loses something must refresh: their access tokens are refused.
func (p *People) SetRolePermissions(ctx context.Context, c ident.Caller, name string, permissions []string) (Role, error) {
	wanted, err := p.judgeRole(name, permissions)
	if err != nil {
		return Role{}, err
	}
	if err := ceiling(c, p.Catalogue.Expand(wanted)); err != nil {
		return Role{}, p.refused(ctx, c, roleTarget(name), err)
	}
	var role Role
	err = p.Store.InTx(ctx, func(tx Tx) error {
		org, err := tx.LockOrg(c.Tenant().Org())
		if err != nil {
			return err
		}
		before, err := tx.CustomRole(org.ID, name)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		at := p.Now()
		role = Role{Org: org.ID, Name: name, Permissions: wanted, UpdatedAt: at}
		if err := p.replaceRole(tx, c, before, role); err != nil {
			return err
		}
		e := audit.By(c, at, audit.RoleSet, roleTarget(name))
		e.Meta = map[string]string{"from": before.Permissions.String(), "to": wanted.String()}
		return tx.Record(e)
	})
	if err != nil {
		return Role{}, p.refused(ctx, c, roleTarget(name), err)
	}
	return role, nil
}

// DeleteRole removes a custom role that nobody holds; fault.Conflict where
// somebody does.
func (p *People) DeleteRole(ctx context.Context, c ident.Caller, name string) error {
	if IsBuiltIn(name) {
		return fault.New(fault.Conflict, "A built-in role cannot be deleted.")
	}
	err := p.Store.InTx(ctx, func(tx Tx) error {
		org, err := tx.LockOrg(c.Tenant().Org())
		if err != nil {
			return err
		}
		before, err := tx.CustomRole(org.ID, name)
		if err != nil {
			return err
		}
		holders, err := tx.Holders(org.ID, name)
		if err != nil {
			return err
		}
		if len(holders) > 0 {
			return fault.New(fault.Conflict, fmt.Sprintf("The role is held by %d members; give them another one first.", len(holders)))
		}
		at := p.Now()
		if err := p.replaceRole(tx, c, before, Role{Org: org.ID, Name: name, UpdatedAt: at}); err != nil {
			return err
		}
		e := audit.By(c, at, audit.RoleDeleted, roleTarget(name))
		e.Meta = map[string]string{"from": before.Permissions.String()}
		return tx.Record(e)
	})
	if err != nil {
		return p.refused(ctx, c, roleTarget(name), err)
	}
	return nil
}

// judgeRole refuses a built-in or malformed name and permissions that do not
// exist, each by its place in the list.
func (p *People) judgeRole(name string, permissions []string) (scope.Set, error) {
	if IsBuiltIn(name) {
		return nil, fault.Refuse("name", "is a built-in role, which cannot be changed")
	}
	if err := checkRoleName(name); err != nil {
		return nil, err
	}
	if len(permissions) == 0 || len(permissions) > maxPermissions {
		return nil, fault.Refuse("permissions", fmt.Sprintf("must list 1 to %d permissions", maxPermissions))
	}
	var parsed []scope.Permission
	var wrong []fault.Field
	for i, s := range permissions {
		q, err := scope.ParsePermission(s)
		field := fmt.Sprintf("permissions[%d]", i)
		switch {
		case err != nil:
			wrong = append(wrong, fault.Field{Name: field, Detail: scope.ErrMalformed.Error()})
		case !p.Catalogue.Knows(q):
			wrong = append(wrong, fault.Field{Name: field, Detail: "is not a permission of this deployment"})
		default:
			parsed = append(parsed, q)
		}
	}
	if len(wrong) > 0 {
		return nil, fault.Refusals(wrong)
	}
	return scope.Of(parsed...), nil
}

// replaceRole stores next and makes replicas forget what before permitted.
func (p *People) replaceRole(tx Tx, c ident.Caller, before, next Role) error {
	had, has := p.Catalogue.Expand(before.Permissions), p.Catalogue.Expand(next.Permissions)
	if err := ceiling(c, had); err != nil {
		return err
	}
	if err := tx.PutRole(next); err != nil {
		return err
	}
	if err := tx.Announce(changes.Change{Kind: changes.Org, Key: string(next.Org), At: next.UpdatedAt}); err != nil {
		return err
	}
	if len(has.Lacks(had)) == 0 {
		return nil
	}
	return p.cutOffHolders(tx, next, next.UpdatedAt)
}

func (p *People) cutOffHolders(tx Tx, r Role, at time.Time) error {
	holders, err := tx.Holders(r.Org, r.Name)
	if err != nil {
		return err
	}
	for _, h := range holders {
		if err := p.cutOff(tx, h.User, at); err != nil {
			return err
		}
	}
	return nil
}

func roleTarget(name string) audit.Target { return audit.Target{Type: "role", ID: name} }
