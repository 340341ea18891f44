package gormstore

import (
	"context"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

type backchannelRow struct {
	Session  string `gorm:"column:session_id;primaryKey"`
	Client   string `gorm:"column:client_id"`
	User     string `gorm:"column:user_id"`
	Org      string `gorm:"column:org_id"`
	Ended    int64  `gorm:"column:ended_at"`
	Due      int64  `gorm:"column:due_at"`
	Attempts int
}

func (backchannelRow) TableName() string { return "backchannel_logouts" }

func (r backchannelRow) domain() oauth.PendingLogout {
	return oauth.PendingLogout{
		Session: ident.SessionID(r.Session), Client: ident.ClientID(r.Client), User: ident.UserID(r.User), Org: ident.OrgID(r.Org),
		EndedAt: timeOf(r.Ended), DueAt: timeOf(r.Due), Attempts: r.Attempts,
	}
}

// queueLogouts adds what clients must be told of the sessions that this
// transaction ended. Every end of a session is announced, so none is forgotten,
// whoever ends it and why. A client with offline_access is told that its user's
// browser session ended, although its tokens stay good (OpenID Connect
// Back-Channel Logout 1.0 §2.7).
func (t *tx) queueLogouts() error {
	var ended []string
	for _, c := range t.changes {
		if c.Kind == changes.SessionRevoked {
			ended = append(ended, c.Key)
		}
	}
	for chunk := range slices.Chunk(ended, 250) {
		err := t.g.Exec(`INSERT INTO backchannel_logouts (session_id, client_id, user_id, org_id, ended_at, due_at, attempts)
			SELECT s.id, s.client_id, s.user_id, s.org_id, s.revoked_at, s.revoked_at, 0
			FROM sessions s JOIN clients c ON c.id = s.client_id
			WHERE s.id IN ? AND s.revoked_at > 0 AND c.backchannel_logout_uri <> ''
			UNION ALL
			SELECT s.id, s.client_id, s.user_id, s.org_id, b.revoked_at, b.revoked_at, 0
			FROM sessions s JOIN sessions b ON b.id = s.browser_session_id JOIN clients c ON c.id = s.client_id
			WHERE s.browser_session_id IN ? AND s.browser_session_id <> '' AND s.offline = ? AND s.revoked_at = 0
				AND b.revoked_at > 0 AND c.backchannel_logout_uri <> ''
			ON CONFLICT DO NOTHING`, chunk, chunk, true).Error
		if err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// Logouts returns the queue of logouts that clients must be told of.
func (db *DB) Logouts() oauth.LogoutQueue { return logouts{db} }

type logouts struct{ db *DB }

var _ oauth.LogoutQueue = logouts{}

func (s logouts) DueLogouts(ctx context.Context, now time.Time, limit int) ([]oauth.PendingLogout, error) {
	var rows []backchannelRow
	err := s.db.read.WithContext(ctx).Where("due_at <= ?", micros(now)).Order("due_at, session_id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]oauth.PendingLogout, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, nil
}

func (s logouts) ClaimLogout(ctx context.Context, p oauth.PendingLogout, until time.Time) (bool, error) {
	var won bool
	err := s.db.inTx(ctx, func(t *tx) error {
		// Both columns: a lease that ran out was taken by whoever raised attempts.
		done := t.g.Exec("UPDATE backchannel_logouts SET due_at = ?, attempts = attempts + 1 WHERE session_id = ? AND attempts = ? AND due_at = ?",
			micros(until), string(p.Session), p.Attempts, micros(p.DueAt))
		won = done.RowsAffected == 1
		return done.Error
	})
	return won && err == nil, err
}

func (s logouts) PostponeLogout(ctx context.Context, p oauth.PendingLogout, due time.Time) error {
	return s.db.inTx(ctx, func(t *tx) error {
		return t.g.Exec("UPDATE backchannel_logouts SET due_at = ? WHERE session_id = ? AND attempts = ?", micros(due), string(p.Session), p.Attempts).Error
	})
}

func (s logouts) SettleLogout(ctx context.Context, p oauth.PendingLogout, e audit.Event) error {
	return s.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec("DELETE FROM backchannel_logouts WHERE session_id = ?", string(p.Session))
		if done.Error != nil || done.RowsAffected == 0 {
			return done.Error
		}
		return t.Record(e)
	})
}

func (s logouts) NextLogout(ctx context.Context) (time.Time, error) {
	var due []int64
	err := s.db.read.WithContext(ctx).Model(&backchannelRow{}).Order("due_at, session_id").Limit(1).Pluck("due_at", &due).Error
	if err != nil || len(due) == 0 {
		return time.Time{}, unavailable(err)
	}
	return timeOf(due[0]), nil
}
