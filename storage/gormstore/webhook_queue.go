package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// WebhookQueue returns the queue of those who deliver to webhooks.
func (db *DB) WebhookQueue() webhooks.Queue { return webhookQueue{db} }

type webhookQueue struct{ db *DB }

var _ webhooks.Queue = webhookQueue{}

func (q webhookQueue) DueWebhooks(ctx context.Context, now time.Time, limit int) ([]webhooks.Endpoint, error) {
	g := q.db.read.WithContext(ctx)
	var rows []webhookRow
	err := g.Raw(`SELECT w.* FROM webhooks w JOIN organisations o ON o.id = w.org_id AND o.status = 'active'
		WHERE w.status = 'active' AND w.due_at <= ? AND w.leased_until <= ?
			AND (EXISTS (SELECT 1 FROM audit_links l WHERE l.shard = w.org_id AND l.position > w.position)
				OR EXISTS (SELECT 1 FROM webhook_dead_letters d WHERE d.webhook_id = w.id AND d.replay = 1))
		ORDER BY w.due_at, w.id LIMIT ?`, micros(now), micros(now), limit).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	return withWebhookSecrets(g, rows)
}

func (q webhookQueue) ClaimWebhook(ctx context.Context, e webhooks.Endpoint, until time.Time) (bool, error) {
	var won bool
	err := q.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec("UPDATE webhooks SET leased_until = ?, turn = turn + 1 WHERE id = ? AND turn = ? AND version = ?",
			micros(until), string(e.ID), e.Turn, e.Version)
		won = done.RowsAffected == 1
		return done.Error
	})
	return won && err == nil, err
}

// placeRow is a link with its event, whose seq is 0 where it was pruned.
type placeRow struct {
	Place int64
	Event eventRow `gorm:"embedded"`
}

const eventColumns = `COALESCE(e.seq, 0) AS seq, COALESCE(e.id, '') AS id, COALESCE(e.at, 0) AS at, COALESCE(e.name, '') AS name,
	COALESCE(e.outcome, '') AS outcome, COALESCE(e.reason, '') AS reason, COALESCE(e.org_id, '') AS org_id, COALESCE(e.user_id, '') AS user_id,
	COALESCE(e.actor_type, '') AS actor_type, COALESCE(e.actor_id, '') AS actor_id, COALESCE(e.actor_name, '') AS actor_name,
	COALESCE(e.actor_org, '') AS actor_org, COALESCE(e.actor_via, '') AS actor_via, COALESCE(e.targets, '') AS targets, COALESCE(e.meta, '') AS meta,
	COALESCE(e.ip, '') AS ip, COALESCE(e.user_agent, '') AS user_agent, COALESCE(e.request_id, '') AS request_id,
	COALESCE(e.session_id, '') AS session_id, COALESCE(e.key_id, '') AS key_id`

func (r placeRow) domain() (webhooks.Place, error) {
	if r.Event.Seq == 0 {
		return webhooks.Place{Position: r.Place, Pruned: true}, nil
	}
	e, err := r.Event.domain()
	return webhooks.Place{Position: r.Place, Event: e}, err
}

func (q webhookQueue) Places(ctx context.Context, org ident.OrgID, after int64, limit int) ([]webhooks.Place, error) {
	var rows []placeRow
	err := q.db.read.WithContext(ctx).Raw(`SELECT l.position AS place, `+eventColumns+`
		FROM audit_links l LEFT JOIN audit_events e ON e.seq = l.seq
		WHERE l.shard = ? AND l.position > ? ORDER BY l.position LIMIT ?`, string(org), after, limit).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]webhooks.Place, len(rows))
	for i, r := range rows {
		if out[i], err = r.domain(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (q webhookQueue) Replays(ctx context.Context, e webhooks.Endpoint, limit int) ([]webhooks.Replay, error) {
	var rows []struct {
		Letter deadLetterRow `gorm:"embedded;embeddedPrefix:d_"`
		Place  placeRow      `gorm:"embedded"`
	}
	err := q.db.read.WithContext(ctx).Raw(`SELECT d.webhook_id AS d_webhook_id, d.position AS d_position, d.event_id AS d_event_id, d.name AS d_name,
			d.attempts AS d_attempts, d.failed_at AS d_failed_at, d.failure AS d_failure, d.failure_status AS d_failure_status, d.replay AS d_replay,
			d.position AS place, `+eventColumns+`
		FROM webhook_dead_letters d LEFT JOIN audit_links l ON l.shard = ? AND l.position = d.position LEFT JOIN audit_events e ON e.seq = l.seq
		WHERE d.webhook_id = ? AND d.replay = 1 ORDER BY d.position LIMIT ?`, string(e.Org), string(e.ID), limit).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]webhooks.Replay, len(rows))
	for i, r := range rows {
		p, err := r.Place.domain()
		if err != nil {
			return nil, err
		}
		out[i] = webhooks.Replay{DeadLetter: r.Letter.domain(), Place: p}
	}
	return out, nil
}

