package gormstore

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type lockNoticeRow struct {
	ID          string `gorm:"primaryKey"`
	Identifier  []byte
	User        string `gorm:"column:user_id"`
	Org         string `gorm:"column:org_id"`
	Scope       string
	Source      string
	LockedAt    int64
	LockedUntil int64
	Due         int64 `gorm:"column:due_at"`
	Attempts    int
}

func (lockNoticeRow) TableName() string { return "lock_notices" }

func lockNoticeRowOf(n accounts.LockNotice) lockNoticeRow {
	r := lockNoticeRow{
		ID: n.ID, Identifier: n.Identifier[:], User: string(n.User), Org: string(n.Org), Scope: string(n.Scope),
		LockedAt: micros(n.LockedAt), LockedUntil: micros(n.Until), Due: micros(n.DueAt), Attempts: n.Attempts,
	}
	if n.Source.IsValid() {
		r.Source = n.Source.String()
	}
	return r
}

func (r lockNoticeRow) domain() (accounts.LockNotice, error) {
	if len(r.Identifier) != 32 {
		return accounts.LockNotice{}, fmt.Errorf("lock notice %s: malformed row", r.ID)
	}
	n := accounts.LockNotice{
		ID: r.ID, Identifier: [32]byte(r.Identifier), User: ident.UserID(r.User), Org: ident.OrgID(r.Org), Scope: accounts.LockScope(r.Scope),
		LockedAt: timeOf(r.LockedAt), Until: timeOf(r.LockedUntil), DueAt: timeOf(r.Due), Attempts: r.Attempts,
	}
	if r.Source == "" {
		return n, nil
	}
	var err error
	if n.Source, err = netip.ParseAddr(r.Source); err != nil {
		return accounts.LockNotice{}, fmt.Errorf("lock notice %s: %w", r.ID, err)
	}
	return n, nil
}

type unlockLinkRow struct {
	Digest     []byte `gorm:"primaryKey"`
	Identifier []byte
	User       string `gorm:"column:user_id"`
	ExpiresAt  int64
	UsedAt     int64
}

func (unlockLinkRow) TableName() string { return "unlock_links" }

// LockNotices returns the queue of locks that people are to be told of.
func (db *DB) LockNotices() accounts.LockNoticeQueue { return lockNotices{db} }

type lockNotices struct{ db *DB }

var _ accounts.LockNoticeQueue = lockNotices{}

