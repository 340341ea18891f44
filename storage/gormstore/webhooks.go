package gormstore

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type webhookRow struct {
	ID          string `gorm:"primaryKey"`
	Org         string `gorm:"column:org_id"`
	URL         string `gorm:"column:url"`
	Description string
	Events      string // patterns, separated by blanks
	Status      string
	Cause       string
	Created     int64 `gorm:"column:created_at"`
	CreatedBy   string
	Progress    webhookProgress `gorm:"embedded"`
	Last        webhookFailure  `gorm:"embedded"`
	Version     int64
	Turn        int64
	Lease       int64 `gorm:"column:leased_until"`
}

type webhookProgress struct {
	Position  int64
	Attempts  int
	Due       int64 `gorm:"column:due_at"`
	Failing   int64 `gorm:"column:failing_since"`
	Delivered int64 `gorm:"column:delivered_at"`
}

type webhookFailure struct {
	At     int64  `gorm:"column:failed_at"`
	Reason string `gorm:"column:failure"`
	Status int    `gorm:"column:failure_status"`
}

type webhookSecretRow struct {
	Webhook string `gorm:"column:webhook_id;primaryKey"`
	N       int    `gorm:"primaryKey;autoIncrement:false"`
	Sealed  []byte
	Created int64 `gorm:"column:created_at"`
	Until   int64 `gorm:"column:valid_until"`
}

type deadLetterRow struct {
	Webhook  string `gorm:"column:webhook_id;primaryKey"`
	Position int64  `gorm:"primaryKey;autoIncrement:false"`
	Event    string `gorm:"column:event_id"`
	Name     string
	Attempts int
	Last     webhookFailure `gorm:"embedded"`
	Replay   int
}

func (webhookRow) TableName() string       { return "webhooks" }
func (webhookSecretRow) TableName() string { return "webhook_secrets" }
func (deadLetterRow) TableName() string    { return "webhook_dead_letters" }

func webhookRowOf(e webhooks.Endpoint) webhookRow {
	return webhookRow{
		ID: string(e.ID), Org: string(e.Org), URL: e.URL, Description: e.Description, Events: strings.Join(e.Patterns, " "),
		Status: string(e.Status), Cause: string(e.Cause), Created: micros(e.CreatedAt), CreatedBy: e.CreatedBy,
		Progress: progressRowOf(e.Progress), Last: failureRowOf(e.Progress.Last), Version: e.Version, Turn: e.Turn,
	}
}

func progressRowOf(p webhooks.Progress) webhookProgress {
	return webhookProgress{
		Position: p.Position, Attempts: p.Attempts, Due: micros(p.DueAt), Failing: micros(p.FailingSince), Delivered: micros(p.DeliveredAt),
	}
}

func failureRowOf(f webhooks.Failure) webhookFailure {
	return webhookFailure{At: micros(f.At), Reason: string(f.Reason), Status: f.Status}
}

func (f webhookFailure) domain() webhooks.Failure {
	return webhooks.Failure{At: timeOf(f.At), Reason: webhooks.Reason(f.Reason), Status: f.Status}
}

func (r webhookRow) domain() webhooks.Endpoint {
	p := r.Progress
	return webhooks.Endpoint{
		ID: ident.WebhookID(r.ID), Org: ident.OrgID(r.Org), URL: r.URL, Description: r.Description, Patterns: words(r.Events),
		Status: webhooks.Status(r.Status), Cause: webhooks.Cause(r.Cause), CreatedAt: timeOf(r.Created), CreatedBy: r.CreatedBy,
		Progress: webhooks.Progress{
			Position: p.Position, Attempts: p.Attempts, DueAt: timeOf(p.Due), FailingSince: timeOf(p.Failing),
			DeliveredAt: timeOf(p.Delivered), Last: r.Last.domain(),
		},
		Version: r.Version, Turn: r.Turn,
	}
}

func deadLetterRowOf(id ident.WebhookID, l webhooks.DeadLetter) deadLetterRow {
	r := deadLetterRow{Webhook: string(id), Position: l.Position, Event: string(l.Event), Name: l.Name, Attempts: l.Attempts, Last: failureRowOf(l.Last)}
	if l.Replay {
		r.Replay = 1
	}
	return r
}

