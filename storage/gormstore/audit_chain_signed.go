package gormstore

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type checkpointRow struct {
	Shard    string `gorm:"primaryKey"`
	Position int64  `gorm:"primaryKey"`
	LinkID   int64
	At       int64
	JWS      string `gorm:"column:jws"`
}

func (checkpointRow) TableName() string { return "audit_checkpoints" }

func (r checkpointRow) domain() audit.Checkpoint {
	return audit.Checkpoint{Shard: ident.OrgID(r.Shard), Position: r.Position, Link: r.LinkID, Time: timeOf(r.At), JWS: r.JWS}
}

func (c chainStore) Newest(ctx context.Context, shard ident.OrgID) (int64, audit.Head, error) {
	h := audit.Head{Shard: shard}
	g := c.db.read.WithContext(ctx)
	var at sealerRow
	if err := g.Take(&at).Error; err != nil {
		return 0, h, unavailable(err)
	}
	var r shardRow
	done := g.Where("shard = ?", string(shard)).Limit(1).Find(&r)
	h.Position = r.Position
	copy(h.Hash[:], r.Hash)
	return at.Links, h, unavailable(done.Error)
}

func (c chainStore) Unsigned(ctx context.Context, every int64, before time.Time, limit int) ([]audit.Unsigned, error) {
	var rows []shardRow
	err := c.db.read.WithContext(ctx).Where("position > signed AND (signed_at < ? OR position - signed >= ?)", micros(before), every).
		Order("signed_at").Limit(limit).Find(&rows).Error
	out := make([]audit.Unsigned, len(rows))
	for i, r := range rows {
		out[i] = audit.Unsigned{Shard: ident.OrgID(r.Shard), Position: r.Position, Signed: r.Signed}
		copy(out[i].Previous[:], r.SignedHash)
	}
	return out, unavailable(err)
}

func (c chainStore) AddCheckpoint(ctx context.Context, p audit.Checkpoint, after int64) (bool, error) {
	hash := sha256.Sum256([]byte(p.JWS))
	var added bool
	err := c.db.inTx(ctx, func(t *tx) error {
		done := t.g.Model(&shardRow{}).Where("shard = ? AND signed = ? AND base < ?", string(p.Shard), after, p.Position).
			Updates(map[string]any{"signed": p.Position, "signed_at": micros(p.Time), "signed_hash": hash[:]})
		if added = done.RowsAffected == 1; done.Error != nil || !added {
			return done.Error
		}
		return t.g.Create(&checkpointRow{Shard: string(p.Shard), Position: p.Position, LinkID: p.Link, At: micros(p.Time), JWS: p.JWS}).Error
	})
	return added && err == nil, err
}

func (c chainStore) Checkpoints(ctx context.Context, shard *ident.OrgID, after, through int64) ([]audit.Checkpoint, error) {
	q := c.db.read.WithContext(ctx).Where("link_id > ? AND link_id <= ?", after, through)
	if shard != nil {
		q = q.Where("shard = ?", string(*shard))
	}
	var rows []checkpointRow
	if err := q.Order("link_id").Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]audit.Checkpoint, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, nil
}

func (c chainStore) BaseOf(ctx context.Context, shard ident.OrgID) (audit.Base, error) {
	var r shardRow
	err := c.db.read.WithContext(ctx).Where("shard = ?", string(shard)).Limit(1).Find(&r).Error
	b := audit.Base{Position: r.Base, JWS: r.BaseJWS}
	copy(b.Hash[:], r.BaseHash)
	return b, unavailable(err)
}
