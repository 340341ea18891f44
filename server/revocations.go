package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/tokens"
)

const (
	// feedSilence is how long a stream says nothing at most: less than half of
	// what its readers bear, so that one delta may be late.
	feedSilence = 10 * time.Second
	// maxFeedWait is the longest wait a reader may ask for.
	maxFeedWait = 30 * time.Second
	// maxFeedCursor is the longest cursor read; a longer one is not ours.
	maxFeedCursor = 256
)

// revocations serves GET /.well-known/revocations: the signed list; with since,
// what was added to it; with wait, as soon as something was; and a stream of
// that to whoever accepts text/event-stream.
func (s *Server) revocations(ctx context.Context, in *input) (live, error) {
	if in.c.Request.Method == http.MethodHead {
		return s.revocationList(ctx)
	}
	since, err := in.value("since")
	if err != nil {
		return live{}, err
	}
	if accepts(in.c.Request.Header.Values("Accept"), "text/event-stream") {
		last, err := in.header("Last-Event-ID", maxFeedCursor)
		if err != nil {
			return live{}, err
		}
		if last != "" { // a browser repeats the address with its since
			since = last
		}
		return s.revocationStream(since)
	}
	wait, err := waitOf(in)
	switch {
	case err != nil:
		return live{}, err
	case since == "":
		return s.revocationList(ctx)
	case wait == 0:
		d, _, err := s.Services.Feed.Since(ctx, since)
		return feedDocument(d), err
	}
	d, err := s.Services.Feed.Await(in.in.whole, since, wait)
	return feedDocument(d), err
}

func (s *Server) revocationList(ctx context.Context) (live, error) {
	d, err := s.Services.Feed.Document(ctx)
	return feedDocument(d), err
}

func feedDocument(d tokens.RevocationDocument) live {
	out := document{kind: "application/" + tokens.RevocationFeedType, body: d.Body, etag: d.ETag, maxAge: d.MaxAge}
	if d.Delta {
		out.kind, out.maxAge = "application/"+tokens.RevocationDeltaType, 0
	}
	return live{document: out}
}

func waitOf(in *input) (time.Duration, error) {
	text, err := in.value("wait")
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if wait := time.Duration(n) * time.Second; err == nil && n >= 1 && n <= int(maxFeedWait/time.Second) {
		return wait, nil
	}
	return 0, fault.Refuse("wait", "must be from 1 to 30 seconds")
}

func (s *Server) revocationStream(since string) (live, error) {
	stream, err := s.Services.Feed.Stream(since)
	if err != nil {
		return live{}, err
	}
	return live{stream: &eventStream{
		next: func(ctx context.Context) (event, bool, error) {
			d, ok, err := stream.Next(ctx, feedSilence)
			if errors.Is(err, fault.Unavailable) && ctx.Err() == nil {
				return event{}, true, nil // nothing can be said, and its reader will know by the time it was last told
			}
			return event{id: d.Cursor, data: d.Body}, ok, err
		},
		end: stream.Close,
	}}, nil
}

// accepts reports whether an Accept header names that media type itself.
func accepts(values []string, kind string) bool {
	for v := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if name, _, _ := strings.Cut(v, ";"); strings.EqualFold(strings.TrimSpace(name), kind) {
			return true
		}
	}
	return false
}
