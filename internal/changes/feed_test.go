package changes

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// memory is a log in memory, whose database can be taken away.
type memory struct {
	log  []Change
	down error
}

func (m *memory) Start(_ context.Context, now time.Time) ([]Change, Cursor, error) {
	var out []Change
	for _, c := range m.log {
		if c.Until.After(now) {
			out = append(out, c)
		}
	}
	return out, Cursor{Seq: int64(len(m.log))}, m.down
}

func (m *memory) Since(_ context.Context, c Cursor) ([]Change, Cursor, error) {
	return m.log[c.Seq:], Cursor{Seq: int64(len(m.log))}, m.down
}

func (m *memory) Wait(ctx context.Context) error { <-ctx.Done(); return nil }

// ear is a subscriber that writes down what it hears.
type ear struct{ heard []string }

func (e *ear) Hear(cs []Change) {
	for _, c := range cs {
		e.heard = append(e.heard, c.Key)
	}
}
func (e *ear) Forget() { e.heard = append(e.heard, "forget") }

func TestFeed(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	log, e := &memory{}, &ear{}
	f := &Feed{Log: log, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler)}
	var lags []time.Duration
	f.Observe = func(d time.Duration) { lags = append(lags, d) }
	f.Subscribe(e)
	if f.Fresh() {
		t.Error("a feed that never heard the log is fresh")
	}
	log.log = []Change{{Kind: SessionRevoked, Key: "old", Until: now}, {Kind: SessionRevoked, Key: "live", Until: now.Add(time.Hour)}}
	if err := f.Start(t.Context()); err != nil || !f.Fresh() {
		t.Fatal(err)
	}
	log.log = append(log.log, Change{Kind: SessionRevoked, Key: "s1", At: now.Add(-time.Second), Until: now.Add(time.Hour)}, Change{Kind: APIKey, Key: "k1"})
	if err := f.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"live", "s1", "k1"}; !slices.Equal(e.heard, want) {
		t.Errorf("heard %v, want %v", e.heard, want)
	}
	if !slices.Equal(lags, []time.Duration{time.Second}) {
		t.Errorf("lags %v", lags)
	}
}

// FLT-DB-04, FLT-DB-22: a feed that cannot hear says so, and forgets when it
// hears again, because it may have missed something.
func TestASilentFeedIsNotBelieved(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	log, e := &memory{}, &ear{}
	f := &Feed{Log: log, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler)}
	f.Subscribe(e)
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.down = errors.New("unreachable")
	now = now.Add(DefaultMaxSilence)
	if err := f.Poll(t.Context()); err == nil || !f.Fresh() {
		t.Errorf("at the limit: err %v, fresh %v", err, f.Fresh())
	}
	now = now.Add(time.Microsecond)
	if f.Fresh() {
		t.Error("fresh after more than the longest silence")
	}
	log.log = []Change{{Kind: SessionRevoked, Key: "missed", Until: now.Add(time.Hour)}}
	if err := f.Poll(t.Context()); err == nil || f.Fresh() {
		t.Error("a failed poll made the feed fresh")
	}
	log.down, e.heard = nil, nil
	if err := f.Poll(t.Context()); err != nil || !f.Fresh() {
		t.Errorf("after recovery: %v", err)
	}
	if want := []string{"forget", "missed"}; !slices.Equal(e.heard, want) {
		t.Errorf("heard %v, want %v", e.heard, want)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	f := &Feed{Log: &memory{}, Now: func() time.Time { return time.Unix(1, 0) }, Logger: slog.New(slog.DiscardHandler), Interval: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	cancel()
	<-done
}
