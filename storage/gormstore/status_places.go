package gormstore

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

type statusListRow struct {
	ID      string `gorm:"primaryKey"`
	Next    int64  `gorm:"column:next_position"`
	Created int64  `gorm:"column:created_at"`
	Closed  int64  `gorm:"column:closed_at"`
}

type statusLeaseRow struct {
	List   string `gorm:"column:list_id;primaryKey"`
	First  int64  `gorm:"column:first_position;primaryKey;autoIncrement:false"`
	Places int64
	Kind   string `gorm:"column:holder_kind"`
	Holder string `gorm:"column:holder_id"`
	User   string `gorm:"column:user_id"`
	Ends   int64  `gorm:"column:ends_at"`
}

func (statusListRow) TableName() string  { return "status_lists" }
func (statusLeaseRow) TableName() string { return "status_leases" }

func (r statusLeaseRow) domain() tokens.LiveRange {
	return tokens.LiveRange{
		PlaceRange: tokens.PlaceRange{Place: tokens.Place{List: r.List, Position: uint32(r.First)}, Count: uint32(r.Places)}, Until: timeOf(r.Ends),
	}
}

// StatusPlaces returns the store of places in status lists.
func (db *DB) StatusPlaces() tokens.PlaceStore { return statusPlaces{db} }

type statusPlaces struct{ db *DB }

var _ tokens.PlaceStore = statusPlaces{}

func (s statusPlaces) LeasePlaces(ctx context.Context, l tokens.Lease) (tokens.PlaceRange, error) {
	var got tokens.PlaceRange
	err := s.db.inTx(ctx, func(t *tx) (err error) {
		if err := t.holds(l); err != nil {
			return err
		}
		if got, err = t.leasePlaces(l); err != nil || l.Holder.Kind == tokens.NoHolder {
			return err
		}
		return t.g.Create(&statusLeaseRow{
			List: got.List, First: int64(got.Position), Places: int64(got.Count),
			Kind: string(l.Holder.Kind), Holder: l.Holder.ID, User: string(l.Holder.User), Ends: micros(l.Until),
		}).Error
	})
	return got, err
}

// holds keeps the holder from being revoked until the commit, so that whoever
// revokes it finds the block or was first, and refuses an API key for which
// that was so: it would go on where nobody has heard of it yet.
func (t *tx) holds(l tokens.Lease) error {
	if l.Holder.Kind == tokens.NoHolder {
		return nil
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values([]string{l.Holder.ID, string(l.Holder.User)}))) {
		if err := t.lockName("_shared", id); err != nil {
			return err
		}
	}
	var found []int
	err := t.g.Raw(`SELECT 1 FROM changes WHERE "key" = ? AND kind = ? LIMIT 1`, l.Holder.ID, string(changes.APIKeyRevoked)).Scan(&found).Error
	if err == nil && len(found) > 0 {
		return fault.InvalidAPIKey
	}
	return unavailable(err)
}

// lockName locks a holder of places by its id until the commit, or shares the
// lock. SQLite needs none: one transaction writes at a time.
func (t *tx) lockName(mode, id string) error {
	if t.g.Name() != "postgres" || id == "" {
		return nil
	}
	return unavailable(t.g.Exec("SELECT pg_advisory_xact_lock"+mode+"(hashtextextended(?, 12))", "status holder "+id).Error)
}

// leasePlaces takes places of the open list, or of a new one.
func (t *tx) leasePlaces(l tokens.Lease) (tokens.PlaceRange, error) {
	for {
		var open []statusListRow
		if err := forUpdate(t.g).Where("closed_at = 0").Limit(1).Find(&open).Error; err != nil {
			return tokens.PlaceRange{}, unavailable(err)
		}
		if len(open) == 1 {
			return t.takePlaces(open[0], l)
		}
		// Of replicas that open one at once, one does, and the others use it.
		fresh := statusListRow{ID: l.NewList, Created: micros(l.At)}
		if err := t.g.Clauses(clause.OnConflict{DoNothing: true}).Create(&fresh).Error; err != nil {
			return tokens.PlaceRange{}, unavailable(err)
		}
	}
}

// takePlaces takes places of a list that is locked and has some left.
func (t *tx) takePlaces(r statusListRow, l tokens.Lease) (tokens.PlaceRange, error) {
	count := min(max(int64(l.Count), 1), tokens.StatusListPlaces-r.Next)
	got := tokens.PlaceRange{Place: tokens.Place{List: r.ID, Position: uint32(r.Next)}, Count: uint32(count)}
	var closed int64
	if r.Next+count == tokens.StatusListPlaces {
		closed = micros(l.At)
	}
	err := t.g.Exec("UPDATE status_lists SET next_position = ?, closed_at = ? WHERE id = ?", r.Next+count, closed, r.ID).Error
	return got, unavailable(err)
}

func (s statusPlaces) StatusLists(ctx context.Context) ([]tokens.StatusList, error) {
	var rows []statusListRow
	if err := s.db.read.WithContext(ctx).Order("created_at, id").Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]tokens.StatusList, len(rows))
	for i, r := range rows {
		out[i] = tokens.StatusList{ID: r.ID, CreatedAt: timeOf(r.Created), ClosedAt: timeOf(r.Closed)}
	}
	return out, nil
}

func (s statusPlaces) DeleteOldLeases(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM status_leases WHERE (list_id, first_position) IN
		(SELECT list_id, first_position FROM status_leases WHERE ends_at < ? ORDER BY ends_at LIMIT ?)`, micros(before), limit)
}

func (s statusPlaces) DeleteOldStatusLists(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM status_lists WHERE id IN
		(SELECT id FROM status_lists WHERE closed_at > 0 AND closed_at < ? ORDER BY closed_at LIMIT ?)`, micros(before), limit)
}
