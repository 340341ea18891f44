// Package metrics exports what tokenhouse does to Prometheus. It counts audit
// events that were committed, so the numbers and the audit log agree, and what
// the services tell it through their hooks. docs/metrics.md explains each
// metric; nothing here is shared with the global registry.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what the metrics need from outside.
type Config struct {
	Version  string // of the binary: tokenhouse_build_info
	Revision string // of the source
	// Routes are the templates of every route served, as they are given to
	// Request: "/api/v1/api-keys/:id". Another template is counted as "other".
	Routes []string
	// SigningKeys, where set, is asked for the age of each signing key at every
	// scrape. It must answer from memory.
	SigningKeys func() []SigningKey
	// StatusLists, where set, is asked for the status lists at every scrape. It
	// must answer from memory.
	StatusLists func() StatusCount
	// Moment, where set, is asked at every scrape. It must answer from memory.
	Moment func() Moment
}

// SigningKey is what the metric of signing keys shows.
type SigningKey struct {
	Algorithm string
	State     string // "published", "active", "retiring", "revoked"
	Age       time.Duration
}

// Set is every metric we export.
type Set struct {
	// Registry is ours alone.
	Registry *prometheus.Registry

	credentials  credentialMetrics
	system       systemMetrics
	deliveries   deliveryMetrics
	statusBuilds prometheus.Histogram
}

// credentialMetrics are about who logs in and with what.
type credentialMetrics struct {
	logins        counters
	lockouts      counters
	lockedNow     gauges
	proofs        counters
	issued        counters
	verifications counters
	refreshes     counters
	apiKeys       counters
	rotationDue   prometheus.Gauge
	expiring      prometheus.Gauge
	hash          hashMetrics
	propagation   prometheus.Histogram
	confirmations durations
	leaked        counters
	logouts       counters
}

// hashMetrics are about the pool that hashes passwords.
type hashMetrics struct {
	inflight prometheus.Gauge
	wait     prometheus.Histogram
	refused  prometheus.Counter
}

// systemMetrics are about the server itself.
type systemMetrics struct {
	events        counters
	auditFailures prometheus.Counter
	storage       durations
	requests      durations
}

// New returns a Set with every metric registered. Series whose labels are known
// exist from the start, so that a rate over them is zero and not absent.
func New(c Config) *Set {
	s := &Set{Registry: prometheus.NewRegistry()}
	s.credentials = newCredentialMetrics(s.Registry)
	s.system = newSystemMetrics(s.Registry, append(closed{unmatched}, c.Routes...))
	s.deliveries = newDeliveryMetrics(s.Registry)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tokenhouse_build_info", Help: "The build that runs; always 1.",
		ConstLabels: prometheus.Labels{"version": c.Version, "revision": c.Revision},
	})
	build.Set(1)
	s.Registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c.SigningKeys != nil {
		s.Registry.MustRegister(keyAges{c.SigningKeys})
	}
	if c.Moment != nil {
		s.Registry.MustRegister(moments{c.Moment})
	}
	s.statusBuilds = newStatusBuilds(s.Registry)
	if c.StatusLists != nil {
		s.Registry.MustRegister(statusCounts{c.StatusLists})
	}
	return s
}

// Handler serves the metrics in the format that the scraper asks for.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func newCredentialMetrics(r *prometheus.Registry) credentialMetrics {
	m := credentialMetrics{
		logins: newCounters("tokenhouse_login_attempts_total", "Login attempts that were judged, from committed audit events.",
			label{"method", loginMethods}, label{"result", loginResults}),
		lockouts: newCounters("tokenhouse_lockouts_total", "Login counters that reached their limit, by what they count.",
			label{"scope", lockoutScopes}),
		lockedNow: newGauges("tokenhouse_lockouts_active", "Login counters that are locked now, by what they count; of the whole deployment.",
			label{"scope", lockoutScopes}),
		issued: newCounters("tokenhouse_tokens_issued_total", "Tokens issued, by grant and kind.",
			label{"grant", grants}, label{"kind", tokenKinds}),
		verifications: newCounters("tokenhouse_token_verifications_total", "Credentials presented to this server, by kind and result.",
			label{"kind", credentials}, label{"result", verifications}),
		refreshes: newCounters("tokenhouse_refreshes_total", "Refresh tokens presented, by how they were answered.",
			label{"result", refreshResults}),
		apiKeys: newCounters("tokenhouse_api_key_verifications_total", "API keys presented, by result.",
			label{"result", apiKeyResults}),
		logouts: newCounters("tokenhouse_backchannel_logouts_total", "Attempts to tell a client of a logout, by how they ended.",
			label{"result", logoutResults}),
		rotationDue: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tokenhouse_api_keys_rotation_due", Help: "API keys that are older than the rotation interval."}),
		expiring:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "tokenhouse_api_keys_expiring", Help: "API keys that expire within two weeks."}),
		hash:        newHashMetrics(r),
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenhouse_revocation_propagation_seconds", Help: "How long after its commit a revocation was known to this replica.",
			Buckets: []float64{.005, .025, .1, .25, .5, 1, 2, 5, 10, 30},
		}),
	}
	m.confirmations = newDurations("tokenhouse_revocation_confirmation_seconds", "How long a request with wait=all waited for the other replicas.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, label{"result", confirmationResults})
	m.confirmations.register(r)
	m.leaked = newCounters("tokenhouse_leaked_api_keys_total", "API keys that were reported as leaked, by what became of them.", label{"result", leakResults})
	m.leaked.register(r)
	for _, c := range []counters{m.logins, m.lockouts, m.issued, m.verifications, m.refreshes, m.apiKeys, m.logouts} {
		c.register(r)
	}
	m.proofs = newCounters("tokenhouse_login_proofs_total", "Proofs that strangers showed at a login, by what they were worth.", label{"result", proofResults})
	m.proofs.register(r)
	m.lockedNow.register(r)
	r.MustRegister(m.rotationDue, m.expiring, m.propagation)
	return m
}

func newHashMetrics(r *prometheus.Registry) hashMetrics {
	m := hashMetrics{
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tokenhouse_password_hash_inflight", Help: "Password hashes being computed now."}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenhouse_password_hash_wait_seconds", Help: "How long a password waited for a place in the hashing pool.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5},
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "tokenhouse_password_hash_refused_total", Help: "Passwords that were not looked at because the hashing pool was full."}),
	}
	r.MustRegister(m.inflight, m.wait, m.refused)
	return m
}

func newSystemMetrics(r *prometheus.Registry, routes closed) systemMetrics {
	m := systemMetrics{
		events: newCounters("tokenhouse_audit_events_total", "Committed audit events, by name and outcome.",
			label{"event", eventNames()}, label{"outcome", outcomes}),
		auditFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "tokenhouse_audit_write_failures_total", Help: "Audit events that could not be written."}),
		storage: newDurations("tokenhouse_storage_operation_seconds", "How long operations of the database took.",
			[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
			label{"operation", operations}, label{"result", results}),
		requests: newDurations("tokenhouse_http_request_duration_seconds", "How long HTTP requests took, by route template.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
			label{"route", routes}, label{"method", methods}, label{"status", nil}),
	}
	m.events.register(r)
	m.storage.register(r)
	r.MustRegister(m.auditFailures, m.requests.vec)
	return m
}
