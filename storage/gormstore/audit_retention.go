package gormstore

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// AuditRetention returns what removes events of the audit log.
func (db *DB) AuditRetention() audit.RetentionStore { return chainStore{db} }

func (c chainStore) Prunable(ctx context.Context, class audit.Class, before time.Time) (ident.OrgID, bool, error) {
	var shards []string
	err := c.db.read.WithContext(ctx).Model(&linkRow{}).Where("class = ? AND at < ? AND pruned = 0", string(class), micros(before)).
		Order("at").Limit(1).Pluck("shard", &shards).Error
	if err != nil || len(shards) == 0 {
		return "", false, unavailable(err)
	}
	return ident.OrgID(shards[0]), true, nil
}

// PruneEvents marks the links first: of two replicas one gets each.
func (c chainStore) PruneEvents(ctx context.Context, p audit.Pruning, limit int, tell func(n int) audit.Event) (int, error) {
	var seqs []int64
	err := c.db.inTx(ctx, func(t *tx) error {
		seqs = nil
		err := t.g.Raw(`UPDATE audit_links SET pruned = 1 WHERE pruned = 0 AND id IN (
				SELECT id FROM audit_links WHERE shard = ? AND class = ? AND at < ? AND pruned = 0 ORDER BY at, id LIMIT ?)
			RETURNING seq`, string(p.Shard), string(p.Class), micros(p.Before), limit).Scan(&seqs).Error
		if err != nil || len(seqs) == 0 {
			return err
		}
		if err := t.g.Where("seq IN ?", seqs).Delete(&eventRow{}).Error; err != nil {
			return err
		}
		return t.Record(tell(len(seqs)))
	})
	return len(seqs), err
}

func (c chainStore) Compactable(ctx context.Context, shard ident.OrgID, before time.Time) (audit.Base, int64, error) {
	from, err := c.BaseOf(ctx, shard)
	if err != nil {
		return from, 0, err
	}
	var at struct {
		Signed   int64
		Position int64
		Kept     int64 // the first that is kept; 0 where none is
	}
	err = c.db.read.WithContext(ctx).Raw(`SELECT s.signed, s.position, (SELECT COALESCE(MIN(l.position), 0) FROM audit_links l
			WHERE l.shard = s.shard AND l.pruned = 0 AND NOT (l.class = ? AND l.at < ?)) AS kept
		FROM audit_shards s WHERE s.shard = ?`, string(audit.Retention), micros(before), string(shard)).Scan(&at).Error
	to := min(at.Signed, at.Position-1)
	if at.Kept > 0 {
		to = min(to, at.Kept-1)
	}
	return from, to, unavailable(err)
}

func (c chainStore) Compact(ctx context.Context, shard ident.OrgID, from int64, b audit.Base) error {
	return c.db.inTx(ctx, func(t *tx) error {
		done := t.g.Model(&shardRow{}).Where("shard = ? AND base = ?", string(shard), from).
			Updates(map[string]any{"base": b.Position, "base_hash": b.Hash[:], "base_jws": b.JWS})
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error
		}
		for _, step := range []string{
			"DELETE FROM audit_events WHERE seq IN (SELECT seq FROM audit_links WHERE shard = ? AND position <= ?)",
			"DELETE FROM audit_checkpoints WHERE shard = ? AND position <= ?",
			"DELETE FROM audit_links WHERE shard = ? AND position <= ?",
		} {
			if err := t.g.Exec(step, string(shard), b.Position).Error; err != nil {
				return err
			}
		}
		return nil
	})
}
