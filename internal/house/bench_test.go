package house

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
	"github.com/tokenhouse/tokenhouse/internal/tracing"
)

// The benchmarks send requests through everything but the network: middleware,
// router, services, access log, metrics. docs/performance.md says how to read them.

// discard is a reply that nobody reads.
type discard struct {
	header http.Header
	status int
	body   []byte
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(b []byte) (int, error) {
	d.body = append(d.body, b...)
	return len(b), nil
}

// visitor sends requests to one house.
type visitor struct {
	b     *testing.B
	house *House
	reply discard
}

func visit(b *testing.B) *visitor { return visitTraced(b, nil) }

// visitTraced is visit of a house that traces.
func visitTraced(b *testing.B, tracer *tracing.Tracer) *visitor {
	c := Defaults()
	c.DataDir = b.TempDir()
	c.Database.URL = "sqlite://" + filepath.Join(c.DataDir, "house.db")
	c.Tokens.RefreshCooldown = 0 // each refresh rotates
	c.Admin = Admin{Email: "admin@example.com", Password: secret.Of("four words nobody guesses")}
	h, err := Open(b.Context(), c, Env{Now: time.Now, Random: rand.Reader, Tracer: tracer, Logger: slog.New(slog.NewJSONHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }() // a silent feed would send every question to the database
	b.Cleanup(func() { stop(); <-ended; _ = h.Close() })
	if _, err := h.FirstRun(b.Context()); err != nil {
		b.Fatal(err)
	}
	return &visitor{b: b, house: h}
}

// send fails the benchmark where the answer is a refusal.
func (v *visitor) send(method, path string, header http.Header, body string) []byte {
	r := &http.Request{
		Method: method, URL: &url.URL{Path: path}, Header: header, Host: "localhost:8080", RemoteAddr: "127.0.0.1:40000",
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	v.reply.header, v.reply.status, v.reply.body = make(http.Header), http.StatusOK, v.reply.body[:0]
	v.house.Handler.ServeHTTP(&v.reply, r)
	if v.reply.status >= http.StatusBadRequest {
		v.b.Fatalf("%s %s: %d %s", method, path, v.reply.status, v.reply.body)
	}
	return v.reply.body
}

// session logs the administrator in.
func (v *visitor) session() (s struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}) {
	v.read(v.send("POST", "/api/v1/auth/login", jsonBody(), `{"email":"admin@example.com","password":"four words nobody guesses"}`), &s)
	return s
}

func (v *visitor) read(body []byte, into any) {
	if err := json.Unmarshal(body, into); err != nil {
		v.b.Fatal(err)
	}
}

func jsonBody() http.Header {
	return http.Header{"Content-Type": {"application/json"}, "User-Agent": {"bench"}}
}

// cpuOf reports allocations, and the processor time of one operation, which
// others on the machine disturb less than the clock.
func cpuOf(b *testing.B) (done func()) {
	b.ReportAllocs()
	before := cpu(b)
	return func() { b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op") }
}

func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkJWKS(b *testing.B) {
	v := visit(b)
	h := http.Header{"User-Agent": {"bench"}}
	defer cpuOf(b)()
	for b.Loop() {
		v.send("GET", "/.well-known/jwks.json", h, "")
	}
}

func BenchmarkVerifyAccessToken(b *testing.B) {
	v := visit(b)
	h := http.Header{"User-Agent": {"bench"}, "Authorization": {"Bearer " + v.session().Access}}
	defer cpuOf(b)()
	for b.Loop() {
		v.send("GET", "/api/v1/auth/verify", h, "")
	}
}

// BenchmarkTraces is BenchmarkVerifyAccessToken without traces, with every
// request traced, and with one in ten. What the process does to send the spans
// is part of it; the collector, which answers at once, too.
func BenchmarkTraces(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer sink.Close()
	for _, share := range []string{"off", "1", "0.1"} {
		b.Run(share, func(b *testing.B) {
			var conf tracing.Config
			if share != "off" {
				conf.Endpoint = sink.URL
				b.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
				b.Setenv("OTEL_TRACES_SAMPLER_ARG", share)
			}
			tracer, err := tracing.Open(b.Context(), conf, tracing.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = tracer.Close(context.Background()) })
			v := visitTraced(b, tracer)
			h := http.Header{"User-Agent": {"bench"}, "Authorization": {"Bearer " + v.session().Access}}
			defer cpuOf(b)()
			for b.Loop() {
				v.send("GET", "/api/v1/auth/verify", h, "")
			}
		})
	}
}

func BenchmarkVerifyAPIKey(b *testing.B) {
	v := visit(b)
	h := jsonBody()
	h.Set("Authorization", "Bearer "+v.session().Access)
	var made struct {
		Key string `json:"api_key"`
	}
	v.read(v.send("POST", "/api/v1/api-keys", h, `{"name":"bench","permissions":["incidents:read"]}`), &made)
	h = http.Header{"User-Agent": {"bench"}, "X-Api-Key": {made.Key}}
	defer cpuOf(b)()
	for b.Loop() {
		v.send("GET", "/api/v1/auth/verify", h, "")
	}
}

func BenchmarkRefresh(b *testing.B) {
	v := visit(b)
	s, h := v.session(), jsonBody()
	defer cpuOf(b)()
	for b.Loop() {
		before := s.Refresh
		v.read(v.send("POST", "/api/v1/auth/refresh", h, `{"refresh_token":"`+before+`"}`), &s)
		if s.Refresh == before {
			b.Fatal("the refresh did not rotate")
		}
	}
}
