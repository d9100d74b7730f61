package hub

import (
	"context"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/placement"
)

// liveness knows the member clusters: who is heard, what they offer, and where their links are. Who is alive is decided in
// the store, by leases; a missed beat only makes a cluster suspect.
type liveness struct {
	h *Hub

	mu      sync.Mutex
	members map[api.ClusterID]*member // guarded by mu
	dirty   bool                      // guarded by mu: a fact changed since shards were told
}

// member is one cluster as this replica sees it.
type member struct {
	cluster  api.Cluster
	link     *Attachment
	health   api.Health
	heard    time.Time // monotonic; zero if never heard by this process
	version  string
	boot     string
	capacity api.Capacity
	reserved map[api.SessionID]string // flavor of placements that the spoke has not reported yet
}

func newLiveness(h *Hub) *liveness { return &liveness{h: h, members: map[api.ClusterID]*member{}} }

// suspectBeats is how many beats may be missing before a cluster gets no new placements.
const suspectBeats = 2.5

// run refreshes the members and tells shards what changed, once a second.
func (l *liveness) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for round := 1; ; round++ {
		if err := l.refresh(ctx); err != nil {
			// Absence is not evidence: without an answer everything stays as it is.
			l.h.log.Warn("clusters not refreshed", "error", err)
		}
		l.tell(ctx, round%everyRounds == 0)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refresh reads the registry and the leases and judges health.
func (l *liveness) refresh(ctx context.Context) error {
	began := time.Now()
	clusters, err := l.h.cfg.Clusters.Clusters(ctx)
	if err != nil {
		return err
	}
	holders, err := l.h.cfg.Leases.Holders(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	var lost []api.ClusterID
	l.mu.Lock()
	seen := map[api.ClusterID]bool{}
	for _, c := range clusters {
		seen[c.ID] = true
		m := l.member(c.ID)
		if m.cluster.Etag != c.Etag {
			l.dirty = true
		}
		m.cluster = c
		if m.heard.After(began) {
			continue // its lease was confirmed after this look began: what the look saw is older
		}
		_, holds := holders[c.ID]
		was := m.health
		m.health = judgeHealth(c, holds, m.link != nil, now.Sub(m.heard), l.h.cfg.Beat)
		if m.health == api.HealthLost && was != api.HealthLost {
			lost = append(lost, c.ID)
		}
		if m.health == api.HealthLive && was != api.HealthLive {
			l.dirty = true
		}
	}
	for id, m := range l.members {
		if !seen[id] {
			if m.link != nil {
				m.link.end(api.Errorf(api.CodeDenied, "the cluster was removed"))
			}
			delete(l.members, id)
		}
	}
	l.mu.Unlock()
	for _, id := range lost {
		if err := l.h.broadcast(ctx, evHealth{id, api.HealthLost}); err != nil {
			return err
		}
	}
	return nil
}

// judgeHealth is the table of health: what is registered, what the store says of its lease, what this replica heard.
func judgeHealth(c api.Cluster, holdsLease, linked bool, silence, beat time.Duration) api.Health {
	switch {
	case c.Identity == "":
		return api.HealthPending
	case !holdsLease:
		return api.HealthLost
	case !linked || silence > time.Duration(suspectBeats*float64(beat)):
		return api.HealthSuspect
	}
	return api.HealthLive
}

// everyRounds is how often sessions that wait try again although this replica saw no fact change: definitions change too, and
// the pauses after refusals end.
const everyRounds = 5

// tell lets waiting sessions try again when a fact has changed.
func (l *liveness) tell(ctx context.Context, always bool) {
	l.mu.Lock()
	dirty := l.dirty
	l.dirty = false
	l.mu.Unlock()
	if (dirty || always) && l.h.broadcast(ctx, evFacts{}) != nil {
		l.changed()
	}
}

// changed marks that a fact changed that may have kept sessions from being placed.
func (l *liveness) changed() {
	l.mu.Lock()
	l.dirty = true
	l.mu.Unlock()
}

// Counts asks the shards how many sessions are assigned to each cluster now. Clusters without any are left out.
func (h *Hub) Counts(ctx context.Context) (map[api.ClusterID]int, error) {
	total := map[api.ClusterID]int{}
	err := h.query(ctx, func(m *machine) {
		for c, of := range m.assigned {
			total[c] += len(of)
		}
	})
	return total, err
}

// member returns the entry of a cluster, which it makes when there is none. The caller holds mu.
func (l *liveness) member(id api.ClusterID) *member {
	m := l.members[id]
	if m == nil {
		m = &member{health: api.HealthPending, reserved: map[api.SessionID]string{}}
		l.members[id] = m
	}
	return m
}

// Status is what this replica observed of a cluster. Its sessions are not counted: see [Hub.Counts].
func (h *Hub) Status(id api.ClusterID) api.ClusterStatus {
	l := h.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[id]
	if m == nil {
		return api.ClusterStatus{Health: api.HealthPending}
	}
	s := api.ClusterStatus{Health: m.health, Version: m.version, Boot: m.boot, Capacity: m.capacity}
	if !m.heard.IsZero() {
		s.Heard = m.heard.UTC()
	}
	return s
}

// decide places a request on what is known now and reserves the room until the spoke reports the session.
func (l *liveness) decide(r placement.Request) api.Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	var snap placement.Snapshot
	for id, m := range l.members {
		delete(m.reserved, r.Session)
		if m.cluster.Org != r.Org {
			continue // what an organization may not see does not exist for it
		}
		c := placement.Cluster{ID: id, Org: m.cluster.Org, Name: m.cluster.Name, Labels: m.cluster.Labels, Taints: m.cluster.Taints,
			Cordoned: m.cluster.Cordoned, Health: m.health, Rooms: map[string]placement.Room{}}
		for _, f := range m.capacity.Flavors {
			c.Rooms[f.Flavor] = placement.Room{Total: f.Total, Free: max(0, f.Total-f.Used-m.reservedFor(f.Flavor))}
		}
		snap.Clusters = append(snap.Clusters, c)
	}
	d := placement.Decide(snap, r)
	if m := l.members[d.Cluster]; m != nil {
		flavor := api.DefaultFlavor
		if r.Environment != nil {
			flavor = r.Environment.For(m.cluster.Labels).Flavor
		}
		m.reserved[r.Session] = flavor
	}
	return d
}

// unplace frees the room that was kept for a session whose placement came to nothing. A cluster that was not alive in the
// store gets nothing more until it is heard, or the next look at the leases.
func (l *liveness) unplace(id api.ClusterID, s api.SessionID, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[id]
	if m == nil {
		return
	}
	delete(m.reserved, s)
	l.dirty = true
	if dead && m.health == api.HealthLive {
		m.health = api.HealthSuspect
	}
}

func (m *member) reservedFor(flavor string) (n int) {
	for _, f := range m.reserved {
		if f == flavor {
			n++
		}
	}
	return n
}

// send queues a message on a cluster's link. Without a link it is dropped: the next link begins with everything.
func (l *liveness) send(id api.ClusterID, msg api.HubMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil && m.link != nil {
		m.link.push(msg)
	}
}

// cut ends a cluster's link, so that it begins anew.
func (l *liveness) cut(id api.ClusterID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil && m.link != nil {
		m.link.end(err)
	}
}

// reported takes a spoke's capacity and lifts the reservations of the sessions that it knows by now.
func (l *liveness) reported(id api.ClusterID, c *api.Capacity, held []api.Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[id]
	if m == nil {
		return
	}
	before := len(m.reserved)
	for _, h := range held {
		delete(m.reserved, h.Session)
	}
	if c != nil {
		grown := len(c.Flavors) > len(m.capacity.Flavors)
		for _, f := range c.Flavors {
			for _, old := range m.capacity.Flavors {
				grown = grown || old.Flavor == f.Flavor && f.Total-f.Used > old.Total-old.Used
			}
		}
		m.capacity = *c
		l.dirty = l.dirty || grown
	}
	l.dirty = l.dirty || len(m.reserved) < before
}

// identities returns the enrolled clusters by overlay identity.
func (l *liveness) identities() map[string]api.Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]api.Cluster{}
	for _, m := range l.members {
		if m.cluster.Identity != "" {
			out[m.cluster.Identity] = m.cluster
		}
	}
	return out
}

// links returns how many links are open and how many messages wait for them.
func (l *liveness) links() (open, messages int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if m.link != nil {
			open++
			messages += m.link.waiting()
		}
	}
	return open, messages
}
