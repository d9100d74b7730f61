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
//
// What shards hear of one cluster is told by the holder of its order: the spoke that attaches, or the look that found it
// lost. So nobody is told that a cluster is lost after it was told that its spoke is back.
type liveness struct {
	h     *Hub
	looks chan struct{} // capacity 1: one look at a time

	mu      sync.Mutex
	members map[api.ClusterID]*member // guarded by mu
	dirty   bool                      // guarded by mu: a fact changed since shards were told
	owed    map[api.Shard]bool        // guarded by mu: shards that were not told because they were busy
	looked  time.Duration             // guarded by mu: boot time at which the last look that succeeded began
	known   bool                      // guarded by mu: there was one
	seen    time.Time                 // guarded by mu: when it began, by the other clock
	former  map[string]string         // guarded by mu: identities that are no cluster's any more, and why; at most formerKept
	expired []string                  // guarded by mu: the keys of former, oldest first
}

// member is one cluster as this replica sees it.
type member struct {
	cluster   api.Cluster
	order     chan struct{} // capacity 1: who tells shards of the cluster
	link      *Attachment
	health    api.Health
	heard     time.Time     // monotonic; zero if never heard by this process
	gone      bool          // the last look found no lease, and nobody was heard since
	goneSince time.Duration // boot time since when, for sure
	told      bool          // the shards were told that it is lost
	version   string
	boot      string
	capacity  api.Capacity
	reserved  map[api.SessionID]string // flavor of placements that the spoke has not reported yet
}

func newLiveness(h *Hub) *liveness {
	return &liveness{h: h, looks: make(chan struct{}, 1), members: map[api.ClusterID]*member{}, owed: map[api.Shard]bool{}, former: map[string]string{}}
}

const (
	suspectBeats = 2.5                    // how many beats may be missing before a cluster gets no new placements
	formerKept   = 1024                   // identities of former spokes that are told why they are refused
	tellWithin   = 500 * time.Millisecond // how long a round waits for inboxes that are full, in all
)

// hear takes that the cluster's lease was confirmed. The caller holds mu of liveness.
func (m *member) hear() {
	m.heard, m.health, m.gone, m.told = time.Now(), api.HealthLive, false, false
}

// run refreshes the members and tells shards what changed, once a second.
func (l *liveness) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for round := 1; ; round++ {
		if err := l.refresh(ctx); err != nil {
			// Absence is not evidence: without an answer everything stays as it is.
			l.h.log.Warn("clusters not refreshed", "error", err)
		}
		l.tellLost(ctx)
		l.tell(ctx, round%everyRounds == 0)
		l.repeat()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refresh reads the registry and the leases and judges health.
func (l *liveness) refresh(ctx context.Context) error {
	asked := time.Now()
	select {
	case l.looks <- struct{}{}:
		defer func() { <-l.looks }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.mu.Lock()
	fresh := l.seen.After(asked)
	l.mu.Unlock()
	if fresh {
		return nil // another look began while this one waited
	}
	began, at := time.Now(), l.h.cfg.Clock()
	clusters, err := l.h.cfg.Clusters.Clusters(ctx)
	if err != nil {
		return err
	}
	holders, err := l.h.cfg.Leases.Holders(ctx)
	if err != nil {
		return err
	}
	now := l.h.cfg.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	// In so long a lease can have been taken and have run out: what was seen before says nothing about the time between.
	blind := !l.known || now-l.looked >= l.h.cfg.LeaseTTL
	l.looked, l.known, l.seen = at, true, began
	seen := map[api.ClusterID]bool{}
	for _, c := range clusters {
		seen[c.ID] = true
		l.adopt(c)
		_, holds := holders[c.ID]
		l.members[c.ID].look(holds, blind, now)
		l.judge(l.members[c.ID], holds, began)
	}
	for id, m := range l.members {
		if !seen[id] && !m.heard.After(began) {
			l.remove(m, "the cluster was removed")
			delete(l.members, id)
		}
	}
	return nil
}

// look takes what a look at the leases saw.
func (m *member) look(holds, blind bool, now time.Duration) {
	switch {
	case holds:
		m.gone, m.told = false, false
	case !m.gone || blind:
		m.gone, m.goneSince = true, now
	}
}

// judge decides about the health of a cluster. The caller holds mu.
func (l *liveness) judge(m *member, holds bool, began time.Time) {
	if m.heard.After(began) {
		m.gone, m.told = false, false
		return // its lease was confirmed after this look began: what the look saw is older
	}
	was := m.health
	m.health = judgeHealth(m.cluster, holds, m.link != nil, time.Since(m.heard), l.h.cfg.Beat)
	l.dirty = l.dirty || m.health == api.HealthLive && was != api.HealthLive
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
		m = &member{health: api.HealthPending, order: make(chan struct{}, 1), reserved: map[api.SessionID]string{}}
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
	for _, m := range l.members {
		delete(m.reserved, r.Session)
	}
	d := placement.Decide(l.snapshot(r.Org, r.Session), r)
	if m := l.members[d.Cluster]; m != nil {
		flavor := api.DefaultFlavor
		if r.Environment != nil {
			flavor = r.Environment.For(m.cluster.Labels).Flavor
		}
		m.reserved[r.Session] = flavor
	}
	return d
}

// snapshot is what placement may see of an organization's clusters, without the room that is kept for one session. The caller
// holds mu.
func (l *liveness) snapshot(org api.OrgID, without api.SessionID) (snap placement.Snapshot) {
	for id, m := range l.members {
		if m.cluster.Org != org {
			continue // what an organization may not see does not exist for it
		}
		c := placement.Cluster{ID: id, Org: m.cluster.Org, Name: m.cluster.Name, Labels: m.cluster.Labels, Taints: m.cluster.Taints,
			Cordoned: m.cluster.Cordoned, Health: m.health, Rooms: map[string]placement.Room{}}
		for _, f := range m.capacity.Flavors {
			c.Rooms[f.Flavor] = placement.Room{Total: f.Total, Free: max(0, f.Total-f.Used-m.reservedFor(f.Flavor, without))}
		}
		snap.Clusters = append(snap.Clusters, c)
	}
	return snap
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

func (m *member) reservedFor(flavor string, without api.SessionID) (n int) {
	for session, f := range m.reserved {
		if f == flavor && session != without {
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

// links returns how many links are open and what waits for them.
func (l *liveness) links() (open, sessions, acks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if m.link != nil {
			s, a, _ := m.link.mail.waits()
			open, sessions, acks = open+1, sessions+s, acks+a
		}
	}
	return open, sessions, acks
}

// healths counts the clusters by health.
func (l *liveness) healths() map[api.Health]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[api.Health]int{}
	for _, m := range l.members {
		out[m.health]++
	}
	return out
}
