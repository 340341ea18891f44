package gormstore

import (
	"context"

	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/audit/outputs"
)

type outputRow struct {
	Name   string `gorm:"primaryKey"`
	Cursor int64
	Holder string
	Leased int64 `gorm:"column:leased_until"`
}

func (outputRow) TableName() string { return "audit_outputs" }

// Outputs returns the store of where the audit log is sent.
func (db *DB) Outputs() outputs.Store { return auditOutputs{db} }

type auditOutputs struct{ db *DB }

var _ outputs.Store = auditOutputs{}

func (s auditOutputs) ClaimOutput(ctx context.Context, c outputs.Claim) (at outputs.Cursor, ok bool, err error) {
	// Without a write while the answer stays what it was: half of a loan is enough
	// for a batch.
	var rows []outputRow
	if err := s.db.read.WithContext(ctx).Where("name = ?", c.Output).Find(&rows).Error; err != nil {
		return 0, false, unavailable(err)
	}
	if len(rows) == 1 {
		half := c.Now.Add(c.Until.Sub(c.Now) / 2)
		switch row := rows[0]; {
		case row.Holder == c.Holder && row.Leased >= micros(half):
			return outputs.Cursor(row.Cursor), true, nil
		case row.Holder != c.Holder && row.Leased > micros(c.Now):
			return 0, false, nil
		}
	}
	err = s.db.inTx(ctx, func(t *tx) error {
		fresh := outputRow{Name: c.Output, Holder: c.Holder, Leased: micros(c.Until)}
		if !c.Start {
			if err := t.g.Raw("SELECT COALESCE(MAX(id), 0) FROM audit_links").Scan(&fresh.Cursor).Error; err != nil {
				return err
			}
		}
		if err := t.g.Clauses(clause.OnConflict{DoNothing: true}).Create(&fresh).Error; err != nil {
			return err
		}
		done := t.g.Exec("UPDATE audit_outputs SET holder = ?, leased_until = ? WHERE name = ? AND (holder = ? OR leased_until <= ?)",
			c.Holder, micros(c.Until), c.Output, c.Holder, micros(c.Now))
		if ok = done.Error == nil && done.RowsAffected == 1; !ok {
			return done.Error
		}
		var row outputRow
		err := t.g.Where("name = ?", c.Output).Take(&row).Error
		at = outputs.Cursor(row.Cursor)
		return err
	})
	return at, ok && err == nil, err
}

func (s auditOutputs) AdvanceOutput(ctx context.Context, c outputs.Claim, to outputs.Cursor) (ok bool, err error) {
	err = s.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec("UPDATE audit_outputs SET cursor = ?, leased_until = ? WHERE name = ? AND holder = ?",
			int64(to), micros(c.Until), c.Output, c.Holder)
		ok = done.Error == nil && done.RowsAffected == 1
		return done.Error
	})
	return ok && err == nil, err
}

func (s auditOutputs) EventsAfter(ctx context.Context, from outputs.Cursor, limit int) ([]audit.Event, outputs.Cursor, error) {
	links, err := s.db.Chain().Linked(ctx, int64(from), limit)
	if err != nil {
		return nil, from, err
	}
	events := make([]audit.Event, 0, len(links))
	for _, l := range links {
		if !l.Pruned {
			events = append(events, l.Event)
		}
		from = outputs.Cursor(l.ID)
	}
	return events, from, nil
}
