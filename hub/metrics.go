package hub

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
)

// metrics declares the metrics of this room. The label outcome of signals is accepted, duplicate, dry_run or the code of the
// refusal; of placements it is assigned, waiting, failed, not_alive or dropped.
type metrics struct {
	signals    *prometheus.CounterVec
	batches    prometheus.Histogram
	commits    *prometheus.HistogramVec
	repeats    prometheus.Counter
	appended   prometheus.Counter
	appends    *prometheus.HistogramVec
	placements *prometheus.CounterVec
	stale      prometheus.Counter
	gaps       prometheus.Counter
	side       prometheus.Counter

	alarms       *prometheus.CounterVec
	refusedBoots prometheus.Counter
	resyncs      *prometheus.CounterVec
	moved        *prometheus.CounterVec
	transfers    *prometheus.HistogramVec
	collections  *prometheus.CounterVec
	collected    prometheus.Counter

	sent, received prometheus.Counter
}

func newMetrics() *metrics {
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 16)
	return &metrics{
		signals:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_hub_signals_total", Help: "Signals at the door by outcome."}, []string{"outcome"}),
		batches:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "nave_hub_commit_batches", Help: "Batches of shards in one transaction of the store.", Buckets: prometheus.ExponentialBuckets(1, 2, 8)}),
		commits:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nave_hub_commit_seconds", Help: "Duration of transactions of the store by result.", Buckets: seconds}, []string{"result"}),
		repeats:    prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_commit_repeats_total", Help: "Batches that were committed again because nobody knew what had become of them."}),
		appended:   prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_archived_events_total", Help: "Events that the archive has taken."}),
		appends:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nave_hub_archive_seconds", Help: "Duration of appends to the archive by result.", Buckets: seconds}, []string{"result"}),
		placements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_hub_placements_total", Help: "Decisions by what became of them."}, []string{"outcome"}),
		stale:      prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_stale_reports_total", Help: "Reports of spokes that were not of the present epoch."}),
		side:       prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_side_events_total", Help: "Events of former epochs that were kept beside the log."}),
		gaps:       prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_gaps_total", Help: "Links that were ended because a spoke left numbers out."}),

		alarms:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_hub_alarms_total", Help: "What somebody must look at, by reason."}, []string{"reason"}),
		refusedBoots: prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_second_boots_total", Help: "Spokes that were refused because another one of their cluster is alive."}),
		resyncs:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_hub_resyncs_total", Help: "Times that a shard was asked to say everything again on a link, by reason: periodic, overflow."}, []string{"reason"}),
		moved:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_hub_checkpoint_bytes_total", Help: "Bytes of checkpoints that moved over links, by direction: save, fetch."}, []string{"direction"}),
		transfers:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nave_hub_checkpoint_seconds", Help: "Duration of transfers of checkpoints by direction and result.", Buckets: prometheus.ExponentialBuckets(0.005, 3, 12)}, []string{"direction", "result"}),
		collections:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nave_hub_collections_total", Help: "Sessions whose old checkpoints were collected, by result; left: too many waited."}, []string{"result"}),
		collected:    prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_collected_objects_total", Help: "Objects that were removed from the bucket."}),

		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_link_sent_total", Help: "Messages to spokes."}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "nave_hub_link_received_total", Help: "Messages from spokes."}),
	}
}

// register adds the metrics and what is computed when they are read.
func (m *metrics) register(r prometheus.Registerer, h *Hub) error {
	var errs []error
	for _, c := range []prometheus.Collector{m.signals, m.batches, m.commits, m.repeats, m.appended, m.appends, m.placements, m.stale, m.gaps, m.side,
		m.alarms, m.refusedBoots, m.resyncs, m.moved, m.transfers, m.collections, m.collected, m.sent, m.received, &levels{h: h}} {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) signalled(r signalReply) {
	outcome := "accepted"
	switch {
	case r.err != nil:
		outcome = string(api.CodeOf(r.err))
	case r.accepted.Duplicate:
		outcome = "duplicate"
	case r.accepted.Signal == "":
		outcome = "dry_run"
	}
	m.signals.WithLabelValues(outcome).Inc()
}

func (m *metrics) committed(batches int, began time.Time, err error) {
	m.batches.Observe(float64(batches))
	m.commits.WithLabelValues(result(err)).Observe(time.Since(began).Seconds())
}

func (m *metrics) archived(events int, began time.Time, err error) {
	m.appends.WithLabelValues(result(err)).Observe(time.Since(began).Seconds())
	if err == nil {
		m.appended.Add(float64(events))
	}
}

// Alarm is a reason why somebody must look.
type Alarm string

// The alarms.
const (
	AlarmFingerprint Alarm = "fingerprint" // a spoke presented the identity of a cluster from another place
	AlarmJoinToken   Alarm = "join_token"  // a join token was presented with another key than the one that it is bound to
)

// Alarm counts an alarm.
func (h *Hub) Alarm(a Alarm) { h.metrics.alarms.WithLabelValues(string(a)).Inc() }

func (m *metrics) transferred(direction string, bytes int64, began time.Time, err error) {
	m.moved.WithLabelValues(direction).Add(float64(bytes))
	m.transfers.WithLabelValues(direction, result(err)).Observe(time.Since(began).Seconds())
}

// result is the label for an error: ok, or its code.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	return string(api.CodeOf(err))
}

