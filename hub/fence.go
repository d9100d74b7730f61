package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// AssignedSession is a session that is assigned to a cluster.
type AssignedSession struct {
	ID        api.SessionID
	StopAfter time.Duration // of its agent, fixed for the epoch; StopNever
}

// Assigned asks the shards which sessions are assigned to a cluster now.
func (h *Hub) Assigned(ctx context.Context, id api.ClusterID) ([]AssignedSession, error) {
	var out []AssignedSession
	err := h.query(ctx, func(m *machine) {
		for _, s := range m.sessions {
			if s.Assignment != nil && s.Assignment.Cluster == id {
				out = append(out, AssignedSession{ID: s.ID, StopAfter: stopAfter(s.Assignment)})
			}
		}
	})
	return out, err
}

// lostFor is how long the lease of a cluster was gone for sure when this replica looked last, by its own clock; 0 while it is
// held, and for a cluster that is not known. It begins anew with the process, and when the replica could not look for as long
// as a lease lasts.
func (h *Hub) lostFor(id api.ClusterID) time.Duration {
	l := h.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil && m.gone {
		return max(l.looked-m.goneSince, 0)
	}
	return 0
}

// passFence lets the first spoke after a rejoin in when what ran at the former one must have stopped. Whatever was assigned
// there is over then: the shards are told before the fence is taken away, so that it stands until all have heard of it. The
// caller holds the cluster's order.
func (h *Hub) passFence(ctx context.Context, c api.Cluster) (api.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	there, err := h.Assigned(ctx, c.ID)
	if err != nil {
		return c, err
	}
	need := c.Fence
	for _, s := range there {
		if s.StopAfter != api.StopNever { // for those a person has given their word
			need = max(need, fenceAfter(s.StopAfter, h.cfg.LeaseTTL))
		}
	}
	gone := h.lostFor(c.ID)
	if gone < need {
		left := need - gone
		if gone == 0 {
			left += h.cfg.LeaseTTL
		}
		return c, api.Errorf(api.CodeConflict, "cluster %q rejoins: what ran at its former spoke must have stopped first: wait %d s", c.Name, int((left+time.Second-1)/time.Second))
	}
	if err := h.broadcast(ctx, evFence{cluster: c.ID, gone: gone, forget: true}); err != nil {
		return c, err
	}
	c.Fence, c.Status = 0, api.ClusterStatus{}
	stored, err := h.cfg.Clusters.UpdateCluster(ctx, c)
	if api.CodeOf(err) == api.CodeConflict {
		return c, api.Errorf(api.CodeUnavailable, "cluster %q is being changed: repeat", c.Name)
	}
	if err != nil {
		return c, err
	}
	h.fleet.changedTo(stored)
	h.log.Info("fence of a rejoined cluster passed", "cluster", c.ID, "name", c.Name, "gone", gone, "sessions", len(there))
	return stored, nil
}

// silence is a cluster without a lease.
type silence struct {
	id    api.ClusterID
	fresh bool // nobody was told yet
}

// tellLost tells the shards of the clusters whose lease is gone. That a cluster is lost goes to every shard once, and then,
// once a second, to those that have sessions there which do not know it: a shard that was loaded meanwhile hears of it too.
// For how long it is gone goes to every shard that has sessions there. What does not fit into an inbox comes with the next
// round. A cluster whose spoke attaches just now is left out.
func (l *liveness) tellLost(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	var lost []silence
	l.mu.Lock()
	for id, m := range l.members {
		if m.gone && (m.cluster.Identity != "" || m.cluster.Fence > 0) {
			lost = append(lost, silence{id, !m.told})
		}
	}
	l.mu.Unlock()
	for _, s := range lost {
		if unlock := l.tryOrder(s.id); unlock != nil {
			l.tellOf(ctx, s)
			unlock()
		}
	}
}

func (l *liveness) tellOf(ctx context.Context, s silence) {
	gone := l.h.lostFor(s.id)
	l.mu.Lock()
	m := l.members[s.id]
	still := m != nil && m.gone
	if still {
		m.told = true
	}
	l.mu.Unlock()
	if !still {
		return // it was heard meanwhile
	}
	for i, lo := range l.h.loops {
		shard, c := api.Shard(i), lo.census.Load()
		if s.fresh || c != nil && c.unaware[s.id] {
			l.h.offerWithin(ctx, shard, evHealth{cluster: s.id, health: api.HealthLost})
		}
		if c != nil && c.assigned[s.id] {
			l.h.offerWithin(ctx, shard, evFence{cluster: s.id, gone: gone})
		}
	}
}
