package gormstore

import (
	"context"

	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

type sealedSecretRow struct {
	Purpose string `gorm:"primaryKey"`
	ID      int    `gorm:"primaryKey;autoIncrement:false"`
	Sealed  []byte
	Created int64 `gorm:"column:created_at"`
}

func (sealedSecretRow) TableName() string { return "sealed_secrets" }

// SealedSecrets returns the store of sealed secrets.
func (db *DB) SealedSecrets() sealing.SecretStore { return sealedSecrets{db} }

type sealedSecrets struct{ db *DB }

func (s sealedSecrets) SealedSecrets(ctx context.Context) ([]sealing.Sealed, error) {
	var rows []sealedSecretRow
	if err := s.db.read.WithContext(ctx).Order("purpose, id").Find(&rows).Error; err != nil {
		return nil, unavailable(err)
	}
	out := make([]sealing.Sealed, len(rows))
	for i, r := range rows {
		out[i] = sealing.Sealed{Purpose: sealing.Purpose(r.Purpose), ID: uint8(r.ID), Sealed: r.Sealed, CreatedAt: timeOf(r.Created)}
	}
	return out, nil
}

func (s sealedSecrets) AddSealedSecrets(ctx context.Context, secrets []sealing.Sealed) error {
	rows := make([]sealedSecretRow, len(secrets))
	for i, x := range secrets {
		rows[i] = sealedSecretRow{Purpose: string(x.Purpose), ID: int(x.ID), Sealed: x.Sealed, Created: micros(x.CreatedAt)}
	}
	return s.db.inTx(ctx, func(t *tx) error { return conflict(t.g.Create(&rows).Error) })
}
