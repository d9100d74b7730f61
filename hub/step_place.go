package hub

import (
	"maps"
	"time"

	"github.com/nave-dev/nave/api"
)

// place asks for a decision when the session has work and no assignment.
func (m *machine) place(o *output, s *session) {
	if s.placing || s.Assignment != nil || len(s.pending) == 0 || s.Intent != api.IntentActive {
		return
	}
	s.placing = true
	o.effect(effPlace{placeRequest{session: s.ID, org: s.Org, agent: s.Agent, name: s.AgentName, last: s.LastCluster, refused: maps.Clone(s.refused)}})
}

// placed takes a decision: a committed assignment begins with it, or the session waits with the reason.
func (m *machine) placed(o *output, now time.Time, ev evPlaced) {
	s := m.sessions[ev.session]
	if s == nil || !s.placing || s.Assignment != nil || len(s.pending) == 0 {
		if ev.decision.Cluster != "" {
			o.effect(effUnplace{cluster: ev.decision.Cluster, session: ev.session})
		}
		if s != nil {
			s.placing = false
		}
		return
	}
	if ev.err != nil || ev.decision.Cluster == "" {
		s.placing = false
		m.wait(o, s, now, ev)
		return
	}
	rec := s.Session
	d := ev.decision
	d.Epoch, d.Time = s.Epoch.Next(m.head.Generation.Incarnation), now
	rec.Epoch = d.Epoch
	rec.Assignment = &api.Assignment{Cluster: d.Cluster, Epoch: d.Epoch, AgentRevision: ev.revision.AgentRevision,
		EnvironmentRevision: ev.revision.EnvironmentRevision, PolicyRevision: ev.revision.PolicyRevision, Summary: d.Summary, StopAfter: ev.revision.Agent.WithDefaults().StopAfter}
	rec.Phase, rec.Reason = api.PhaseStarting, ""
	rec.HubNumber++
	item := OutboxItem{Event: api.Event{Session: s.ID, Source: api.HubSource, SourceNumber: rec.HubNumber, Type: api.EventPlaced, Time: now,
		Text: d.Summary, Attributes: map[string]string{"cluster": string(d.Cluster), "epoch": d.Epoch.String()}}, Decision: &d}
	if s.LastCluster != "" && s.LastCluster != d.Cluster {
		// Without checkpoints its state directory stays behind: that must not go unsaid.
		item.Event.Attributes["state"] = "empty: it ran last in cluster " + string(s.LastCluster)
	}
	o.put(rec)
	o.mutate(s.Org, Mutation{PutOutbox: &item})
	o.guard = &guard{cluster: d.Cluster, assigned: evAssigned{record: rec, rev: ev.revision, placed: item}}
}

// wait records why nothing fits, once per reason.
func (m *machine) wait(o *output, s *session, now time.Time, ev evPlaced) {
	reason := ev.decision.Summary
	if ev.err != nil {
		reason = ev.err.Error()
	}
	before, phase := s.Reason, s.Phase
	s.setPhase(api.PhasePlacing, reason)
	if s.Reason == before && s.Phase == phase {
		return
	}
	d := ev.decision
	d.Time = now
	m.report(o, s, now, api.Event{Type: api.EventWaiting, Text: s.Reason}, &d)
	o.put(s.Session)
}

// assigned takes the outcome of an assignment's commit: it is durable, or the cluster was not alive any more.
func (m *machine) assigned(o *output, ev evAssigned) {
	s := m.sessions[ev.record.ID]
	s.placing = false
	if !ev.ok {
		o.effect(effUnplace{cluster: ev.record.Assignment.Cluster, session: s.ID, dead: true})
		m.place(o, s)
		return
	}
	s.setPhase(api.PhaseStarting, "")
	m.assign(s, ev.record.Assignment)
	s.Session = ev.record
	s.revision, s.admitted, s.gone, s.idle = ev.rev, false, false, nil
	m.enqueue(s, ev.placed.Event, ev.placed.Decision)
	s.log.forget(s.Epoch)
	o.effect(effSend{cluster: s.Assignment.Cluster, sessions: []api.Desired{m.desired(s, true)}})
}

