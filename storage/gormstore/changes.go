package gormstore

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/changes"
)

type changeRow struct {
	Seq   int64 `gorm:"primaryKey"`
	Kind  string
	Key   string
	At    int64
	Until int64
}

func (changeRow) TableName() string { return "changes" }

func (r changeRow) domain() changes.Change {
	return changes.Change{Kind: changes.Kind(r.Kind), Key: r.Key, At: timeOf(r.At), Until: timeOf(r.Until)}
}

// Announce makes other replicas hear c after the commit.
func (t *tx) Announce(c changes.Change) error {
	t.changes = append(t.changes, c)
	return nil
}

func (t *tx) flushChanges() error {
	if len(t.changes) == 0 {
		return nil
	}
	rows := make([]changeRow, len(t.changes))
	for i, c := range t.changes {
		rows[i] = changeRow{Kind: string(c.Kind), Key: c.Key, At: micros(c.At), Until: micros(c.Until)}
	}
	if err := t.g.Omit("Seq").CreateInBatches(&rows, 500).Error; err != nil {
		return fmt.Errorf("announce changes: %w", err)
	}
	if t.g.Name() != "postgres" {
		return nil
	}
	return t.g.Exec("SELECT pg_notify(?, '')", channel).Error
}

// Changes returns the log of changes.
func (db *DB) Changes() changes.Log { return changeLog{db} }

type changeLog struct{ db *DB }

func (l changeLog) Wait(ctx context.Context) error { return l.db.wait(ctx) }

func (l changeLog) Start(ctx context.Context, now time.Time) ([]changes.Change, changes.Cursor, error) {
	// The cursor is taken first: a change committed in between is read twice.
	cursor, err := l.now(ctx)
	if err != nil {
		return nil, changes.Cursor{}, unavailable(err)
	}
	var rows []changeRow
	err = l.db.read.WithContext(ctx).
		Select("seq", "kind", "key", "at", "until").Where("until > ?", micros(now)).Order("seq").Find(&rows).Error
	return domainChanges(rows), cursor, unavailable(err)
}

func (l changeLog) now(ctx context.Context) (changes.Cursor, error) {
	var c changes.Cursor
	query := "SELECT COALESCE(MAX(seq), 0) AS seq, '' AS mid FROM changes"
	if l.db.read.Name() == "postgres" {
		query = "SELECT 0 AS seq, pg_current_snapshot()::text AS mid"
	}
	err := l.db.read.WithContext(ctx).Raw(query).Scan(&c).Error
	return c, err
}

func (l changeLog) Since(ctx context.Context, c changes.Cursor) ([]changes.Change, changes.Cursor, error) {
	if l.db.read.Name() == "postgres" {
		return l.sincePostgres(ctx, c)
	}
	var rows []changeRow
	err := l.db.read.WithContext(ctx).Where("seq > ?", c.Seq).Order("seq").Find(&rows).Error
	if len(rows) > 0 {
		c.Seq = rows[len(rows)-1].Seq
	}
	return domainChanges(rows), c, unavailable(err)
}

// sincePostgres asks what the last call's snapshot could not see, because
// sequence numbers are given out in another order than transactions commit. A
// transaction that stays open for long, in whatever database of the server,
// neither hides a change nor has it told again.
func (l changeLog) sincePostgres(ctx context.Context, c changes.Cursor) ([]changes.Change, changes.Cursor, error) {
	var rows []struct {
		Change changeRow `gorm:"embedded"`
		Mid    string
	}
	err := l.db.read.WithContext(ctx).Raw(`
		SELECT COALESCE(c.seq, 0) AS seq, COALESCE(c.kind, '') AS kind, COALESCE(c.key, '') AS key,
		       COALESCE(c.at, 0) AS at, COALESCE(c.until, 0) AS until, s.mid
		FROM (SELECT pg_current_snapshot()::text AS mid, CAST(CAST(? AS text) AS pg_snapshot) AS last) s
		LEFT JOIN changes c ON c.txid >= pg_snapshot_xmin(s.last) AND NOT pg_visible_in_snapshot(c.txid, s.last)
		ORDER BY c.seq`, c.Mid).Scan(&rows).Error
	if err != nil {
		return nil, c, unavailable(err)
	}
	var found []changeRow
	for _, r := range rows {
		if r.Change.Seq != 0 {
			found = append(found, r.Change)
		}
		c.Mid = r.Mid
	}
	return domainChanges(found), c, nil
}

func domainChanges(rows []changeRow) []changes.Change {
	out := make([]changes.Change, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out
}
