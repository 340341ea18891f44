package housetest_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tokenhouse/tokenhouse/internal/house"
	"github.com/tokenhouse/tokenhouse/internal/housetest"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// traces is a collector of OpenTelemetry's protocol, and the tracer that sends
// to it.
type traces struct {
	tracer *tracing.Tracer
	mu     sync.Mutex
	raw    strings.Builder // all that was received, as it was
	spans  []*tracepb.Span
}

// collect starts one.
func collect(t *testing.T) *traces {
	t.Helper()
	c := &traces{}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(body, &m)); err != nil {
			t.Error(err)
		}
		c.raw.Write(body)
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(sink.Close)
	var err error
	c.tracer, err = tracing.Open(t.Context(), tracing.Config{Endpoint: sink.URL, Parents: true}, tracing.Options{Version: "test", Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.tracer.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

// all is every span that ended so far.
func (c *traces) all(t *testing.T) []*tracepb.Span {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.tracer.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// text is all that the collector received.
func (c *traces) text(t *testing.T) string {
	t.Helper()
	c.all(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String()
}

// of returns the span of a request by its id, which the client knows, and those
// within it.
func (c *traces) of(t *testing.T, requestID string) (request *tracepb.Span, steps []*tracepb.Span) {
	t.Helper()
	all := c.all(t)
	for _, s := range all {
		if attributeOf(s, "tokenhouse.request_id") == requestID {
			request = s
		}
	}
	if request == nil {
		t.Fatalf("no span has the request id %q", requestID)
	}
	for _, s := range all {
		if slices.Equal(s.ParentSpanId, request.SpanId) {
			steps = append(steps, s)
		}
	}
	return request, steps
}

func attributeOf(s *tracepb.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// A request is one span, by the template of its route, and what it is made of are
// spans within it. Every line of the log about it has the ids of both.
func TestARequestIsASpanOfItsParts(t *testing.T) {
	var c *traces
	options := housetest.Options{Env: func(_ int, env *house.Env) { c = collect(t); env.Tracer = c.tracer }}
	housetest.Both(t, options, func(t *testing.T, h *housetest.Harness) {
		r := h.Client().TryLogin(h.Admin.Email, h.Admin.Password).Expect(http.StatusOK)
		id := r.Header.Get("X-Request-Id")
		request, steps := c.of(t, id)
		if request.Name != "POST /api/v1/auth/login" || request.Kind != tracepb.Span_SPAN_KIND_SERVER || len(request.ParentSpanId) != 0 {
			t.Errorf("%v", request)
		}
		count := map[string]int{}
		for _, s := range steps {
			count[s.Name]++
			if s.StartTimeUnixNano < request.StartTimeUnixNano || s.EndTimeUnixNano > request.EndTimeUnixNano || !slices.Equal(s.TraceId, request.TraceId) {
				t.Errorf("%s is not within its request", s.Name)
			}
		}
		if count["password.wait"] != 1 || count["password.hash"] != 1 || count["token.sign"] != 1 || count["db.read"] < 2 || count["db.transaction"] != 2 {
			t.Errorf("a login is %v", count)
		}
		lines := 0
		for line := range strings.Lines(h.Logs()) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil || l["request_id"] != id {
				continue
			}
			lines++
			if l["trace_id"] != hex.EncodeToString(request.TraceId) || l["span_id"] != hex.EncodeToString(request.SpanId) {
				t.Errorf("without the ids of its trace: %s", line)
			}
		}
		if lines == 0 {
			t.Errorf("no line has the id %s", id)
		}

		// What failed, failed as a span: but not what the client did wrong.
		r = h.Client().TryLogin(h.Admin.Email, "wrong").Expect(http.StatusUnauthorized)
		if s, _ := c.of(t, r.Header.Get("X-Request-Id")); s.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET || attributeOf(s, "error.type") != "INVALID_CREDENTIALS" {
			t.Errorf("%v", s)
		}
	})
}

// A stranger does not say which trace a request is part of, a trusted proxy does;
// baggage and tracestate are nobody's.
func TestATraceparentIsBelievedOnlyFromATrustedProxy(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, trusted := range []bool{true, false} {
		c := collect(t)
		h := housetest.Start(t, housetest.Options{
			Env: func(_ int, env *house.Env) { env.Tracer = c.tracer },
			Config: func(conf *house.Config) {
				if !trusted {
					conf.HTTP.TrustedProxies = nil
				}
			},
		})
		r := h.Client().With("Traceparent", "00-"+trace+"-"+span+"-01").With("Tracestate", "vendor=canary").With("Baggage", "user=canary").Get("/docs")
		s, _ := c.of(t, r.Header.Get("X-Request-Id"))
		if (hex.EncodeToString(s.TraceId) == trace) != trusted || (hex.EncodeToString(s.ParentSpanId) == span) != trusted {
			t.Errorf("trusted %t: %v", trusted, s)
		}
		if strings.Contains(c.text(t), "canary") {
			t.Errorf("what a client wrote was traced: %v", s)
		}
	}
}

// A collector that does not answer holds nobody up.
func TestASilentCollectorHoldsNobodyUp(t *testing.T) {
	silent := make(chan struct{})
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
	defer sink.Close()
	defer close(silent)
	tracer, err := tracing.Open(t.Context(), tracing.Config{Endpoint: sink.URL}, tracing.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := housetest.Start(t, housetest.Options{Env: func(_ int, env *house.Env) { env.Tracer = tracer }})
	key := h.Login(h.Admin).Access
	began := time.Now()
	const many = 3000 // more than the queue of spans holds
	for range many {
		h.Client().As(key).Get("/api/v1/auth/verify").Expect(http.StatusOK)
	}
	took := time.Since(began)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := tracer.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end is %v", err)
	}
	if ended := time.Since(began) - took; took > patience || ended > patience {
		t.Errorf("%d requests took %s, the end %s", many, took, ended)
	}
}
