package gormstore

import (
	"context"
	"time"
)

// Clock is what the database's own clock shows, for comparing ours with it; nothing
// is decided by it. It is zero where the database has none but ours.
func (db *DB) Clock(ctx context.Context) (time.Time, error) {
	if db.target.dialect != "postgres" {
		return time.Time{}, nil
	}
	var shown int64
	if err := db.read.WithContext(ctx).Raw("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").Scan(&shown).Error; err != nil {
		return time.Time{}, unavailable(err)
	}
	return time.UnixMicro(shown).UTC(), nil
}
