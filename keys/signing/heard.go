package signing

import (
	"context"
	"fmt"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// Heard signs with a ring that hears of changes from a feed. While the feed is
// silent another replica may have retired or revoked our keys without our knowing,
// so the ring is loaded before each signature then.
type Heard struct {
	*Ring
	Fresh func() bool // whether the feed was heard lately
}

// Sign is Ring.Sign; fault.Unavailable where the feed is silent and the store too.
func (h Heard) Sign(ctx context.Context, payload []byte, typ string) (string, error) {
	if err := h.sure(ctx); err != nil {
		return "", err
	}
	return h.Ring.Sign(ctx, payload, typ)
}

// SignWith is Ring.SignWith, with the errors of Sign.
func (h Heard) SignWith(ctx context.Context, alg string, payload []byte, typ string) (string, error) {
	if err := h.sure(ctx); err != nil {
		return "", err
	}
	return h.Ring.SignWith(ctx, alg, payload, typ)
}

func (h Heard) sure(ctx context.Context) error {
	if h.Fresh() {
		return nil
	}
	if err := h.Load(ctx); err != nil {
		return fmt.Errorf("which key signs cannot be told: %w: %w", fault.Unavailable, err)
	}
	return nil
}
