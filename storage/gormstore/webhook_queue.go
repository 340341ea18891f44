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

func (q webhookQueue) Replays(ctx context.Context, id ident.WebhookID, limit int) ([]webhooks.DeadLetter, error) {
	var rows []deadLetterRow
	err := q.db.read.WithContext(ctx).Where("webhook_id = ? AND replay = 1", string(id)).Order("position").Limit(limit).Find(&rows).Error
	out := make([]webhooks.DeadLetter, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
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