// held takes what a spoke reports of a session. It is believed about its own assignment in the present epoch only.
func (m *machine) held(o *output, now time.Time, cluster api.ClusterID, h api.Held) {
	s := m.sessions[h.Session]
	if s == nil || s.Assignment == nil || s.Assignment.Cluster != cluster || s.Assignment.Epoch != h.Epoch {
		o.effect(effStale{cluster, h.Session, h.Epoch})
		return
	}
	if s.idle = nil; h.State != api.HeldRefused && h.State != api.HeldGone {
		s.admitted, s.refused, s.refusals = true, nil, 0
	}
	switch h.State {
	case api.HeldAdmitted:
		if s.Phase == api.PhaseRunning || s.Phase == api.PhaseLost {
			s.setPhase(api.PhaseStarting, h.Reason)
		} else if s.Phase == api.PhaseStarting {
			s.Reason = h.Reason
		}
	case api.HeldRunning:
		if s.Phase == api.PhaseStarting || s.Phase == api.PhaseLost {
			s.setPhase(api.PhaseRunning, "")
		}
	case api.HeldIdle:
		m.idle(o, s, h)
	case api.HeldRefused:
		m.refusal(o, s, now, cluster, h.Reason)
	case api.HeldGone:
		m.gone(o, s, now)
	}
}

// idle grants sleep if no signal was accepted that the spoke has not seen, and none is unsettled.
func (m *machine) idle(o *output, s *session, h api.Held) {
	switch s.Phase {
	case api.PhaseStarting, api.PhaseLost:
		s.setPhase(api.PhaseRunning, "")
	case api.PhaseRunning:
	default:
		return
	}
	if h.Seen != s.LastSequence {
		return
	}
	if len(s.pending) > 0 {
		s.idle = &h // the spoke says it once: decided when the archive has what it settled
		return
	}
	m.release(o, s, "idle")
}

// release asks the spoke to stop the session. The assignment ends when it says that nothing is left.
func (m *machine) release(o *output, s *session, why string) {
	a := *s.Assignment
	a.Releasing = true
	m.assign(s, &a)
	s.setPhase(api.PhaseStopping, why)
	o.put(s.Session)
	m.send(o, s)
}

// refusalPauses are how long clusters that refused a session are not asked again when no other one takes it.
var refusalPauses = []time.Duration{time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

// forgive lets the clusters that refused the session be asked again when the pause is over.
func (s *session) forgive(now time.Time) {
	if s.Phase == api.PhasePlacing && !s.placing && !now.Before(s.askAgain) {
		s.refused = nil
	}
}

// refusal places the session again, without the cluster that refused it. Where something of the epoch may run (the spoke
// lost its memory), the epoch is released first, and the next one waits until the spoke says that nothing is left.
func (m *machine) refusal(o *output, s *session, now time.Time, cluster api.ClusterID, reason string) {
	if s.Phase == api.PhaseStopping {
		return
	}
	if s.refused == nil {
		s.refused = map[api.ClusterID]string{}
	}
	s.refused[cluster] = reason
	s.askAgain = now.Add(refusalPauses[min(s.refusals, len(refusalPauses)-1)])
	s.refusals++
	if s.admitted || s.Phase != api.PhaseStarting {
		if s.Phase == api.PhaseLost {
			s.setPhase(api.PhaseStarting, "")
		}
		m.release(o, s, "refused: "+reason)
		return
	}
	m.assign(s, nil)
	s.revision = nil
	s.setPhase(api.PhasePlacing, "refused: "+reason)
	o.put(s.Session)
	m.place(o, s)
}

// gone ends an assignment: nothing runs under its epoch any more and nothing will. It waits until the archive has the epoch's
// events: after that nothing of it would be taken.
func (m *machine) gone(o *output, s *session, now time.Time) {
	if s.gone = !s.allSettled(); s.gone {
		return
	}
	if s.Phase != api.PhaseStopping {
		// Not released: the spoke gave the epoch up by itself. The next epoch may be placed anywhere.
		if s.Phase == api.PhaseLost || s.Phase == api.PhaseRunning {
			s.setPhase(api.PhaseStarting, "")
		}
		s.setPhase(api.PhaseStopping, "given up by the spoke")
	}
	why := s.Reason
	s.LastCluster = s.Assignment.Cluster
	m.assign(s, nil)
	s.revision = nil
	s.setPhase(api.PhaseDormant, "")
	m.report(o, s, now, api.Event{Type: api.EventSlept, Text: why, Attributes: map[string]string{"cluster": string(s.LastCluster)}}, nil)
	if len(s.pending) > 0 {
		s.setPhase(api.PhasePlacing, "")
	}
	o.put(s.Session)
	m.place(o, s)
}

// health marks the sessions of a lost cluster. They wait for it: where it is heard again, its reports say what is.
func (m *machine) health(o *output, cluster api.ClusterID, h api.Health) {
	for _, s := range m.ordered() {
		if h != api.HealthLost || s.Assignment == nil || s.Assignment.Cluster != cluster || s.Phase == api.PhaseLost {
			continue
		}
		s.setPhase(api.PhaseLost, "the cluster is not heard")
		o.put(s.Session)
		o.loose = true
	}
}