func (q webhookQueue) SaveWebhook(ctx context.Context, e webhooks.Endpoint, o webhooks.Outcome) (bool, error) {
	var saved bool
	err := q.db.inTx(ctx, func(t *tx) (err error) {
		set := progressColumns(o.Progress)
		set["leased_until"], set["turn"] = 0, gorm.Expr("turn + 1")
		if o.Disable != "" {
			set["status"], set["cause"] = string(webhooks.Disabled), string(o.Disable)
		}
		done := t.g.Model(&webhookRow{}).Where("id = ? AND turn = ? AND version = ?", string(e.ID), e.Turn, e.Version).Updates(set)
		if saved = done.RowsAffected == 1; done.Error != nil {
			return done.Error
		}
		if !saved {
			return t.g.Exec("UPDATE webhooks SET leased_until = 0, turn = turn + 1 WHERE id = ? AND turn = ?", string(e.ID), e.Turn).Error
		}
		return t.settle(e.ID, o)
	})
	return saved && err == nil, err
}

// settle writes down what became of dead letters, and the events.
func (t *tx) settle(id ident.WebhookID, o webhooks.Outcome) error {
	if len(o.Replayed) > 0 {
		if err := t.g.Where("webhook_id = ? AND position IN ?", string(id), o.Replayed).Delete(&deadLetterRow{}).Error; err != nil {
			return err
		}
	}
	if len(o.Dead) > 0 {
		rows := make([]deadLetterRow, len(o.Dead))
		for i, l := range o.Dead {
			rows[i] = deadLetterRowOf(id, l)
		}
		if err := t.g.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error; err != nil {
			return err
		}
	}
	for _, e := range o.Events {
		if err := t.Record(e); err != nil {
			return err
		}
	}
	return nil
}

func (q webhookQueue) NextWebhook(ctx context.Context) (time.Time, error) {
	var due []int64
	err := q.db.read.WithContext(ctx).Model(&webhookRow{}).Where("status = 'active' AND attempts > 0").Order("due_at, id").Limit(1).Pluck("due_at", &due).Error
	if err != nil || len(due) == 0 {
		return time.Time{}, unavailable(err)
	}
	return timeOf(due[0]), nil
}

func (q webhookQueue) WebhookBacklog(ctx context.Context) (webhooks.Backlog, error) {
	var b struct {
		Dead   int
		Oldest int64
	}
	err := q.db.read.WithContext(ctx).Raw(`SELECT (SELECT count(*) FROM webhook_dead_letters) AS dead,
		(SELECT COALESCE(MIN(l.at), 0) FROM webhooks w JOIN audit_links l ON l.shard = w.org_id AND l.position = w.position + 1 WHERE w.status = 'active') AS oldest`).
		Scan(&b).Error
	return webhooks.Backlog{DeadLetters: b.Dead, Oldest: timeOf(b.Oldest)}, unavailable(err)
}

func (q webhookQueue) PruneDeadLetters(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int
	err := q.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec(`DELETE FROM webhook_dead_letters WHERE (webhook_id, position) IN
			(SELECT webhook_id, position FROM webhook_dead_letters WHERE failed_at < ? ORDER BY failed_at LIMIT ?)`, micros(before), limit)
		n = int(done.RowsAffected)
		return done.Error
	})
	return n, err
}
