// Package tracing tells a collector, by OpenTelemetry's protocol, what requests
// were made of: one span for a request, and within it one for each use of the
// database, password hash and signature. What it tells comes from closed sets
// and identifiers of ours: never a path, a query, a header, an address, a name,
// an SQL statement or the text of an error.
//
// It is off unless configured. A nil *Tracer is off, and costs nothing.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes spans and sends them in the background.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	parents  bool
}

// Options are what a tracer needs besides its Config. All are required.
type Options struct {
	Version string           // of the service
	Now     func() time.Time // for how often failures are logged; spans have the machine's time
	Logger  *slog.Logger     // hears of spans that did not arrive
}

// Open returns the tracer of a configuration; nil where it is off. Nothing is
// sent yet. It fails where a file that the configuration names cannot be used.
func Open(ctx context.Context, c Config, o Options) (*Tracer, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	sender, err := c.sender()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, sender)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	// What the environment says of the service comes last, and so counts. Names
	// of users and arguments of the process, which the SDK can find too, are not
	// asked for.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "tokenhouse"), attribute.String("service.version", o.Version)), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("traces: %w", err)
	}
	// The sampler, the limits of spans and the size of batches are read from the
	// environment by the SDK.
	provider := sdk.NewTracerProvider(sdk.WithBatcher(&teller{SpanExporter: exporter, options: o}), sdk.WithResource(about))
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/tokenhouse/tokenhouse"), parents: c.Parents}, nil
}

// Close sends what is left, until ctx ends, and ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Flush sends what was traced so far.
func (t *Tracer) Flush(ctx context.Context) error { return t.provider.ForceFlush(ctx) }

// Arrival is a request as it arrives.
type Arrival struct {
	Method    string
	RequestID string
	// Parent is the traceparent header of a peer that may name the trace we are
	// part of; empty for everybody else.
	Parent string
}

// Departure is how a request was answered.
type Departure struct {
	Route  string // the template; empty where none matched
	Status int
	Code   string // of the failure; empty where there was none
}

// Request begins the span of a request. The context is for everything that
// serves it; call end once, when it was answered.
func (t *Tracer) Request(ctx context.Context, a Arrival) (_ context.Context, end func(Departure)) {
	if t == nil {
		return ctx, nil
	}
	if a.Parent != "" && t.parents {
		ctx = propagation.TraceContext{}.Extract(ctx, parent(a.Parent))
	}
	method := methodOf(a.Method)
	ctx, span := t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("tokenhouse.request_id", a.RequestID)))
	return ctx, func(d Departure) {
		if d.Route != "" {
			span.SetName(method + " " + d.Route)
			span.SetAttributes(attribute.String("http.route", d.Route))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", d.Status))
		if d.Code != "" {
			span.SetAttributes(attribute.String("error.type", d.Code))
		}
		if d.Status >= 500 { // a 4xx is no failure of the server's: semantic conventions for HTTP
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// methods are those of RFC 9110 §9 and RFC 5789. Any other is a text of the
// client's.
var methods = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "CONNECT": true, "OPTIONS": true, "TRACE": true, "PATCH": true}

func methodOf(m string) string {
	if methods[m] {
		return m
	}
	return "_OTHER"
}

// parent is a traceparent header (W3C Trace Context §3.2). The other header of
// that standard, tracestate, and baggage are not read: nothing of ours uses them.
type parent string

// Get implements propagation.TextMapCarrier.
func (p parent) Get(key string) string {
	if key == "traceparent" {
		return string(p)
	}
	return ""
}

// Set implements propagation.TextMapCarrier. Nothing is injected.
func (parent) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (parent) Keys() []string { return []string{"traceparent"} }

// Step begins a span within the request's, such as "password.hash"; end is told
// how it ended. Outside of a request that is traced it does nothing: work in the
// background is not traced.
func (t *Tracer) Step(ctx context.Context, name string) (end func(error)) {
	if t.idle(ctx) {
		return ignore
	}
	return t.step(ctx, name, trace.WithSpanKind(trace.SpanKindInternal))
}

// Database is Step for an operation of a database, "read" or "transaction".
func (t *Tracer) Database(ctx context.Context, system, operation string) (end func(error)) {
	if t.idle(ctx) {
		return ignore
	}
	return t.step(ctx, "db."+operation, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", system), attribute.String("db.operation.name", operation)))
}

func (t *Tracer) idle(ctx context.Context) bool {
	return t == nil || !trace.SpanFromContext(ctx).IsRecording()
}

func (t *Tracer) step(ctx context.Context, name string, options ...trace.SpanStartOption) func(error) {
	_, span := t.tracer.Start(ctx, name, options...)
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, "") // what went wrong is in the log, under the same ids
		}
		span.End()
	}
}

func ignore(error) {}

// IDs returns the ids of the trace and the span that ctx is part of, in
// hexadecimal; empty where it is part of none.
func IDs(ctx context.Context) (traceID, spanID string) {
	s := trace.SpanContextFromContext(ctx)
	if !s.IsValid() {
		return "", ""
	}
	return s.TraceID().String(), s.SpanID().String()
}

// tellEvery is how often it is logged, at most, that spans do not arrive.
const tellEvery = time.Minute

// teller logs what the exporter could not send. The batch is lost then: spans
// must not pile up in memory. One goroutine exports.
type teller struct {
	sdk.SpanExporter
	options Options

	told time.Time
	lost int // spans that nothing was said of yet
}

// ExportSpans implements sdk.SpanExporter.
func (t *teller) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	t.lost += len(spans)
	if now := t.options.Now(); t.told.IsZero() || now.Sub(t.told) >= tellEvery {
		t.options.Logger.WarnContext(ctx, "traces could not be sent", "spans", t.lost, "err", err)
		t.told, t.lost = now, 0
	}
	return nil
}