// levels are gauges that are read when they are asked for. Sessions are counted by each shard after a turn, which comes every
// five seconds at least, so that reading waits for nobody.
type levels struct{ h *Hub }

var (
	descSessions  = prometheus.NewDesc("nave_hub_sessions", "Sessions of the owned shards by phase.", []string{"phase"}, nil)
	descApprovals = prometheus.NewDesc("nave_hub_approvals", "Requests for permission that are kept, by state.", []string{"state"}, nil)
	descPending   = prometheus.NewDesc("nave_hub_signals_pending", "Signals that are not settled.", nil, nil)
	descShards    = prometheus.NewDesc("nave_hub_shards_owned", "Shards that are owned and loaded.", nil, nil)
	descStuck     = prometheus.NewDesc("nave_hub_shards_stuck", "Shards that settle nothing because the archive contradicts them.", nil, nil)
	descLinks     = prometheus.NewDesc("nave_hub_links", "Open links of spokes.", nil, nil)
	descClusters  = prometheus.NewDesc("nave_hub_clusters", "Registered clusters by health.", []string{"health"}, nil)
	descQueue     = prometheus.NewDesc("nave_hub_queue", "What waits, by queue: events for shards, batches for the store, appends for the archive, requests for the placer, sessions and acknowledgements for links, events for the archive in memory, sessions whose checkpoints are to be collected.", []string{"queue"}, nil)
)

// Describe implements prometheus.Collector.
func (l *levels) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSessions, descApprovals, descPending, descShards, descStuck, descLinks, descClusters, descQueue} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *levels) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	phases, approvals, pending, inboxes, unarchived := map[api.Phase]int{}, map[api.ApprovalState]int{}, 0, 0, 0
	for _, lo := range l.h.loops {
		inboxes += len(lo.inbox)
		c := lo.census.Load()
		if c == nil {
			continue
		}
		pending += c.pending
		unarchived += c.unarchived
		for i, p := range api.Phases() {
			phases[p] += c.phases[i]
		}
		for state, n := range c.approvals {
			approvals[state] += n
		}
	}
	for _, p := range api.Phases() {
		gauge(descSessions, phases[p], string(p))
	}
	for _, state := range api.ApprovalStates() {
		gauge(descApprovals, approvals[state], string(state))
	}
	gauge(descPending, pending)
	gauge(descShards, int(l.h.loaded.Load()))
	gauge(descStuck, l.h.archiver.stuckShards())
	links, sessions, acks := l.h.fleet.links()
	gauge(descLinks, links)
	for health, n := range l.h.fleet.healths() {
		gauge(descClusters, n, string(health))
	}
	gauge(descQueue, inboxes, "shards")
	gauge(descQueue, l.h.commits.queue.queued(), "store")
	gauge(descQueue, len(l.h.archiver.in), "archive")
	gauge(descQueue, l.h.placer.waiting(), "placer")
	gauge(descQueue, sessions, "links")
	gauge(descQueue, acks, "acknowledgements")
	gauge(descQueue, l.h.garbage.waits(), "garbage")
	gauge(descQueue, unarchived, "events")
}

// census is what a shard has, counted by its loop. It is never changed once it is stored.
type census struct {
	phases     [6]int // by the order of api.Phases
	pending    int
	unarchived int

	approvals map[api.ApprovalState]int

	assigned map[api.ClusterID]bool // clusters that have a session
	unaware  map[api.ClusterID]bool // those that have one which is not known to be lost
}

// censusEvery is how often a shard counts, at most.
const censusEvery = time.Second

func (m *machine) census() *census {
	c := census{approvals: map[api.ApprovalState]int{}, assigned: map[api.ClusterID]bool{}, unaware: map[api.ClusterID]bool{}}
	at := map[api.Phase]int{}
	for i, p := range api.Phases() {
		at[p] = i
	}
	for _, s := range m.sessions {
		c.phases[at[s.Phase]]++
		c.pending += len(s.pending)
		if s.Assignment != nil {
			c.assigned[s.Assignment.Cluster] = true
			if s.Phase != api.PhaseLost {
				c.unaware[s.Assignment.Cluster] = true
			}
		}
	}
	for _, s := range m.asking {
		for _, a := range s.approvals {
			c.approvals[a.State]++
		}
	}
	for _, a := range m.queue {
		c.unarchived += len(a.Events)
	}
	return &c
}
