package tracing

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// sink is a collector.
type sink struct {
	*httptest.Server
	mu       sync.Mutex
	statuses []int // of the next answers; 200 when there are no more
	requests []*http.Request
	spans    []*tracepb.Span
}

func newSink(t *testing.T, statuses ...int) *sink {
	s := &sink{statuses: statuses}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r)
		if len(s.statuses) > 0 {
			status := s.statuses[0]
			s.statuses = s.statuses[1:]
			w.Header().Set("Location", "http://elsewhere.example/")
			w.WriteHeader(status)
			return
		}
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		var m collector.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(b, &m)); err != nil {
			t.Error(err)
		}
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				s.spans = append(s.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, c Config, log io.Writer) *Tracer {
	t.Helper()
	tr, err := Open(t.Context(), c, Options{Version: "1.2.3", Now: time.Now, Logger: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = tr.Close(ctx)
	})
	return tr
}

func one(t *testing.T, tr *Tracer) {
	t.Helper()
	ctx, end := tr.Request(t.Context(), Arrival{Method: "BREW", RequestID: "req_1"})
	tr.Step(ctx, "password.hash")(errors.New("a text that nobody is told"))
	end(Departure{Status: 503, Code: "UNAVAILABLE"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := tr.Flush(ctx); err != nil {
		t.Error(err)
	}
}

func TestSpansArriveAsConfigured(t *testing.T) {
	s := newSink(t)
	tr := open(t, Config{Endpoint: s.URL + "/v1/traces", Gzip: true, Headers: map[string]secret.Plain{"X-Key": secret.Of("of the collector")}}, io.Discard)
	one(t, tr)
	if len(s.requests) != 1 || len(s.spans) != 2 {
		t.Fatalf("%d requests, %d spans", len(s.requests), len(s.spans))
	}
	r := s.requests[0]
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("X-Key") != "of the collector" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	step, request := s.spans[0], s.spans[1]
	if step.Name != "password.hash" || string(step.ParentSpanId) != string(request.SpanId) || step.Status.Code != tracepb.Status_STATUS_CODE_ERROR || step.Status.Message != "" {
		t.Errorf("%v", step)
	}
	if request.Name != "_OTHER" || request.Kind != tracepb.Span_SPAN_KIND_SERVER || request.Status.Code != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("%v", request)
	}
}

// What a collector may take later is sent again; what it refuses is not, and a
// redirection is not followed.
func TestSpansAreSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		answers  []int
		requests int
		arrive   bool
	}{
		"away":    {[]int{503, 429}, 3, true},
		"refused": {[]int{400}, 1, false},
		"moved":   {[]int{307}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			s := newSink(t, c.answers...)
			one(t, open(t, Config{Endpoint: s.URL}, &log))
			if len(s.requests) != c.requests || (len(s.spans) == 2) != c.arrive || (log.String() == "") != c.arrive {
				t.Errorf("%d requests, %d spans, log %s", len(s.requests), len(s.spans), &log)
			}
		})
	}
}

// That spans are lost is logged once a minute, with their number.
func TestLostSpansAreLoggedNowAndThen(t *testing.T) {
	var log strings.Builder
	now := time.Now()
	s := newSink(t, 400, 400, 400)
	tr, err := Open(t.Context(), Config{Endpoint: s.URL}, Options{Now: func() time.Time { return now }, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	one(t, tr)
	one(t, tr)
	if n := strings.Count(log.String(), "traces could not be sent"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
	now = now.Add(time.Minute)
	one(t, tr)
	if !strings.Contains(log.String(), `"spans":4`) || tr.Close(t.Context()) != nil {
		t.Error(log.String())
	}
}

// Off, it is nothing at all; and what no traced request caused is not traced.
func TestOffCostsNothing(t *testing.T) {
	off, err := Open(t.Context(), Config{}, Options{})
	if off != nil || err != nil {
		t.Fatalf("%v, %v", off, err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if in, end := off.Request(ctx, Arrival{Method: "GET"}); in != ctx || end != nil {
			t.Error("a request was traced")
		}
		off.Step(ctx, "token.sign")(nil)
		off.Database(ctx, "sqlite", "read")(nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := off.Close(ctx); err != nil {
		t.Error(err)
	}
	s := newSink(t)
	on := open(t, Config{Endpoint: s.URL}, io.Discard)
	on.Step(ctx, "token.sign")(nil)
	if err := on.Flush(ctx); err != nil || len(s.requests) != 0 {
		t.Errorf("%v, %d requests for a step of no request", err, len(s.requests))
	}
}

func TestAParentIsReadWhereItMayBe(t *testing.T) {
	const given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	s := newSink(t)
	for name, c := range map[string]struct {
		parents bool
		parent  string
		taken   bool
	}{
		"given":        {true, given, true},
		"switched off": {false, given, false},
		"none":         {true, "", false},
		"malformed":    {true, "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false},
		"all zero":     {true, "00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
	} {
		ctx, end := open(t, Config{Endpoint: s.URL, Parents: c.parents}, io.Discard).Request(t.Context(), Arrival{Method: "GET", Parent: c.parent})
		end(Departure{Status: 200})
		id, span := IDs(ctx)
		if (id == given[3:35]) != c.taken || len(id) != 32 || len(span) != 16 || span == given[36:52] {
			t.Errorf("%s: trace %s, span %s", name, id, span)
		}
	}
	if id, span := IDs(t.Context()); id+span != "" {
		t.Errorf("no trace has the ids %q and %q", id, span)
	}
}
