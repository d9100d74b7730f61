package hub

import (
	"context"
	"sync"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/placement"
)

// placer decides for all shards of the replica, one after another, so that placements in flight are seen by the next.
type placer struct {
	h    *Hub
	wake chan struct{} // capacity 1

	mu    sync.Mutex
	queue []PlaceRequest // guarded by mu; bounded: a session has one decision under way, and is asked for its revision at most once a second
}

func newPlacer(h *Hub) *placer { return &placer{h: h, wake: make(chan struct{}, 1)} }

// ask queues a request. It never blocks.
func (p *placer) ask(r PlaceRequest) {
	p.mu.Lock()
	p.queue = append(p.queue, r)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *placer) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		p.mu.Lock()
		reqs := p.queue
		p.queue = nil
		p.mu.Unlock()
		if err := p.round(ctx, reqs); err != nil {
			return nil // ctx ended
		}
	}
}

// round decides a set of requests on one view of the clusters.
func (p *placer) round(ctx context.Context, reqs []PlaceRequest) error {
	type agentKey struct {
		org api.OrgID
		id  api.ObjectID
	}
	type resolved struct {
		rev *api.ResolvedRevision
		err error
	}
	revisions := map[agentKey]resolved{}
	for _, r := range reqs {
		k := agentKey{r.Org, r.Agent}
		v, ok := revisions[k]
		if !ok {
			rev, err := p.h.cfg.Resolver.ResolveRevision(ctx, r.Org, r.Agent, r.AgentName, 0)
			v = resolved{&rev, err}
			revisions[k] = v
		}
		shard, err := r.Session.Shard()
		if err != nil {
			return err
		}
		if r.Revise {
			if err := p.h.post(ctx, shard, evRevised{r.Session, v.rev, v.err}); err != nil {
				return err
			}
			continue
		}
		ev := evPlaced{session: r.Session, revision: v.rev, err: v.err}
		if v.err == nil {
			ev.decision = p.h.fleet.decide(placement.Request{Session: r.Session, Org: r.Org, Environment: v.rev.Environment,
				Policy: v.rev.Policy, Last: r.Last, Refused: r.Refused})
		}
		switch {
		case v.err != nil:
			p.h.metrics.placements.WithLabelValues("failed").Inc()
		case ev.decision.Cluster == "":
			p.h.metrics.placements.WithLabelValues("waiting").Inc()
		}
		if err := p.h.post(ctx, shard, ev); err != nil {
			return err
		}
		if v.err != nil && api.CodeOf(v.err) == api.CodeUnavailable {
			p.h.fleet.changed() // try again with the next round of facts
		}
	}
	return nil
}

// waiting is how many requests nobody has begun with.
func (p *placer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}
