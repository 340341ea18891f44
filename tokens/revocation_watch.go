package tokens

import (
	"context"
	"sync"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
)

const (
	// MaxFeedWaiters is how many requests of a process wait for a revocation at once.
	MaxFeedWaiters = 1024
	// MaxFeedStreams is how many streams of the feed a process keeps at once.
	MaxFeedStreams = 512
)

// watchers wakes whoever waits for a revocation. The zero value is ready.
type watchers struct {
	mu      sync.Mutex
	changed chan struct{} // closed with the next change
	ended   chan struct{} // closed by End
	over    bool
	waiting int
	streams int
}

// channels returns what to wait for. Take it before looking at the feed.
func (w *watchers) channels() (changed, ended <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.prepare()
	return w.changed, w.ended
}

func (w *watchers) prepare() {
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	if w.ended == nil {
		w.ended = make(chan struct{})
	}
}

func (w *watchers) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// enter takes one of most places; leave gives it back.
func (w *watchers) enter(n *int, most int) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || *n >= most {
		return nil, fault.New(fault.Unavailable, "No more readers can wait for revocations here. Ask without waiting.")
	}
	*n++
	return func() { w.mu.Lock(); *n--; w.mu.Unlock() }, nil
}

// End lets go of every reader that waits, and takes no more: the process is
// about to stop. The list itself is still served. It may be called twice.
func (f *RevocationFeed) End() {
	f.watch.mu.Lock()
	defer f.watch.mu.Unlock()
	f.watch.prepare()
	if !f.watch.over {
		f.watch.over = true
		close(f.watch.ended)
	}
}

// Await is Since that waits up to wait for something to say, or until ctx ends
// or the feed does; what it answers then is a delta without entries. It fails
// with fault.Unavailable where MaxFeedWaiters wait already.
func (f *RevocationFeed) Await(ctx context.Context, cursor string, wait time.Duration) (RevocationDocument, error) {
	leave, err := f.watch.enter(&f.watch.waiting, MaxFeedWaiters)
	if err != nil {
		return RevocationDocument{}, err
	}
	defer leave()
	patience := time.NewTimer(wait)
	defer patience.Stop()
	for last := false; ; {
		changed, ended := f.watch.channels()
		d, empty, err := f.Since(ctx, cursor)
		if err != nil || !empty || last {
			return d, err
		}
		select {
		case <-changed:
		case <-patience.C:
			last = true
		case <-ended:
			last = true
		case <-ctx.Done():
			return RevocationDocument{}, ctx.Err()
		}
	}
}

// FeedStream tells one reader of revocations as they are made. Close it.
type FeedStream struct {
	feed   *RevocationFeed
	cursor string
	begun  bool
	leave  func()
}

// Stream begins after cursor, which may be empty. It fails with
// fault.Unavailable where there are MaxFeedStreams already.
func (f *RevocationFeed) Stream(cursor string) (*FeedStream, error) {
	leave, err := f.watch.enter(&f.watch.streams, MaxFeedStreams)
	if err != nil {
		return nil, err
	}
	return &FeedStream{feed: f, cursor: cursor, leave: leave}, nil
}

// Close gives the stream's place back. Call it once.
func (s *FeedStream) Close() { s.leave() }

// Next returns the next delta: at once the first time, then when something was
// revoked, and without entries after silence at the latest, so that the reader
// knows that nothing was kept from it. ok is false where the feed has ended. It
// fails where the feed cannot be told, and when ctx ends.
func (s *FeedStream) Next(ctx context.Context, silence time.Duration) (d RevocationDocument, ok bool, err error) {
	patience := time.NewTimer(silence)
	defer patience.Stop()
	for last := !s.begun; ; {
		changed, ended := s.feed.watch.channels()
		d, empty, err := s.feed.Since(ctx, s.cursor)
		if err != nil {
			return RevocationDocument{}, false, err
		}
		if !empty || last {
			s.cursor, s.begun = d.Cursor, true
			return d, true, nil
		}
		select {
		case <-changed:
		case <-patience.C:
			last = true
		case <-ended:
			return RevocationDocument{}, false, nil
		case <-ctx.Done():
			return RevocationDocument{}, false, ctx.Err()
		}
	}
}
