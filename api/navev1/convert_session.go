package navev1

import (
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// EventToProto returns the message of an event. Clusters have names on the wire: name maps an id to the name; it is not
// asked about the empty id.
func EventToProto(e api.Event, name func(api.ClusterID) string) *Event {
	m := &Event{
		SessionId: string(e.Session), Number: e.Number, Source: e.Source.String(), SourceNumber: e.SourceNumber, Type: string(e.Type),
		Time: timeToProto(e.Time), Cluster: clusterName(e.Cluster, name), Text: printable(e.Text), Signals: slices.Clone(e.Signals), Outcome: string(e.Outcome),
	}
	for k, v := range e.Attributes {
		if m.Attributes == nil {
			m.Attributes = make(map[string]string, len(e.Attributes))
		}
		m.Attributes[printable(k)] = printable(v)
	}
	return m
}

// EventFromProto is the inverse of [EventToProto]; id maps a cluster's name to its id.
func EventFromProto(m *Event, id func(string) api.ClusterID) (api.Event, error) {
	src, err := api.ParseSource(m.GetSource())
	if err != nil {
		return api.Event{}, api.Invalid("source", "%w", err)
	}
	return api.Event{
		Session: api.SessionID(m.GetSessionId()), Number: m.GetNumber(), Source: src, SourceNumber: m.GetSourceNumber(),
		Type: api.EventType(m.GetType()), Time: timeFromProto(m.GetTime()), Cluster: clusterID(m.GetCluster(), id), Text: m.GetText(),
		Signals: each(m.GetSignals(), func(n uint64) uint64 { return n }), Outcome: api.Outcome(m.GetOutcome()), Attributes: labelsFromProto(m.GetAttributes()),
	}, nil
}

// DecisionToProto returns the message of a decision. A candidate carries its name in the decision itself.
func DecisionToProto(d api.Decision, name func(api.ClusterID) string) *Decision {
	m := &Decision{SessionId: string(d.Session), Time: timeToProto(d.Time), Summary: d.Summary}
	if !d.Epoch.IsZero() {
		m.Epoch = d.Epoch.String()
	}
	for _, c := range d.Candidates {
		if c.Cluster == d.Cluster && d.Cluster != "" {
			m.Cluster = c.Name // the name at the time of the decision
		}
	}
	if m.Cluster == "" {
		m.Cluster = clusterName(d.Cluster, name)
	}
	m.Candidates = each(d.Candidates, func(c api.Candidate) *Candidate {
		return &Candidate{
			Cluster: c.Name, Chosen: c.Chosen, Reason: string(c.Reason), Detail: c.Detail, Score: c.Score,
			Terms: each(c.Terms, func(t api.ScoreTerm) *ScoreTerm {
				return &ScoreTerm{Name: t.Name, Value: t.Value, Detail: t.Detail}
			}),
		}
	})
	return m
}

// DecisionFromProto is the inverse of [DecisionToProto]; id maps a cluster's name to its id.
func DecisionFromProto(m *Decision, id func(string) api.ClusterID) (api.Decision, error) {
	d := api.Decision{Session: api.SessionID(m.GetSessionId()), Time: timeFromProto(m.GetTime()), Cluster: clusterID(m.GetCluster(), id), Summary: m.GetSummary()}
	if m.GetEpoch() != "" {
		var err error
		if d.Epoch, err = epochFromProto(m.GetEpoch()); err != nil {
			return api.Decision{}, err
		}
	}
	d.Candidates = each(m.GetCandidates(), func(c *Candidate) api.Candidate {
		return api.Candidate{
			Cluster: clusterID(c.GetCluster(), id), Name: c.GetCluster(), Chosen: c.GetChosen(), Reason: api.Reason(c.GetReason()), Detail: c.GetDetail(), Score: c.GetScore(),
			Terms: each(c.GetTerms(), func(t *ScoreTerm) api.ScoreTerm {
				return api.ScoreTerm{Name: t.GetName(), Value: t.GetValue(), Detail: t.GetDetail()}
			}),
		}
	})
	return d, nil
}

// SideEventToProto returns the message of an event of a side branch, with when the hub got it.
func SideEventToProto(e api.Event, at time.Time, name func(api.ClusterID) string) *Event {
	m := EventToProto(e, name)
	m.Number, m.ReceivedAt = 0, timeToProto(at)
	return m
}

// DeadLetterToProto returns the message of a signal that left the inbox without being consumed. Agent, key, reason and what
// became of it later are the caller's to fill in: a signal does not know them.
func DeadLetterToProto(s api.Signal, settled time.Time) *DeadLetter {
	return &DeadLetter{
		SignalId: string(s.ID), SessionId: string(s.Session), Sequence: s.Sequence, Sender: printable(s.Sender), AcceptedAt: timeToProto(s.AcceptedAt),
		SettledAt: timeToProto(settled), Deliveries: s.Deliveries, PayloadBytes: uint64(len(s.Payload)), Payload: s.Payload,
	}
}

// SessionToProto returns the message of a session with its number of unsettled signals, and how many of these a turn has
// consumed that no durable checkpoint covers yet.
func SessionToProto(s api.Session, pending, consumed int, name func(api.ClusterID) string) *Session {
	m := &Session{
		Organization: string(s.Org), Id: string(s.ID), Agent: s.AgentName, AgentId: string(s.Agent), Key: s.Key, Labels: labelsFromProto(s.Labels),
		Intent: string(s.Intent), Phase: string(s.Phase), Reason: printable(s.Reason), LastSequence: s.LastSequence, Pending: uint32(pending),
		CreatedAt: timeToProto(s.CreatedAt), LastCluster: clusterName(s.LastCluster, name),
		Pauses: each(s.Pauses, func(p api.PauseReason) string { return string(p) }), StartFailures: s.StartFailures, Checkpoint: string(s.Checkpoint()), Consumed: uint32(consumed),
		CancelledUpTo: s.Cancelled.UpTo,
	}
	if !s.Epoch.IsZero() {
		m.Epoch = s.Epoch.String()
	}
	if a := s.Assignment; a != nil {
		m.Cluster, m.ClusterId, m.AgentRevision = clusterName(a.Cluster, name), string(a.Cluster), a.AgentRevision
	}
	return m
}

func epochFromProto(s string) (api.Epoch, error) {
	var e api.Epoch
	if n, err := fmt.Sscanf(s, "%d.%d", &e.Incarnation, &e.N); n != 2 || err != nil || e.String() != s {
		return api.Epoch{}, api.Invalid("epoch", "%.40q is not an epoch: want incarnation.n", s)
	}
	return e, nil
}

func clusterName(id api.ClusterID, name func(api.ClusterID) string) string {
	if id == "" {
		return ""
	}
	return name(id)
}

func clusterID(name string, id func(string) api.ClusterID) api.ClusterID {
	if name == "" {
		return ""
	}
	return id(name)
}
