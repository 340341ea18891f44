package gormstore

import (
	"context"

	"github.com/tokenhouse/tokenhouse/oauth"
)

// Exchanges returns the store that settles a login and opens its session in
// one commit.
func (db *DB) Exchanges() oauth.Store { return exchanges{db} }

type exchanges struct{ db *DB }

var (
	_ oauth.Store = exchanges{}
	_ oauth.Tx    = sessionTx{}
)

func (e exchanges) InExchangeTx(ctx context.Context, fn func(oauth.Tx) error) error {
	return e.db.inTx(ctx, func(t *tx) error { return fn(sessionTx{t}) })
}
