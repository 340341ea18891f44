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

// Rotate gives algorithms of the ring new active keys, and returns them: every
// algorithm where none is named. The keys that signed until now stay in the JWK
// Set until Prune removes them, so that no token they signed is refused. It is
// fault.Invalid for an algorithm that the ring does not sign with, and
// fault.Conflict where another rotation was faster, or ten keys of an algorithm
// are published already.
func (r *Ring) Rotate(ctx context.Context, by ident.Caller, named ...string) ([]Key, error) {
	for _, alg := range named {
		if !slices.Contains(r.algorithms(), alg) {
			return nil, fault.Refuse("algorithm", "must be one that this deployment signs with: "+strings.Join(r.algorithms(), ", "))
		}
	}
	if len(named) == 0 {
		named = r.algorithms()
	}
	now := r.Now().Truncate(time.Microsecond)
	fresh := make([]Key, len(named))
	for i, alg := range named {
		k, err := newKey(alg, r.Keeper, r.Random, now)
		if err != nil {
			return nil, err
		}
		fresh[i] = k
	}
	// Read outside of the transaction: RetireSigningKey holds that it is still so.
	old, err := r.Store.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, alg := range named {
		if n := countOf(old, alg); n >= maxKeys {
			return nil, fault.New(fault.Conflict, fmt.Sprintf("There are %d keys for %s already: what the oldest signed must expire first.", n, alg))
		}
	}
	err = r.Store.InTx(ctx, func(tx Tx) error {
		for _, k := range fresh {
			if err := replace(tx, by, old, k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// What is signed from now on, here, is signed with the new keys. It is done
	// already: where the reload fails, the feed tries it again.
	if err := r.Load(ctx); err != nil {
		r.logger().ErrorContext(ctx, "signing keys could not be loaded after their rotation", "err", err)
	}
	return fresh, nil
}

func countOf(keys []Key, alg string) (n int) {
	for _, k := range keys {
		if k.Algorithm == alg && k.State != Revoked {
			n++
		}
	}
	return n
}

// replace stores k in the place of the active key of its algorithm.
func replace(tx Tx, by ident.Caller, old []Key, k Key) error {
	e := audit.By(by, k.CreatedAt, audit.SigningKeyRotated, audit.Target{Type: "signing_key", ID: k.ID})
	e.Meta = map[string]string{"algorithm": k.Algorithm}
	for _, o := range old {
		if o.Algorithm == k.Algorithm && o.State == Active {
			if err := tx.RetireSigningKey(o.ID, k.CreatedAt); err != nil {
				return err
			}
			e.Meta["previous"] = o.ID
		}
	}
	return errors.Join(tx.AddSigningKey(k), tx.Record(e), tx.Announce(changes.Change{Kind: changes.SigningKeys, Key: k.ID, At: k.CreatedAt}))
}

// Prune removes the keys that retired longer than Retain ago: everything they
// signed has expired. It does nothing where Retain is zero.
func (r *Ring) Prune(ctx context.Context) error {
	now := r.Now()
	for _, k := range r.Loaded() {
		if r.Retain == 0 || k.State != Retiring || now.Sub(k.RetiredAt) < r.Retain {
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
			tx.Record(audit.Event{
				Time: now, Name: audit.SigningKeyRemoved, Outcome: audit.Success, Actor: audit.Actor{Type: "system"},
				Targets: []audit.Target{{Type: "signing_key", ID: k.ID}}, Meta: map[string]string{"algorithm": k.Algorithm},
			}),
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
