package gormstore

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/internal/changes"
)

type replicaRow struct {
	ID    string `gorm:"primaryKey"`
	Until int64  `gorm:"column:believes_until"`
}

type confirmationRow struct {
	Question string `gorm:"primaryKey"`
	Replica  string `gorm:"column:replica_id;primaryKey"`
	At       int64
}

func (replicaRow) TableName() string      { return "replicas" }
func (confirmationRow) TableName() string { return "change_confirmations" }

// Replicas returns the list of those who follow the log of changes.
func (db *DB) Replicas() changes.Replicas { return replicas{db} }

type replicas struct{ db *DB }

func (s replicas) Beat(ctx context.Context, r changes.Replica, before string) error {
	return s.db.inTx(ctx, func(t *tx) error {
		if before != "" && before != r.ID {
			if err := t.g.Delete(&replicaRow{ID: before}).Error; err != nil {
				return err
			}
		}
		again := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"believes_until"})}
		return t.g.Clauses(again).Create(&replicaRow{r.ID, micros(r.Until)}).Error
	})
}

func (s replicas) Leave(ctx context.Context, id string) error {
	return s.db.inTx(ctx, func(t *tx) error { return t.g.Delete(&replicaRow{ID: id}).Error })
}

func (s replicas) Believing(ctx context.Context, now time.Time) ([]changes.Replica, error) {
	var rows []replicaRow
	err := s.db.read.WithContext(ctx).Where("believes_until > ?", micros(now)).Order("id").Find(&rows).Error
	out := make([]changes.Replica, len(rows))
	for i, r := range rows {
		out[i] = changes.Replica{ID: r.ID, Until: timeOf(r.Until)}
	}
	return out, unavailable(err)
}

func (s replicas) Ask(ctx context.Context, c changes.Change) error {
	return s.db.inTx(ctx, func(t *tx) error { return t.Announce(c) })
}

func (s replicas) Confirm(ctx context.Context, question, replica string, at time.Time) error {
	return s.db.inTx(ctx, func(t *tx) error {
		return t.g.Clauses(clause.OnConflict{DoNothing: true}).Create(&confirmationRow{question, replica, micros(at)}).Error
	})
}

func (s replicas) Confirmed(ctx context.Context, question string) ([]string, error) {
	var ids []string
	err := s.db.read.WithContext(ctx).Model(&confirmationRow{}).Where("question = ?", question).Order("replica_id").Pluck("replica_id", &ids).Error
	return ids, unavailable(err)
}

func (s replicas) Prune(ctx context.Context, before time.Time) error {
	return s.db.inTx(ctx, func(t *tx) error {
		return errors.Join(
			t.g.Where("believes_until < ?", micros(before)).Delete(&replicaRow{}).Error,
			t.g.Where("at < ?", micros(before)).Delete(&confirmationRow{}).Error,
		)
	})
}
