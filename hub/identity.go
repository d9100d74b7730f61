package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// adopt takes a cluster's record as the store has it. A link of an identity that is not the cluster's any more ends. The
// caller holds mu.
func (l *liveness) adopt(c api.Cluster) {
	m := l.member(c.ID)
	if m.cluster.Etag != c.Etag {
		l.dirty = true
	}
	if old := m.cluster.Identity; old != "" && old != c.Identity {
		l.remove(m, "the spoke's identity was revoked: the cluster rejoins")
	}
	m.cluster = c
}

// remove cuts the link of a cluster whose identity is over and remembers why. The caller holds mu.
func (l *liveness) remove(m *member, why string) {
	if id := m.cluster.Identity; id != "" && l.former[id] == "" {
		l.former[id] = why
		if l.expired = append(l.expired, id); len(l.expired) > formerKept {
			delete(l.former, l.expired[0])
			l.expired = l.expired[1:]
		}
	}
	if m.link != nil {
		m.link.end(api.Errorf(api.CodeDenied, "%s", why))
	}
}

// changedTo takes what this replica wrote, before the next look finds it.
func (l *liveness) changedTo(c api.Cluster) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adopt(c)
}

// identify returns the cluster whose spoke has an overlay identity.
func (l *liveness) identify(ctx context.Context, identity string) (api.Cluster, error) {
	c, why := l.byIdentity(identity)
	if c.ID == "" && why == "" {
		if err := l.refresh(ctx); err != nil {
			return c, err
		}
		c, why = l.byIdentity(identity)
	}
	switch {
	case c.ID != "":
		return c, nil
	case why != "":
		return c, api.Errorf(api.CodeDenied, "%s", why)
	}
	return c, api.Errorf(api.CodeDenied, "identity %s belongs to no cluster: enroll with a join token", identity)
}

func (l *liveness) byIdentity(identity string) (c api.Cluster, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if m.cluster.Identity == identity && identity != "" {
			return m.cluster, ""
		}
	}
	return c, l.former[identity]
}

// Revoke cuts the link of a cluster's spoke and refuses its identity from now on, with the reason. What the store says
// counts: this is only faster than the next look.
func (h *Hub) Revoke(id api.ClusterID, why string) {
	l := h.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil {
		l.remove(m, why)
		m.cluster.Identity = ""
	}
}

// Members returns the registered clusters as of the last look, about a second ago at most, without their status; false
// before the first look.
func (h *Hub) Members() ([]api.Cluster, bool) {
	l := h.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]api.Cluster, 0, len(l.members))
	for _, m := range l.members {
		if m.cluster.ID != "" {
			out = append(out, m.cluster)
		}
	}
	return out, l.known
}
