package signing

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/keys/sealing"
)

// Ring is every signing key of the deployment. Load it before use.
type Ring struct {
	Store      Store
	Keeper     sealing.Keeper
	Now        func() time.Time
	Random     io.Reader
	Algorithms []string     // each gets an active key; the first signs by default; ES256 where empty
	Logger     *slog.Logger // slog.Default where nil
}

// Load reads every key and creates an active one for each algorithm that has none.
func (r *Ring) Load(context.Context) error { return fault.Internal }

// Sign returns the compact JWS of payload under the default algorithm, with the header alg, kid and typ.
func (r *Ring) Sign(context.Context, []byte, string) (string, error) { return "", fault.Internal }

// SignWith is Sign with the active key of another algorithm of the ring.
func (r *Ring) SignWith(context.Context, string, []byte, string) (string, error) {
	return "", fault.Internal
}

// JWKS returns the public keys that verifiers may trust.
func (r *Ring) JWKS() Document { return Document{} }

// PublicKey returns the public key of a kid, unless it is unknown or revoked.
func (r *Ring) PublicKey(string) (jose.JSONWebKey, bool) { return jose.JSONWebKey{}, false }

// Keys lists every key, oldest first, as stored now.
func (r *Ring) Keys(ctx context.Context) ([]Key, error) { return r.Store.SigningKeys(ctx) }

// Hear loads the ring again in the background where its keys changed.
func (r *Ring) Hear([]changes.Change) {}

// Forget loads the ring again in the background.
func (r *Ring) Forget() {}

var _ changes.Subscriber = (*Ring)(nil)
