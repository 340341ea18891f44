package gormstore

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/oauth"
)

// ClientAssertions returns the store of assertions that clients used up.
func (db *DB) ClientAssertions() oauth.AssertionStore { return clientAssertions{db} }

type clientAssertions struct{ db *DB }

var _ oauth.AssertionStore = clientAssertions{}

func (s clientAssertions) UseAssertion(ctx context.Context, client ident.ClientID, jti []byte, expires time.Time) (bool, error) {
	var first bool
	err := s.db.inTx(ctx, func(t *tx) error {
		done := t.g.Exec(`INSERT INTO client_assertions (client_id, jti, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			string(client), jti, micros(expires))
		first = done.RowsAffected == 1
		return done.Error
	})
	return first && err == nil, err
}

func (s clientAssertions) DeleteExpiredAssertions(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.db.delete(ctx, `DELETE FROM client_assertions WHERE (client_id, jti) IN
		(SELECT client_id, jti FROM client_assertions WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`, micros(before), limit)
}
