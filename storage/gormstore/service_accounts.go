package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type serviceAccountRow struct {
	ID          string `gorm:"primaryKey"`
	Org         string `gorm:"column:org_id"`
	Name        string
	Description string
	Role        string
	Status      string
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
}

func (serviceAccountRow) TableName() string { return "service_accounts" }

func (r serviceAccountRow) domain() accounts.ServiceAccount {
	return accounts.ServiceAccount{
		ID: ident.UserID(r.ID), Org: ident.OrgID(r.Org), Name: r.Name, Description: r.Description,
		Role: r.Role, Status: accounts.Status(r.Status), CreatedAt: timeOf(r.CreatedAt),
	}
}

// serviceAccounts is those of one tenant: the only way to read them.
func serviceAccounts(g *gorm.DB, t ident.Tenant) *gorm.DB {
	return g.Where("org_id = ?", string(t.Org()))
}

func (p people) ServiceAccount(ctx context.Context, t ident.Tenant, id ident.UserID) (accounts.ServiceAccount, error) {
	var r serviceAccountRow
	err := serviceAccounts(p.db.read.WithContext(ctx), t).Where("id = ?", string(id)).Take(&r).Error
	return r.domain(), notFound(err)
}

func (p people) ServiceAccounts(ctx context.Context, t ident.Tenant, page ident.Page) ([]accounts.ServiceAccount, error) {
	q := serviceAccounts(p.db.read.WithContext(ctx), t)
	if page.Before != "" {
		q = q.Where("id < ?", page.Before)
	}
	var rows []serviceAccountRow
	err := q.Order("id DESC").Limit(page.Limit).Find(&rows).Error
	out := make([]accounts.ServiceAccount, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
}

func (p people) ServiceAccountExists(ctx context.Context, id ident.UserID) (bool, error) {
	var n int64
	err := p.db.read.WithContext(ctx).Model(&serviceAccountRow{}).Where("id = ?", string(id)).Count(&n).Error
	return n > 0, unavailable(err)
}

// serviceFacts is facts of a service account.
func serviceFacts(g *gorm.DB, id ident.UserID, org ident.OrgID) (accounts.Facts, error) {
	var rows []struct{ Name, Status, OrgName, OrgStatus, Role, Custom string }
	err := g.Raw(`
		SELECT s.name, s.status, o.name AS org_name, o.status AS org_status, s.role, COALESCE(r.permissions, '') AS custom
		FROM service_accounts s
		JOIN organisations o ON o.id = s.org_id
		LEFT JOIN roles r ON r.org_id = s.org_id AND r.name = s.role
		WHERE s.id = ? AND s.org_id = ?`, string(id), string(org)).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return accounts.Facts{}, unavailable(err)
	}
	r := rows[0]
	custom, err := permissions(r.Custom)
	return accounts.Facts{
		Name: r.Name, UserStatus: accounts.Status(r.Status), OrgName: r.OrgName, OrgStatus: accounts.Status(r.OrgStatus), Role: r.Role, Custom: custom,
	}, err
}

// InsertServiceAccount adds a service account and reports false where the name is taken.
func (t *tx) InsertServiceAccount(s accounts.ServiceAccount) (bool, error) {
	return t.inserted(&serviceAccountRow{
		ID: string(s.ID), Org: string(s.Org), Name: s.Name, Description: s.Description, Role: s.Role, Status: string(s.Status), CreatedAt: micros(s.CreatedAt),
	})
}

// LockServiceAccount returns a service account of the tenant, locked.
func (t *tx) LockServiceAccount(tenant ident.Tenant, id ident.UserID) (accounts.ServiceAccount, error) {
	var r serviceAccountRow
	err := serviceAccounts(forUpdate(t.g), tenant).Where("id = ?", string(id)).Take(&r).Error
	return r.domain(), notFound(err)
}

// UpdateServiceAccount stores name, description, role and status and reports false where
// the name is taken.
func (t *tx) UpdateServiceAccount(s accounts.ServiceAccount) (bool, error) {
	var taken int64 // judged before it is tried, as in UpdateEmail
	q := t.g.Model(&serviceAccountRow{}).Where("org_id = ? AND name = ? AND id <> ?", string(s.Org), s.Name, string(s.ID))
	if err := q.Count(&taken).Error; err != nil || taken > 0 {
		return false, unavailable(err)
	}
	err := t.g.Model(&serviceAccountRow{}).Where("id = ?", string(s.ID)).Updates(map[string]any{
		"name": s.Name, "description": s.Description, "role": s.Role, "status": string(s.Status),
	}).Error
	return err == nil, conflict(err)
}

// DeleteServiceAccount removes a service account.
func (t *tx) DeleteServiceAccount(id ident.UserID) error {
	return unavailable(t.g.Where("id = ?", string(id)).Delete(&serviceAccountRow{}).Error)
}

// UsableAPIKeys counts the owner's API keys that can be used.
func (t *tx) UsableAPIKeys(owner ident.UserID, now time.Time) (int, error) {
	var n int64
	err := t.g.Model(&apiKeyRow{}).Where("owner_id = ? AND revoked_at = 0 AND (expires_at = 0 OR expires_at > ?)", string(owner), micros(now)).Count(&n).Error
	return int(n), unavailable(err)
}
