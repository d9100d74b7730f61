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
