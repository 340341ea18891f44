package gormstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type loginCounterRow struct {
	Hash        []byte `gorm:"primaryKey"`
	Kind        string
	Identifier  []byte
	Since       int64
	Failures    int
	Failed      []byte // 8 bytes for each tag
	Leases      []byte // 16 bytes for each: until, tag
	LockedUntil int64
	Level       int
	EndsAt      int64
}

func (loginCounterRow) TableName() string { return "login_counters" }

func loginCounterRowOf(c accounts.Counter) loginCounterRow {
	r := loginCounterRow{
		Hash: c.Hash[:], Kind: string(c.Kind), Identifier: c.Identifier[:], Since: micros(c.Since), Failures: c.Failures,
		Failed: make([]byte, 0, 8*len(c.Failed)), Leases: make([]byte, 0, 16*len(c.Leases)),
		LockedUntil: micros(c.LockedUntil), Level: c.Level, EndsAt: micros(c.EndsAt),
	}
	for _, tag := range c.Failed {
		r.Failed = binary.BigEndian.AppendUint64(r.Failed, tag)
	}
	for _, l := range c.Leases {
		r.Leases = binary.BigEndian.AppendUint64(r.Leases, uint64(micros(l.Until)))
		r.Leases = binary.BigEndian.AppendUint64(r.Leases, l.Tag)
	}
	return r
}

func (r loginCounterRow) domain() (accounts.Counter, error) {
	if len(r.Hash) != 32 || len(r.Identifier) != 32 || len(r.Failed)%8 != 0 || len(r.Leases)%16 != 0 {
		return accounts.Counter{}, fmt.Errorf("login counter %x: malformed row", r.Hash)
	}
	c := accounts.Counter{
		CounterKey: accounts.CounterKey{Kind: accounts.CounterKind(r.Kind), Hash: [32]byte(r.Hash), Identifier: [32]byte(r.Identifier)},
		Since:      timeOf(r.Since), Failures: r.Failures, LockedUntil: timeOf(r.LockedUntil), Level: r.Level, EndsAt: timeOf(r.EndsAt),
	}
	for b := r.Failed; len(b) > 0; b = b[8:] {
		c.Failed = append(c.Failed, binary.BigEndian.Uint64(b))
	}
	for b := r.Leases; len(b) > 0; b = b[16:] {
		c.Leases = append(c.Leases, accounts.Lease{Until: timeOf(int64(binary.BigEndian.Uint64(b))), Tag: binary.BigEndian.Uint64(b[8:])})
	}
	return c, nil
}

// Logins returns the store of login counters.
func (db *DB) Logins() accounts.LoginStore { return logins{db} }

type logins struct{ db *DB }

var (
	_ accounts.LoginStore = logins{}
	_ accounts.LoginTx    = (*tx)(nil)
)

func (s logins) InLoginTx(ctx context.Context, fn func(accounts.LoginTx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

func (s logins) Counters(ctx context.Context, keys []accounts.CounterKey) ([]accounts.Counter, error) {
	hashes := make([][]byte, len(keys))
	for i, k := range keys {
		hashes[i] = k.Hash[:]
	}
	var rows []loginCounterRow
	if err := s.db.read.WithContext(ctx).Where("hash IN ?", hashes).Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	return counters(keys, rows)
}

// counters puts rows in the order of keys.
func counters(keys []accounts.CounterKey, rows []loginCounterRow) ([]accounts.Counter, error) {
	found := make(map[[32]byte]accounts.Counter, len(rows))
	for _, r := range rows {
		c, err := r.domain()
		if err != nil {
			return nil, err
		}
		found[c.Hash] = c
	}
	out := make([]accounts.Counter, len(keys))
	for i, k := range keys {
		out[i] = found[k.Hash]
		out[i].CounterKey = k
	}
	return out, nil
}

func (s logins) LockedNow(ctx context.Context, now time.Time) (map[accounts.CounterKind]int, error) {
	var rows []struct {
		Kind string
		N    int
	}
	// locked_until > 0 lets SQLite use the partial index.
	err := s.db.read.WithContext(ctx).Raw(`
		SELECT kind, COUNT(*) AS n FROM login_counters WHERE locked_until > 0 AND locked_until > ? GROUP BY kind`, micros(now)).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make(map[accounts.CounterKind]int, len(rows))
	for _, r := range rows {
		out[accounts.CounterKind(r.Kind)] = r.N
	}
	return out, nil
}

// LockCounters locks in the order of keys. A row that is missing is made, since
// only a row can be locked; the statement that finds it is the one that makes it.
func (t *tx) LockCounters(keys []accounts.CounterKey) ([]accounts.Counter, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	rows := make([]loginCounterRow, len(keys))
	for i, k := range keys {
		rows[i] = loginCounterRowOf(accounts.Counter{CounterKey: k})
	}
	// PostgreSQL applies the rows of one INSERT in their order, and so locks.
	err := t.g.Clauses(
		clause.OnConflict{Columns: []clause.Column{{Name: "hash"}}, DoUpdates: clause.AssignmentColumns([]string{"kind"})},
		clause.Returning{},
	).Create(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	return counters(keys, rows)
}

// SaveCounters stores what is worth keeping and removes the rest.
func (t *tx) SaveCounters(cs []accounts.Counter) error {
	var kept []loginCounterRow
	var blank [][]byte
	for _, c := range cs {
		if c.Blank() {
			blank = append(blank, c.Hash[:])
		} else {
			kept = append(kept, loginCounterRowOf(c))
		}
	}
	if len(kept) > 0 {
		err := t.g.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "hash"}}, UpdateAll: true}).Create(&kept).Error
		if err != nil {
			return unavailable(err)
		}
	}
	if len(blank) > 0 {
		return unavailable(t.g.Where("hash IN ?", blank).Delete(&loginCounterRow{}).Error)
	}
	return nil
}

// ForgetCounters removes every counter of an identifier.
func (t *tx) ForgetCounters(identifier [32]byte) (int, error) {
	done := t.g.Where("identifier = ?", identifier[:]).Delete(&loginCounterRow{})
	return int(done.RowsAffected), unavailable(done.Error)
}

// PruneCounters removes counters that ended. On PostgreSQL it passes over
// those that a login holds at the moment.
func (t *tx) PruneCounters(before time.Time, limit int) (int, error) {
	old := t.g.Model(&loginCounterRow{}).Select("hash").Where("ends_at < ?", micros(before)).Limit(limit).
		Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"})
	done := t.g.Where("hash IN (?)", old).Delete(&loginCounterRow{})
	return int(done.RowsAffected), unavailable(done.Error)
}

// HoldPassword locks the user's row, replacing the hash where asked to.
func (t *tx) HoldPassword(user ident.UserID, hash, next string) (bool, error) {
	q := t.g.Model(&userRow{}).Where("id = ? AND password_hash = ? AND status = ?", string(user), hash, string(accounts.Active))
	if next != "" {
		done := q.Update("password_hash", next)
		return done.RowsAffected == 1, unavailable(done.Error)
	}
	var ids []string
	err := q.Clauses(clause.Locking{Strength: "SHARE"}).Pluck("id", &ids).Error
	return len(ids) == 1, unavailable(err)
}