func (r deadLetterRow) domain() webhooks.DeadLetter {
	return webhooks.DeadLetter{
		Position: r.Position, Event: ident.EventID(r.Event), Name: r.Name, Attempts: r.Attempts, Last: r.Last.domain(), Replay: r.Replay == 1,
	}
}

// Webhooks returns the store of webhooks.
func (db *DB) Webhooks() webhooks.Store { return webhookStore{db} }

type webhookStore struct{ db *DB }

var (
	_ webhooks.Store = webhookStore{}
	_ webhooks.Tx    = (*tx)(nil)
)

// overviews is the endpoints of one tenant, and what is counted about them: the
// only way for people to read them.
func (s webhookStore) overviews(ctx context.Context, t ident.Tenant) *gorm.DB {
	return s.db.read.WithContext(ctx).Table("webhooks w").Where("w.org_id = ?", string(t.Org())).
		Select(`w.*, (SELECT COALESCE(MAX(l.position), 0) FROM audit_links l WHERE l.shard = w.org_id) - w.position AS waiting,
			(SELECT count(*) FROM webhook_dead_letters d WHERE d.webhook_id = w.id) AS dead_letters`)
}

func (s webhookStore) find(ctx context.Context, q *gorm.DB) ([]webhooks.Overview, error) {
	var rows []struct {
		Row         webhookRow `gorm:"embedded"`
		Waiting     int64
		DeadLetters int64
	}
	if err := q.Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	endpoints := make([]webhookRow, len(rows))
	for i, r := range rows {
		endpoints[i] = r.Row
	}
	whole, err := withWebhookSecrets(s.db.read.WithContext(ctx), endpoints)
	if err != nil {
		return nil, err
	}
	out := make([]webhooks.Overview, len(rows))
	for i, r := range rows {
		out[i] = webhooks.Overview{Endpoint: whole[i], Waiting: max(r.Waiting, 0), DeadLetters: r.DeadLetters}
	}
	return out, nil
}

func (s webhookStore) Webhook(ctx context.Context, t ident.Tenant, id ident.WebhookID) (webhooks.Overview, error) {
	found, err := s.find(ctx, s.overviews(ctx, t).Where("w.id = ?", string(id)))
	if err == nil && len(found) == 0 {
		err = notFound(gorm.ErrRecordNotFound)
	}
	if err != nil {
		return webhooks.Overview{}, err
	}
	return found[0], nil
}

func (s webhookStore) Webhooks(ctx context.Context, t ident.Tenant, p ident.Page) ([]webhooks.Overview, error) {
	q := s.overviews(ctx, t)
	if p.Before != "" {
		q = q.Where("w.id < ?", p.Before)
	}
	return s.find(ctx, q.Order("w.id DESC").Limit(p.Limit))
}

func (s webhookStore) WebhookExists(ctx context.Context, id ident.WebhookID) (bool, error) {
	var n int64
	err := s.db.read.WithContext(ctx).Model(&webhookRow{}).Where("id = ?", string(id)).Count(&n).Error
	return n > 0, unavailable(err)
}

