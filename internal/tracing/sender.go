package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sender posts spans in OTLP's binary form over HTTP (OTLP specification 1.9,
// "OTLP/HTTP"). OpenTelemetry's own brings gRPC and a gateway for it along,
// which are seven times the size of everything else that traces need.
type sender struct {
	config Config
	client *http.Client
}

const (
	attempts   = 5                      // to send one batch
	firstPause = 500 * time.Millisecond // before the second of them; each later one is twice as long
	maxAnswer  = 4 << 10                // of a collector, in bytes
)

func (c Config) sender() (*sender, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 1
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CertificateFile != "" {
		pem, err := os.ReadFile(c.CertificateFile)
		if err != nil {
			return nil, fmt.Errorf("traces: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("traces: %s holds no certificate", c.CertificateFile)
		}
	}
	if c.ClientCertificateFile != "" || c.ClientKeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertificateFile, c.ClientKeyFile)
		if err != nil {
			return nil, fmt.Errorf("traces: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &sender{config: c, client: &http.Client{
		Transport: t, Timeout: c.Timeout,
		// The headers are secret: nobody else gets them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Start implements otlptrace.Client.
func (s *sender) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (s *sender) Stop(context.Context) error { s.client.CloseIdleConnections(); return nil }

// UploadTraces implements otlptrace.Client. What a collector may take later is
// sent again, as long as ctx lasts.
func (s *sender) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire an ExportTraceServiceRequest is a TracesData: the definition of
	// the latter promises it.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err == nil && s.config.Gzip {
		body, err = compressed(body)
	}
	if err != nil {
		return err
	}
	pause := firstPause
	for n := 1; ; n++ {
		after, err := s.post(ctx, body)
		var later *laterError
		if err == nil || n == attempts || !errors.As(err, &later) {
			return err
		}
		wait := time.NewTimer(max(pause, after))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return err
		}
		pause *= 2
	}
}

// laterError is a failure that may go away by itself.
type laterError struct{ error }

func (e *laterError) Unwrap() error { return e.error }

// post sends once. after is how long the collector wants to be left alone.
func (s *sender) post(ctx context.Context, body []byte) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.Endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	for name, value := range s.config.Headers {
		req.Header.Set(name, value.Reveal())
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "tokenhouse")
	if s.config.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := s.client.Do(req)
	if err != nil {
		return 0, &laterError{err}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection can be used again
	switch res.StatusCode {
	case http.StatusOK:
		return 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return time.Duration(min(max(seconds, 0), 3600)) * time.Second, &laterError{fmt.Errorf("the collector answered %s", res.Status)}
	default:
		return 0, fmt.Errorf("the collector answered %s", res.Status)
	}
}

func compressed(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(body)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}
