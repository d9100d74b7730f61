package hub

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
)

// Config is what a hub needs. Every port is required but vault and granter.
type Config struct {
	Shards   ShardStore
	Archive  Archive
	Reader   Reader
	Clusters Clusters
	Leases   Leases
	Bucket   Bucket
	Vault    Vault // default: checkpoints are refused
	Resolver Resolver
	Granter  Granter // default: nothing is granted

	LeaseTTL time.Duration // of a cluster; default DefaultLeaseTTL, MinLeaseTTL to MaxLeaseTTL
	Beat     time.Duration // between heartbeats; default a fifth of LeaseTTL, at most two fifths
	Resync   time.Duration // every shard says everything again on each link after this to twice this; default 5 min, at least 1 s
	Limits   Limits        // zero fields: DefaultLimits
	Log      *slog.Logger
	Random   io.Reader             // of ids; default crypto/rand
	Jitter   *rand.Rand            // of pauses, used by this hub alone; default: seeded from Random
	Clock    func() time.Duration  // by which fences are counted; default boottime.Now
	Metrics  prometheus.Registerer // gets the metrics; default: nobody reads them
}

// Bounds of a cluster's lease.
const (
	DefaultLeaseTTL = 10 * time.Second
	MinLeaseTTL     = 3 * time.Second
	MaxLeaseTTL     = time.Hour
)

// beatsPerLease is how many heartbeats a lease lasts, by default.
const beatsPerLease = 5

// validate checks the configuration and fills in what is left out.
func (c *Config) validate() error {
	if c.Shards == nil || c.Archive == nil || c.Reader == nil || c.Clusters == nil || c.Leases == nil || c.Bucket == nil || c.Resolver == nil {
		return errors.New("hub: shards, archive, reader, clusters, leases, bucket and resolver are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Random == nil {
		c.Random = cryptorand.Reader
	}
	if c.Clock == nil {
		c.Clock = boottime.Now
	}
	if c.Vault == nil {
		c.Vault = noVault{}
	}
	c.LeaseTTL = cmp.Or(c.LeaseTTL, DefaultLeaseTTL)
	if c.LeaseTTL < MinLeaseTTL || c.LeaseTTL > MaxLeaseTTL {
		return api.Invalid("lease", "%v: want %v to %v", c.LeaseTTL, MinLeaseTTL, MaxLeaseTTL)
	}
	c.Beat = cmp.Or(c.Beat, c.LeaseTTL/beatsPerLease)
	if c.Beat < 0 || c.Beat > 2*c.LeaseTTL/beatsPerLease {
		return api.Invalid("beat", "%v: want more than 0 and at most %v, two fifths of the lease", c.Beat, 2*c.LeaseTTL/beatsPerLease)
	}
	c.Resync = cmp.Or(c.Resync, 5*time.Minute)
	if c.Resync < time.Second {
		return api.Invalid("resync", "%v: want at least 1s", c.Resync)
	}
	if c.Jitter == nil {
		var seed [16]byte
		if _, err := io.ReadFull(c.Random, seed[:]); err != nil {
			return fmt.Errorf("hub: seed the jitter: %w", err)
		}
		c.Jitter = rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))
	}
	c.Limits = c.Limits.withDefaults()
	return nil
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
	lookups  *lookups
	archiver *archiver
	placer   *placer
	fleet    *liveness
	garbage  *collector
	feed     *feed
	quota    *quota
	senders  *senders
	metrics  *metrics
	loaded   atomic.Int32 // shards that are owned and loaded

	mailSessions int // bound of a link's mailbox
}

// New checks the configuration and makes a hub that does nothing yet.
func New(cfg Config) (*Hub, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Limits.Lease = cfg.LeaseTTL
	h := &Hub{cfg: cfg, log: cfg.Log, feed: newFeed(), quota: newQuota(), senders: newSenders(cfg.Limits), metrics: newMetrics(), mailSessions: mailSessions}
	h.commits = newCommitter(cfg.Shards, h.metrics)
	h.lookups = newLookups(cfg.Archive)
	h.archiver = newArchiver(cfg.Archive, cfg.Log, h.metrics, h.post)
	h.fleet = newLiveness(h)
	h.placer = newPlacer(h)
	h.garbage = newCollector(h)
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
	g.Go("archiver", h.archiver.run)
	g.Go("placer", h.placer.run)
	g.Go("liveness", h.fleet.run)
	g.Go("collector", h.garbage.run)
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

// offer hands an event to a shard's loop if its inbox has room.
func (h *Hub) offer(shard api.Shard, ev event) bool {
	select {
	case h.loops[shard].inbox <- ev:
		return true
	default:
		return false
	}
}

// offerWithin hands an event to a shard's loop if its inbox has room before ctx ends.
func (h *Hub) offerWithin(ctx context.Context, shard api.Shard, ev event) bool {
	return h.offer(shard, ev) || h.post(ctx, shard, ev) == nil
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
