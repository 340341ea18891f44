package verify

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
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
	streamSilence = 25 * time.Second // without a signed event, a stream is dead
	minBackoff    = time.Second
	maxBackoff    = 30 * time.Second
)

// push follows the feed by a mode that waits, and polls while that fails.
func (r *RemoteRevocations) push(ctx context.Context, once func(context.Context) (heard bool, err error)) {
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
		r.pollUntil(again)
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
		return true, r.Poll(ctx)
	}
	address, err := url.Parse(r.URL)
	if err != nil {
		return false, err
	}
	q := address.Query()
	q.Set("since", cursor)
	q.Set("wait", strconv.Itoa(int(longPollWait/time.Second)))
	address.RawQuery = q.Encode()
	d, err := fetchWithin(ctx, longPollWait+longPollGrace, request{client: untimed(r.Client), url: address.String(), limit: maxFeed})
	if err != nil {
		return false, err
	}
	return true, r.take(ctx, string(d.body), d.etag)
}

// stream follows one connection until it ends. It has heard where one document
// was believed.
func (r *RemoteRevocations) stream(ctx context.Context) (heard bool, err error) {
	if err := r.complete(); err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Comments do not wind the watch up again: anybody can send them.
	watch := time.AfterFunc(streamSilence, cancel)
	defer watch.Stop()
	res, err := r.connect(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = res.Body.Close() }()
	in := &events{r: bufio.NewReader(res.Body), limit: maxFeed}
	for {
		compact, err := in.next()
		if err != nil {
			return heard, fmt.Errorf("the stream of revocations ended: %w", err)
		}
		if err := r.take(ctx, compact, ""); err != nil {
			if _, cursor := r.heard.place(); cursor != "" {
				r.heard.restart() // what was missed is in the whole list
			}
			return heard, err
		}
		heard = true
		watch.Reset(streamSilence)
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

// restart makes the next document asked for the whole list.
func (s *revocations) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor, s.etag = "", ""
}
