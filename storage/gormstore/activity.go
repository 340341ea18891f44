package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type activityRow struct {
	Org   string `gorm:"column:org_id;primaryKey"`
	Hour  int64  `gorm:"primaryKey;autoIncrement:false"`
	Kind  string `gorm:"primaryKey"`
	Label string `gorm:"primaryKey"`
	Count int64
}

func (activityRow) TableName() string { return "activity_hours" }

func (r activityRow) domain() activity.Bucket {
	return activity.Bucket{Org: ident.OrgID(r.Org), Start: timeOf(r.Hour), Kind: activity.Kind(r.Kind), Label: r.Label, Count: r.Count}
}

// Activity returns the store of what happened by the hour.
func (db *DB) Activity() activity.Store { return activityStore{db} }

type activityStore struct{ db *DB }

var _ activity.Store = activityStore{}

const microsPerHour = int64(time.Hour / time.Microsecond)

func (s activityStore) ReadEvents(ctx context.Context, names []string, after int64, limit int) ([]activity.Happening, int64, error) {
	g := s.db.read.WithContext(ctx)
	var newest int64
	// First: every link up to it is there then, and stays but for retention.
	if err := g.Raw("SELECT links FROM audit_sealer WHERE id = 1").Scan(&newest).Error; err != nil {
		return nil, after, unavailable(err)
	}
	next := min(after+int64(limit), newest)
	if next <= after {
		return nil, after, nil
	}
	var rows []struct {
		Org    string
		Hour   int64
		Name   string
		Reason string
		Count  int64
	}
	err := g.Raw(`SELECT e.org_id AS org, e.at / ? * ? AS hour, e.name AS name, e.reason AS reason, COUNT(*) AS count
		FROM audit_links l JOIN audit_events e ON e.seq = l.seq
		WHERE l.id > ? AND l.id <= ? AND e.name IN ? GROUP BY 1, 2, 3, 4`, microsPerHour, microsPerHour, after, next, names).Scan(&rows).Error
	out := make([]activity.Happening, len(rows))
	for i, r := range rows {
		out[i] = activity.Happening{Org: ident.OrgID(r.Org), Hour: timeOf(r.Hour), Name: r.Name, Reason: r.Reason, Count: r.Count}
	}
	return out, next, unavailable(err)
}

func (s activityStore) ActivityCursor(ctx context.Context) (int64, error) {
	var at int64
	err := s.db.read.WithContext(ctx).Raw("SELECT cursor FROM activity_reader WHERE id = 1").Scan(&at).Error
	return at, unavailable(err)
}

func (s activityStore) CountEvents(ctx context.Context, from, to int64, add []activity.Bucket) (bool, error) {
	var won bool
	err := s.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec("UPDATE activity_reader SET cursor = ? WHERE id = 1 AND cursor = ?", to, from)
		if won = done.RowsAffected == 1; done.Error != nil || !won {
			return done.Error
		}
		return t.addActivity(add)
	})
	return won && err == nil, err
}

func (s activityStore) AddActivity(ctx context.Context, add []activity.Bucket) error {
	return s.db.inTx(ctx, func(t *tx) error { return t.addActivity(add) })
}

// addActivity adds to hours. Whoever gives buckets in one order never waits in a
// ring.
func (t *tx) addActivity(add []activity.Bucket) error {
	if len(add) == 0 {
		return nil
	}
	rows := make([]activityRow, len(add))
	for i, b := range add {
		rows[i] = activityRow{Org: string(b.Org), Hour: micros(b.Start), Kind: string(b.Kind), Label: b.Label, Count: b.Count}
	}
	return unavailable(t.g.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "org_id"}, {Name: "hour"}, {Name: "kind"}, {Name: "label"}},
		DoUpdates: clause.Assignments(map[string]any{"count": gorm.Expr("activity_hours.count + excluded.count")}),
	}).CreateInBatches(&rows, 200).Error)
}

func (s activityStore) Activity(ctx context.Context, t ident.Tenant, from, to time.Time, step time.Duration) ([]activity.Bucket, error) {
	by := step.Microseconds()
	var rows []activityRow
	err := s.db.read.WithContext(ctx).Raw(`SELECT org_id, hour / ? * ? AS hour, kind, label, CAST(SUM(count) AS bigint) AS count
		FROM activity_hours WHERE org_id = ? AND hour >= ? AND hour < ? GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4`,
		by, by, string(t.Org()), micros(from), micros(to)).Scan(&rows).Error
	out := make([]activity.Bucket, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
}

func (s activityStore) PruneActivity(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM activity_hours WHERE (org_id, hour, kind, label) IN
		(SELECT org_id, hour, kind, label FROM activity_hours WHERE hour < ? ORDER BY hour LIMIT ?)`, micros(before), limit)
}
