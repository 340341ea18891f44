package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StatusCount is what the metrics show of the status lists.
type StatusCount struct {
	Lists   int // kept in memory
	Revoked int // places
}

var (
	statusLists = prometheus.NewDesc("tokenhouse_status_lists",
		"Status lists that this replica keeps in memory.", nil, nil)
	statusRevoked = prometheus.NewDesc("tokenhouse_status_revoked_places",
		"Places of status lists that read revoked.", nil, nil)
)

// statusCounts asks for the status lists whenever it is scraped.
type statusCounts struct{ count func() StatusCount }

// Describe implements prometheus.Collector.
func (statusCounts) Describe(ch chan<- *prometheus.Desc) { ch <- statusLists; ch <- statusRevoked }

// Collect implements prometheus.Collector.
func (s statusCounts) Collect(ch chan<- prometheus.Metric) {
	c := s.count()
	ch <- prometheus.MustNewConstMetric(statusLists, prometheus.GaugeValue, float64(c.Lists))
	ch <- prometheus.MustNewConstMetric(statusRevoked, prometheus.GaugeValue, float64(c.Revoked))
}

func newStatusBuilds(r *prometheus.Registry) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "tokenhouse_status_build_seconds", Help: "How long it took to compress and sign a status list.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
	})
	r.MustRegister(h)
	return h
}

// StatusListBuilt records how long it took to compress and sign a status list.
func (s *Set) StatusListBuilt(took time.Duration) { s.statusBuilds.Observe(seconds(took)) }
