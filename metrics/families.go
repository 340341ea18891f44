package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// label is the name of a label and the values it may have.
type label struct {
	name   string
	values closed
}

// counters is a family of counters with closed labels.
type counters struct {
	vec    *prometheus.CounterVec
	labels []label
}

func newCounters(name, help string, labels ...label) counters {
	return counters{prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names(labels)), labels}
}

// register registers the family with every series at zero.
func (c counters) register(r *prometheus.Registry) {
	r.MustRegister(c.vec)
	for _, values := range combinations(c.labels) {
		c.vec.WithLabelValues(values...)
	}
}

func (c counters) inc(values ...string) {
	c.vec.WithLabelValues(bounded(c.labels, values)...).Inc()
}

// gauges is a family of gauges with closed labels.
type gauges struct {
	vec    *prometheus.GaugeVec
	labels []label
}

func newGauges(name, help string, labels ...label) gauges {
	return gauges{prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, names(labels)), labels}
}

// register registers the family with every series at zero.
func (g gauges) register(r *prometheus.Registry) {
	r.MustRegister(g.vec)
	g.replace(nil)
}

// replace sets every series: those that now does not name, to zero. It is for
// families of one label.
func (g gauges) replace(now map[string]int) {
	for _, values := range combinations(g.labels) {
		g.vec.WithLabelValues(values...).Set(float64(now[values[0]]))
	}
}

// durations is a family of histograms in seconds with closed labels.
type durations struct {
	vec    *prometheus.HistogramVec
	labels []label
}

func newDurations(name, help string, buckets []float64, labels ...label) durations {
	return durations{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, names(labels)), labels}
}

// register registers the family with every series at zero.
func (d durations) register(r *prometheus.Registry) {
	r.MustRegister(d.vec)
	for _, values := range combinations(d.labels) {
		d.vec.WithLabelValues(values...)
	}
}

func (d durations) observe(took time.Duration, values ...string) {
	d.vec.WithLabelValues(bounded(d.labels, values)...).Observe(took.Seconds())
}

// bounded replaces what is in no set. A label without a set was bounded by the
// caller.
func bounded(labels []label, values []string) []string {
	for i, l := range labels {
		if l.values != nil {
			values[i] = l.values.of(values[i])
		}
	}
	return values
}

func names(labels []label) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.name
	}
	return out
}

// combinations lists every tuple of label values, "other" aside.
func combinations(labels []label) [][]string {
	out := [][]string{{}}
	for _, l := range labels {
		var next [][]string
		for _, head := range out {
			for _, v := range l.values {
				next = append(next, append(head[:len(head):len(head)], v))
			}
		}
		out = next
	}
	return out
}
