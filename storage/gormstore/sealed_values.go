package gormstore

import (
	"context"
	"fmt"

	"github.com/tokenhouse/tokenhouse/audit/webhooks"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/keys/masterkey"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
	"github.com/tokenhouse/tokenhouse/keys/signing"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// sealedTables is every sealed value but wrapped master keys. What is sealed and
// lies elsewhere in the database must be added here.
const sealedTables = `
	SELECT 'client_secrets' AS tab, client_id AS id, 0 AS n, digest, sealed FROM client_secrets WHERE length(sealed) > 0
	UNION ALL SELECT 'sealed_secrets', purpose, id, NULL, sealed FROM sealed_secrets WHERE purpose <> '` + string(sealing.WrappedMasterKey) + `'
	UNION ALL SELECT 'signing_keys', id, 0, NULL, sealed FROM signing_keys
	UNION ALL SELECT 'webhook_secrets', webhook_id, n, NULL, sealed FROM webhook_secrets`

// sealedHeader is the length of sealing.HeaderOf.
const sealedHeader = 5

// MasterKey returns the store of what is sealed under the master key.
func (db *DB) MasterKey() masterkey.Store { return sealedValues{sealedSecrets{db}} }

type sealedValues struct{ sealedSecrets }

var (
	_ masterkey.Store = sealedValues{}
	_ masterkey.Tx    = (*tx)(nil)
)

func (s sealedValues) CountSealed(ctx context.Context) (map[string]int, error) {
	var rows []struct {
		Header []byte
		N      int
	}
	err := s.db.read.WithContext(ctx).
		Raw(fmt.Sprintf("SELECT substr(sealed, 1, %d) AS header, count(*) AS n FROM (%s) s GROUP BY 1", sealedHeader, sealedTables)).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[sealing.FingerprintOf(r.Header)] += r.N
	}
	return out, nil
}

func (s sealedValues) NotSealedUnder(ctx context.Context, fingerprint string, skip, limit int) ([]masterkey.Value, error) {
	var rows []struct {
		Tab    string
		ID     string
		N      int
		Digest []byte
		Sealed []byte
	}
	err := s.db.read.WithContext(ctx).
		Raw(fmt.Sprintf("SELECT tab, id, n, digest, sealed FROM (%s) s WHERE substr(sealed, 1, %d) <> ? ORDER BY tab, id, n, digest LIMIT ? OFFSET ?", sealedTables, sealedHeader),
			sealing.HeaderOf(fingerprint), limit, skip).Scan(&rows).Error
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]masterkey.Value, len(rows))
	for i, r := range rows {
		out[i] = masterkey.Value{Table: r.Tab, ID: r.ID, N: r.N, Digest: r.Digest, Context: sealedWith(r.Tab, r.ID, r.N), Sealed: r.Sealed}
	}
	return out, nil
}

// sealedWith is the context that a value of that place is bound to.
func sealedWith(table, id string, n int) string {
	switch table {
	case "client_secrets":
		return oauth.SecretContext(ident.ClientID(id))
	case "signing_keys":
		return signing.SealContext(id)
	case "webhook_secrets":
		return webhooks.SecretContext(ident.WebhookID(id), n)
	default:
		return sealing.Sealed{Purpose: sealing.Purpose(id), ID: uint8(n)}.Context() //nolint:gosec // it was an uint8
	}
}

func (s sealedValues) InTx(ctx context.Context, fn func(masterkey.Tx) error) error {
	return s.db.inTx(ctx, func(t *tx) error { return fn(t) })
}

func (t *tx) ReplaceSealed(v masterkey.Value, fresh []byte) (bool, error) {
	q := t.g.Where("sealed = ?", v.Sealed)
	var row any
	switch v.Table {
	case "client_secrets":
		row, q = &clientSecretRow{}, q.Where("client_id = ? AND digest = ?", v.ID, v.Digest)
	case "signing_keys":
		row, q = &signingKeyRow{}, q.Where("id = ?", v.ID)
	case "webhook_secrets":
		row, q = &webhookSecretRow{}, q.Where("webhook_id = ? AND n = ?", v.ID, v.N)
	case "sealed_secrets":
		row, q = &sealedSecretRow{}, q.Where("purpose = ? AND id = ?", v.ID, v.N)
	default:
		return false, fmt.Errorf("nothing is sealed in a table %q", v.Table)
	}
	done := q.Model(row).Update("sealed", fresh)
	return done.RowsAffected > 0, unavailable(done.Error)
}

func (t *tx) RemoveSealedSecret(p sealing.Purpose, id uint8) error {
	return unavailable(t.g.Where("purpose = ? AND id = ?", string(p), id).Delete(&sealedSecretRow{}).Error)
}
