package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/dev"
	"github.com/nave-dev/nave/hub/rpc"
	"github.com/nave-dev/nave/internal/profiling"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/version"
	"github.com/nave-dev/nave/transport/ziti"
)

// program is the hub with its parts, for dev and serve alike: they differ in where the configuration comes from.
type program struct {
	cfg     config // complete
	log     *slog.Logger
	say     func(format string, args ...any)    // tells a person how the start goes
	ready   func(token string, ca []byte) error // called once, when the first request would be answered
	dir     *dev.Directory
	doors   *doors
	overlay overlay

	watching *watching // nil: the API's listener has what watches the program
	chosen   string    // the first administrator's token that the operator chose; "": none
}

// launch is the way of a start, step by step; what it began it ends in the reverse order.
func (p *program) launch(ctx context.Context) (err error) {
	if p.chosen, err = p.cfg.API.chosenToken(); err != nil {
		return err
	}
	if p.dir, err = dev.Open(p.cfg.DataDir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.dir.Close()) }()
	p.say("data directory %s", p.dir.Path)
	if p.doors, err = openDoors(p.dir, p.cfg); err != nil {
		return err
	}
	defer p.doors.close()
	if p.doors.profiling != nil {
		p.say("profiles on http://%s/debug/pprof/", p.doors.profiling.Addr())
	}
	if p.doors.metrics != nil {
		p.say("metrics on http://%s/metrics", p.doors.metrics.Addr())
	}
	if p.overlay, err = newOverlay(p.cfg, p.log, p.say); err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	if p.doors.profiling != nil { // from the beginning, so that the start itself can be looked at
		g.Go("profiling", func(ctx context.Context) error { return profiling.Serve(ctx, p.doors.profiling) })
	}
	if p.doors.metrics != nil { // as early, so that nobody takes a hub that waits for one that is dead
		p.watching = newWatching(p)
		g.Go("metrics", func(context.Context) error { return serveHTTP(p.watching.server, p.doors.metrics) })
		g.Go("stop metrics", func(ctx context.Context) error {
			<-ctx.Done()
			return p.watching.stop()
		})
	}
	g.Go("overlay", p.overlay.Run)
	g.Go("hub", p.serve)
	err = g.Wait()
	if ctx.Err() != nil {
		// A person asked for the end, so an embedded overlay ends too; after a failure it stays for the next start.
		stop, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = errors.Join(err, p.overlay.Stop(stop))
		p.say("stopped")
	}
	return err
}

// serve reaches the overlay and, beside that, opens the storage, starts the brain, and opens the doors when both are there.
func (p *program) serve(ctx context.Context) error {
	g := run.NewGroup(ctx)
	reached := make(chan *network, 1)
	g.Go("network", func(ctx context.Context) error {
		nw, err := openNetwork(ctx, p)
		if err == nil {
			reached <- nw
		}
		return err
	})
	g.Go("brain", func(ctx context.Context) error { return p.think(ctx, reached) })
	err := g.Wait()
	select {
	case nw := <-reached: // nobody came to use it
		nw.node.Close()
	default:
	}
	return err
}

// think opens the storage, starts the brain, and opens the doors when the overlay is reached.
func (p *program) think(ctx context.Context, reached <-chan *network) error {
	s, err := openStorage(ctx, p.cfg, p.log)
	if err != nil {
		return err
	}
	defer s.close()
	p.say("store, archive and bucket are open")
	b, err := p.newBrain(s)
	if err != nil {
		return err
	}
	token, err := p.admin(ctx, s.store)
	if err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	g.Go("shards", b.hub.Run)
	g.Go("storage", s.watch)
	g.Go("prune", func(ctx context.Context) error { return p.prune(ctx, s, b.hub.Ready) })
	g.Go("doors", func(ctx context.Context) error {
		var nw *network
		select {
		case nw = <-reached:
		case <-ctx.Done():
			return nil
		}
		defer nw.node.Close()
		server, err := p.newServer(s, b, nw)
		if err != nil {
			return err
		}
		return p.open(ctx, b.hub, server, nw, func(ca []byte) error { return p.ready(token, ca) })
	})
	return g.Wait()
}

// brain is what decides.
type brain struct {
	hub     *hub.Hub
	catalog *hub.Catalog
	metrics *prometheus.Registry
}

func (p *program) newBrain(s *storage) (*brain, error) {
	catalog, err := hub.NewCatalog(hub.CatalogConfig{Store: s.store, NewID: newID[api.ObjectID], LeaseTTL: p.cfg.Lease})
	if err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	if err := s.register(metrics); err != nil {
		return nil, err
	}
	h, err := hub.New(hub.Config{Shards: s.store, Archive: s.archive, Reader: s.archive, Clusters: s.store, Leases: s.store, Bucket: s.objects, Vault: s.objects,
		Resolver: catalog, Granter: catalog, LeaseTTL: p.cfg.Lease, Beat: p.cfg.Beat,
		Limits: hub.Limits{PendingPerSession: p.cfg.Limits.PendingPerSession, PendingPerOrg: p.cfg.Limits.PendingPerOrg,
			AgentSignals: p.cfg.Limits.AgentSignals, AgentBurst: p.cfg.Limits.AgentBurst}, Log: p.log, Metrics: metrics})
	return &brain{h, catalog, metrics}, err
}

func (p *program) newServer(s *storage, b *brain, nw *network) (*rpc.Server, error) {
	fleet, err := hub.NewFleet(hub.FleetConfig{Store: s.store, Overlay: nw, Status: b.hub.Status, Sessions: b.hub.Counts, Assigned: b.hub.Assigned, Members: b.hub.Members,
		Revoked: b.hub.Revoke, Alarm: b.hub.Alarm, LeaseTTL: p.cfg.Lease, NewID: newID[api.ClusterID], Service: ziti.HubService,
		HubIdentities: func() []string { return []string{nw.node.ID()} }, Authority: nw.endpoint.CA, Controllers: []string{nw.endpoint.Controller}, Log: p.log})
	if err != nil {
		return nil, err
	}
	auth, err := hub.NewAuthenticator(s.store, time.Now)
	if err != nil {
		return nil, err
	}
	l := p.cfg.Limits
	return rpc.New(rpc.Config{Catalog: b.catalog, Fleet: fleet, Sessions: b.hub, Intents: b.hub, Approvals: b.hub, History: s.archive, Payloads: s.objects, Auth: auth, Facts: p.facts(s, b, nw),
		Limits:  rpc.Limits{Deadline: l.Deadline, Rate: float64(l.Requests), Burst: l.Burst, Streams: l.Streams, PublicRate: float64(l.PublicRequests), PublicBurst: l.PublicBurst},
		Version: version.Version, Log: p.log, Metrics: b.metrics, Ready: func() map[string]error { return map[string]error{"shards": b.hub.Ready()} }})
}

// newID makes an id of this moment.
func newID[T ~string]() T {
	var entropy [10]byte
	rand.Read(entropy[:]) // never fails: crypto/rand
	return T(api.NewULID(time.Now(), entropy))
}
