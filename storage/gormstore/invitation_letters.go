package gormstore

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type invitationLetterRow struct {
	ID         string `gorm:"primaryKey"`
	Invitation string
	Org        string `gorm:"column:org_id"`
	Canonical  string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	SentAt     int64
	Due        int64 `gorm:"column:due_at"`
	Attempts   int
}

func (invitationLetterRow) TableName() string { return "invitation_letters" }

func invitationLetterRowOf(l accounts.InvitationLetter) invitationLetterRow {
	return invitationLetterRow{
		ID: l.ID, Invitation: string(l.Invitation), Org: string(l.Org), Canonical: l.Canonical,
		CreatedAt: micros(l.CreatedAt), Due: micros(l.DueAt), Attempts: l.Attempts,
	}
}

func (r invitationLetterRow) domain() accounts.InvitationLetter {
	return accounts.InvitationLetter{
		ID: r.ID, Invitation: ident.InvitationID(r.Invitation), Org: ident.OrgID(r.Org), Canonical: r.Canonical,
		CreatedAt: timeOf(r.CreatedAt), DueAt: timeOf(r.Due), Attempts: r.Attempts,
	}
}

// InvitationQueue returns the queue of letters that invite people.
func (db *DB) InvitationQueue() accounts.InvitationQueue { return invitationQueue{db} }

type invitationQueue struct{ db *DB }

var _ accounts.InvitationQueue = invitationQueue{}

func (q invitationQueue) DueInvitations(ctx context.Context, now time.Time, limit int) ([]accounts.InvitationLetter, error) {
	var rows []invitationLetterRow
	err := q.db.read.WithContext(ctx).Where("due_at > 0 AND due_at <= ?", micros(now)).Order("due_at, id").Limit(limit).Find(&rows).Error
	var out []accounts.InvitationLetter
	seen := map[string]bool{}
	for _, r := range rows {
		if !seen[r.Canonical] {
			seen[r.Canonical] = true
			out = append(out, r.domain())
		}
	}
	return out, unavailable(err)
}

func (q invitationQueue) InvitationOf(ctx context.Context, l accounts.InvitationLetter) (accounts.Invitation, error) {
	return oneInvitation(namedInvitations(q.db.read.WithContext(ctx)).Where("invitations.id = ?", string(l.Invitation)))
}

func (q invitationQueue) InvitationsSentTo(ctx context.Context, l accounts.InvitationLetter, since time.Time) (int, error) {
	var n int64
	err := q.db.read.WithContext(ctx).Model(&invitationLetterRow{}).
		Where("canonical = ? AND id <> ? AND (sent_at > ? OR attempts > 0 AND due_at > 0)", l.Canonical, l.ID, micros(since)).Count(&n).Error
	return int(n), unavailable(err)
}

func (q invitationQueue) ClaimInvitation(ctx context.Context, l accounts.InvitationLetter, until time.Time, link []byte) (bool, error) {
	var won bool
	err := q.db.inTx(ctx, func(t *tx) error {
		// Both columns: a lease that ran out was taken by whoever raised attempts.
		done := t.g.Exec("UPDATE invitation_letters SET due_at = ?, attempts = attempts + 1 WHERE id = ? AND attempts = ? AND due_at = ?",
			micros(until), l.ID, l.Attempts, micros(l.DueAt))
		if won = done.RowsAffected == 1; done.Error != nil || !won {
			return done.Error
		}
		return t.InsertInvitationLink(link, l.Invitation)
	})
	return won && err == nil, err
}

func (q invitationQueue) PostponeInvitation(ctx context.Context, l accounts.InvitationLetter, due time.Time) error {
	return q.db.inTx(ctx, func(t *tx) error {
		return t.g.Exec("UPDATE invitation_letters SET due_at = ? WHERE id = ? AND attempts = ? AND due_at > 0", micros(due), l.ID, l.Attempts).Error
	})
}

func (q invitationQueue) SettleInvitationLetter(ctx context.Context, l accounts.InvitationLetter, sent time.Time, events ...audit.Event) error {
	return q.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec("UPDATE invitation_letters SET due_at = 0, sent_at = ? WHERE id = ? AND due_at > 0", micros(sent), l.ID)
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

func (q invitationQueue) NextInvitation(ctx context.Context) (time.Time, error) {
	var due []int64
	err := q.db.read.WithContext(ctx).Model(&invitationLetterRow{}).Where("due_at > 0").Order("due_at, id").Limit(1).Pluck("due_at", &due).Error
	if err != nil || len(due) == 0 {
		return time.Time{}, unavailable(err)
	}
	return timeOf(due[0]), nil
}

// OldestInvitation leaves out what is not to be sent yet and was never tried.
func (q invitationQueue) OldestInvitation(ctx context.Context, now time.Time) (time.Time, error) {
	var at []int64
	err := q.db.read.WithContext(ctx).Model(&invitationLetterRow{}).Where("due_at > 0 AND (attempts > 0 OR due_at <= ?)", micros(now)).
		Order("created_at").Limit(1).Pluck("created_at", &at).Error
	if err != nil || len(at) == 0 {
		return time.Time{}, unavailable(err)
	}
	return timeOf(at[0]), nil
}

func (q invitationQueue) PruneInvitations(ctx context.Context, before time.Time, limit int) (int, error) {
	var removed int
	err := q.db.inTx(ctx, func(t *tx) error {
		var ids []string
		err := t.g.Model(&invitationRow{}).Where("expires_at < ?", micros(before)).Order("expires_at").Limit(limit).Pluck("id", &ids).Error
		if removed = len(ids); err != nil || removed == 0 {
			return err
		}
		if err := t.g.Where("invitation IN ?", ids).Delete(&invitationLinkRow{}).Error; err != nil {
			return err
		}
		if err := t.g.Where("invitation IN ?", ids).Delete(&invitationLetterRow{}).Error; err != nil {
			return err
		}
		return t.g.Where("id IN ?", ids).Delete(&invitationRow{}).Error
	})
	return removed, err
}
