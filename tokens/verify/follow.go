package verify

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// FeedMode is how RemoteRevocations learns of revocations.
type FeedMode int

// The modes. What is made of a document is the same in each.
const (
	// FeedPoll asks for the whole list every Interval, and is told when it is
	// unchanged.
	FeedPoll FeedMode = iota
	// FeedLongPoll asks for what is new, and is answered when there is something.
	FeedLongPoll
	// FeedStream keeps one connection on which it is told (server-sent events).
	FeedStream
)

const (
	longPollWait  = 10 * time.Second // less than half of what the feed bears
	longPollGrace = 5 * time.Second  // how much later the answer may come
	longPollGap   = 100 * time.Millisecond
	wholeListGap  = time.Second      // after a long poll that was answered with everything
	streamStart   = 10 * time.Second // without a first event, a proxy keeps them back
	streamSilence = 25 * time.Second // without news in the signed time, a stream is dead
	minBackoff    = time.Second
	maxBackoff    = 30 * time.Second
)

// follow learns of revocations by a mode until ctx ends.
func (r *RemoteRevocations) follow(ctx context.Context, mode FeedMode) {
	switch mode {
	case FeedStream:
		r.push(ctx, r.stream, FeedLongPoll)
	case FeedLongPoll:
		r.push(ctx, r.longPoll, FeedPoll)
	default:
		r.pollUntil(ctx)
	}
}

// push follows the feed by a mode that waits, and by a humbler one while that
// fails: a pause that doubles each time nothing was heard.
func (r *RemoteRevocations) push(ctx context.Context, once func(context.Context) (heard bool, err error), meanwhile FeedMode) {
	backoff := minBackoff
	for ctx.Err() == nil {
		heard, err := once(ctx)
		if ctx.Err() != nil {
			return
		}
		if heard {
			backoff = minBackoff
		}
		if err == nil {
			pause(ctx, longPollGap)
			continue
		}
		r.report(ctx, err)
		again, cancel := context.WithTimeout(ctx, r.jitter(backoff))
		r.follow(again, meanwhile)
		cancel()
		backoff = min(2*backoff, maxBackoff)
	}
}

// jitter is between half of d and d, so that all readers of an issuer that was
// away do not come back at once.
func (r *RemoteRevocations) jitter(d time.Duration) time.Duration {
	random := r.Random
	if random == nil {
		random = rand.Reader
	}
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return d
	}
	return d/2 + time.Duration(binary.BigEndian.Uint64(b[:])%uint64(d/2+1))
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// longPoll asks once for what is new.
func (r *RemoteRevocations) longPoll(ctx context.Context) (bool, error) {
	_, cursor := r.heard.place()
	if cursor == "" {
		err := r.Poll(ctx)
		if _, cursor = r.heard.place(); err == nil && cursor == "" {
			pause(ctx, wholeListGap) // unchanged, or of an issuer that has no cursors
		}
		return err == nil, err
	}
	address, err := url.Parse(r.URL)
	if err != nil {
		return false, err
	}
	q := address.Query()
	q.Set("since", cursor)
	q.Set("wait", strconv.Itoa(int(longPollWait/time.Second)))
	address.RawQuery = q.Encode()
	d, err := fetchWithin(ctx, longPollWait+longPollGrace, request{client: untimed(r.Client), url: address.String(), limit: int64(r.limit())})
	if err != nil {
		r.heard.lose() // so that the next does not wait while the feed grows stale
		return false, err
	}
	n, err := r.take(ctx, string(d.body), d.etag)
	switch {
	case err != nil:
		r.heard.restart() // what was missed is in the whole list
	case !n.delta: // whoever answers so does not wait
		pause(ctx, wholeListGap)
	}
	return err == nil, err
}

// stream follows one connection until it ends. It has heard where there was news
// and nothing that was not believed.
func (r *RemoteRevocations) stream(ctx context.Context) (heard bool, err error) {
	if err := r.complete(); err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Only what is newer winds the watch up again: comments and replays can be
	// sent by anybody.
	watch := time.AfterFunc(streamStart, cancel)
	defer watch.Stop()
	res, err := r.connect(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = res.Body.Close() }()
	in := &events{r: bufio.NewReader(res.Body), limit: r.limit()}
	for begun := false; ; begun = true {
		compact, err := in.next()
		if err != nil {
			return heard, fmt.Errorf("the stream of revocations ended: %w", err)
		}
		n, err := r.take(ctx, compact, "")
		if err == nil && begun && !n.delta && !n.newer {
			err = errors.New("the stream of revocations repeats itself")
		}
		if err != nil {
			r.heard.restart() // what was missed is in the whole list
			return false, err
		}
		if !begun || n.newer {
			watch.Reset(streamSilence)
		}
		heard = heard || n.newer
	}
}

func (r *RemoteRevocations) connect(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Accept-Encoding", "identity")
	if _, cursor := r.heard.place(); cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	res, err := direct(untimed(r.Client)).Do(req)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	coding := res.Header.Get("Content-Encoding")
	if res.StatusCode == http.StatusOK && kind == "text/event-stream" && (coding == "" || coding == "identity") && !res.Uncompressed {
		return res, nil
	}
	_ = res.Body.Close() // it is not what was asked for
	return nil, fmt.Errorf("the issuer answered %d with %q, coded %q, instead of a stream", res.StatusCode, kind, coding)
}

// untimed is the client without a limit on the whole exchange, which is to last.
func untimed(c *http.Client) *http.Client {
	if c == nil {
		return nil
	}
	d := *c
	d.Timeout = 0
	return &d
}

// lose makes the next document asked for the list, where it has changed.
func (s *revocations) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = ""
}

// restart makes the next document asked for the whole list.
func (s *revocations) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor, s.etag = "", ""
}
