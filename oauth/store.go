package oauth

import (
	"context"

	"github.com/tokenhouse/tokenhouse/accounts"
	"github.com/tokenhouse/tokenhouse/tokens"
)

// Store joins in one commit what accounts and tokens keep.
type Store interface {
	// InExchangeTx runs fn in one transaction with the events and changes it
	// makes. fn may run again after a deadlock, so it sets its results anew.
	InExchangeTx(ctx context.Context, fn func(Tx) error) error
}

// Tx settles a login and opens its session, in place of another where the
// browser had one, or redeems a code for one.
type Tx interface {
	accounts.LoginTx
	tokens.Tx
	CodeTx
}
