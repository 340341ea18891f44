package signing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// lookAgain is the least time between two reloads that unknown key ids cause.
const lookAgain = time.Second

// maxKeys bounds the published keys of one algorithm: verifiers give up on a
// JWK Set that is too long.
const maxKeys = 10

// Rotate publishes the next key of algorithms of the ring, of every one where
// none is named, and returns them. Tend lets them sign once they have been
// published for Announce, so that verifiers know them by then. One that is
// published already is returned as it is. It is fault.Invalid for an algorithm
// that the ring does not sign with, and fault.Conflict where ten keys of an
// algorithm are published already.
func (r *Ring) Rotate(ctx context.Context, by ident.Caller, named ...string) ([]Key, error) {
	return r.rotate(ctx, by, Published, named)
}

// RotateNow is Rotate, and the next keys sign at once: verifiers that keep the
// JWK Set and do not fetch it anew for a key id that they do not know refuse
// what the new keys sign for as long as they keep it.
func (r *Ring) RotateNow(ctx context.Context, by ident.Caller, named ...string) ([]Key, error) {
	return r.rotate(ctx, by, Active, named)
}

func (r *Ring) rotate(ctx context.Context, by ident.Caller, to State, named []string) ([]Key, error) {
	for _, alg := range named {
		if !slices.Contains(r.algorithms(), alg) {
			return nil, fault.Refuse("algorithm", "must be one that this deployment signs with: "+strings.Join(r.algorithms(), ", "))
		}
	}
	if len(named) == 0 {
		named = r.algorithms()
	}
	after, err := r.change(ctx, recordedBy(by), func(keys []Key, _ time.Time) ([]step, error) { return rotation(keys, named, to) })
	if err != nil {
		return nil, err
	}
	fresh := make([]Key, len(named))
	for i, alg := range named {
		active, next := standing(after, alg)
		if fresh[i] = next; to == Active {
			fresh[i] = active
		}
	}
	return fresh, nil
}

// Revoke takes a key out of the JWK Set: from now on everything that it signed
// is refused, here at once and by other replicas when they hear of it. Where it
// was the active one, the next key of its algorithm signs in its place, or a
// new one where none is published. A key that is revoked already stays so. It
// is fault.NotFound where there is no such key.
func (r *Ring) Revoke(ctx context.Context, by ident.Caller, id string) error {
	_, err := r.change(ctx, recordedBy(by), func(keys []Key, _ time.Time) ([]step, error) {
		return revocation(keys, id, r.algorithms())
	})
	return err
}

// Tend does what is due: it publishes the next key Announce before the active
// one has signed for Lifetime, and lets a key sign that has been published for
// Announce. Any number of replicas may do so at a time; one of them acts.
func (r *Ring) Tend(ctx context.Context) error {
	_, err := r.change(ctx, recordedBySystem, func(keys []Key, now time.Time) ([]step, error) {
		return judge(keys, r.algorithms(), r.Announce, r.Lifetime, now), nil
	})
	return err
}

// Prune removes the keys that retired or were revoked longer than Retain ago:
// everything they signed has expired. It does nothing where Retain is zero.
func (r *Ring) Prune(ctx context.Context) error {
	now := r.Now()
	for _, k := range r.Loaded() {
		if r.Retain == 0 || k.State != Retiring && k.State != Revoked || now.Sub(k.RetiredAt) < r.Retain {
			continue
		}
		if err := r.remove(ctx, k, now); err != nil && !errors.Is(err, fault.NotFound) { // another replica was faster
			return fmt.Errorf("remove signing key %s: %w", k.ID, err)
		}
	}
	return nil
}

func (r *Ring) remove(ctx context.Context, k Key, now time.Time) error {
	return r.Store.InTx(ctx, func(tx Tx) error {
		if err := tx.DeleteSigningKey(k.ID); err != nil {
			return err
		}
		return errors.Join(
			tx.Record(recordedBySystem(now, audit.SigningKeyRemoved, k, "")),
			tx.Announce(changes.Change{Kind: changes.SigningKeys, Key: k.ID, At: now}),
		)
	})
}

// Find is PublicKey, and looks into the database for a key it does not know,
// though not more than once a second: another replica may have begun to sign
// with it before we heard of it.
func (r *Ring) Find(ctx context.Context, kid string) (jose.JSONWebKey, bool, error) {
	if k, ok := r.PublicKey(kid); ok || !r.mayLook() {
		return k, ok, nil
	}
	if err := r.Load(ctx); err != nil {
		return jose.JSONWebKey{}, false, err
	}
	k, ok := r.PublicKey(kid)
	return k, ok, nil
}

func (r *Ring) mayLook() bool {
	now := r.Now().UnixMicro()
	last := r.looked.Load()
	return now-last >= lookAgain.Microseconds() && r.looked.CompareAndSwap(last, now)
}
