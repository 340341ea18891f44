package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A server that is told of a collector by OpenTelemetry's variables sends it
// what it traced, to the last span before its end, and its log names the trace.
func TestTracesGoWhereTheEnvironmentSays(t *testing.T) {
	var mu sync.Mutex
	names, traces := []string{}, map[string]bool{}
	service := map[string]string{}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(body, &m)); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Api-Key") != "of the collector" {
			t.Errorf("%s %v: %v", r.URL, r.Header, err)
		}
		for _, rs := range m.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				service[a.Key] = a.Value.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					names = append(names, s.Name)
					traces[hex.EncodeToString(s.TraceId)] = true
				}
			}
		}
	}))
	defer sink.Close()
	s := launch(t, tested(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+sink.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=of%20the%20collector",
		"OTEL_RESOURCE_ATTRIBUTES=service.namespace=tests", "OTEL_BSP_SCHEDULE_DELAY=3600000")
	res, err := http.Post(s.url+"/api/v1/auth/login", "application/json", strings.NewReader(login("admin@localhost", s.password(t))))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	s.signal(t, syscall.SIGTERM)
	if err := s.end(t); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"POST /api/v1/auth/login", "password.hash", "token.sign", "db.transaction"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no span %s: %v", want, names)
		}
	}
	if service["service.name"] != "tokenhouse" || service["service.namespace"] != "tests" || service["service.version"] == "" {
		t.Errorf("the service is %v", service)
	}
	found := false
	for line := range strings.Lines(s.stderr.String()) {
		var l map[string]any
		if json.Unmarshal([]byte(line), &l) == nil && l["msg"] == "request" && l["request_id"] == res.Header.Get("X-Request-Id") {
			trace, _ := l["trace_id"].(string)
			found = traces[trace] && l["span_id"] != nil
		}
	}
	if !found {
		t.Errorf("no line of the request has its trace (%v):\n%s", traces, &s.stderr)
	}
}
