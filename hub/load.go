package hub

import (
	"context"
	"fmt"

	"github.com/nave-dev/nave/api"
)

// load makes this replica the shard's owner and brings the shard into memory. The order matters: the store's generation is
// raised first, the archive's second, and only then is anything read, so that a former owner can add nothing to what was
// read. It returns the effects to begin with.
func (l *loop) load(ctx context.Context) ([]effect, error) {
	wrap := func(what string, err error) error { return fmt.Errorf("shard %d: %s: %w", l.shard, what, err) }
	head, err := l.h.cfg.Shards.Claim(ctx, l.shard)
	if err != nil {
		return nil, wrap("claim", err)
	}
	if err := l.h.cfg.Archive.Raise(ctx, l.shard, head.Generation); err != nil {
		return nil, wrap("fence archive", err)
	}
	contents, err := l.h.cfg.Shards.Load(ctx, l.shard)
	if err != nil {
		return nil, wrap("load", err)
	}
	positions, err := l.h.cfg.Archive.Positions(ctx, l.shard)
	if err != nil {
		return nil, wrap("read positions", err)
	}
	ids := make([]api.SignalID, len(contents.Signals))
	for i, s := range contents.Signals {
		ids[i] = s.ID
	}
	settled, err := l.h.cfg.Archive.Settled(ctx, ids)
	if err != nil {
		return nil, wrap("read settled signals", err)
	}
	l.m = newMachine(l.shard, head, l.h.cfg.Limits)
	o := l.m.load(contents, positions, settled)
	for _, s := range l.m.sessions {
		if s.Assignment == nil {
			continue
		}
		// Without it the spoke still has the revision in its journal.
		if s.revision, err = l.h.cfg.Resolver.ResolveAt(ctx, s.Org, s.Agent, *s.Assignment); err != nil {
			l.h.log.Warn("revision of an assignment not found", "session", s.ID, "error", err)
		}
	}
	for len(o.mutations) > 0 {
		n := min(len(o.mutations), batchOps)
		if err := l.commit(ctx, o.mutations[:n]); err != nil {
			return nil, wrap("clean up", err)
		}
		o.mutations = o.mutations[n:]
	}
	return o.effects, nil
}

func newMachine(shard api.Shard, head api.Head, limits Limits) *machine {
	return &machine{shard: shard, head: head, limits: limits, sessions: map[api.SessionID]*session{},
		keys: map[sessionKey]api.SessionID{}, idem: map[KeyScope]*api.Signal{}, assignedTo: map[api.ClusterID]int{}}
}

// load fills memory. What the archive has already leaves the store; what it lacks goes to it; who waits is placed.
func (m *machine) load(c ShardContents, positions map[api.SessionID]LogPosition, settled map[api.SignalID]bool) output {
	var o output
	for _, rec := range c.Sessions {
		s := m.add(rec)
		if s.Assignment != nil {
			m.assignedTo[s.Assignment.Cluster]++
			s.admitted = true // nobody knows any more
		}
		if p, ok := positions[s.ID]; ok {
			s.log.number, s.log.kept = p.Number, p.Number
			for src, n := range p.Sources {
				s.log.taken[src], s.log.settled[src] = n, n
			}
			s.log.forget(s.Epoch)
		}
		if s.Assignment != nil && s.Phase == api.PhaseRunning {
			s.Phase = api.PhaseStarting // until its spoke says what is
		}
	}
	for _, sig := range c.Signals {
		s := m.sessions[sig.Session]
		if settled[sig.ID] {
			o.mutate(s.Org, Mutation{DeleteSignal: &SignalKey{sig.Session, sig.Sequence}})
			continue
		}
		s.pending = append(s.pending, sig)
		o.effect(effPending{s.Org, 1})
		if sig.IdempotencyKey != "" {
			m.idem[KeyScope{s.Agent, s.Key, sig.IdempotencyKey}] = &sig
		}
	}
	for _, item := range c.Outbox {
		s := m.sessions[item.Event.Session]
		if item.Event.SourceNumber <= s.log.settled[api.HubSource] {
			o.mutate(s.Org, Mutation{DeleteOutbox: &OutboxKey{s.ID, item.Event.SourceNumber}})
			continue
		}
		m.enqueue(s, item.Event, item.Decision)
	}
	for _, s := range m.ordered() {
		m.place(&o, s)
	}
	m.flush(&o)
	return o
}
