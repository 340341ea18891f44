package changes

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// list is the list of replicas in memory; its questions go into a log.
type list struct {
	mu        sync.Mutex
	log       *memory
	listed    map[string]time.Time
	confirmed map[string][]string
	failBeats error
	asked     func() // by whoever asks, once the question committed
}

func (l *list) Beat(_ context.Context, r Replica, before string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failBeats != nil {
		return l.failBeats
	}
	delete(l.listed, before)
	l.listed[r.ID] = r.Until
	return nil
}

func (l *list) Leave(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listed, id)
	return nil
}

func (l *list) Believing(_ context.Context, now time.Time) (out []Replica, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, until := range l.listed {
		if until.After(now) {
			out = append(out, Replica{id, until})
		}
	}
	slices.SortFunc(out, func(a, b Replica) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (l *list) Ask(_ context.Context, c Change) error {
	l.mu.Lock()
	l.log.log = append(l.log.log, c)
	l.mu.Unlock()
	if l.asked != nil {
		l.asked()
	}
	return nil
}

func (l *list) Confirm(_ context.Context, question, replica string, _ time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed[question] = append(l.confirmed[question], replica)
	return nil
}

func (l *list) Confirmed(_ context.Context, question string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.confirmed[question]), nil
}

func (l *list) Prune(context.Context, time.Time) error { return nil }

// fleet is several followers of one log, with one clock.
type fleet struct {
	*list
	now   time.Time
	feeds []*Feed
}

func newFleet(t *testing.T, size int) *fleet {
	t.Helper()
	f := &fleet{list: &list{log: &memory{}, listed: map[string]time.Time{}, confirmed: map[string][]string{}}, now: time.Unix(1_700_000_000, 0)}
	for range size {
		feed := &Feed{Log: f.log, Now: func() time.Time { return f.now }, Logger: slog.New(slog.DiscardHandler), Roll: &Roll{Replicas: f.list, Random: rand.Reader}}
		if err := feed.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.feeds = append(f.feeds, feed)
	}
	return f
}

func (f *fleet) poll(t *testing.T, which ...int) {
	t.Helper()
	for _, i := range which {
		if err := f.feeds[i].Poll(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// everywhere asks, for as long as the fleet's clock alone decides nothing.
func (f *fleet) everywhere(t *testing.T, patience time.Duration) Heard {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h, err := f.feeds[0].Everywhere(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEverywhereWaitsForEveryReplica(t *testing.T) {
	f := newFleet(t, 3)
	f.asked = func() { f.poll(t, 0, 1, 2) }
	var told []bool
	f.feeds[0].Roll.Observe = func(_ time.Duration, complete bool) { told = append(told, complete) }
	if h := f.everywhere(t, time.Minute); h.Replicas != 2 || len(h.Missing) != 0 {
		t.Errorf("all have heard: %+v", h)
	}
	f.asked = func() { f.poll(t, 0, 1) }
	h := f.everywhere(t, 20*time.Millisecond)
	if len(h.Missing) != 1 || h.Missing[0].ID != f.feeds[2].Roll.self() {
		t.Errorf("the third has not heard: %+v", h)
	}
	if !slices.Equal(told, []bool{true, false}) {
		t.Errorf("told %v", told)
	}
}

// A process alone, or on no list, waits for nobody and asks nothing.
func TestEverywhereOfOneProcess(t *testing.T) {
	f := newFleet(t, 1)
	if h := f.everywhere(t, time.Minute); h.Replicas != 0 || len(h.Missing) != 0 || len(f.log.log) != 0 {
		t.Errorf("%+v, asked %v", h, f.log.log)
	}
	f.feeds[0].Roll = nil
	if h := f.everywhere(t, time.Minute); h.Replicas != 0 || !f.feeds[0].Fresh() {
		t.Errorf("%+v", h)
	}
}

// Who stopped without a word is waited for until it believes nothing any more,
// and not a moment longer; and by then it does believe nothing.
func TestADeadReplicaStopsCounting(t *testing.T) {
	f := newFleet(t, 2)
	lease := f.feeds[1].lease()
	f.now = f.now.Add(lease - time.Microsecond)
	f.poll(t, 0)
	if h := f.everywhere(t, 10*time.Millisecond); len(h.Missing) != 1 {
		t.Errorf("its time has not passed, and yet %+v", h)
	}
	f.now = f.now.Add(time.Microsecond + skew)
	if f.feeds[1].Fresh() {
		t.Error("it still believes its caches")
	}
	if h := f.everywhere(t, time.Minute); h.Replicas != 0 {
		t.Errorf("%+v", h)
	}
	f.poll(t, 1) // it was only asleep
	if !f.feeds[1].Fresh() || len(f.listed) != 2 {
		t.Errorf("fresh %v, listed %v", f.feeds[1].Fresh(), f.listed)
	}
}

// Who can read but not say so hears everything, and yet is not believed once
// nobody waits for it.
func TestWhoCannotBeListedBelievesNothing(t *testing.T) {
	f := newFleet(t, 1)
	feed, e := f.feeds[0], &ear{}
	feed.Subscribe(e)
	f.failBeats = errors.New("the database is read-only")
	for range 5 {
		f.now = f.now.Add(beatEvery)
		f.log.log = append(f.log.log, Change{Kind: APIKey, Key: "k"})
		_ = feed.Poll(t.Context()) // says that it is not listed
	}
	if !slices.Contains(e.heard, "k") {
		t.Errorf("heard %v", e.heard)
	}
	f.now = f.now.Add(feed.lease() - 5*beatEvery)
	_ = feed.Poll(t.Context())
	if feed.Fresh() {
		t.Error("it believes its caches, and nobody waits for it")
	}
	f.failBeats = nil
	f.poll(t, 0)
	if !feed.Fresh() || !slices.Contains(e.heard, "forget") {
		t.Errorf("fresh %v, heard %v", feed.Fresh(), e.heard)
	}
}

// A replica in good order is written once in beatEvery, however often it polls.
func TestPollingWritesSeldom(t *testing.T) {
	f := newFleet(t, 1)
	first := f.listed[f.feeds[0].Roll.self()]
	for range 11 {
		f.now = f.now.Add(DefaultInterval)
		f.poll(t, 0)
	}
	if got := f.listed[f.feeds[0].Roll.self()]; !got.Equal(first) {
		t.Errorf("stored again after %s", got.Sub(first))
	}
	f.now = f.now.Add(DefaultInterval)
	f.poll(t, 0)
	if got := f.listed[f.feeds[0].Roll.self()]; got.Sub(first) != beatEvery {
		t.Errorf("%s after the first", got.Sub(first))
	}
	if err := f.feeds[0].Leave(t.Context()); err != nil || len(f.listed) != 0 || f.feeds[0].Fresh() {
		t.Errorf("left: %v, listed %v", err, f.listed)
	}
}
