package metrics

import "github.com/prometheus/client_golang/prometheus"

// keyAge is the age of the oldest key of an algorithm in a state.
var keyAge = prometheus.NewDesc("tokenhouse_signing_key_age_seconds",
	"Age of the oldest signing key, by algorithm and state.", []string{"alg", "state"}, nil)

// keyAges asks for the signing keys whenever it is scraped.
type keyAges struct{ keys func() []SigningKey }

// Describe implements prometheus.Collector.
func (keyAges) Describe(ch chan<- *prometheus.Desc) { ch <- keyAge }

// Collect implements prometheus.Collector.
func (k keyAges) Collect(ch chan<- prometheus.Metric) {
	type series struct{ algorithm, state string }
	oldest := map[series]float64{}
	for _, key := range k.keys() {
		s := series{algorithms.of(key.Algorithm), keyStates.of(key.State)}
		oldest[s] = max(oldest[s], seconds(key.Age))
	}
	for s, age := range oldest {
		ch <- prometheus.MustNewConstMetric(keyAge, prometheus.GaugeValue, age, s.algorithm, s.state)
	}
}
