package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The sets of the labels of what leaves the server.
var (
	auditOutputs   = closed{"stdout", "file", "syslog"}
	webhookResults = closed{"delivered", "retried", "gone", "dead"}
	mailResults    = closed{"sent", "retried", "failed"}
)

// deliveryMetrics are about what has to happen to an event after its commit,
// and about what is sent to people. The ages are of the whole deployment: each
// replica asks the database.
type deliveryMetrics struct {
	unsealed       prometheus.Gauge
	uncheckpointed prometheus.Gauge
	outputLag      gauges
	webhooks       counters
	deadLetters    prometheus.Gauge
	webhookLag     prometheus.Gauge
	mails          counters
	mailLag        prometheus.Gauge
}

func newDeliveryMetrics(r *prometheus.Registry) deliveryMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := deliveryMetrics{
		unsealed:       gauge("tokenhouse_audit_unsealed_seconds", "Age of the oldest committed audit event that has no place in the chain yet; of the whole deployment."),
		uncheckpointed: gauge("tokenhouse_audit_checkpoint_lag_seconds", "Age of the oldest link of the chain that no signed checkpoint covers; of the whole deployment."),
		outputLag: newGauges("tokenhouse_audit_output_lag_seconds", "Age of the oldest audit event that an output has not taken yet; of the whole deployment.",
			label{"output", auditOutputs}),
		webhooks: newCounters("tokenhouse_webhook_deliveries_total", "Attempts to deliver an event to a webhook, by how they ended.",
			label{"result", webhookResults}),
		deadLetters: gauge("tokenhouse_webhook_dead_letters", "Events that a webhook never took and that nobody has replayed; of the whole deployment."),
		webhookLag:  gauge("tokenhouse_webhook_lag_seconds", "Age of the oldest event that waits for a webhook; of the whole deployment."),
		mails:       newCounters("tokenhouse_mails_total", "Attempts to send a mail, by how they ended.", label{"result", mailResults}),
		mailLag:     gauge("tokenhouse_mail_lag_seconds", "Age of the oldest mail that waits to be sent; of the whole deployment."),
	}
	m.outputLag.register(r)
	m.webhooks.register(r)
	m.mails.register(r)
	r.MustRegister(m.unsealed, m.uncheckpointed, m.deadLetters, m.webhookLag, m.mailLag)
	return m
}

// AuditUnsealed sets the age of the oldest event that has no place in the
// chain yet; zero where every one has.
func (s *Set) AuditUnsealed(d time.Duration) { s.deliveries.unsealed.Set(seconds(d)) }

// AuditUncheckpointed sets the age of the oldest link that no checkpoint
// covers; zero where all are covered.
func (s *Set) AuditUncheckpointed(d time.Duration) { s.deliveries.uncheckpointed.Set(seconds(d)) }

// AuditOutputBehind sets the age of the oldest event that an output ("stdout",
// "file", "syslog") has not taken yet.
func (s *Set) AuditOutputBehind(output string, d time.Duration) {
	s.deliveries.outputLag.vec.WithLabelValues(auditOutputs.of(output)).Set(seconds(d))
}

// WebhookTold counts an attempt to deliver an event: "delivered", "retried"
// (failed, tried again later), "gone" (the endpoint answered 410 and is
// disabled) or "dead" (given up: a dead letter).
func (s *Set) WebhookTold(result string) { s.deliveries.webhooks.inc(result) }

// DeadLetters sets how many events wait for somebody to replay them.
func (s *Set) DeadLetters(n int) { s.deliveries.deadLetters.Set(float64(n)) }

// WebhookBehind sets the age of the oldest event that waits for a webhook.
func (s *Set) WebhookBehind(d time.Duration) { s.deliveries.webhookLag.Set(seconds(d)) }

// Mailed counts an attempt to send a mail: "sent", "retried" or "failed".
func (s *Set) Mailed(result string) { s.deliveries.mails.inc(result) }

// MailBehind sets the age of the oldest mail that waits.
func (s *Set) MailBehind(d time.Duration) { s.deliveries.mailLag.Set(seconds(d)) }
