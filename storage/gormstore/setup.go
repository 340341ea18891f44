package gormstore

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type firstRunRow struct {
	ID int64 `gorm:"primaryKey;autoIncrement:false"`
	At int64
}

func (firstRunRow) TableName() string { return "first_run" }

type setupLinkRow struct {
	Digest    []byte `gorm:"primaryKey"`
	User      string `gorm:"column:user_id"`
	ExpiresAt int64
	UsedAt    int64
}

func (setupLinkRow) TableName() string { return "setup_links" }

func (p people) SetupLinkValid(ctx context.Context, digest []byte, now time.Time) (bool, error) {
	var n int64
	err := p.db.read.WithContext(ctx).Model(&setupLinkRow{}).
		Where("digest = ? AND used_at = 0 AND expires_at > ?", digest, micros(now)).Count(&n).Error
	return n == 1, unavailable(err)
}

// ClaimFirstRun reports true to exactly one caller in the life of a database.
func (t *tx) ClaimFirstRun(at time.Time) (bool, error) {
	return t.inserted(&firstRunRow{ID: 1, At: micros(at)})
}

// InsertSetupLink stores a link.
func (t *tx) InsertSetupLink(l accounts.SetupLink) error {
	return conflict(t.g.Create(&setupLinkRow{Digest: l.Digest, User: string(l.User), ExpiresAt: micros(l.ExpiresAt)}).Error)
}

// UseSetupLink marks the link used by one compare-and-swap and returns it.
func (t *tx) UseSetupLink(digest []byte, now time.Time) (accounts.SetupLink, error) {
	done := t.g.Model(&setupLinkRow{}).Where("digest = ? AND used_at = 0 AND expires_at > ?", digest, micros(now)).Update("used_at", micros(now))
	if done.Error != nil || done.RowsAffected != 1 {
		return accounts.SetupLink{}, orNotFound(done.Error)
	}
	var r setupLinkRow
	err := t.g.Where("digest = ?", digest).Take(&r).Error
	return accounts.SetupLink{Digest: r.Digest, User: ident.UserID(r.User), ExpiresAt: timeOf(r.ExpiresAt)}, notFound(err)
}

// orNotFound is for a statement that should have changed a row.
func orNotFound(err error) error {
	if err == nil {
		return fault.NotFound
	}
	return unavailable(err)
}
