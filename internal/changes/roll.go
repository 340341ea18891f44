package changes

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Times of a Roll.
const (
	// beatEvery is how often a replica says that it still follows: one row
	// changes, and nothing else is written for those who may wait.
	beatEvery = 3 * time.Second
	// beatSpare is how much longer than MaxSilence a beat counts, so that a
	// replica that can write at all is bound by MaxSilence and by nothing else.
	beatSpare = 2 * beatEvery
	// skew is how far the clocks of two replicas may be apart.
	skew = 2 * time.Second
	// writeTimeout bounds what the list costs a follower: hearing goes first.
	writeTimeout = time.Second
)

// Roll is this process on the list of replicas. Its zero methods are those of
// a process that is on no list, which may believe its caches but is not waited
// for: a command that runs beside the server.
type Roll struct {
	Replicas Replicas
	Random   io.Reader
	// Observe, where set, is told how long a call of Everywhere waited, and
	// whether every replica confirmed.
	Observe func(took time.Duration, complete bool)

	id     atomic.Pointer[string]
	stored atomic.Int64 // unix microseconds: Until, as it was stored last
	until  atomic.Int64 // unix microseconds: Until, once everything before it was heard
}

func (r *Roll) self() string {
	if r == nil || r.id.Load() == nil {
		return ""
	}
	return *r.id.Load()
}

// enter puts the process on the list under a new id: what it had not heard
// under the old one it will never hear, but forgets.
func (r *Roll) enter(ctx context.Context, now time.Time, lease time.Duration) (time.Time, error) {
	if r == nil {
		return time.Time{}, nil
	}
	id, err := secret.Text(r.Random, 16)
	if err != nil {
		return time.Time{}, err
	}
	until := now.Add(lease)
	if err := r.Replicas.Beat(ctx, Replica{ID: "rep_" + id, Until: until}, r.self()); err != nil {
		return time.Time{}, err
	}
	id = "rep_" + id
	r.id.Store(&id)
	r.stored.Store(until.UnixMicro())
	return until, nil
}

// beat says again, where it is time to, that the process follows.
func (r *Roll) beat(ctx context.Context, now time.Time, lease time.Duration) (time.Time, error) {
	if r == nil {
		return time.Time{}, nil
	}
	stored := time.UnixMicro(r.stored.Load())
	until := now.Add(lease)
	if until.Sub(stored) < beatEvery {
		return stored, nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := r.Replicas.Beat(ctx, Replica{ID: r.self(), Until: until}, r.self()); err != nil {
		return time.UnixMicro(r.until.Load()), err
	}
	r.stored.Store(until.UnixMicro())
	return until, nil
}

// believe lets caches be believed until then.
func (r *Roll) believe(until time.Time) {
	if r != nil {
		r.until.Store(until.UnixMicro())
	}
}

// counts reports whether others still wait for this process.
func (r *Roll) counts(now time.Time) bool { return r == nil || now.UnixMicro() < r.until.Load() }

// confirm answers the questions among cs, which subscribers have heard.
func (r *Roll) confirm(ctx context.Context, cs []Change, now time.Time) error {
	if r == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var failed error
	for _, c := range cs {
		if c.Kind == Question {
			failed = errors.Join(failed, r.Replicas.Confirm(ctx, c.Key, r.self(), now))
		}
	}
	return failed
}

// lease is how long a beat counts.
func (f *Feed) lease() time.Duration { return orDefault(f.MaxSilence, DefaultMaxSilence) + beatSpare }

// Leave takes the process off the list, at its end. It believes no cache
// afterwards.
func (f *Feed) Leave(ctx context.Context) error {
	r := f.Roll
	if r == nil {
		return nil
	}
	r.until.Store(0)
	return r.Replicas.Leave(ctx, r.self())
}
