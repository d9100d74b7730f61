package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// Bounds of what a status gathers.
const (
	factsWithin  = 3 * time.Second // from the shards, and from the archive
	groupsSorted = 100             // reasons that are told apart
)

// Facts gathers what a status is judged by, for one organization: clusters, sessions, approvals and dead letters. What cannot be found
// out in time is in the facts as an error. Version, parts and disk are the caller's to add.
func (h *Hub) Facts(ctx context.Context, org api.OrgID) StatusFacts {
	f := StatusFacts{Now: time.Now().UTC(), Limit: h.cfg.Limits.PendingPerOrg}
	assigned := h.countSessions(ctx, org, &f)
	f.Dead = h.deadFacts(ctx, org, f.Now)
	l := h.fleet
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, m := range l.members {
		if m.cluster.Org != org {
			continue
		}
		c := ClusterFact{Name: m.cluster.Name, Health: m.health, Version: m.version, Sessions: assigned[id], Cordoned: m.cluster.Cordoned}
		if !m.heard.IsZero() {
			c.Heard = m.heard.UTC()
		}
		if m.gone {
			c.LostFor = max(l.looked-m.goneSince, 0)
		}
		f.Clusters = append(f.Clusters, c)
	}
	return f
}

// countSessions asks all shards, and returns how many sessions each cluster has.
func (h *Hub) countSessions(ctx context.Context, org api.OrgID, f *StatusFacts) map[api.ClusterID]int {
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	assigned, waiting := map[api.ClusterID]int{}, map[string]SessionGroup{}
	s, open := SessionFacts{Phases: map[api.Phase]int{}}, ApprovalFacts{}
	// A shard that answers too late still counts into s, which nobody looks at then.
	f.Counted = h.query(ctx, func(m *machine) {
		for _, x := range m.sessions {
			if x.Org != org {
				continue
			}
			s.Phases[x.Phase]++
			s.Pending += len(x.pending)
			for i := range x.approvals {
				open.add(&x.approvals[i])
			}
			if x.Assignment != nil {
				assigned[x.Assignment.Cluster]++
			}
			switch {
			case x.Phase == api.PhasePlacing && x.Reason != "":
				reason := x.Reason
				if _, known := waiting[reason]; !known && len(waiting) >= groupsSorted {
					reason = "other reasons"
				}
				g := waiting[reason]
				g.add(x.ID)
				waiting[reason] = g
			case x.Paused(api.PauseStartFailures):
				s.Failed.add(x.ID)
				if s.Failed.Example == x.ID {
					s.Failed.Reason = x.Reason
				}
			}
		}
	})
	if f.Counted != nil {
		return nil
	}
	for reason, g := range waiting {
		g.Reason = reason
		s.Waiting = append(s.Waiting, g)
	}
	f.Sessions, f.Approvals = s, &open
	return assigned
}

// add counts a session; the one with the lowest id is the example.
func (g *SessionGroup) add(id api.SessionID) {
	if g.Count++; g.Example == "" || id < g.Example {
		g.Example = id
	}
}

// add counts an approval that is open.
func (f *ApprovalFacts) add(a *api.Approval) {
	if a.State != api.ApprovalOpen {
		return
	}
	if f.Open++; f.Oldest.IsZero() || a.AskedAt.Before(f.Oldest) {
		f.Oldest = a.AskedAt
	}
}

func (h *Hub) deadFacts(ctx context.Context, org api.OrgID, now time.Time) (d DeadFacts) {
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	letters, _, err := h.cfg.Reader.DeadLetters(ctx, org, DeadFilter{}, "", DeadLettersCounted)
	d.Err = err
	for _, s := range letters {
		if s.ReplayedAs != "" || now.Sub(s.SettledAt) > deadLettersWithin {
			continue
		}
		if d.Count++; d.Example == "" {
			d.Example = s.Signal.ID // they come latest first
		}
	}
	return d
}
