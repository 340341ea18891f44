package gormstore

import (
	"context"
	"strings"

	"gorm.io/gorm/clause"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

type consentRow struct {
	User    string `gorm:"column:user_id;primaryKey"`
	Client  string `gorm:"column:client_id;primaryKey"`
	Scopes  string
	Granted int64 `gorm:"column:granted_at"`
	Updated int64 `gorm:"column:updated_at"`
}

func (consentRow) TableName() string { return "consents" }

func (r consentRow) domain() oauth.Consent {
	return oauth.Consent{
		User: ident.UserID(r.User), Client: ident.ClientID(r.Client), Scopes: words(r.Scopes),
		GrantedAt: timeOf(r.Granted), UpdatedAt: timeOf(r.Updated),
	}
}

func (s authorizations) Consent(ctx context.Context, user ident.UserID, client ident.ClientID) (oauth.Consent, error) {
	var r consentRow
	if err := s.db.read.WithContext(ctx).Where("user_id = ? AND client_id = ?", string(user), string(client)).Take(&r).Error; err != nil {
		return oauth.Consent{}, notFound(err)
	}
	return r.domain(), nil
}

func (s authorizations) Consents(ctx context.Context, user ident.UserID) ([]oauth.Consent, error) {
	var rows []consentRow
	if err := s.db.read.WithContext(ctx).Where("user_id = ?", string(user)).Order("client_id").Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]oauth.Consent, len(rows))
	for i, r := range rows {
		out[i] = r.domain()
	}
	return out, nil
}

func (t *tx) PutConsent(c oauth.Consent) error {
	r := consentRow{
		User: string(c.User), Client: string(c.Client), Scopes: strings.Join(c.Scopes, " "),
		Granted: micros(c.GrantedAt), Updated: micros(c.UpdatedAt),
	}
	again := clause.OnConflict{
		Columns:   []clause.Column{{Name: "user_id"}, {Name: "client_id"}},
		DoUpdates: clause.AssignmentColumns([]string{"scopes", "updated_at"}),
	}
	return unavailable(t.g.Clauses(again).Create(&r).Error)
}

func (t *tx) HoldConsent(user ident.UserID, client ident.ClientID) (bool, error) {
	var found []string
	err := t.g.Model(&consentRow{}).Clauses(clause.Locking{Strength: "SHARE"}).
		Where("user_id = ? AND client_id = ?", string(user), string(client)).Pluck("client_id", &found).Error
	return len(found) > 0, unavailable(err)
}

func (t *tx) DeleteConsent(user ident.UserID, client ident.ClientID) error {
	done := t.g.Where("user_id = ? AND client_id = ?", string(user), string(client)).Delete(&consentRow{})
	if done.Error == nil && done.RowsAffected == 0 {
		return fault.NotFound
	}
	if done.Error != nil {
		return unavailable(done.Error)
	}
	return unavailable(t.g.Exec("DELETE FROM authorization_codes WHERE user_id = ? AND client_id = ? AND used_at = 0", string(user), string(client)).Error)
}
