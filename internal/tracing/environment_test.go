package tracing

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// environ is OpenTelemetry's variables without their beginning.
type environ map[string]string

func (e environ) get(name string) string { return e[strings.TrimPrefix(name, "OTEL_")] }

func TestTheEnvironmentOfOpenTelemetryIsUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		environ  environ
		endpoint string
	}{
		"nothing":              {environ{}, ""},
		"other signals":        {environ{"METRICS_EXPORTER": "otlp", "EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:1"}, ""},
		"asked for":            {environ{"TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"},
		"an endpoint":          {environ{"EXPORTER_OTLP_ENDPOINT": "http://localhost:1"}, "http://localhost:1/v1/traces"},
		"with a path":          {environ{"EXPORTER_OTLP_ENDPOINT": "https://otlp.example/tenant/"}, "https://otlp.example/tenant/v1/traces"},
		"for traces":           {environ{"EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "EXPORTER_OTLP_TRACES_ENDPOINT": "https://otlp.example/here"}, "https://otlp.example/here"},
		"no exporter":          {environ{"EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "TRACES_EXPORTER": "none"}, ""},
		"disabled":             {environ{"EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "SDK_DISABLED": "True"}, ""},
		"mistakes while it is": {environ{"SDK_DISABLED": "true", "EXPORTER_OTLP_ENDPOINT": "nonsense"}, ""},
	} {
		got, problems := FromEnvironment(c.environ.get)
		if got.Endpoint != c.endpoint || len(problems) > 0 || got.Endpoint != "" && (got.Timeout != 10*time.Second || !got.Parents || got.Gzip) {
			t.Errorf("%s: %+v, %v", name, got, problems)
		}
	}
	got, problems := FromEnvironment(environ{
		"EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "EXPORTER_OTLP_TIMEOUT": "1500", "EXPORTER_OTLP_COMPRESSION": "gzip",
		"EXPORTER_OTLP_HEADERS": "api-key=of%20the%20house, x-tenant = one", "EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"PROPAGATORS": "baggage", "TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "0.25",
	}.get)
	if len(problems) > 0 || got.Timeout != 1500*time.Millisecond || !got.Gzip || got.Parents || got.Headers["api-key"].Reveal() != "of the house" || got.Headers["x-tenant"].Reveal() != "one" {
		t.Errorf("%+v, %v", got, problems)
	}
}

func TestMistakesInTheEnvironmentAreExplained(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for variable, value := range map[string]string{
		"TRACES_EXPORTER": "zipkin", "EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318", "EXPORTER_OTLP_TRACES_TIMEOUT": "10s",
		"EXPORTER_OTLP_COMPRESSION": "zstd", "EXPORTER_OTLP_PROTOCOL": "grpc", "EXPORTER_OTLP_HEADERS": "canary",
		"EXPORTER_OTLP_TRACES_HEADERS": "a=canary%0d%0aX: y", "EXPORTER_OTLP_CERTIFICATE": missing, "TRACES_SAMPLER": "xray",
		"TRACES_SAMPLER_ARG": "NaN", "PROPAGATORS": "tracecontext,b3",
	} {
		env := environ{"EXPORTER_OTLP_ENDPOINT": "http://localhost:1", variable: value}
		_, problems := FromEnvironment(env.get)
		if len(problems) != 1 || problems[0].Variable != "OTEL_"+variable || problems[0].Warning || problems[0].Fix == "" {
			t.Errorf("%s=%s: %+v", variable, value, problems)
		}
		for _, p := range problems {
			if strings.Contains(p.Text+p.Fix, "canary") {
				t.Errorf("a credential is shown: %+v", p)
			}
		}
	}
	_, problems := FromEnvironment(environ{"EXPORTER_OTLP_ENDPOINT": "https://user:canary@otlp.example"}.get)
	if len(problems) != 1 || strings.Contains(problems[0].Text, "canary") {
		t.Errorf("%+v", problems)
	}
	_, problems = FromEnvironment(environ{"EXPORTER_OTLP_ENDPOINT": "http://otlp.example"}.get)
	if len(problems) != 1 || !problems[0].Warning {
		t.Errorf("%+v", problems)
	}
	_, problems = FromEnvironment(environ{"EXPORTER_OTLP_ENDPOINT": "https://otlp.example", "EXPORTER_OTLP_CLIENT_KEY": missing}.get)
	if len(problems) != 2 {
		t.Errorf("%+v", problems)
	}
}
