package hub

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// PlaceRequest is what is needed to decide where a session goes.
type PlaceRequest struct {
	Session   api.SessionID
	Org       api.OrgID
	Agent     api.ObjectID
	AgentName string
	Last      api.ClusterID // where it ran last
	Refused   map[api.ClusterID]string
	Revise    bool // only the present revision of the agent is wanted, no decision
}

func (s *session) request() PlaceRequest {
	return PlaceRequest{Session: s.ID, Org: s.Org, Agent: s.Agent, AgentName: s.AgentName, Last: s.LastCluster, Refused: maps.Clone(s.refused)}
}

// place asks for a decision when the session is to be placed.
func (m *machine) place(o *output, s *session) {
	m.watch(s)
	if s.placing || !s.wants() {
		return
	}
	s.placing = true
	o.effect(effPlace{s.request()})
}

// placed takes a decision: a committed assignment begins with it, or the session waits with the reason.
func (m *machine) placed(o *output, now time.Time, ev evPlaced) {
	s := m.sessions[ev.session]
	if s == nil || !s.placing || !s.wants() {
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
	rec, d := s.Session, ev.decision
	d.Epoch, d.Time = s.Epoch.Next(m.head.Generation.Incarnation), now
	rec.Epoch = d.Epoch
	rec.Assignment = &api.Assignment{Cluster: d.Cluster, Epoch: d.Epoch, AgentRevision: ev.revision.AgentRevision,
		EnvironmentRevision: ev.revision.EnvironmentRevision, PolicyRevision: ev.revision.PolicyRevision, Summary: d.Summary,
		Checkpoint: s.Checkpoint(), StopAfter: cmp.Or(ev.revision.Agent.StopAfter, defaultStopAfter)}
	rec.Phase, rec.Reason = api.PhaseStarting, ""
	rec.HubNumber++
	item := OutboxItem{Event: api.Event{Session: s.ID, Source: api.HubSource, SourceNumber: rec.HubNumber, Type: api.EventPlaced, Time: now,
		Text: d.Summary, Attributes: s.aboutPlacing(d)}, Decision: &d}
	o.mutate(s.Org, Mutation{PutSession: &rec})
	o.mutate(s.Org, Mutation{PutOutbox: &item})
	o.guard = &guard{cluster: d.Cluster, assigned: evAssigned{record: rec, rev: ev.revision, placed: item}}
}

// aboutPlacing says what the next epoch begins from, and which turns are forgotten with it.
func (s *session) aboutPlacing(d api.Decision) map[string]string {
	about := map[string]string{"cluster": string(d.Cluster), "epoch": d.Epoch.String()}
	if c := s.Checkpoint(); c != "" {
		about[api.AttrCheckpoint] = string(c)
	} else if s.LastCluster != "" && s.LastCluster != d.Cluster {
		about["state"] = "empty: it ran last in cluster " + string(s.LastCluster) // that must not go unsaid
	}
	var forgotten []string
	for _, sig := range s.pending {
		if sig.Consumed() && sig.ConsumedBy.Epoch == s.Epoch {
			forgotten = append(forgotten, fmt.Sprint(sig.Sequence))
		}
	}
	if len(forgotten) > 0 {
		about["forgotten"] = strings.Join(forgotten, " ")
	}
	return about
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
	m.put(o, s)
}

// committed takes the outcome of an assignment's commit: it is durable, or the cluster was not alive any more.
func (m *machine) committed(o *output, ev evAssigned) {
	s := m.sessions[ev.record.ID]
	s.placing = false
	if !ev.ok {
		o.effect(effUnplace{cluster: ev.record.Assignment.Cluster, session: s.ID, dead: true})
		m.place(o, s)
		return
	}
	s.setPhase(api.PhaseStarting, "")
	a := ev.record.Assignment
	s.Session = ev.record
	s.Assignment = nil
	m.assign(s, a)
	s.revision, s.admitted, s.gone = ev.rev, false, nil
	s.starts = starts{known: true, before: s.StartFailures}
	clear(s.marks)
	m.enqueue(s, ev.placed.Event, ev.placed.Decision)
	s.log.forget(s.Epoch)
	m.watch(s)
	o.effect(effSend{cluster: a.Cluster, sessions: []api.Desired{m.desired(s, true)}})
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
	if s.refused == nil {
		s.refused = map[api.ClusterID]string{}
	}
	s.refused[cluster] = reason
	s.askAgain = now.Add(refusalPauses[min(s.refusals, len(refusalPauses)-1)])
	s.refusals++
	if s.admitted || s.Phase != api.PhaseStarting {
		m.release(o, s, "refused: "+reason)
		return
	}
	m.assign(s, nil)
	s.revision = nil
	s.setPhase(api.PhasePlacing, "refused: "+reason)
	m.put(o, s)
	m.place(o, s)
}
