package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// ports is what the loops of a hub reach.
func (h *Hub) ports() CorePorts {
	p := CorePorts{Shards: merged{h.cfg.Shards, h.commits}, Archive: h.lookups, Log: h.cfg.Reader, Resolver: h.cfg.Resolver, Out: outlet{h},
		Pause: pause, Logger: h.log, hub: h}
	if h.cfg.Vault != nil {
		p.Vault = h.cfg.Vault
	}
	return p
}

// merged is the store of shards whose commits go through the replica's committer.
type merged struct {
	ShardStore
	commits *committer
}

// Commit implements [ShardStore] for one batch.
func (m merged) Commit(ctx context.Context, batches []Batch) error {
	return m.commits.commit(ctx, batches[0])
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// outlet performs what shards decided.
type outlet struct{ h *Hub }

// Submit implements [CoreOut].
func (o outlet) Submit(ctx context.Context, shard api.Shard, appends []Append) error {
	return o.h.archiver.submit(ctx, shard, appends)
}

// Ask implements [CoreOut].
func (o outlet) Ask(r PlaceRequest) { o.h.placer.ask(r) }

// Send implements [CoreOut].
func (o outlet) Send(cluster api.ClusterID, m api.HubMessage) { o.h.fleet.send(cluster, m) }

// Cut implements [CoreOut].
func (o outlet) Cut(cluster api.ClusterID, err error) { o.h.fleet.cut(cluster, err) }

// Collect implements [CoreOut].
func (o outlet) Collect(org api.OrgID, session api.SessionID, keep []api.CheckpointID) {
	o.h.collect(org, session, keep)
}

// The rest of what a loop tells is for the replica's other parts; a simulator has none of them.

func (p *CorePorts) pending(org api.OrgID, n int) {
	if p.hub != nil {
		p.hub.quota.add(org, n)
	}
}

func (p *CorePorts) hurry() {
	if p.hub != nil {
		p.hub.archiver.hurry()
	}
}

func (p *CorePorts) notify(s api.SessionID, events []api.Event) {
	if p.hub != nil {
		p.hub.feed.notify(s, events)
	}
}

func (p *CorePorts) pour(d api.Delta) {
	if p.hub != nil {
		p.hub.feed.pour(d)
	}
}

func (p *CorePorts) unplace(c api.ClusterID, s api.SessionID, dead bool) {
	if p.hub != nil {
		p.hub.fleet.unplace(c, s, dead)
	}
}

// tell lets the metrics count.
func (p *CorePorts) tell(count func(*metrics)) {
	if p.hub != nil {
		count(p.hub.metrics)
	}
}

// name is a cluster's, for people.
func (p *CorePorts) name(id api.ClusterID) string {
	if p.hub == nil {
		return string(id)
	}
	l := p.hub.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil && m.cluster.Name != "" {
		return m.cluster.Name
	}
	return string(id)
}
