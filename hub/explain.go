package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/placement"
)

// Explanation says why a session is where it is.
type Explanation struct {
	Session   SessionView
	Decisions []api.Decision // latest first, at most 20
	Present   *api.Decision  // what placement would decide now; nil when it was not asked for
	Resolved  *Resolved      // nil for a session that has ended, and when its agent cannot be resolved any more
}

// Resolved is what a session runs, or would run if it began now.
type Resolved struct {
	Pinned bool // fixed for the present epoch; else it is what the next one would get
	// Revision is as the definitions say it. Of a pinned one that cannot be read any more only name and revisions are known.
	Revision    api.ResolvedRevision
	Environment *api.EnvironmentSpec // as it is in the cluster; nil when it is not known
	Override    int                  // that applies there, from 1; 0: none
}

// Explain returns a session with its latest decisions and what it runs. With present it also says what placement would decide
// now; nothing is placed and no room is kept by asking.
func (h *Hub) Explain(ctx context.Context, org api.OrgID, id api.SessionID, present bool) (x Explanation, err error) {
	var request *PlaceRequest
	if x.Session, request, err = h.asked(ctx, org, id); err != nil {
		return Explanation{}, err
	}
	if x.Decisions, err = h.cfg.Reader.Decisions(ctx, org, id, 20); err != nil {
		return Explanation{}, err
	}
	now := time.Now().UTC()
	if request == nil || x.Session.Intent == api.IntentTerminated {
		if present {
			x.Present = &api.Decision{Session: id, Time: now, Summary: "placement would decide nothing now: the session is terminated"}
		}
		return x, nil
	}
	holds := room{}
	if a := x.Session.Assignment; a != nil {
		if x.Resolved, err = h.pinned(ctx, org, x.Session.Session, *a); err != nil {
			return Explanation{}, err
		}
		if x.Resolved.Environment != nil {
			holds = room{a.Cluster, x.Resolved.Environment.Flavor}
		}
	}
	next, err := h.cfg.Resolver.ResolveRevision(ctx, org, request.Agent, request.AgentName, 0)
	if code := api.CodeOf(err); err != nil && code != api.CodeNotFound && code != api.CodeFailed {
		return Explanation{}, err
	}
	wouldBe := api.Decision{Session: id}
	if err != nil {
		wouldBe.Summary = "no cluster: " + err.Error()
	} else {
		r := placement.Request{Session: id, Org: org, Environment: next.Environment, Policy: next.Policy, Last: request.Last, Refused: request.Refused}
		wouldBe = h.fleet.preview(r, holds)
		if x.Resolved == nil {
			x.Resolved = h.resolved(next, wouldBe.Cluster)
		}
	}
	if present {
		wouldBe.Time, wouldBe.Summary = now, brief("placement would decide now: "+wouldBe.Summary)
		x.Present = &wouldBe
	}
	return x, nil
}

// asked returns a session, and what placement would be asked for it; nil for one that has ended.
func (h *Hub) asked(ctx context.Context, org api.OrgID, id api.SessionID) (v SessionView, request *PlaceRequest, err error) {
	shard, err := id.Shard()
	if err != nil {
		return v, nil, api.Invalid("id", "%v", err)
	}
	err = h.queryShard(ctx, shard, func(m *machine) {
		if s := m.sessions[id]; s != nil && s.Org == org {
			r := s.request()
			v, request = s.view(), &r
		}
	})
	if err == nil && request == nil {
		v, err = h.past(ctx, org, id)
	}
	if request != nil && v.Assignment != nil {
		request.Last = v.Assignment.Cluster // where it would have run last
	}
	return v, request, err
}

// pinned is what the session's assignment fixes.
func (h *Hub) pinned(ctx context.Context, org api.OrgID, s api.Session, a api.Assignment) (*Resolved, error) {
	rev, err := h.cfg.Resolver.ResolveAt(ctx, org, s.Agent, a)
	switch {
	case api.CodeOf(err) == api.CodeNotFound:
		return &Resolved{Pinned: true, Revision: api.ResolvedRevision{AgentID: s.Agent, AgentName: s.AgentName, AgentRevision: a.AgentRevision,
			EnvironmentRevision: a.EnvironmentRevision, PolicyRevision: a.PolicyRevision}}, nil
	case err != nil:
		return nil, err
	}
	r := h.resolved(*rev, a.Cluster)
	r.Pinned = true
	return r, nil
}

// resolved applies the override for a cluster; without one nothing is overridden.
func (h *Hub) resolved(rev api.ResolvedRevision, cluster api.ClusterID) *Resolved {
	r := &Resolved{Revision: rev}
	if rev.Environment == nil {
		return r
	}
	labels, known := h.fleet.labels(cluster)
	if !known {
		plain := *rev.Environment
		plain.Overrides = nil
		r.Environment = plain.For(nil)
		return r
	}
	r.Environment, r.Override = rev.Environment.For(labels), rev.Environment.Override(labels)
	return r
}

// room is what a workload takes in a cluster.
type room struct {
	cluster api.ClusterID
	flavor  string
}

// preview decides a request on what is known now, and keeps nothing. The room that the session holds counts as free: it would
// be given back before.
func (l *liveness) preview(r placement.Request, holds room) api.Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	snap := l.snapshot(r.Org, r.Session)
	for _, c := range snap.Clusters {
		if c.ID != holds.cluster || l.members[c.ID].reserved[r.Session] != "" {
			continue // what is only reserved was not counted
		}
		has := c.Rooms[holds.flavor]
		c.Rooms[holds.flavor] = placement.Room{Total: has.Total, Free: min(has.Total, has.Free+1)}
	}
	return placement.Decide(snap, r)
}

// labels are those of a cluster, which nobody changes.
func (l *liveness) labels(id api.ClusterID) (labels map[string]string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[id]
	if m == nil {
		return nil, false
	}
	return m.cluster.Labels, true
}
