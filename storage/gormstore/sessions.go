package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Sessions returns the store of sessions and their refresh families.
func (db *DB) Sessions() tokens.Store { return sessions{db} }

type sessions struct{ db *DB }

// sessionTx is a transaction as the tokens package sees it.
type sessionTx struct{ *tx }

var (
	_ tokens.Store    = sessions{}
	_ tokens.Tx       = sessionTx{}
	_ tokens.FamilyTx = (*tx)(nil)
)

func (s sessions) InTx(ctx context.Context, fn func(tokens.Tx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(sessionTx{t}) })
}

func (s sessions) Family(ctx context.Context, id ident.SessionID) (tokens.Family, error) {
	return familyOf(s.db.read.WithContext(ctx), id)
}

// advance is every column a refresh may change. It names the version it
// expects, so that of two who read the same family one changes it.
const advance = `UPDATE sessions SET version = version + 1,
	generation = ?, last_used = ?, previous_at = ?, retry_key = ?,
	contested_from = ?, contested_to = ?, contested_at = ?, contested_agent = ?, live = ?,
	network = ?, agent = ?, proven = ?, seen_at = ?, ip = ?, user_agent = ?
	WHERE id = ? AND version = ? AND generation = ? AND revoked_at = 0`

func (s sessions) Advance(ctx context.Context, prev, next tokens.Family, events ...audit.Event) (bool, error) {
	r := sessionRowOf(next)
	c, h, n := r.Chain, r.Holder, r.Seen
	args := []any{
		c.Generation, c.LastUsed, c.PreviousAt, c.RetryKey, c.ContestedFrom, c.ContestedTo, c.ContestedAt, c.ContestedAgent, c.Live,
		h.Network, h.Agent, h.Proven, n.SeenAt, n.IP, n.UserAgent, r.ID, prev.Version, prev.Chain.Generation,
	}
	if len(events) == 0 && s.db.read.Name() == "postgres" {
		var done *gorm.DB
		err := again(ctx, s.db.opts.Random, func() error {
			done = s.db.read.WithContext(ctx).Exec(advance, args...) // one round trip
			return done.Error
		})
		return err == nil && done.RowsAffected == 1, unavailable(err)
	}
	var won bool
	err := s.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec(advance, args...)
		if won = done.Error == nil && done.RowsAffected == 1; !won {
			return done.Error
		}
		for _, e := range events {
			if err := t.Record(e); err != nil {
				return err
			}
		}
		return nil
	})
	return won && err == nil, err
}

func (s sessions) Sessions(ctx context.Context, t ident.Tenant, q tokens.Query) ([]tokens.Family, error) {
	return selected(s.db.read.WithContext(ctx), t, q)
}

func (s sessions) Delegated(ctx context.Context, t ident.Tenant, browsers []ident.SessionID, q tokens.Query) ([]tokens.Family, error) {
	return selected(s.db.read.WithContext(ctx).Where("browser_session_id IN ? AND browser_session_id <> ''", browsers), t, q)
}

// selected returns those of g that q selects.
func selected(g *gorm.DB, t ident.Tenant, q tokens.Query) ([]tokens.Family, error) {
	g = g.Where("org_id = ? AND revoked_at = 0 AND expires_at > ?", string(t.Org()), micros(q.Now)).
		Where("(refreshable = ? OR seen_at > ?)", false, micros(q.IdleSince)).
		Where("(client_id <> ? OR seen_at > ?)", string(tokens.BrowserClient), micros(q.BrowserIdleSince))
	if q.User != "" {
		g = g.Where("user_id = ?", string(q.User))
	}
	if q.Page.Before != "" {
		g = g.Where("id < ?", q.Page.Before)
	}
	return families(g.Order("id DESC").Limit(q.Page.Limit))
}

func (s sessions) Revoked(ctx context.Context, a tokens.AccessID) (string, error) {
	var found []int
	err := s.db.read.WithContext(ctx).Raw(`
		SELECT 1 FROM changes WHERE "key" = ? AND kind = ?
		UNION ALL SELECT 1 FROM changes WHERE "key" = ? AND kind = ?
		UNION ALL SELECT 1 FROM changes WHERE "key" = ? AND kind = ? AND at >= ?
		UNION ALL SELECT 1 WHERE ? <> '' AND NOT EXISTS (SELECT 1 FROM sessions WHERE id = ? AND revoked_at = 0)
		LIMIT 1`,
		string(a.Token), string(changes.TokenRevoked), string(a.Key), string(changes.APIKeyRevoked), string(a.User), string(changes.SubjectCutoff), micros(a.IssuedAt),
		string(a.Session), string(a.Session)).Scan(&found).Error
	if err != nil {
		return "", unavailable(err)
	}
	if len(found) > 0 {
		return "revoked", nil
	}
	return "", nil
}

