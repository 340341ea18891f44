package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// live is something published that may go on: a document, or a stream of events.
type live struct {
	document
	stream *eventStream // nil for a document
}

// eventStream is a response sent event by event (WHATWG HTML §9.2,
// text/event-stream).
type eventStream struct {
	// next returns the event to send, and whether there is one: the stream ends
	// where there is none or with an error. An event without data is a comment,
	// sent heartbeat later.
	next func(context.Context) (e event, ok bool, err error)
	end  func() // called once
}

// event is one message. Neither id nor data has a line break.
type event struct {
	id   string
	data []byte
}

const (
	// heartbeat is the time between two comments of a stream that cannot tell.
	heartbeat = time.Second
	// eventTimeout is how long a reader may take to read one event.
	eventTimeout = 10 * time.Second
	// eventGap is the least time between two events, so that a burst is one event.
	eventGap = 50 * time.Millisecond
)

// publishLive is publish for what may be a stream.
func publishLive(s *Server, get func(context.Context, *input) (live, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		wire, in := controller(c.Writer), inboundOf(c.Request.Context())
		if c.Request.Method == http.MethodGet {
			// The listener's limits are for requests that are answered at once. What
			// is written has its own. (Where there are no limits there are none to lift.)
			_ = errors.Join(wire.SetReadDeadline(time.Time{}), wire.SetWriteDeadline(time.Time{}))
		}
		answer, err := get(c.Request.Context(), &input{c: c, s: s, in: in})
		switch {
		case err != nil && in.whole.Err() != nil: // the client is gone
		case err != nil:
			s.fail(c.Writer, c.Request, err)
		case answer.stream != nil:
			defer answer.stream.end()
			answer.stream.send(in.whole, c.Writer, wire)
		default:
			defer limit(wire, WriteTimeout)()
			publish(s, fixed(answer.document))(c)
		}
	}
}

// controller steps over gin's writer, whose Flush does nothing where the writer below
// offers it through Unwrap only.
func controller(w http.ResponseWriter) *http.ResponseController {
	if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		w = u.Unwrap()
	}
	return http.NewResponseController(w)
}

// limit breaks off what is being written when it takes longer than that. A
// timer, because the wall clock may jump.
func limit(wire *http.ResponseController, most time.Duration) (stop func() bool) {
	return time.AfterFunc(most, func() {
		_ = wire.SetWriteDeadline(time.Unix(1, 0)) // long past: the write fails at once
	}).Stop
}

// send writes events until there are no more, the reader is gone, or it is slow.
func (e *eventStream) send(ctx context.Context, w gin.ResponseWriter, wire *http.ResponseController) {
	h := w.Header()
	setAll(h,
		field{"Content-Type", "text/event-stream"},
		field{"Cache-Control", "no-store"},
		field{"X-Accel-Buffering", "no"}, // nginx would keep events back
		field{"Access-Control-Allow-Origin", "*"},
	)
	h.Del("Access-Control-Allow-Credentials")
	w.WriteHeader(http.StatusOK)
	for ctx.Err() == nil {
		next, ok, err := e.next(ctx)
		if err != nil || !ok || !next.write(w, wire) {
			return
		}
		gap := eventGap
		if next.data == nil {
			gap = heartbeat
		}
		if !pause(ctx, gap) {
			return
		}
	}
}

func (e event) write(w gin.ResponseWriter, wire *http.ResponseController) bool {
	defer limit(wire, eventTimeout)()
	text := []byte(":\n\n")
	if e.data != nil {
		text = append([]byte("id: "+e.id+"\ndata: "), e.data...)
		text = append(text, "\n\n"...)
	}
	if _, err := w.Write(text); err != nil {
		return false
	}
	return wire.Flush() == nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
