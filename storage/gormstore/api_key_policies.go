package gormstore

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/apikeys"
)

// apiKeyPolicyRow is what a row of organisations says of API keys.
type apiKeyPolicyRow struct {
	ID          string `gorm:"primaryKey"`
	Permissions string `gorm:"column:api_key_permissions"`  // separated by spaces; empty: no ceiling
	MaxLifetime int64  `gorm:"column:api_key_max_lifetime"` // seconds; 0: no bound
}

func (apiKeyPolicyRow) TableName() string { return "organisations" }

func (r apiKeyPolicyRow) domain() (apikeys.Policy, error) {
	p := apikeys.Policy{MaxLifetime: time.Duration(r.MaxLifetime) * time.Second}
	if r.Permissions == "" {
		return p, nil
	}
	var err error
	p.Permissions, err = permissions(r.Permissions)
	return p, err
}

// apiKeyPolicy is the policy of one tenant: the only way to read it.
func apiKeyPolicy(g *gorm.DB, t ident.Tenant) (apikeys.Policy, error) {
	var r apiKeyPolicyRow
	err := g.Select("id", "api_key_permissions", "api_key_max_lifetime").Where("id = ?", string(t.Org())).Take(&r).Error
	if err != nil {
		return apikeys.Policy{}, notFound(err)
	}
	return r.domain()
}

func (a apiKeys) APIKeyPolicy(ctx context.Context, t ident.Tenant) (apikeys.Policy, error) {
	p, err := apiKeyPolicy(a.db.read.WithContext(ctx), t)
	if errors.Is(err, fault.NotFound) {
		return apikeys.Policy{}, nil
	}
	return p, err
}

func (t *tx) LockAPIKeyPolicy(tenant ident.Tenant) (apikeys.Policy, error) {
	return apiKeyPolicy(forUpdate(t.g), tenant)
}

func (t *tx) PutAPIKeyPolicy(tenant ident.Tenant, p apikeys.Policy) error {
	return unavailable(t.g.Model(&apiKeyPolicyRow{}).Where("id = ?", string(tenant.Org())).Updates(map[string]any{
		"api_key_permissions": p.Permissions.String(), "api_key_max_lifetime": int64(p.MaxLifetime / time.Second),
	}).Error)
}
