package changes

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Feed.
const (
	// DefaultInterval is how often the log is polled although nothing woke us.
	DefaultInterval = 250 * time.Millisecond
	// DefaultMaxSilence is how long the log may be out of reach before caches
	// are no longer believed.
	DefaultMaxSilence = 10 * time.Second

	// pollTimeout bounds one look into the log: a connection whose other end fell
	// silent is given up, so that the next look has another one.
	pollTimeout = 3 * time.Second
)

// Subscriber hears changes. Hear must be quick and must not block on the database.
type Subscriber interface {
	// Hear applies changes that have committed. It may see one twice.
	Hear([]Change)
	// Forget drops everything cached, but no revocation: changes may have been
	// missed.
	Forget()
}

// Feed follows the log and tells subscribers. Set the fields, Subscribe, then
// Start and Run.
type Feed struct {
	Log        Log
	Now        func() time.Time
	Interval   time.Duration // DefaultInterval where zero
	MaxSilence time.Duration // DefaultMaxSilence where zero
	Logger     *slog.Logger
	// Observe, where set, is told how long each revocation of another replica
	// took to arrive.
	Observe func(lag time.Duration)
	// Roll, where set, has others wait for this process: see Everywhere.
	Roll *Roll

	mu          sync.Mutex
	subscribers []Subscriber
	cursor      Cursor
	started     bool
	heard       atomic.Int64 // unix microseconds of the last successful poll
}

// Subscribe adds a subscriber. Call it before Start.
func (f *Feed) Subscribe(s Subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subscribers = append(f.subscribers, s)
}

// Start loads the revocations that matter now. The feed is Fresh afterwards.
func (f *Feed) Start(ctx context.Context) error {
	now := f.Now()
	until, err := f.Roll.enter(ctx, now, f.lease())
	if err != nil {
		return err
	}
	cs, cursor, err := f.Log.Start(ctx, now)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.cursor, f.started = cursor, true
	f.mu.Unlock()
	f.Publish(cs...)
	f.heard.Store(now.UnixMicro())
	f.Roll.believe(until)
	return nil
}

// Publish tells subscribers of changes this process just committed, before
// the reply is sent.
func (f *Feed) Publish(cs ...Change) {
	if len(cs) == 0 {
		return
	}
	f.mu.Lock()
	subs := f.subscribers
	f.mu.Unlock()
	for _, s := range subs {
		s.Hear(cs)
	}
}

// Fresh reports whether caches may be believed: the log was heard within
// MaxSilence, and whoever waits for replicas waits for this one.
func (f *Feed) Fresh() bool {
	now := f.Now()
	return now.Sub(time.UnixMicro(f.heard.Load())) <= orDefault(f.MaxSilence, DefaultMaxSilence) && f.Roll.counts(now)
}

// Silence is how long ago the log was last heard.
func (f *Feed) Silence() time.Duration { return f.Now().Sub(time.UnixMicro(f.heard.Load())) }

// Run follows the log until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wake, cancel := context.WithTimeout(ctx, orDefault(f.Interval, DefaultInterval))
		if err := f.Log.Wait(wake); err != nil && wake.Err() == nil {
			<-wake.Done() // the wake-up is broken: fall back to polling
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		poll, cancel := context.WithTimeout(ctx, pollTimeout)
		err := f.Poll(poll)
		cancel()
		if err != nil && ctx.Err() == nil {
			f.Logger.WarnContext(ctx, "change log is out of reach", "err", err)
		}
	}
}

// Poll reads the log once and tells subscribers. After a silence longer than
// MaxSilence everything cached is dropped first.
func (f *Feed) Poll(ctx context.Context) error {
	f.mu.Lock()
	cursor, started, subs := f.cursor, f.started, f.subscribers
	f.mu.Unlock()
	if !started || !f.Fresh() {
		for _, s := range subs {
			s.Forget()
		}
		return f.Start(ctx)
	}
	now := f.Now()
	until, unlisted := f.Roll.beat(ctx, now, f.lease()) // before the log is read: see Everywhere
	cs, next, err := f.Log.Since(ctx, cursor)
	if err != nil {
		return err
	}
	f.Publish(cs...)
	f.mu.Lock()
	f.cursor = next
	f.mu.Unlock()
	f.heard.Store(now.UnixMicro())
	f.Roll.believe(until)
	if f.Observe != nil {
		for _, c := range cs {
			if c.Revokes() {
				f.Observe(now.Sub(c.At))
			}
		}
	}
	return errors.Join(unlisted, f.Roll.confirm(ctx, cs, now))
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
