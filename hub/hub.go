package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Config is what a hub needs. Every port is required.
type Config struct {
	Shards   ShardStore
	Archive  Archive
	Reader   Reader
	Clusters Clusters
	Leases   Leases
	Bucket   Bucket
	Vault    Vault
	Resolver Resolver

	LeaseTTL time.Duration // of a cluster; default 10 s
	Beat     time.Duration // between heartbeats; default 2 s
	Limits   Limits        // zero fields: DefaultLimits
	Log      *slog.Logger
	Random   io.Reader             // of ids; default crypto/rand
	Metrics  prometheus.Registerer // gets the metrics; default: nobody reads them
}

// Resolver closes agents over what they refer to.
type Resolver interface {
	// Agent returns the id of an agent, or CodeNotFound.
	Agent(ctx context.Context, org api.OrgID, name string) (api.ObjectID, error)
	// ResolveRevision closes a revision of an agent (0: the present one) over what it refers to now. An agent of another id
	// that took over the name is not found.
	ResolveRevision(ctx context.Context, org api.OrgID, id api.ObjectID, name string, revision uint64) (api.ResolvedRevision, error)
	// ResolveAt closes the revisions that an assignment names. CodeNotFound when one of them is gone.
	ResolveAt(ctx context.Context, org api.OrgID, agent api.ObjectID, a api.Assignment) (*api.ResolvedRevision, error)
}

// Hub owns the sessions of its shards. Run serves; the other methods are for any goroutine while it runs.
type Hub struct {
	cfg      Config
	log      *slog.Logger
	loops    [api.Shards]*loop
	commits  *committer
	archiver *archiver
	placer   *placer
	fleet    *liveness
	feed     *feed
	quota    *quota
	metrics  *metrics
	loaded   atomic.Int32 // shards that are owned and loaded
}

// New checks the configuration and makes a hub that does nothing yet.
func New(cfg Config) (*Hub, error) {
	if cfg.Shards == nil || cfg.Archive == nil || cfg.Reader == nil || cfg.Clusters == nil || cfg.Leases == nil || cfg.Bucket == nil || cfg.Resolver == nil {
		return nil, errors.New("hub: every port is required: shards, archive, reader, clusters, leases, bucket, resolver")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = 10 * time.Second
	}
	if cfg.Beat == 0 {
		cfg.Beat = 2 * time.Second
	}
	if cfg.LeaseTTL < 2*cfg.Beat {
		return nil, errors.New("hub: the lease must be at least two beats long")
	}
	cfg.Limits.Lease = cfg.LeaseTTL
	cfg.Limits = cfg.Limits.withDefaults()
	h := &Hub{cfg: cfg, log: cfg.Log, feed: newFeed(), quota: newQuota(), metrics: newMetrics()}
	h.commits = newCommitter(cfg.Shards, h.metrics)
	h.archiver = newArchiver(cfg.Archive, cfg.Log, h.metrics, h.post)
	h.fleet = newLiveness(h)
	h.placer = newPlacer(h)
	for i := range h.loops {
		h.loops[i] = newLoop(api.Shard(i), h.ports(), cfg.Limits, func() time.Time { return time.Now().UTC() })
	}
	if cfg.Metrics != nil {
		if err := h.metrics.register(cfg.Metrics, h); err != nil {
			return nil, fmt.Errorf("hub: register metrics: %w", err)
		}
	}
	return h, nil
}

// Run owns the shards until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	g := run.NewGroup(ctx)
	for i := range commitQueues {
		_ = i
		g.Go("committer", h.commits.run)
	}
	g.Go("archiver", h.archiver.run)
	g.Go("placer", h.placer.run)
	g.Go("liveness", h.fleet.run)
	gate := make(chan struct{}, loadingAtOnce)
	for _, l := range h.loops {
		g.Go("shard", func(ctx context.Context) error { return l.run(ctx, gate, &h.loaded) })
	}
	return g.Wait()
}

// loadingAtOnce bounds how many shards are loaded side by side.
const loadingAtOnce = 16

// Ready returns nil when every shard is owned and loaded, and none contradicts the archive.
func (h *Hub) Ready() error {
	if n := h.loaded.Load(); n < api.Shards {
		return api.Errorf(api.CodeUnavailable, "%d of %d shards are loaded", n, api.Shards)
	}
	return h.archiver.broken()
}

// post hands an event to a shard's loop. It blocks while the loop's inbox is full.
func (h *Hub) post(ctx context.Context, shard api.Shard, ev event) error {
	select {
	case h.loops[shard].inbox <- ev:
		return nil
	case <-ctx.Done():
		return &api.Error{Code: api.CodeUnavailable, Op: "reach shard", Err: context.Cause(ctx)}
	}
}

// broadcast hands an event to every loop.
func (h *Hub) broadcast(ctx context.Context, ev event) error {
	for i := range h.loops {
		if err := h.post(ctx, api.Shard(i), ev); err != nil {
			return err
		}
	}
	return nil
}

// entropy is the random part of an id.
func (h *Hub) entropy() (e [10]byte, err error) {
	if _, err = io.ReadFull(h.cfg.Random, e[:]); err != nil {
		return e, &api.Error{Code: api.CodeInternal, Op: "make id", Err: err}
	}
	return e, nil
}

// feed wakes readers that wait for a session's log to grow. Level: a wake says "look again", no more.
type feed struct {
	mu      sync.Mutex
	waiting map[api.SessionID]map[chan struct{}]bool // guarded by mu; channels of capacity 1
}

func newFeed() *feed { return &feed{waiting: map[api.SessionID]map[chan struct{}]bool{}} }

// subscribe returns a channel that gets a value after each growth, and the function that ends it.
func (f *feed) subscribe(s api.SessionID) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting[s] == nil {
		f.waiting[s] = map[chan struct{}]bool{}
	}
	f.waiting[s][ch] = true
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.waiting[s], ch)
		if len(f.waiting[s]) == 0 {
			delete(f.waiting, s)
		}
	}
}

// notify wakes a session's readers. It never blocks: a reader that has a wake waiting needs no second one.
func (f *feed) notify(s api.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.waiting[s] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
