package tokens

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// placed gives the access token that goes with v a place: a new one where the
// family is written anyway, else that of the last token, which lives on. A
// family that remembers none, because an older release wrote it or all its
// tokens were revoked, is written for it.
func (r *refresh) placed(ctx context.Context, f Family, v verdict) (verdict, error) {
	if r.Places == nil || !v.Result.Served() {
		return v, nil
	}
	ends := r.now.Add(cmp.Or(r.p.AccessTTL, r.MaxAccessTTL, DefaultMaxAccessTTL))
	last, had := f.Chain.Live.Newest()
	if had && v.Next == f && !last.Until.Before(ends.Add(margin)) {
		return v, nil
	}
	if err := r.draw(ctx); err != nil {
		return verdict{}, err
	}
	v.Next.Chain.Live = f.Chain.Live.With(LivePlace{r.at, ends.Add(r.stay())}, r.now)
	return v, nil
}

// draw takes a place for the access token, once.
func (r *refresh) draw(ctx context.Context) (err error) {
	if r.Places != nil && r.at == (Place{}) {
		r.at, err = r.Places.Next(ctx, LeaseHolder{})
	}
	return err
}

// stay is how much longer than its token a place is remembered: for as long as
// answers that write nothing share it, and the margin.
func (s *Service) stay() time.Duration {
	return max(s.Policy.withDefaults().Cooldown, touch) + margin
}

// vacate announces a place as revoked, and has its session forget it: the next
// token shall not stand there, nor have that name.
func vacate(tx Tx, session ident.SessionID, p LivePlace, now time.Time) error {
	if p.Place == (Place{}) {
		return nil
	}
	for _, c := range RevokedPlaces(now, []LiveRange{{PlaceRange{p.Place, 1}, p.Until}}) {
		if err := tx.Announce(c); err != nil {
			return err
		}
	}
	if session == "" {
		return nil
	}
	f, err := tx.Family(session)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	left := f.Chain.Live.Without(p.Place)
	if err != nil || left == f.Chain.Live {
		return err
	}
	f.Chain.Live = left
	return tx.SaveFamily(f)
}
