package gormstore

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/signing"
)

type signingKeyRow struct {
	ID        string `gorm:"primaryKey"`
	Algorithm string
	State     string
	Created   int64  `gorm:"column:created_at"`
	Activated int64  `gorm:"column:activated_at"`
	Retired   int64  `gorm:"column:retired_at"`
	Public    string // a JWK
	Sealed    []byte
}

func (signingKeyRow) TableName() string { return "signing_keys" }

func (r signingKeyRow) domain() (signing.Key, error) {
	k := signing.Key{
		ID: r.ID, Algorithm: r.Algorithm, State: signing.State(r.State),
		CreatedAt: timeOf(r.Created), ActivatedAt: timeOf(r.Activated), RetiredAt: timeOf(r.Retired), Sealed: r.Sealed,
	}
	if err := k.Public.UnmarshalJSON([]byte(r.Public)); err != nil {
		return k, fmt.Errorf("signing key %s: %w", r.ID, err)
	}
	return k, nil
}

// SigningKeys returns the store of signing keys.
func (db *DB) SigningKeys() signing.Store { return signingKeys{db} }

type signingKeys struct{ db *DB }

func (s signingKeys) SigningKeys(ctx context.Context) ([]signing.Key, error) {
	return readSigningKeys(s.db.read.WithContext(ctx))
}

func readSigningKeys(g *gorm.DB) ([]signing.Key, error) {
	var rows []signingKeyRow
	if err := g.Order("created_at, id").Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]signing.Key, len(rows))
	for i, r := range rows {
		k, err := r.domain()
		if err != nil {
			return nil, err
		}
		out[i] = k
	}
	return out, nil
}

func (s signingKeys) InTx(ctx context.Context, fn func(signing.Tx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

// LockSigningKeys locks the table, not its rows: a key that another replica
// adds meanwhile would be missed. Readers do not wait.
func (t *tx) LockSigningKeys() ([]signing.Key, error) {
	if t.g.Name() == "postgres" {
		if err := t.g.Exec("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE").Error; err != nil {
			return nil, unavailable(err)
		}
	}
	return readSigningKeys(t.g)
}

func (t *tx) MoveSigningKey(id string, from, to signing.State, at time.Time) error {
	column := "retired_at"
	if to == signing.Active {
		column = "activated_at"
	}
	done := t.g.Model(&signingKeyRow{}).Where("id = ? AND state = ?", id, string(from)).
		Updates(map[string]any{"state": string(to), column: micros(at)})
	if done.Error == nil && done.RowsAffected == 0 {
		return fault.Conflict
	}
	return conflict(done.Error)
}

func (t *tx) DeleteSigningKey(id string) error {
	done := t.g.Where("id = ?", id).Delete(&signingKeyRow{})
	if done.Error == nil && done.RowsAffected == 0 {
		return fault.NotFound
	}
	return unavailable(done.Error)
}

func (t *tx) AddSigningKey(k signing.Key) error {
	public, err := k.Public.MarshalJSON()
	if err != nil {
		return fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	return conflict(t.g.Create(&signingKeyRow{
		ID: k.ID, Algorithm: k.Algorithm, State: string(k.State),
		Created: micros(k.CreatedAt), Activated: micros(k.ActivatedAt), Retired: micros(k.RetiredAt), Public: string(public), Sealed: k.Sealed,
	}).Error)
}
