package gormstore

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
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
	contested_from = ?, contested_to = ?, contested_at = ?, contested_agent = ?,
	network = ?, agent = ?, proven = ?, seen_at = ?, ip = ?, user_agent = ?
	WHERE id = ? AND version = ? AND generation = ? AND revoked_at = 0`

func (s sessions) Advance(ctx context.Context, prev, next tokens.Family, events ...audit.Event) (bool, error) {
	r := sessionRowOf(next)
	c, h, n := r.Chain, r.Holder, r.Seen
	args := []any{
		c.Generation, c.LastUsed, c.PreviousAt, c.RetryKey, c.ContestedFrom, c.ContestedTo, c.ContestedAt, c.ContestedAgent,
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
	g := s.db.read.WithContext(ctx).Where("org_id = ? AND revoked_at = 0 AND expires_at > ?", string(t.Org()), micros(q.Now)).
		Where("(refreshable = ? OR seen_at > ?)", false, micros(q.IdleSince))
	if q.User != "" {
		g = g.Where("user_id = ?", string(q.User))
	}
	if q.Page.Before != "" {
		g = g.Where("id < ?", q.Page.Before)
	}
	var rows []sessionRow
	if err := g.Order("id DESC").Limit(q.Page.Limit).Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]tokens.Family, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = r.domain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s sessions) Revoked(ctx context.Context, a tokens.AccessID) (string, error) {
	var found []int
	err := s.db.read.WithContext(ctx).Raw(`
		SELECT 1 FROM changes WHERE "key" = ? AND kind = ?
		UNION ALL SELECT 1 FROM changes WHERE "key" = ? AND kind = ? AND at >= ?
		UNION ALL SELECT 1 WHERE ? <> '' AND NOT EXISTS (SELECT 1 FROM sessions WHERE id = ? AND revoked_at = 0)
		LIMIT 1`,
		string(a.Token), string(changes.TokenRevoked), string(a.User), string(changes.SubjectCutoff), micros(a.IssuedAt),
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
func (t *tx) InsertFamily(f tokens.Family) error {
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
	r := sessionRowOf(f)
	return conflict(t.g.Create(&r).Error)
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

// EndSessions ends the sessions that e selects.
func (t sessionTx) EndSessions(e tokens.Ending) ([]ident.SessionID, error) { return t.endSessions(e) }

// EndSessions ends the sessions that e selects and returns how many there were.
func (t *tx) EndSessions(e accounts.Ending) (int, error) {
	ended, err := t.endSessions(tokens.Ending(e))
	return len(ended), err
}

// endSessions ends and announces the sessions that e selects. They are locked
// in the order of their identifiers, so that two who do this wait in line.
// Sessions whose last access token has expired need no ending.
func (t *tx) endSessions(e tokens.Ending) ([]ident.SessionID, error) {
	q := forUpdate(t.g.Model(&sessionRow{})).
		Where("user_id = ? AND revoked_at = 0 AND expires_at > ?", string(e.User), micros(e.At.Add(e.At.Sub(e.Until))))
	if e.Org != "" {
		q = q.Where("org_id = ?", string(e.Org))
	}
	if e.Except != "" {
		q = q.Where("id <> ?", string(e.Except))
	}
	var ids []ident.SessionID
	if err := q.Order("id").Pluck("id", &ids).Error; err != nil {
		return nil, unavailable(err)
	}
	for chunk := range slices.Chunk(ids, 500) {
		err := t.g.Exec("UPDATE sessions SET version = version + 1, revoked_at = ?, revoked_reason = ? WHERE id IN ?",
			micros(e.At), e.Reason, chunk).Error
		if err != nil {
			return nil, unavailable(err)
		}
	}
	for _, id := range ids {
		c := changes.Change{Kind: changes.SessionRevoked, Key: string(id), At: e.At, Until: e.Until}
		if err := t.Announce(c); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func familyOf(g *gorm.DB, id ident.SessionID) (tokens.Family, error) {
	var r sessionRow
	if err := g.Where("id = ?", string(id)).Take(&r).Error; err != nil {
		return tokens.Family{}, notFound(err)
	}
	return r.domain()
}

type sessionRow struct {
	ID          string `gorm:"primaryKey"`
	User        string `gorm:"column:user_id"`
	Org         string `gorm:"column:org_id"`
	Client      string `gorm:"column:client_id"`
	Method      string
	Created     int64 `gorm:"column:created_at"`
	Expires     int64 `gorm:"column:expires_at"`
	Refreshable bool
	Version     int64
	Chain       sessionChain  `gorm:"embedded"`
	Holder      sessionHolder `gorm:"embedded"`
	Seen        sessionSeen   `gorm:"embedded"`
	Ended       sessionEnded  `gorm:"embedded"`
}

type sessionChain struct {
	Generation     uint32
	LastUsed       uint32
	PreviousAt     int64
	RetryKey       []byte
	ContestedFrom  uint32
	ContestedTo    uint32
	ContestedAt    int64
	ContestedAgent []byte
}

type sessionHolder struct {
	Network string
	Agent   []byte
	Proof   []byte
	Proven  bool
}

type sessionSeen struct {
	SeenAt    int64
	IP        string `gorm:"column:ip"`
	UserAgent string
}

type sessionEnded struct {
	RevokedAt     int64
	RevokedReason string
}

func (sessionRow) TableName() string { return "sessions" }

func sessionRowOf(f tokens.Family) sessionRow {
	c := f.Chain
	r := sessionRow{
		ID: string(f.ID), User: string(f.User), Org: string(f.Org), Client: string(f.Client), Method: f.Method,
		Created: micros(f.CreatedAt), Expires: micros(f.ExpiresAt), Refreshable: f.Refreshable, Version: f.Version,
		Chain: sessionChain{
			Generation: c.Generation, LastUsed: c.LastUsed, PreviousAt: micros(c.PreviousAt), RetryKey: digestBytes(c.RetryKey),
			ContestedFrom: c.Contested.From, ContestedTo: c.Contested.To, ContestedAt: micros(c.Contested.At), ContestedAgent: digestBytes(c.Contested.Agent),
		},
		Holder: sessionHolder{Network: f.Holder.Network, Agent: digestBytes(f.Holder.Agent), Proof: digestBytes(f.Holder.Proof), Proven: f.Holder.Proven},
		Seen:   sessionSeen{SeenAt: micros(f.Seen.At), UserAgent: f.Seen.UserAgent},
		Ended:  sessionEnded{RevokedAt: micros(f.Ended.At), RevokedReason: f.Ended.Reason},
	}
	if f.Seen.IP.IsValid() {
		r.Seen.IP = f.Seen.IP.String()
	}
	return r
}

func (r sessionRow) domain() (tokens.Family, error) {
	c := r.Chain
	f := tokens.Family{
		ID: ident.SessionID(r.ID), User: ident.UserID(r.User), Org: ident.OrgID(r.Org), Client: ident.ClientID(r.Client), Method: r.Method,
		CreatedAt: timeOf(r.Created), ExpiresAt: timeOf(r.Expires), Refreshable: r.Refreshable, Version: r.Version,
		Chain: tokens.Chain{
			Generation: c.Generation, LastUsed: c.LastUsed, PreviousAt: timeOf(c.PreviousAt), RetryKey: digestOf(c.RetryKey),
			Contested: tokens.Contested{From: c.ContestedFrom, To: c.ContestedTo, At: timeOf(c.ContestedAt), Agent: digestOf(c.ContestedAgent)},
		},
		Holder: tokens.Holder{Network: r.Holder.Network, Agent: digestOf(r.Holder.Agent), Proof: digestOf(r.Holder.Proof), Proven: r.Holder.Proven},
		Seen:   tokens.Seen{At: timeOf(r.Seen.SeenAt), UserAgent: r.Seen.UserAgent},
		Ended:  tokens.Ended{At: timeOf(r.Ended.RevokedAt), Reason: r.Ended.RevokedReason},
	}
	if r.Seen.IP != "" {
		ip, err := netip.ParseAddr(r.Seen.IP)
		if err != nil {
			return f, fmt.Errorf("session %s: %w", r.ID, err)
		}
		f.Seen.IP = ip
	}
	return f, nil
}

// digestBytes stores a digest; none is no bytes.
func digestBytes(d tokens.Digest) []byte {
	if d == (tokens.Digest{}) {
		return []byte{}
	}
	return d[:]
}

// digestOf is the inverse of digestBytes.
func digestOf(b []byte) (d tokens.Digest) {
	copy(d[:], b)
	return d
}
