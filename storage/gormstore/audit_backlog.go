package gormstore

import (
	"context"

	"github.com/tokenhouse/tokenhouse/audit"
)

// What has no place, by how the sealer finds it: see pass.
const (
	unsealedSQLite   = `SELECT COALESCE(MIN(at), 0) FROM audit_events WHERE seq > (SELECT seq FROM audit_sealer)`
	unsealedPostgres = `SELECT COALESCE(LEAST(
		(SELECT MIN(at) FROM audit_events WHERE ` + unlinked + ` AND txid >=
			(SELECT pg_snapshot_xmin(CAST(CASE snapshot WHEN '' THEN '` + noSnapshot + `' ELSE snapshot END AS pg_snapshot)) FROM audit_sealer)),
		(SELECT MIN(at) FROM audit_events WHERE ` + unlinked + ` AND txid IS NULL AND seq > (SELECT seq FROM audit_sealer WHERE seq >= 0))), 0)`
	unsigned = `SELECT COALESCE(MIN(l.at), 0) FROM audit_shards s JOIN audit_links l ON l.shard = s.shard AND l.position = s.signed + 1
		WHERE s.position > s.signed`
)

func (c chainStore) Backlog(ctx context.Context) (b audit.Backlog, err error) {
	g := c.db.read.WithContext(ctx)
	unsealed := unsealedSQLite
	if g.Name() == "postgres" {
		unsealed = unsealedPostgres
	}
	var event, link int64
	if err := g.Raw(unsealed).Scan(&event).Error; err != nil {
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