func (s lockNotices) DueLockNotices(ctx context.Context, now time.Time, limit int) ([]accounts.LockNotice, error) {
	var rows []lockNoticeRow
	err := s.db.read.WithContext(ctx).Where("due_at > 0 AND due_at <= ?", micros(now)).Order("due_at, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]accounts.LockNotice, len(rows))
	for i, r := range rows {
		if out[i], err = r.domain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s lockNotices) ClaimLockNotice(ctx context.Context, n accounts.LockNotice, until time.Time, l accounts.UnlockLink) (bool, error) {
	var won bool
	err := s.db.inTx(ctx, func(t *tx) error {
		// Both columns: a lease that ran out was taken by whoever raised attempts.
		done := t.g.Exec("UPDATE lock_notices SET due_at = ?, attempts = attempts + 1 WHERE id = ? AND attempts = ? AND due_at = ?",
			micros(until), n.ID, n.Attempts, micros(n.DueAt))
		if won = done.RowsAffected == 1; done.Error != nil || !won {
			return done.Error
		}
		return t.g.Create(&unlockLinkRow{Digest: l.Digest, Identifier: l.Identifier[:], User: string(l.User), ExpiresAt: micros(l.ExpiresAt)}).Error
	})
	return won && err == nil, err
}

func (s lockNotices) PostponeLockNotice(ctx context.Context, n accounts.LockNotice, due time.Time) error {
	return s.db.inTx(ctx, func(t *tx) error {
		return t.g.Exec("UPDATE lock_notices SET due_at = ? WHERE id = ? AND attempts = ? AND due_at > 0", micros(due), n.ID, n.Attempts).Error
	})
}

func (s lockNotices) SettleLockNotice(ctx context.Context, n accounts.LockNotice, events ...audit.Event) error {
	return s.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec("UPDATE lock_notices SET due_at = 0 WHERE id = ? AND due_at > 0", n.ID)
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error
		}
		for _, e := range events {
			if err := t.Record(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s lockNotices) NextLockNotice(ctx context.Context) (time.Time, error) {
	var due []int64
	err := s.db.read.WithContext(ctx).Model(&lockNoticeRow{}).Where("due_at > 0").Order("due_at, id").Limit(1).Pluck("due_at", &due).Error
	if err != nil || len(due) == 0 {
		return time.Time{}, unavailable(err)
	}
	return timeOf(due[0]), nil
}

func (s lockNotices) OldestLockNotice(ctx context.Context) (time.Time, error) {
	var at []int64
	err := s.db.read.WithContext(ctx).Model(&lockNoticeRow{}).Where("due_at > 0 AND user_id <> ''").Order("locked_at").Limit(1).Pluck("locked_at", &at).Error
	if err != nil || len(at) == 0 {
		return time.Time{}, unavailable(err)
	}
	return timeOf(at[0]), nil
}

func (s lockNotices) PruneLockNotices(ctx context.Context, before time.Time, limit int) (int, error) {
	var removed int64
	err := s.db.inTx(ctx, func(t *tx) error {
		removed = 0
		settled := t.g.Model(&lockNoticeRow{}).Select("id").Where("locked_at < ? AND due_at = 0", micros(before)).Limit(limit)
		expired := t.g.Model(&unlockLinkRow{}).Select("digest").Where("expires_at < ?", micros(before)).Limit(limit)
		notices := t.g.Where("id IN (?)", settled).Delete(&lockNoticeRow{})
		if notices.Error != nil {
			return notices.Error
		}
		links := t.g.Where("digest IN (?)", expired).Delete(&unlockLinkRow{})
		removed = max(notices.RowsAffected, links.RowsAffected)
		return links.Error
	})
	return int(removed), err
}

// AddLockNotice counts and adds in two statements. Two locks of one identifier
// at the same moment may add one notice more than the most, which is no harm.
func (t *tx) AddLockNotice(n accounts.LockNotice, since time.Time, most int) error {
	var there int64
	err := t.g.Model(&lockNoticeRow{}).Where("identifier = ? AND locked_at > ?", n.Identifier[:], micros(since)).Count(&there).Error
	if err != nil || there >= int64(most) {
		return unavailable(err)
	}
	row := lockNoticeRowOf(n)
	return unavailable(t.g.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error)
}

// UnlockLink returns a link that can be used.
func (s logins) UnlockLink(ctx context.Context, digest []byte, now time.Time) (accounts.UnlockLink, error) {
	var r unlockLinkRow
	err := s.db.read.WithContext(ctx).Where("digest = ? AND used_at = 0 AND expires_at > ?", digest, micros(now)).Take(&r).Error
	if err != nil {
		return accounts.UnlockLink{}, notFound(err)
	}
	if len(r.Identifier) != 32 {
		return accounts.UnlockLink{}, fault.New(fault.Internal, "An unlock link has a malformed row.")
	}
	return accounts.UnlockLink{Digest: r.Digest, Identifier: [32]byte(r.Identifier), User: ident.UserID(r.User), ExpiresAt: timeOf(r.ExpiresAt)}, nil
}

// UseUnlockLink marks the link used by one compare-and-swap.
func (t *tx) UseUnlockLink(digest []byte, now time.Time) (bool, error) {
	done := t.g.Model(&unlockLinkRow{}).Where("digest = ? AND used_at = 0 AND expires_at > ?", digest, micros(now)).Update("used_at", micros(now))
	return done.RowsAffected == 1, unavailable(done.Error)
}
