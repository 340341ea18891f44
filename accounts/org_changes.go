package accounts

import (
	"context"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// CreateOrg adds an organisation without members; an empty slug is derived from
// the name. It is for the operator. A slug that is taken is fault.Conflict.
func (p *People) CreateOrg(ctx context.Context, c ident.Caller, name, slug string) (Org, error) {
	if err := operatorOnly(c); err != nil {
		return Org{}, err
	}
	name, err := orgName(name)
	if err != nil {
		return Org{}, err
	}
	if slug == "" {
		slug = slugOf(name)
	}
	if err := checkSlug(slug); err != nil {
		return Org{}, err
	}
	at := p.Now()
	org := Org{ID: ident.NewOrgID(at, p.Random), Name: name, Slug: slug, Status: Active, CreatedAt: at}
	err = p.Store.InTx(ctx, func(tx Tx) error {
		added, err := tx.InsertOrg(org)
		if err != nil {
			return err
		}
		if !added {
			return fault.New(fault.Conflict, "The slug "+slug+" is taken.")
		}
		e := audit.By(c, at, audit.OrgCreated, orgTarget(org))
		e.Org = org.ID
		return tx.Record(e)
	})
	if err != nil {
		return Org{}, err
	}
	return org, nil
}

// OrgBySlug returns any organisation. It is for the operator.
func (p *People) OrgBySlug(ctx context.Context, c ident.Caller, slug string) (Org, error) {
	if err := operatorOnly(c); err != nil {
		return Org{}, err
	}
	return p.Store.OrgBySlug(ctx, slug)
}

// Orgs lists the caller's organisation; to an operator of the whole deployment
// all of them, newest first.
func (p *People) Orgs(ctx context.Context, c ident.Caller, page ident.Page) ([]Org, error) {
	if c.Kind == ident.Operator && c.Org == "" {
		return p.Store.Orgs(ctx, page)
	}
	if page.Before != "" {
		return nil, nil
	}
	org, err := p.Store.Org(ctx, c.Tenant().Org())
	if err != nil {
		return nil, err
	}
	return []Org{org}, nil
}

// Org returns the caller's organisation. Any other is fault.NotFound; where it
// exists, the attempt is recorded.
func (p *People) Org(ctx context.Context, c ident.Caller, id ident.OrgID) (Org, error) {
	if err := p.own(ctx, c, id); err != nil {
		return Org{}, err
	}
	return p.Store.Org(ctx, id)
}

// RenameOrg changes the name of the caller's organisation.
func (p *People) RenameOrg(ctx context.Context, c ident.Caller, id ident.OrgID, name string) (Org, error) {
	if err := p.own(ctx, c, id); err != nil {
		return Org{}, err
	}
	name, err := orgName(name)
	if err != nil {
		return Org{}, err
	}
	var org Org
	err = p.Store.InTx(ctx, func(tx Tx) error {
		if org, err = tx.LockOrg(id); err != nil || org.Name == name {
			return err
		}
		at, before := p.Now(), org.Name
		org.Name = name
		if err := tx.UpdateOrg(org); err != nil {
			return err
		}
		e := audit.By(c, at, audit.OrgUpdated, orgTarget(org))
		e.Org, e.Meta = id, map[string]string{"from": before, "to": name}
		if err := tx.Record(e); err != nil {
			return err
		}
		return tx.Announce(changes.Change{Kind: changes.Org, Key: string(id), At: at})
	})
	if err != nil {
		return Org{}, err
	}
	return org, nil
}

// own refuses every organisation but the caller's, as if there were no other.
func (p *People) own(ctx context.Context, c ident.Caller, id ident.OrgID) error {
	if id == c.Tenant().Org() && id != "" || c.Kind == ident.Operator && c.Org == "" {
		return nil
	}
	return p.refused(ctx, c, audit.Target{Type: "org", ID: string(id)}, fault.NotFound)
}

func orgName(name string) (string, error) {
	name, err := cleanName("name", name)
	if err == nil && name == "" {
		err = fault.Refuse("name", "must not be empty")
	}
	return name, err
}
