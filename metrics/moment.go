package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Moment is what changes by itself as time passes, and so is asked for at
// every scrape: a gauge that the background sets would stand still together
// with the background.
type Moment struct {
	FeedSilence        time.Duration // since this replica last heard the log of changes
	SinceCleanup       time.Duration // since the last complete removal of expired rows, or the start
	SigningKeyLifetime time.Duration // how long a key signs; zero where only somebody's request replaces it
	HashSlots          int           // passwords that may be hashed at the same time
}

var (
	feedSilence = prometheus.NewDesc("tokenhouse_change_feed_silence_seconds",
		"How long ago this replica last heard the log of changes.", nil, nil)
	cleanupLag = prometheus.NewDesc("tokenhouse_cleanup_lag_seconds",
		"How long ago expired rows were last removed completely.", nil, nil)
	keyLifetime = prometheus.NewDesc("tokenhouse_signing_key_lifetime_seconds",
		"How long a signing key signs before its successor does; 0 where keys are replaced on request only.", nil, nil)
	hashSlots = prometheus.NewDesc("tokenhouse_password_hash_slots",
		"Passwords that may be hashed at the same time.", nil, nil)
)

// moments asks for the Moment whenever it is scraped.
type moments struct{ ask func() Moment }

// Describe implements prometheus.Collector.
func (moments) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{feedSilence, cleanupLag, keyLifetime, hashSlots} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m moments) Collect(ch chan<- prometheus.Metric) {
	now := m.ask()
	for d, v := range map[*prometheus.Desc]float64{
		feedSilence: seconds(now.FeedSilence), cleanupLag: seconds(now.SinceCleanup),
		keyLifetime: seconds(now.SigningKeyLifetime), hashSlots: float64(now.HashSlots),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
}
