package rpc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics declares the metrics of this room. The label method is a full method name, code a code of package api, "ok" or
// "canceled".
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_api_requests_total", Help: "Requests by method and code."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nave_api_request_seconds", Help: "Duration of unary requests by method.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"method"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "nave_api_streams", Help: "Open streams."}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.streams} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// called counts a unary call.
func (m *metrics) called(method string, err error, took time.Duration) {
	m.ended(method, err)
	m.seconds.WithLabelValues(method).Observe(took.Seconds())
}

// ended counts a call that was refused, or a stream, neither of which has a duration that says something.
func (m *metrics) ended(method string, err error) {
	m.requests.WithLabelValues(method, label(err)).Inc()
}
