package gormstore

import (
	"cmp"
	"context"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/audit"
)

// What has no place, by how the sealer finds it: see pass. PostgreSQL is told in
// numbers where the sealer stands: it would not guess that nearly nothing is after
// that, and read the whole log.
const (
	unsealedSQLite   = `SELECT COALESCE(MIN(at), 0) FROM audit_events WHERE seq > ?`
	unsealedPostgres = `SELECT COALESCE(MIN(at), 0) FROM audit_events WHERE ` + unlinked + ` AND txid >= pg_snapshot_xmin(CAST(CAST(? AS text) AS pg_snapshot))`
	unsealedBefore   = `SELECT COALESCE(MIN(at), 0) FROM audit_events WHERE ` + unlinked + ` AND txid IS NULL AND seq > ?`
	unlinked         = `NOT EXISTS (SELECT 1 FROM audit_links l WHERE l.seq = audit_events.seq)`
	unsigned         = `SELECT COALESCE(MIN(l.at), 0) FROM audit_shards s JOIN audit_links l ON l.shard = s.shard AND l.position = s.signed + 1
		WHERE s.position > s.signed`
)

func (c chainStore) Backlog(ctx context.Context) (b audit.Backlog, err error) {
	g := c.db.read.WithContext(ctx)
	var at sealerRow
	if err := g.Take(&at).Error; err != nil {
		return b, unavailable(err)
	}
	var event, link int64
	if g.Name() == "postgres" {
		event, err = unsealedOf(g, at)
	} else {
		err = g.Raw(unsealedSQLite, at.Seq).Scan(&event).Error
	}
	if err != nil {
		return b, unavailable(err)
	}
	if err := g.Raw(unsigned).Scan(&link).Error; err != nil {
		return b, unavailable(err)
	}
	if event > 0 {
		b.Unsealed = timeOf(event)
	}
	if link > 0 {
		b.Unsigned = timeOf(link)
	}
	return b, nil
}

// unsealedOf returns the time of the oldest event in PostgreSQL that has no place.
func unsealedOf(g *gorm.DB, at sealerRow) (oldest int64, err error) {
	err = planned(g, func(g *gorm.DB) error {
		if at.Seq >= 0 {
			if err := g.Raw(unsealedBefore, at.Seq).Scan(&oldest).Error; err != nil {
				return err
			}
		}
		var later int64
		err := g.Raw(unsealedPostgres, cmp.Or(at.Snapshot, noSnapshot)).Scan(&later).Error
		if oldest == 0 || later > 0 && later < oldest {
			oldest = later
		}
		return err
	})
	return oldest, err
}