func (s webhookStore) DeadLetters(ctx context.Context, t ident.Tenant, id ident.WebhookID, before int64, limit int) ([]webhooks.DeadLetter, error) {
	q := s.db.read.WithContext(ctx).Where("webhook_id IN (SELECT id FROM webhooks WHERE org_id = ? AND id = ?)", string(t.Org()), string(id))
	if before > 0 {
		q = q.Where("position < ?", before)
	}
	var rows []deadLetterRow
	err := q.Order("position DESC").Limit(limit).Find(&rows).Error
	out := make([]webhooks.DeadLetter, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, unavailable(err)
}

func (s webhookStore) InWebhookTx(ctx context.Context, fn func(webhooks.Tx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

func (t *tx) LockWebhook(tenant ident.Tenant, id ident.WebhookID) (webhooks.Endpoint, error) {
	var r webhookRow
	if err := forUpdate(t.g).Where("org_id = ? AND id = ?", string(tenant.Org()), string(id)).Take(&r).Error; err != nil {
		return webhooks.Endpoint{}, notFound(err)
	}
	found, err := withWebhookSecrets(t.g, []webhookRow{r})
	if err != nil {
		return webhooks.Endpoint{}, err
	}
	return found[0], nil
}

func (t *tx) CountWebhooks(tenant ident.Tenant) (int, error) {
	var org struct{ ID string }
	if err := forUpdate(t.g).Table("organisations").Select("id").Where("id = ?", string(tenant.Org())).Take(&org).Error; err != nil {
		return 0, notFound(err)
	}
	var n int64
	err := t.g.Model(&webhookRow{}).Where("org_id = ?", org.ID).Count(&n).Error
	return int(n), unavailable(err)
}

func (t *tx) InsertWebhook(e webhooks.Endpoint) error {
	r := webhookRowOf(e)
	if err := t.g.Create(&r).Error; err != nil {
		return conflict(err)
	}
	return t.PutWebhookSecrets(e.ID, e.Secrets)
}

func (t *tx) UpdateWebhook(e webhooks.Endpoint) error {
	r := webhookRowOf(e)
	set := progressColumns(e.Progress)
	set["url"], set["description"], set["events"], set["status"], set["cause"] = r.URL, r.Description, r.Events, r.Status, r.Cause
	set["version"] = gorm.Expr("version + 1")
	return unavailable(t.g.Model(&webhookRow{}).Where("id = ?", r.ID).Updates(set).Error)
}

func progressColumns(p webhooks.Progress) map[string]any {
	r, f := progressRowOf(p), failureRowOf(p.Last)
	return map[string]any{
		"position": r.Position, "attempts": r.Attempts, "due_at": r.Due, "failing_since": r.Failing, "delivered_at": r.Delivered,
		"failed_at": f.At, "failure": f.Reason, "failure_status": f.Status,
	}
}

func (t *tx) PutWebhookSecrets(id ident.WebhookID, secrets []webhooks.Secret) error {
	if err := t.g.Where("webhook_id = ?", string(id)).Delete(&webhookSecretRow{}).Error; err != nil {
		return unavailable(err)
	}
	rows := make([]webhookSecretRow, len(secrets))
	for i, s := range secrets {
		rows[i] = webhookSecretRow{Webhook: string(id), N: s.N, Sealed: s.Sealed, Created: micros(s.CreatedAt), Until: micros(s.ValidUntil)}
	}
	return unavailable(t.g.Create(&rows).Error)
}

func (t *tx) DeleteWebhook(id ident.WebhookID) error {
	// Its secrets and dead letters go with it, by their foreign keys.
	return unavailable(t.g.Where("id = ?", string(id)).Delete(&webhookRow{}).Error)
}

func (t *tx) LogPosition(org ident.OrgID, since time.Time) (int64, error) {
	var found []int64
	// Backwards along the chain, which ends at the first event that is older.
	err := t.g.Raw("SELECT position FROM audit_links WHERE shard = ? AND at < ? ORDER BY position DESC LIMIT 1", string(org), micros(since)).Scan(&found).Error
	if err != nil || len(found) == 0 {
		return 0, unavailable(err)
	}
	return found[0], nil
}

func (t *tx) ReplayDeadLetters(id ident.WebhookID, events []ident.EventID) (int, error) {
	q := t.g.Model(&deadLetterRow{}).Where("webhook_id = ?", string(id))
	if len(events) > 0 {
		q = q.Where("event_id IN ?", events)
	}
	done := q.Update("replay", 1)
	return int(done.RowsAffected), unavailable(done.Error)
}

func withWebhookSecrets(g *gorm.DB, rows []webhookRow) ([]webhooks.Endpoint, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	found := make([]webhooks.Endpoint, len(rows))
	at := make(map[string]int, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		found[i], at[r.ID], ids[i] = r.domain(), i, r.ID
	}
	var secrets []webhookSecretRow
	if err := g.Where("webhook_id IN ?", ids).Order("webhook_id, n DESC").Find(&secrets).Error; err != nil {
		return nil, unavailable(err)
	}
	for _, r := range secrets {
		e := &found[at[r.Webhook]]
		e.Secrets = append(e.Secrets, webhooks.Secret{N: r.N, Sealed: r.Sealed, CreatedAt: timeOf(r.Created), ValidUntil: timeOf(r.Until)})
	}
	return found, nil
}
