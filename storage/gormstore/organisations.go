package gormstore

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
)

type orgRow struct {
	ID        string `gorm:"primaryKey"`
	Name      string
	Slug      string
	Status    string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (orgRow) TableName() string { return "organisations" }

func (r orgRow) domain() accounts.Org {
	return accounts.Org{ID: ident.OrgID(r.ID), Name: r.Name, Slug: r.Slug, Status: accounts.Status(r.Status), CreatedAt: timeOf(r.CreatedAt)}
}

type membershipRow struct {
	User      string `gorm:"column:user_id;primaryKey"`
	Org       string `gorm:"column:org_id;primaryKey"`
	Role      string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (membershipRow) TableName() string { return "memberships" }

func (r membershipRow) domain() accounts.Membership {
	return accounts.Membership{User: ident.UserID(r.User), Org: ident.OrgID(r.Org), Role: r.Role, CreatedAt: timeOf(r.CreatedAt)}
}

type roleRow struct {
	Org         string `gorm:"column:org_id;primaryKey"`
	Name        string `gorm:"primaryKey"`
	Permissions string // separated by spaces
	UpdatedAt   int64  `gorm:"autoUpdateTime:false"`
}

func (roleRow) TableName() string { return "roles" }

func (r roleRow) domain() (accounts.Role, error) {
	ps, err := permissions(r.Permissions)
	return accounts.Role{Org: ident.OrgID(r.Org), Name: r.Name, Permissions: ps, UpdatedAt: timeOf(r.UpdatedAt)}, err
}

// permissions reads what a role row holds; nothing but damage makes it fail.
func permissions(s string) (scope.Set, error) {
	ps, err := scope.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("permissions of a role: %w", err)
	}
	return ps, nil
}

func (p people) Org(ctx context.Context, org ident.OrgID) (accounts.Org, error) {
	var r orgRow
	err := p.db.read.WithContext(ctx).Where("id = ?", string(org)).Take(&r).Error
	return r.domain(), notFound(err)
}

func (p people) OrgBySlug(ctx context.Context, slug string) (accounts.Org, error) {
	var r orgRow
	err := p.db.read.WithContext(ctx).Where("slug = ?", slug).Take(&r).Error
	return r.domain(), notFound(err)
}

func (p people) Orgs(ctx context.Context, page ident.Page) ([]accounts.Org, error) {
	q := p.db.read.WithContext(ctx)
	if page.Before != "" {
		q = q.Where("id < ?", page.Before)
	}
	var rows []orgRow
	err := q.Order("id DESC").Limit(page.Limit).Find(&rows).Error
	out := make([]accounts.Org, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
}

func (p people) FirstOrg(ctx context.Context) (ident.OrgID, error) {
	var row orgRow
	err := p.db.read.WithContext(ctx).Order("created_at, id").Limit(1).Take(&row).Error
	return ident.OrgID(row.ID), notFound(err)
}

type memberRow struct {
	User userRow `gorm:"embedded"`
	Org  string  `gorm:"column:org_id"`
	Role string
	At   int64 `gorm:"column:joined_at"`
}

func (r memberRow) domain() accounts.Member {
	return accounts.Member{User: r.User.domain(), Org: ident.OrgID(r.Org), Role: r.Role, JoinedAt: timeOf(r.At)}
}

// members is the members of one tenant: the only way to read them.
func members(g *gorm.DB, t ident.Tenant) *gorm.DB {
	return g.Table("memberships").Select("users.*, memberships.org_id, memberships.role, memberships.created_at AS joined_at").
		Joins("JOIN users ON users.id = memberships.user_id").Where("memberships.org_id = ?", string(t.Org()))
}

func (p people) Member(ctx context.Context, t ident.Tenant, user ident.UserID) (accounts.Member, error) {
	var rows []memberRow
	err := members(p.db.read.WithContext(ctx), t).Where("memberships.user_id = ?", string(user)).Scan(&rows).Error
	if err == nil && len(rows) == 0 {
		return accounts.Member{}, fault.NotFound
	}
	if err != nil {
		return accounts.Member{}, unavailable(err)
	}
	return rows[0].domain(), nil
}

func (p people) Members(ctx context.Context, t ident.Tenant, page ident.Page) ([]accounts.Member, error) {
	q := members(p.db.read.WithContext(ctx), t)
	if page.Before != "" {
		q = q.Where("memberships.user_id < ?", page.Before)
	}
	var rows []memberRow
	err := q.Order("memberships.user_id DESC").Limit(page.Limit).Scan(&rows).Error
	out := make([]accounts.Member, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
}

func (p people) Roles(ctx context.Context, t ident.Tenant) ([]accounts.Role, error) {
	var rows []roleRow
	if err := p.db.read.WithContext(ctx).Where("org_id = ?", string(t.Org())).Order("name").Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]accounts.Role, len(rows))
	for i, r := range rows {
		role, err := r.domain()
		if err != nil {
			return nil, err
		}
		out[i] = role
	}
	return out, nil
}

// OrgsOf lists the user's memberships, ordered by organisation.
func (t *tx) OrgsOf(user ident.UserID) ([]accounts.Membership, error) {
	var rows []membershipRow
	err := t.g.Where("user_id = ?", string(user)).Order("org_id").Find(&rows).Error
	out := make([]accounts.Membership, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
}

// InsertOrg adds an organisation and reports false where the slug is taken.
func (t *tx) InsertOrg(o accounts.Org) (bool, error) {
	return t.inserted(&orgRow{ID: string(o.ID), Name: o.Name, Slug: o.Slug, Status: string(o.Status), CreatedAt: micros(o.CreatedAt)})
}

// LockOrg returns an organisation, locked.
func (t *tx) LockOrg(org ident.OrgID) (accounts.Org, error) {
	var r orgRow
	err := forUpdate(t.g).Where("id = ?", string(org)).Take(&r).Error
	return r.domain(), notFound(err)
}

// UpdateOrg stores name and status.
func (t *tx) UpdateOrg(o accounts.Org) error {
	return unavailable(t.g.Model(&orgRow{}).Where("id = ?", string(o.ID)).
		Updates(map[string]any{"name": o.Name, "status": string(o.Status)}).Error)
}

// InsertMembership adds a member and reports false where the user is one.
func (t *tx) InsertMembership(m accounts.Membership) (bool, error) {
	return t.inserted(&membershipRow{User: string(m.User), Org: string(m.Org), Role: m.Role, CreatedAt: micros(m.CreatedAt)})
}

// SetMemberRole stores the role; an empty role removes the member.
func (t *tx) SetMemberRole(org ident.OrgID, user ident.UserID, role string) error {
	q := t.g.Where("org_id = ? AND user_id = ?", string(org), string(user))
	if role == "" {
		return unavailable(q.Delete(&membershipRow{}).Error)
	}
	return unavailable(q.Model(&membershipRow{}).Update("role", role).Error)
}

// Holders lists the members and service accounts that hold the role, by user.
func (t *tx) Holders(org ident.OrgID, role string) ([]accounts.Holder, error) {
	var rows []struct{ User, Status string }
	err := t.g.Raw(`
		SELECT u.id AS "user", u.status FROM memberships m JOIN users u ON u.id = m.user_id
		WHERE m.org_id = ? AND m.role = ?
		UNION ALL SELECT id, status FROM service_accounts WHERE org_id = ? AND role = ?
		ORDER BY 1`, string(org), role, string(org), role).Scan(&rows).Error
	out := make([]accounts.Holder, len(rows))
	for i, r := range rows {
		out[i] = accounts.Holder{User: ident.UserID(r.User), Status: accounts.Status(r.Status)}
	}
	return out, unavailable(err)
}

// CustomRole returns a custom role.
func (t *tx) CustomRole(org ident.OrgID, name string) (accounts.Role, error) {
	var r roleRow
	if err := t.g.Where("org_id = ? AND name = ?", string(org), name).Take(&r).Error; err != nil {
		return accounts.Role{}, notFound(err)
	}
	return r.domain()
}

// PutRole adds or replaces a custom role; without permissions it is removed.
func (t *tx) PutRole(r accounts.Role) error {
	if len(r.Permissions) == 0 {
		return unavailable(t.g.Where("org_id = ? AND name = ?", string(r.Org), r.Name).Delete(&roleRow{}).Error)
	}
	return unavailable(t.g.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "org_id"}, {Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"permissions", "updated_at"}),
	}).Create(&roleRow{Org: string(r.Org), Name: r.Name, Permissions: r.Permissions.String(), UpdatedAt: micros(r.UpdatedAt)}).Error)
}
