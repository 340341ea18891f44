package tracing

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenhouse/tokenhouse/internal/secret"
)

// Config says where spans go. The zero Config is off.
type Config struct {
	Endpoint string                  // URL that spans are posted to; off where empty
	Headers  map[string]secret.Plain // sent along, such as a credential
	Timeout  time.Duration           // of one attempt; none where zero
	Gzip     bool                    // compress
	Parents  bool                    // a trusted peer may name the trace that a request is part of

	CertificateFile       string // PEM of the authorities of the collector; the system's where empty
	ClientCertificateFile string // PEM of what we prove ourselves with
	ClientKeyFile         string
}

// Problem is something about a variable that its author should know.
type Problem struct {
	Variable, Text, Fix string
	Warning             bool // spans are sent all the same
}

const (
	defaultEndpoint = "http://localhost:4318" // OTLP specification, "OTLP/HTTP default port"
	defaultTimeout  = 10 * time.Second
	prefix          = "OTEL_EXPORTER_OTLP_"
)

// environment reads the variables that OpenTelemetry's specification names. An
// empty one counts as not set.
type environment struct {
	get      func(string) string
	problems []Problem
}

// FromEnvironment reads OpenTelemetry's own variables (OpenTelemetry
// specification 1.50, "Environment Variable Specification" and "OTLP Exporter
// Configuration"); get returns the value of one. Without an endpoint and without
// OTEL_TRACES_EXPORTER=otlp it is off. What is for the SDK alone (samplers,
// batches, limits) it reads itself.
func FromEnvironment(get func(string) string) (Config, []Problem) {
	e := &environment{get: get}
	_, generic := e.exporter("ENDPOINT")
	on := generic != ""
	switch kind := get("OTEL_TRACES_EXPORTER"); kind {
	case "":
	case "none":
		on = false
	case "otlp":
		on = true
	default:
		e.mistake("OTEL_TRACES_EXPORTER", fmt.Sprintf("there is no exporter %q", kind), "otlp or none")
	}
	if !on || strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return Config{}, e.problems
	}
	c := Config{Timeout: defaultTimeout, Parents: e.propagates()}
	c.Endpoint = e.endpoint()
	c.Headers = e.headers()
	if name, v := e.exporter("TIMEOUT"); v != "" {
		ms, err := strconv.ParseInt(v, 10, 32)
		if err != nil || ms < 0 {
			e.mistake(name, fmt.Sprintf("%q is not a time", v), "milliseconds, such as 10000; 0 for no limit")
		}
		c.Timeout = time.Duration(ms) * time.Millisecond
	}
	switch name, v := e.exporter("COMPRESSION"); v {
	case "", "none":
	case "gzip":
		c.Gzip = true
	default:
		e.mistake(name, fmt.Sprintf("%q", v), "gzip or none")
	}
	if name, v := e.exporter("PROTOCOL"); v != "" && v != "http/protobuf" {
		e.mistake(name, fmt.Sprintf("%q is not spoken here", v), "http/protobuf, to the collector's port 4318")
	}
	e.files(&c)
	e.sampler()
	return c, e.problems
}

func (e *environment) mistake(variable, text, fix string) {
	e.problems = append(e.problems, Problem{Variable: variable, Text: text, Fix: fix})
}

// exporter returns a variable of the exporter: the one for traces, or the one
// for every signal.
func (e *environment) exporter(name string) (variable, value string) {
	if v := e.get(prefix + "TRACES_" + name); v != "" {
		return prefix + "TRACES_" + name, v
	}
	return prefix + name, e.get(prefix + name)
}

// endpoint is the URL to post to: as it is where it is for traces, and with the
// path of traces where it is for every signal.
func (e *environment) endpoint() string {
	name, text := e.exporter("ENDPOINT")
	u, err := url.Parse(cmp.Or(text, defaultEndpoint))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https": // the error would quote it
		e.mistake(name, "it is not an absolute http or https URL", defaultEndpoint+" or the like")
		return ""
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		e.mistake(name, "it holds more than scheme, host, port and path", "credentials in "+prefix+"HEADERS")
		return ""
	case u.Scheme == "http" && !loopback(u.Hostname()):
		e.problems = append(e.problems, Problem{Variable: name, Text: "spans are sent in the clear", Fix: "https, or a network that nobody else is on", Warning: true})
	}
	if name == prefix+"ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	}
	return u.String()
}

// loopback reports whether host can only be this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// headers are "name=value,name=value", percent-encoded as baggage is.
func (e *environment) headers() map[string]secret.Plain {
	name, text := e.exporter("HEADERS")
	if text == "" {
		return nil
	}
	out := map[string]secret.Plain{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || err != nil || !token(key) || strings.ContainsAny(value, "\r\n\x00") {
			e.mistake(name, "it is not a list of headers", "name=value,name=value, with special characters percent-encoded")
			return nil
		}
		out[key] = secret.Of(value)
	}
	return out
}

// token reports whether s is one (RFC 9110 §5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

func (e *environment) files(c *Config) {
	for name, at := range map[string]*string{"CERTIFICATE": &c.CertificateFile, "CLIENT_CERTIFICATE": &c.ClientCertificateFile, "CLIENT_KEY": &c.ClientKeyFile} {
		variable, path := e.exporter(name)
		*at = path
		if path == "" {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			e.mistake(variable, path+" cannot be read: "+err.Error(), "a file in PEM")
		}
	}
	if (c.ClientCertificateFile == "") != (c.ClientKeyFile == "") {
		e.mistake(prefix+"CLIENT_KEY", "a client certificate and its key belong together", "both of "+prefix+"CLIENT_CERTIFICATE and "+prefix+"CLIENT_KEY, or none")
	}
}

// sampler checks what the SDK reads, which says nothing of a mistake but to
// standard error.
func (e *environment) sampler() {
	known := []string{"", "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	if v := e.get("OTEL_TRACES_SAMPLER"); !slices.Contains(known, v) {
		e.mistake("OTEL_TRACES_SAMPLER", fmt.Sprintf("there is no sampler %q", v), strings.Join(known[1:], ", "))
	}
	if v := e.get("OTEL_TRACES_SAMPLER_ARG"); v != "" {
		if ratio, err := strconv.ParseFloat(v, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			e.mistake("OTEL_TRACES_SAMPLER_ARG", fmt.Sprintf("%q is not a share", v), "0 to 1, such as 0.1")
		}
	}
}

// propagates reports whether traceparent is read at all.
func (e *environment) propagates() bool {
	v := e.get("OTEL_PROPAGATORS")
	if v == "" {
		return true
	}
	found := false
	for name := range strings.SplitSeq(v, ",") {
		switch name = strings.TrimSpace(name); name {
		case "tracecontext":
			found = true
		case "baggage", "none", "": // nothing of ours uses baggage
		default:
			e.mistake("OTEL_PROPAGATORS", fmt.Sprintf("%q is not read here", name), "tracecontext or none")
		}
	}
	return found
}

// Host is where spans go, for messages; empty where it is off.
func (c Config) Host() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return ""
	}
	return u.Host
}
