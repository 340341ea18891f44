package server

import (
	"context"
	"log/slog"

	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// LogHandler is next with the ids of the request that a line is about, where it
// is about one: request_id, and trace_id and span_id where the request is
// traced. So whoever has the request id of a reply finds every line, and from
// each the trace.
func LogHandler(next slog.Handler) slog.Handler { return identifying{next} }

type identifying struct{ slog.Handler }

// Handle implements slog.Handler.
func (h identifying) Handle(ctx context.Context, r slog.Record) error {
	in, ok := ctx.Value(inboundKey{}).(*inbound)
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	if !tellsRequest(r) {
		r.AddAttrs(slog.String("request_id", string(in.id)))
	}
	if in.traced != nil {
		trace, span := tracing.IDs(ctx)
		r.AddAttrs(slog.String("trace_id", trace), slog.String("span_id", span))
	}
	return h.Handler.Handle(ctx, r)
}

// tellsRequest reports whether the line has the request id already. It comes
// first where it does.
func tellsRequest(r slog.Record) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == "request_id"
		return !found
	})
	return found
}

// WithAttrs implements slog.Handler.
func (h identifying) WithAttrs(as []slog.Attr) slog.Handler {
	return identifying{h.Handler.WithAttrs(as)}
}

// WithGroup implements slog.Handler.
func (h identifying) WithGroup(name string) slog.Handler {
	return identifying{h.Handler.WithGroup(name)}
}
