package gormstore

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// Locks returns what finds who is locked out.
func (db *DB) Locks() accounts.LockReader { return locks{db} }

type locks struct{ db *DB }

var _ accounts.LockReader = locks{}

func (s locks) LockEvents(ctx context.Context, t ident.Tenant, since time.Time, before int64, limit int) ([]audit.Event, error) {
	// The name is written out, so that the partial index is used.
	q := s.db.read.WithContext(ctx).Where("org_id = ? AND name = 'login.locked' AND at >= ?", string(t.Org()), micros(since))
	if before > 0 {
		q = q.Where("seq < ?", before)
	}
	return readEvents(q.Order("seq DESC").Limit(limit))
}

func (s locks) LockedCounters(ctx context.Context, identifiers [][32]byte, now time.Time) ([]accounts.Counter, error) {
	hashes := make([][]byte, len(identifiers))
	for i := range identifiers {
		hashes[i] = identifiers[i][:]
	}
	var rows []loginCounterRow
	if err := s.db.read.WithContext(ctx).Where("identifier IN ? AND locked_until > ?", hashes, micros(now)).Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]accounts.Counter, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.domain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
