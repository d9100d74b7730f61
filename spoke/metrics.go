package spoke

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the spoke's, all without labels.
type metrics struct {
	sessions prometheus.Gauge
	kept     prometheus.Gauge
	events   prometheus.Counter
	settled  prometheus.Counter
	attempts prometheus.Counter
	records  prometheus.Counter
	append   prometheus.Histogram

	lapses, startFailures prometheus.Counter
	deltas, deltasDropped prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		sessions:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "nave_spoke_sessions", Help: "Sessions that the spoke holds."}),
		kept:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "nave_spoke_kept_bytes", Help: "Bytes of signals and events that the hub has not settled."}),
		events:        prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_events_total", Help: "Events taken over from harnesses."}),
		settled:       prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_events_settled_total", Help: "Events that the hub settled."}),
		attempts:      prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_attempts_total", Help: "Workloads begun."}),
		records:       prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_journal_records_total", Help: "Records appended to the journal."}),
		lapses:        prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_lapses_total", Help: "Epochs whose right to act ended because the hub was not heard in time."}),
		startFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_start_failures_total", Help: "Attempts that ended before a turn began and that nobody asked to end."}),
		deltas:        prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_deltas_total", Help: "Deltas queued for the hub."}),
		deltasDropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_spoke_deltas_dropped_total", Help: "Deltas dropped: over a bound, without a link, or while other messages wait."}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "nave_spoke_journal_append_seconds", Help: "Time of one append to the journal, sync included.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 8)}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.sessions, m.kept, m.events, m.settled, m.attempts, m.records, m.append, m.lapses, m.startFailures, m.deltas,
		m.deltasDropped} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metric: %w", err)
		}
	}
	return m, nil
}