func (s sessions) DeleteExpiredSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
		micros(before), limit)
}

func (s sessions) DeleteOldChanges(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM changes WHERE seq IN (SELECT seq FROM changes WHERE "until" < ? AND at < ? ORDER BY "until" LIMIT ?)`,
		micros(before), micros(before), limit)
}

// delete runs one statement that deletes, and returns how many rows it did.
func (db *DB) delete(ctx context.Context, statement string, args ...any) (int, error) {
	var n int
	err := db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec(statement, args...)
		n = int(done.RowsAffected)
		return done.Error
	})
	return n, err
}

// InsertFamily adds a family whose user is active and stays so until the commit.
func (t *tx) InsertFamily(f tokens.Family, issued time.Time) error {
	var status []string
	// Both rows are locked: whoever disables the user or ends the membership
	// waits, and then finds this session to end, or was first.
	err := t.g.Model(&userRow{}).Joins("JOIN memberships ON memberships.user_id = users.id AND memberships.org_id = ?", string(f.Org)).
		Clauses(clause.Locking{Strength: "SHARE"}).Where("users.id = ?", string(f.User)).Pluck("users.status", &status).Error
	if err != nil {
		return unavailable(err)
	}
	if len(status) == 0 || status[0] != string(accounts.Active) {
		return fault.AccountDisabled
	}
	if f.IsDelegated() {
		if err := t.holdClient(f.Client); err != nil {
			return err
		}
		if err := t.holdBrowser(f.Delegation); err != nil {
			return err
		}
	}
	r := insertedSession{Row: sessionRowOf(f)}
	if err := t.g.Clauses(cutOff).Create(&r).Error; err != nil || r.CutAt == 0 || issued.IsZero() || r.CutAt < micros(issued) {
		return conflict(err)
	}
	t.changes = append(t.changes, tokens.RevokedPlaces(f.CreatedAt, f.Chain.Live.Ranges(f.CreatedAt))...)
	return nil
}

// insertedSession is a row as it is added, and what comes back.
type insertedSession struct {
	Row   sessionRow `gorm:"embedded"`
	CutAt int64      `gorm:"->"` // when all of the user's tokens were last revoked
}

func (insertedSession) TableName() string { return "sessions" }

// cutOff asks for CutAt in the statement that adds the row, and so after the
// user was locked: whoever revoked their tokens before has committed, and
// whoever does so later finds the row.
var cutOff = clause.Returning{Columns: []clause.Column{{Raw: true, Name: `(SELECT COALESCE(MAX(c.at), 0) FROM changes c WHERE c."key" = user_id AND c.kind = '` +
	string(changes.SubjectCutoff) + `') AS cut_at`}}}

// holdClient keeps the client that is let in from being disabled until the
// commit: whoever does that waits, and then finds this session to end.
func (t *tx) holdClient(id ident.ClientID) error {
	var status []string
	err := t.g.Model(&clientRow{}).Clauses(clause.Locking{Strength: "SHARE"}).Where("id = ?", string(id)).Pluck("status", &status).Error
	if err != nil {
		return unavailable(err)
	}
	if len(status) == 0 || status[0] != string(oauth.ClientActive) {
		return fault.InvalidClient
	}
	return nil
}

// holdBrowser keeps the browser session that delegates from ending until the
// commit: whoever ends it waits, and then finds what depends on it.
func (t *tx) holdBrowser(d tokens.Delegation) error {
	if d.Browser == "" || d.Offline {
		return nil
	}
	var ended []int64
	err := t.g.Model(&sessionRow{}).Clauses(clause.Locking{Strength: "SHARE"}).
		Where("id = ?", string(d.Browser)).Pluck("revoked_at", &ended).Error
	if err != nil {
		return unavailable(err)
	}
	if len(ended) == 0 || ended[0] != 0 {
		return fault.New(fault.InvalidToken, "The browser session has ended").Because("revoked")
	}
	return nil
}

// Family returns a family, locked.
func (t *tx) Family(id ident.SessionID) (tokens.Family, error) { return familyOf(forUpdate(t.g), id) }

// SaveFamily stores what may change of a family.
func (t *tx) SaveFamily(f tokens.Family) error {
	r := sessionRowOf(f)
	r.Version++
	done := t.g.Where("id = ?", r.ID).Select("*").Updates(&r)
	if done.Error == nil && done.RowsAffected != 1 {
		return fault.NotFound
	}
	return unavailable(done.Error)
}
