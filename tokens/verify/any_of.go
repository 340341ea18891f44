package verify

import (
	"context"
	"errors"
)

// AnyOf asks several sources about the same revocations, such as the feed and
// the status lists of one issuer. A token that one of them knows is revoked is
// refused, and so is one that one of them calls invalid. Otherwise it is enough
// that one can tell: while the feed is silent the lists answer, and the other
// way round. Where none can tell, the token is refused with ErrUnavailable.
//
//	v.Revoked = verify.AnyOf{feed, lists}
type AnyOf []RevocationSource

// Revoked asks each source in order.
func (a AnyOf) Revoked(ctx context.Context, c Claims) (bool, error) {
	told, cause := false, error(ErrUnavailable.because("there is no source of revocations"))
	for _, source := range a {
		switch revoked, err := source.Revoked(ctx, c); {
		case revoked && err == nil:
			return true, nil
		case err == nil:
			told = true
		case !errors.Is(refusal(err), ErrUnavailable):
			return false, err
		default:
			cause = err
		}
	}
	if told {
		return false, nil
	}
	return false, cause
}
