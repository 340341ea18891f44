package signing

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/audit"
	"github.com/tokenhouse/tokenhouse/internal/changes"
	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
)

// record makes the event of what happened to a key, which took the place of
// previous if that is not empty.
type record func(at time.Time, name audit.Name, k Key, previous string) audit.Event

func recordedBy(by ident.Caller) record {
	return func(at time.Time, name audit.Name, k Key, previous string) audit.Event {
		return about(audit.By(by, at, name, audit.Target{Type: "signing_key", ID: k.ID}), k, previous)
	}
}

func recordedBySystem(at time.Time, name audit.Name, k Key, previous string) audit.Event {
	return about(audit.Event{
		Time: at, Name: name, Outcome: audit.Success, Actor: audit.Actor{Type: "system"},
		Targets: []audit.Target{{Type: "signing_key", ID: k.ID}},
	}, k, previous)
}

func about(e audit.Event, k Key, previous string) audit.Event {
	e.Meta = map[string]string{"algorithm": k.Algorithm}
	if previous != "" {
		e.Meta["previous"] = previous
	}
	return e
}

// change does what plan says of the keys as they are, and loads the ring. It
// returns the keys as they are then. plan may be asked more than once: the
// first answer says for which algorithms keys must be made, which takes too
// long to do under the lock; the one that counts is given under the lock, so
// that replicas that do the same at the same time do it once.
func (r *Ring) change(ctx context.Context, how record, plan func([]Key, time.Time) ([]step, error)) ([]Key, error) {
	for range maxRaces {
		after, err := r.tryChange(ctx, how, plan)
		if !errors.Is(err, errUnforeseen) {
			return after, err
		}
	}
	return nil, fault.Conflict
}

// errUnforeseen is a plan that another replica changed between its two answers.
var errUnforeseen = errors.New("the signing keys were changed meanwhile")

func (r *Ring) tryChange(ctx context.Context, how record, plan func([]Key, time.Time) ([]step, error)) ([]Key, error) {
	keys, err := r.Store.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	steps, err := plan(keys, r.Now())
	if err != nil || len(steps) == 0 {
		return keys, err
	}
	made, err := r.made(steps)
	if err != nil {
		return nil, err
	}
	var after []Key
	err = r.Store.InTx(ctx, func(tx Tx) error {
		locked, err := tx.LockSigningKeys()
		if err != nil {
			return err
		}
		now := r.Now().Truncate(time.Microsecond) // of the decision: the lock may have taken its time
		steps, err := plan(locked, now)
		if err != nil {
			return err
		}
		after, err = perform(tx, steps, shelf{locked, made, r.Retain}, now, how)
		return err
	})
	if err != nil {
		return nil, err
	}
	// It is done already: where the keys cannot be read, what was committed holds.
	if err := r.Load(ctx); err != nil {
		r.logger().ErrorContext(ctx, "signing keys could not be loaded after they changed", "err", err)
		r.show(after)
	}
	return after, nil
}

// show makes keys the ring's, as Load does with those of the store.
func (r *Ring) show(keys []Key) {
	r.loading.Lock()
	defer r.loading.Unlock()
	if v, err := viewOf(keys, r.Keeper, r.algorithms()); err == nil {
		r.use(v)
	}
}

// made makes a key for each step that needs one, by algorithm.
func (r *Ring) made(steps []step) (map[string]Key, error) {
	out := map[string]Key{}
	for _, s := range steps {
		if s.id != "" {
			continue
		}
		k, err := newKey(s.algorithm, r.Keeper, r.Random)
		if err != nil {
			return nil, err
		}
		out[s.algorithm] = k
	}
	return out, nil
}

// shelf is what steps work on.
type shelf struct {
	stored []Key
	made   map[string]Key // by algorithm; not stored yet
	retain time.Duration  // Ring.Retain
}

// forEver is until when what a revoked key signed is refused in a ring that
// keeps its keys for ever.
const forEver = 100 * 365 * 24 * time.Hour

// revoked announces that what k signed is refused until its last token has
// expired. k is as it was before.
func (s shelf) revoked(k Key, now time.Time) changes.Change {
	last := now
	if k.State == Retiring {
		last = k.RetiredAt // it signed no more since
	}
	if s.retain == 0 {
		last = last.Add(forEver)
	}
	return changes.Change{Kind: changes.SigningKeyRevoked, Key: k.ID, At: now, Until: last.Add(s.retain)}
}

// perform does the steps, and returns the keys as they are then.
func perform(tx Tx, steps []step, on shelf, now time.Time, how record) ([]Key, error) {
	keys := slices.Clone(on.stored)
	for _, s := range steps {
		i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == s.id })
		var err error
		if i < 0 {
			k, ok := on.made[s.algorithm]
			if !ok {
				return nil, errUnforeseen
			}
			k.CreatedAt = now
			keys, i = append(keys, moved(k, s.to, now)), len(keys)
			err = tx.AddSigningKey(keys[i])
		} else {
			err = tx.MoveSigningKey(s.id, keys[i].State, s.to, now)
			if s.to == Revoked {
				err = errors.Join(err, tx.Announce(on.revoked(keys[i], now)))
			}
			keys[i] = moved(keys[i], s.to, now)
		}
		if err != nil {
			return nil, err
		}
		err = tx.Announce(changes.Change{Kind: changes.SigningKeys, Key: keys[i].ID, At: now})
		if name := eventOf(s); name != "" {
			err = errors.Join(err, tx.Record(how(now, name, keys[i], s.previous)))
		}
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// moved is k in another state since at.
func moved(k Key, to State, at time.Time) Key {
	switch k.State = to; to {
	case Active:
		k.ActivatedAt = at
	case Retiring, Revoked:
		k.RetiredAt = at
	}
	return k
}

// eventOf names what a step is in the audit log. That a key retires is in the
// event of the one that takes its place.
func eventOf(s step) audit.Name {
	switch {
	case s.to == Revoked:
		return audit.SigningKeyRevoked
	case s.to == Active && (s.id != "" || s.previous != ""):
		return audit.SigningKeyRotated
	case s.to == Active || s.to == Published:
		return audit.SigningKeyAdded
	default:
		return ""
	}
}
