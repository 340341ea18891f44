package signing

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

// step is one change of one key.
type step struct {
	id        string // of the key that changes; empty where one is made
	algorithm string
	to        State
	previous  string // the active key whose place it takes, if any
}

// standing is the active key of an algorithm and the published one that is
// next; one that is not there has no id.
func standing(keys []Key, alg string) (active, next Key) {
	for _, k := range keys {
		switch {
		case k.Algorithm != alg:
		case k.State == Active:
			active = k
		case k.State == Published && next.ID == "":
			next = k
		}
	}
	return active, next
}

func countOf(keys []Key, alg string) (n int) {
	for _, k := range keys {
		if k.Algorithm == alg && k.State != Revoked {
			n++
		}
	}
	return n
}

// successor is the step that puts a key in the place of one: the published one
// where there is any, else one that is made.
func successor(previous, next Key) step {
	return step{id: next.ID, algorithm: previous.Algorithm, to: Active, previous: previous.ID}
}

// judge says what is due at now. A key is never put in another's place before
// it has been published for announce. Where lifetime is zero none is published
// by itself. A ring without an active key is for Load to mend.
func judge(keys []Key, algorithms []string, announce, lifetime time.Duration, now time.Time) (due []step) {
	for _, alg := range algorithms {
		active, next := standing(keys, alg)
		switch {
		case active.ID == "":
		case next.ID != "":
			if now.Sub(next.CreatedAt) >= announce {
				due = append(due, step{id: active.ID, algorithm: alg, to: Retiring}, successor(active, next))
			}
		case lifetime > 0 && now.Sub(active.ActivatedAt) >= lifetime-announce && countOf(keys, alg) < maxKeys:
			due = append(due, step{algorithm: alg, to: Published})
		}
	}
	return due
}

// rotation gives the algorithms a next key, which is published only or, where
// to is Active, signs at once.
func rotation(keys []Key, algorithms []string, to State) (steps []step, err error) {
	for _, alg := range algorithms {
		active, next := standing(keys, alg)
		if n := countOf(keys, alg); next.ID == "" && n >= maxKeys {
			return nil, fault.New(fault.Conflict, fmt.Sprintf("There are %d keys for %s already: what the oldest signed must expire first.", n, alg))
		}
		switch {
		case to == Published && next.ID == "":
			steps = append(steps, step{algorithm: alg, to: Published})
		case to == Active && active.ID != "":
			steps = append(steps, step{id: active.ID, algorithm: alg, to: Retiring}, successor(active, next))
		}
	}
	return steps, nil
}

// revocation revokes a key, and puts another in the place of an active one.
func revocation(keys []Key, id string, algorithms []string) ([]step, error) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return nil, fault.NotFound
	}
	k := keys[i]
	if k.State == Revoked {
		return nil, nil
	}
	steps := []step{{id: id, algorithm: k.Algorithm, to: Revoked}}
	if k.State == Active && slices.Contains(algorithms, k.Algorithm) {
		_, next := standing(keys, k.Algorithm)
		steps = append(steps, successor(k, next))
	}
	return steps, nil
}
