package gormstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/audit/activity"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/scope"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

type apiKeyRow struct {
	ID          string `gorm:"primaryKey"`
	Lookup      string
	Prefix      string
	Name        string
	Org         string      `gorm:"column:org_id"`
	Owner       string      `gorm:"column:owner_id"`
	ByUser      string      `gorm:"column:created_by_user"`
	ByKey       string      `gorm:"column:created_by_key"`
	Permissions string      // separated by spaces, in their order
	Generation  int         // of the current secret
	Span        apiKeySpan  `gorm:"embedded"`
	Used        apiKeyUse   `gorm:"embedded"`
	Rules       apiKeyRules `gorm:"embedded"`
}

type apiKeySpan struct {
	Created   int64 `gorm:"column:created_at"`
	Expires   int64 `gorm:"column:expires_at"`
	Revoked   int64 `gorm:"column:revoked_at"`
	Held      int64 `gorm:"column:held_at"`
	RevokedBy string
}

type apiKeyUse struct {
	At    int64  `gorm:"column:used_at"`
	IP    string `gorm:"column:used_ip"`
	Agent string `gorm:"column:used_agent"`
}

type apiKeySecretRow struct {
	Key        string `gorm:"column:key_id;primaryKey"`
	Generation int    `gorm:"primaryKey;autoIncrement:false"`
	Digest     []byte
	Pepper     int
	Last4      string
	Created    int64     `gorm:"column:created_at"`
	Until      int64     `gorm:"column:valid_until"`
	Due        int64     `gorm:"column:due_at"` // when it was reported as due for rotation
	Used       apiKeyUse `gorm:"embedded"`
}

func (apiKeyRow) TableName() string       { return "api_keys" }
func (apiKeySecretRow) TableName() string { return "api_key_secrets" }

func apiKeyRowOf(k apikeys.Key) apiKeyRow {
	r := apiKeyRow{
		ID: string(k.ID), Lookup: k.Lookup, Prefix: k.Prefix, Name: k.Name, Org: string(k.Org), Owner: string(k.Owner),
		ByUser: string(k.CreatedBy.User), ByKey: string(k.CreatedBy.Key), Used: apiKeyUseOf(k.LastUsed),
		Span: apiKeySpan{Created: micros(k.CreatedAt), Expires: micros(k.ExpiresAt), Revoked: micros(k.RevokedAt), RevokedBy: k.RevokedBy, Held: micros(k.HeldAt)},
	}
	names := make([]string, len(k.Permissions))
	for i, p := range k.Permissions {
		names[i] = string(p)
	}
	r.Permissions, r.Rules = strings.Join(names, " "), apiKeyRulesOf(k.Rules)
	if len(k.Secrets) > 0 {
		r.Generation = k.Secrets[0].Generation
	}
	return r
}

func (r apiKeyRow) domain() (apikeys.Key, error) {
	k := apikeys.Key{
		ID: ident.APIKeyID(r.ID), Lookup: r.Lookup, Prefix: r.Prefix, Name: r.Name, Org: ident.OrgID(r.Org), Owner: ident.UserID(r.Owner),
		CreatedBy: apikeys.Creator{User: ident.UserID(r.ByUser), Key: ident.APIKeyID(r.ByKey)},
		CreatedAt: timeOf(r.Span.Created), ExpiresAt: timeOf(r.Span.Expires),
		Revocation: apikeys.Revocation{RevokedAt: timeOf(r.Span.Revoked), RevokedBy: r.Span.RevokedBy, HeldAt: timeOf(r.Span.Held)},
	}
	for w := range strings.FieldsSeq(r.Permissions) {
		k.Permissions = append(k.Permissions, scope.Permission(w))
	}
	var err error
	if k.Rules, err = r.Rules.domain(); err != nil {
		return k, err
	}
	k.LastUsed, err = r.Used.domain()
	return k, err
}

func apiKeySecretRowOf(id ident.APIKeyID, s apikeys.Secret) apiKeySecretRow {
	return apiKeySecretRow{
		Key: string(id), Generation: s.Generation, Digest: s.Digest, Pepper: int(s.Pepper), Last4: s.Last4,
		Created: micros(s.CreatedAt), Until: micros(s.ValidUntil), Used: apiKeyUseOf(s.LastUsed),
	}
}

func (r apiKeySecretRow) domain() (apikeys.Secret, error) {
	use, err := r.Used.domain()
	return apikeys.Secret{
		Generation: r.Generation, Digest: r.Digest, Pepper: uint8(r.Pepper), Last4: r.Last4,
		CreatedAt: timeOf(r.Created), ValidUntil: timeOf(r.Until), LastUsed: use,
	}, err
}

