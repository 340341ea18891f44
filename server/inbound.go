package server

import (
	"context"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/fault"
	"github.com/tokenhouse/tokenhouse/internal/ident"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// inbound is what the server knows of the request it is answering. It is made
// once, before anything else, and filled on the way in.
type inbound struct {
	id     ident.RequestID
	at     time.Time // the one clock read of the request
	origin ident.Origin
	secure bool                    // the client reached us, or the proxy we trust, over TLS
	route  string                  // the template, "/api/v1/api-keys/:id"; empty where no route matched
	caller ident.Caller            // anonymous until a guard has judged the credential
	viaJar bool                    // the credential came in a cookie
	traced func(tracing.Departure) // ends the span of the request; nil where it is not traced
	code   string                  // the code of the failure answered, for the access log
	failed *fault.Error            // what was answered, where it was a failure
	whole  context.Context         // the request's without requestTimeout: for what is answered piece by piece
}

type inboundKey struct{}

// inboundOf returns the request's own; an empty one outside of a request.
func inboundOf(ctx context.Context) *inbound {
	if in, ok := ctx.Value(inboundKey{}).(*inbound); ok {
		return in
	}
	return &inbound{}
}
