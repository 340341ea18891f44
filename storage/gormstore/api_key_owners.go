package gormstore

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// manyKeys is how many keys one statement names.
const manyKeys = 500

// ownerActive is true of a key whose owner may use it: as accounts.Directory judges.
const ownerActive = `
	EXISTS (SELECT 1 FROM organisations o WHERE o.id = api_keys.org_id AND o.status = 'active') AND (
	EXISTS (SELECT 1 FROM users u JOIN memberships m ON m.user_id = u.id WHERE u.id = api_keys.owner_id AND m.org_id = api_keys.org_id AND u.status = 'active')
	OR EXISTS (SELECT 1 FROM service_accounts s WHERE s.id = api_keys.owner_id AND s.org_id = api_keys.org_id AND s.status = 'active'))`

// secretOld is true of a key whose current secret was created before a time.
const secretOld = `
	EXISTS (SELECT 1 FROM api_key_secrets c WHERE c.key_id = api_keys.id AND c.generation = api_keys.generation AND c.created_at < ?)`

// selectedKeys narrows q to what the selection lets pass.
func selectedKeys(q *gorm.DB, s apikeys.Selection) *gorm.DB {
	now, old := micros(s.Now), micros(s.RotateBefore)
	if s.Owner != "" {
		q = q.Where("owner_id = ?", string(s.Owner))
	}
	ended := micros(s.EndedBefore)
	const lives = "revoked_at = 0 AND (expires_at = 0 OR expires_at > ?) AND created_at > ?"
	const usable = lives + " AND held_at = 0"
	switch s.Status {
	case apikeys.Revoked:
		return q.Where("revoked_at > 0")
	case apikeys.Expired:
		return q.Where("revoked_at = 0 AND (expires_at > 0 AND expires_at <= ? OR created_at <= ?)", now, ended)
	case apikeys.Quarantined:
		return q.Where(lives+" AND held_at > 0", now, ended)
	case apikeys.OwnerInactive:
		return q.Where(usable, now, ended).Where("NOT (" + ownerActive + ")")
	case apikeys.RotationDue:
		return q.Where(usable, now, ended).Where(ownerActive).Where(secretOld, old)
	case apikeys.Active:
		return q.Where(usable, now, ended).Where(ownerActive).Where("NOT "+secretOld, old)
	default:
		return q
	}
}

func (a apiKeys) APIKeys(ctx context.Context, t ident.Tenant, s apikeys.Selection, p ident.Page) ([]apikeys.Key, error) {
	g := a.db.read.WithContext(ctx)
	q := selectedKeys(g.Where("org_id = ?", string(t.Org())), s)
	if p.Before != "" {
		q = q.Where("id < ?", p.Before)
	}
	return manyAPIKeys(g, q.Order("id DESC").Limit(p.Limit))
}

func (a apiKeys) APIKeysToNotice(ctx context.Context, n apikeys.Notice, after, now time.Time, limit int) ([]apikeys.Key, error) {
	g := a.db.read.WithContext(ctx)
	q := g.Where("revoked_at = 0 AND expires_at > ? AND expires_at <= ?", micros(after), micros(now.Add(n.Lead))).
		Where("expires_at - created_at > ? AND notices < ?", n.Lead.Microseconds(), n.Number)
	return manyAPIKeys(g, q.Order("expires_at, id").Limit(limit))
}

func (a apiKeys) CountExpiringAPIKeys(ctx context.Context, now, before time.Time) (int, error) {
	var n int64
	err := a.db.read.WithContext(ctx).Model(&apiKeyRow{}).
		Where("revoked_at = 0 AND expires_at > ? AND expires_at <= ?", micros(now), micros(before)).Count(&n).Error
	return int(n), unavailable(err)
}

func (t *tx) MarkAPIKeyNotice(k apikeys.Key, n apikeys.Notice) (bool, error) {
	res := t.g.Model(&apiKeyRow{}).Where("id = ? AND revoked_at = 0 AND notices < ?", string(k.ID), n.Number).Update("notices", n.Number)
	return res.RowsAffected > 0, unavailable(res.Error)
}

func (t *tx) LockAPIKeysMadeBy(tenant ident.Tenant, makers ...ident.APIKeyID) ([]apikeys.Key, error) {
	var out []apikeys.Key
	for some := range slices.Chunk(makers, manyKeys) {
		q := t.g.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("org_id = ? AND created_by_key IN ?", string(tenant.Org()), some)
		made, err := manyAPIKeys(t.g, q.Order("id"))
		if err != nil {
			return nil, err
		}
		out = append(out, made...)
	}
	return out, nil
}

func (t *tx) RevokeAPIKeys(keys []ident.APIKeyID, r apikeys.Revocation) error {
	for some := range slices.Chunk(keys, manyKeys) {
		err := t.g.Model(&apiKeyRow{}).Where("id IN ?", some).Updates(map[string]any{"revoked_at": micros(r.RevokedAt), "revoked_by": r.RevokedBy}).Error
		if err != nil {
			return unavailable(err)
		}
	}
	return nil
}

func (t *tx) SetAPIKeyOwner(id ident.APIKeyID, owner ident.UserID) error {
	return unavailable(t.g.Model(&apiKeyRow{}).Where("id = ?", string(id)).Update("owner_id", string(owner)).Error)
}
