package gormstore

import (
	"context"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

type apiKeyImportRow struct {
	Lookup string `gorm:"primaryKey"`
	Key    string `gorm:"column:key_id"`
}

func (apiKeyImportRow) TableName() string { return "api_key_imports" }

func (a apiKeys) ImportedAPIKey(ctx context.Context, lookups []string) (string, error) {
	var found []string
	err := a.db.read.WithContext(ctx).Raw(
		"SELECT k.lookup FROM api_key_imports i JOIN api_keys k ON k.id = i.key_id WHERE i.lookup IN ? LIMIT 1", lookups).Scan(&found).Error
	if err != nil {
		return "", unavailable(err)
	}
	if len(found) == 0 {
		return "", fault.NotFound
	}
	return found[0], nil
}

func (a apiKeys) AnyAPIKeyImported(ctx context.Context) (bool, error) {
	var some bool
	err := a.db.read.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM api_key_imports)").Scan(&some).Error
	return some, unavailable(err)
}

func (t *tx) InsertAPIKeyImport(lookup string, id ident.APIKeyID) error {
	return conflict(t.g.Create(&apiKeyImportRow{lookup, string(id)}).Error)
}