func apiKeyUseOf(u apikeys.Use) apiKeyUse {
	out := apiKeyUse{At: micros(u.At), Agent: u.UserAgent}
	if u.IP.IsValid() {
		out.IP = u.IP.String()
	}
	return out
}

func (u apiKeyUse) domain() (apikeys.Use, error) {
	out := apikeys.Use{At: timeOf(u.At), UserAgent: u.Agent}
	if u.IP == "" {
		return out, nil
	}
	ip, err := netip.ParseAddr(u.IP)
	out.IP = ip
	return out, err
}

// APIKeys returns the store of API keys.
func (db *DB) APIKeys() apikeys.Store { return apiKeys{db} }

type apiKeys struct{ db *DB }

func (a apiKeys) InTx(ctx context.Context, fn func(apikeys.Tx) error) error {
	return a.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

func (a apiKeys) APIKeyByLookup(ctx context.Context, lookup string) (apikeys.Key, error) {
	g := a.db.read.WithContext(ctx)
	return oneAPIKey(g, g.Where("lookup = ?", lookup))
}

func (a apiKeys) APIKey(ctx context.Context, t ident.Tenant, id ident.APIKeyID) (apikeys.Key, error) {
	g := a.db.read.WithContext(ctx)
	return oneAPIKey(g, g.Where("org_id = ? AND id = ?", string(t.Org()), string(id)))
}

func (a apiKeys) APIKeyExists(ctx context.Context, id ident.APIKeyID) (bool, error) {
	var n int64
	err := a.db.read.WithContext(ctx).Model(&apiKeyRow{}).Where("id = ?", string(id)).Count(&n).Error
	return n > 0, unavailable(err)
}

// dueAPIKeys joins each usable key with its current secret where that is old.
const dueAPIKeys = `
	FROM api_keys k JOIN api_key_secrets s ON s.key_id = k.id AND s.generation = k.generation
	WHERE s.created_at < ? AND k.revoked_at = 0 AND (k.expires_at = 0 OR k.expires_at > ?)`

func (a apiKeys) DueAPIKeys(ctx context.Context, before, now time.Time, limit int) ([]apikeys.Key, int, error) {
	g := a.db.read.WithContext(ctx)
	var due int
	if err := g.Raw("SELECT COUNT(*)"+dueAPIKeys, micros(before), micros(now)).Scan(&due).Error; err != nil {
		return nil, 0, unavailable(err)
	}
	q := g.Raw("SELECT k.*"+dueAPIKeys+" AND s.due_at = 0 ORDER BY s.created_at, k.id LIMIT ?", micros(before), micros(now), limit)
	keys, err := manyAPIKeys(g, q)
	return keys, due, err
}

func (t *tx) LockAPIKey(tenant ident.Tenant, id ident.APIKeyID) (apikeys.Key, error) {
	q := t.g.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
	return oneAPIKey(t.g, q.Where("org_id = ? AND id = ?", string(tenant.Org()), string(id)))
}

func (t *tx) InsertAPIKey(k apikeys.Key) error {
	row := apiKeyRowOf(k)
	if err := t.g.Create(&row).Error; err != nil {
		return conflict(err)
	}
	return t.PutAPIKeySecrets(k.ID, k.Secrets)
}

func (t *tx) UpdateAPIKey(k apikeys.Key) error {
	rules := apiKeyRulesOf(k.Rules)
	return unavailable(t.g.Model(&apiKeyRow{}).Where("id = ?", string(k.ID)).Updates(map[string]any{
		"networks": rules.Networks, "limits": rules.Limits, "quota": rules.Quota,
		"name": k.Name, "revoked_at": micros(k.RevokedAt), "revoked_by": k.RevokedBy, "held_at": micros(k.HeldAt),
	}).Error)
}

func (t *tx) PutAPIKeySecrets(id ident.APIKeyID, secrets []apikeys.Secret) error {
	rows := make([]apiKeySecretRow, len(secrets))
	kept := make([]int, len(secrets))
	for i, s := range secrets {
		rows[i], kept[i] = apiKeySecretRowOf(id, s), s.Generation
	}
	if err := t.g.Where("key_id = ? AND generation NOT IN ?", string(id), kept).Delete(&apiKeySecretRow{}).Error; err != nil {
		return unavailable(err)
	}
	// Of a secret that is there already only the end may change: its last use
	// is counted by others meanwhile.
	same := clause.OnConflict{Columns: []clause.Column{{Name: "key_id"}, {Name: "generation"}}, DoUpdates: clause.AssignmentColumns([]string{"valid_until"})}
	if err := t.g.Clauses(same).Create(&rows).Error; err != nil {
		return unavailable(err)
	}
	return unavailable(t.g.Model(&apiKeyRow{}).Where("id = ?", string(id)).Update("generation", slices.Max(kept)).Error)
}

func (t *tx) MarkAPIKeyDue(id ident.APIKeyID, generation int, at time.Time) (bool, error) {
	res := t.g.Model(&apiKeySecretRow{}).Where("key_id = ? AND generation = ? AND due_at = 0", string(id), generation).Update("due_at", micros(at))
	return res.RowsAffected > 0, unavailable(res.Error)
}

func (t *tx) CountAPIKeyUses(uses []apikeys.Uses) ([]bool, error) {
	first := make([]bool, len(uses))
	for i, u := range uses {
		var ok int64
		err := t.g.Raw(`
			INSERT INTO api_key_usage (key_id, hour, ok, refused, limited) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (key_id, hour) DO UPDATE SET ok = api_key_usage.ok + excluded.ok, refused = api_key_usage.refused + excluded.refused,
				limited = api_key_usage.limited + excluded.limited
			RETURNING ok`, string(u.Key), micros(u.Hour), u.OK, u.Refused, u.Limited).Scan(&ok).Error
		if err != nil {
			return nil, unavailable(err)
		}
		first[i] = u.OK > 0 && ok == int64(u.OK)
		if err := t.useAPIKey(u); err != nil {
			return nil, unavailable(err)
		}
	}
	return first, t.addActivity(keyUseOf(uses))
}

// keyUseOf is what the uses are in the hours of their organisations.
func keyUseOf(uses []apikeys.Uses) []activity.Bucket {
	var out []activity.Bucket
	for _, u := range uses {
		for _, n := range []struct {
			label string
			count int
		}{{activity.KeyAccepted, u.OK}, {activity.KeyRefused, u.Refused}, {activity.KeyLimited, u.Limited}} {
			if n.count > 0 {
				out = append(out, activity.Bucket{Org: u.Org, Start: u.Hour, Kind: activity.KeyUse, Label: n.label, Count: int64(n.count)})
			}
		}
	}
	return activity.Merge(out)
}

// useAPIKey moves the last-used times of the key and of its secret forward.
func (t *tx) useAPIKey(u apikeys.Uses) error {
	if u.OK == 0 {
		return nil
	}
	row := apiKeyUseOf(u.Last)
	set := map[string]any{"used_at": row.At, "used_ip": row.IP, "used_agent": row.Agent}
	return errors.Join(
		t.g.Model(&apiKeyRow{}).Where("id = ? AND used_at < ?", string(u.Key), row.At).Updates(set).Error,
		t.g.Model(&apiKeySecretRow{}).Where("key_id = ? AND generation = ? AND used_at < ?", string(u.Key), u.Generation, row.At).Updates(set).Error,
	)
}

// oneAPIKey reads the key that q finds, and its secrets through g.
func oneAPIKey(g, q *gorm.DB) (apikeys.Key, error) {
	var r apiKeyRow
	if err := q.Take(&r).Error; err != nil {
		return apikeys.Key{}, notFound(err)
	}
	keys, err := withSecrets(g, []apiKeyRow{r})
	if err != nil {
		return apikeys.Key{}, err
	}
	return keys[0], nil
}

func manyAPIKeys(g, q *gorm.DB) ([]apikeys.Key, error) {
	var rows []apiKeyRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	return withSecrets(g, rows)
}

func withSecrets(g *gorm.DB, rows []apiKeyRow) ([]apikeys.Key, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	keys := make([]apikeys.Key, len(rows))
	at := make(map[string]int, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		k, err := r.domain()
		if err != nil {
			return nil, fmt.Errorf("API key %s: %w", r.ID, err)
		}
		keys[i], at[r.ID], ids[i] = k, i, r.ID
	}
	var secrets []apiKeySecretRow
	for some := range slices.Chunk(ids, manyKeys) {
		var found []apiKeySecretRow
		if err := g.Where("key_id IN ?", some).Order("key_id, generation DESC").Find(&found).Error; err != nil {
			return nil, unavailable(err)
		}
		secrets = append(secrets, found...)
	}
	for _, r := range secrets {
		s, err := r.domain()
		if err != nil {
			return nil, fmt.Errorf("API key %s: %w", r.Key, err)
		}
		k := &keys[at[r.Key]]
		k.Secrets = append(k.Secrets, s)
	}
	return keys, nil
}
