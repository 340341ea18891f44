package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type userRow struct {
	ID                string `gorm:"primaryKey"`
	Email             string
	Canonical         string
	Name              string
	Status            string
	PasswordHash      string
	CreatedAt         int64 `gorm:"autoCreateTime:false"`
	PasswordChangedAt int64
}

func (userRow) TableName() string { return "users" }

func userRowOf(u accounts.User) userRow {
	return userRow{
		ID: string(u.ID), Email: u.Email, Canonical: u.Canonical, Name: u.Name, Status: string(u.Status), PasswordHash: u.PasswordHash,
		CreatedAt: micros(u.CreatedAt), PasswordChangedAt: micros(u.PasswordChangedAt),
	}
}

func (r userRow) domain() accounts.User {
	return accounts.User{
		ID: ident.UserID(r.ID), Email: r.Email, Canonical: r.Canonical, Name: r.Name, Status: accounts.Status(r.Status), PasswordHash: r.PasswordHash,
		CreatedAt: timeOf(r.CreatedAt), PasswordChangedAt: timeOf(r.PasswordChangedAt),
	}
}

// Accounts returns the store of people and organisations.
func (db *DB) Accounts() accounts.Store { return people{db} }

type people struct{ db *DB }

var (
	_ accounts.Store = people{}
	_ accounts.Tx    = (*tx)(nil)

	_ accounts.StandingTx = (*tx)(nil)
)

func (p people) InTx(ctx context.Context, fn func(accounts.Tx) error) error {
	return p.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

func (p people) User(ctx context.Context, user ident.UserID) (accounts.User, error) {
	var r userRow
	err := p.db.read.WithContext(ctx).Where("id = ?", string(user)).Take(&r).Error
	return r.domain(), notFound(err)
}

func (p people) UserByCanonical(ctx context.Context, canonical string) (accounts.User, error) {
	var r userRow
	err := p.db.read.WithContext(ctx).Where("canonical = ?", canonical).Take(&r).Error
	return r.domain(), notFound(err)
}

func (p people) Home(ctx context.Context, user ident.UserID) (ident.OrgID, error) {
	var orgs []string
	err := p.db.read.WithContext(ctx).Raw(`
		SELECT m.org_id FROM memberships m JOIN organisations o ON o.id = m.org_id
		WHERE m.user_id = ?
		ORDER BY CASE o.status WHEN ? THEN 0 ELSE 1 END, m.created_at, m.org_id LIMIT 1`, string(user), string(accounts.Active)).Scan(&orgs).Error
	if err == nil && len(orgs) == 0 {
		return "", fault.NotFound
	}
	if err != nil {
		return "", unavailable(err)
	}
	return ident.OrgID(orgs[0]), nil
}

func (p people) Facts(ctx context.Context, user ident.UserID, org ident.OrgID) (accounts.Facts, error) {
	return facts(p.db.read.WithContext(ctx), user, org)
}

// Facts answers everything that decides a standing, as of now in the transaction.
func (t *tx) Facts(user ident.UserID, org ident.OrgID) (accounts.Facts, error) {
	return facts(t.g, user, org)
}

func facts(g *gorm.DB, user ident.UserID, org ident.OrgID) (accounts.Facts, error) {
	if user.IsServiceAccount() {
		return serviceFacts(g, user, org)
	}
	var rows []struct {
		Email, Name, UserStatus, OrgName, OrgStatus, Role, Custom string
	}
	err := g.Raw(`
		SELECT u.email, u.name, u.status AS user_status, COALESCE(o.name, '') AS org_name, COALESCE(o.status, '') AS org_status,
		       COALESCE(m.role, '') AS role, COALESCE(r.permissions, '') AS custom
		FROM users u
		LEFT JOIN memberships m ON m.user_id = u.id AND m.org_id = ?
		LEFT JOIN organisations o ON o.id = m.org_id
		LEFT JOIN roles r ON r.org_id = m.org_id AND r.name = m.role
		WHERE u.id = ?`, string(org), string(user)).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return accounts.Facts{}, unavailable(err)
	}
	r := rows[0]
	custom, err := permissions(r.Custom)
	return accounts.Facts{
		Email: r.Email, Name: r.Name, UserStatus: accounts.Status(r.UserStatus), OrgName: r.OrgName, OrgStatus: accounts.Status(r.OrgStatus),
		Role: r.Role, Custom: custom,
	}, err
}

// inserted adds a row and reports false where a unique constraint forbids it.
// The transaction goes on in either case, which an error would not allow on
// PostgreSQL.
func (t *tx) inserted(row any) (bool, error) {
	done := t.g.Clauses(clause.OnConflict{DoNothing: true}).Create(row)
	return done.RowsAffected == 1, unavailable(done.Error)
}

// forUpdate locks what the query finds until the commit.
func forUpdate(g *gorm.DB) *gorm.DB { return g.Clauses(clause.Locking{Strength: "UPDATE"}) }

// InsertUser adds a user and reports false where the canonical e-mail is taken.
func (t *tx) InsertUser(u accounts.User) (bool, error) {
	r := userRowOf(u)
	return t.inserted(&r)
}

// LockUser returns a user, locked.
func (t *tx) LockUser(user ident.UserID) (accounts.User, error) {
	var r userRow
	err := forUpdate(t.g).Where("id = ?", string(user)).Take(&r).Error
	return r.domain(), notFound(err)
}

// UpdateUser stores name and status.
func (t *tx) UpdateUser(u accounts.User) error {
	return unavailable(t.g.Model(&userRow{}).Where("id = ?", string(u.ID)).
		Updates(map[string]any{"name": u.Name, "status": string(u.Status)}).Error)
}

// UpdateEmail stores the e-mail and reports false where it is taken.
func (t *tx) UpdateEmail(u accounts.User) (bool, error) {
	// Judged before it is tried: a broken constraint would end the transaction
	// on PostgreSQL. Two who try the same address at once are decided by the
	// constraint, and one of them fails as a whole.
	var taken int64
	if err := t.g.Model(&userRow{}).Where("canonical = ? AND id <> ?", u.Canonical, string(u.ID)).Count(&taken).Error; err != nil || taken > 0 {
		return false, unavailable(err)
	}
	err := t.g.Model(&userRow{}).Where("id = ?", string(u.ID)).Updates(map[string]any{"email": u.Email, "canonical": u.Canonical}).Error
	return err == nil, conflict(err)
}

// ReplaceHash stores next where the hash is still old.
func (t *tx) ReplaceHash(user ident.UserID, old, next string, changedAt time.Time) (bool, error) {
	values := map[string]any{"password_hash": next}
	if !changedAt.IsZero() {
		values["password_changed_at"] = micros(changedAt)
	}
	done := t.g.Model(&userRow{}).Where("id = ? AND password_hash = ?", string(user), old).Updates(values)
	return done.RowsAffected == 1, unavailable(done.Error)
}

func (p people) AnyUser(ctx context.Context) (bool, error) {
	return anyUser(p.db.read.WithContext(ctx))
}

// AnyUser reports whether there is a user at all.
func (t *tx) AnyUser() (bool, error) { return anyUser(t.g) }

func anyUser(g *gorm.DB) (bool, error) {
	var ids []string
	err := g.Model(&userRow{}).Limit(1).Pluck("id", &ids).Error
	return len(ids) > 0, unavailable(err)
}
