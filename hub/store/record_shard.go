package store

import (
	"encoding/json"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

func epochRecord(e api.Epoch) *recordv1.Epoch {
	if e.IsZero() {
		return nil
	}
	return &recordv1.Epoch{Incarnation: e.Incarnation, N: e.N}
}

func epochFrom(r *recordv1.Epoch) api.Epoch {
	return api.Epoch{Incarnation: r.GetIncarnation(), N: r.GetN()}
}

// texts converts a list of one kind of text to another; an empty one is nil.
func texts[To, From ~string](from []From) []To {
	var to []To
	for _, s := range from {
		to = append(to, To(s))
	}
	return to
}

// stopAfterRecord is a stop_after in milliseconds, -1 for never.
func stopAfterRecord(d time.Duration) int64 {
	if d == api.StopNever {
		return -1
	}
	return millis(d)
}

func stopAfterFrom(ms int64) time.Duration {
	if ms < 0 {
		return api.StopNever
	}
	return ofMillis(ms)
}

func sessionRecord(s *api.Session) *recordv1.Session {
	r := &recordv1.Session{
		Id: string(s.ID), Org: string(s.Org), Agent: string(s.Agent), AgentName: s.AgentName, Key: s.Key, Labels: s.Labels,
		Intent: string(s.Intent), Phase: string(s.Phase), Reason: s.Reason, CreatedAt: timeRecord(s.CreatedAt),
		LastSequence: s.LastSequence, HubNumber: s.HubNumber, Epoch: epochRecord(s.Epoch), LastCluster: string(s.LastCluster),
		TurnEpoch: epochRecord(s.TurnSource.Epoch), TurnAttempt: s.TurnSource.Attempt, TurnNumber: s.TurnNumber,
		Pauses: texts[string](s.Pauses), StartFailures: s.StartFailures, Checkpoints: texts[string](s.Checkpoints),
		CancelledUpTo: s.Cancelled.UpTo, CancelledReason: s.Cancelled.Reason, SavedIn: epochRecord(s.SavedIn),
	}
	if a := s.Assignment; a != nil {
		r.Assignment = &recordv1.Assignment{Cluster: string(a.Cluster), Epoch: epochRecord(a.Epoch), AgentRevision: a.AgentRevision,
			EnvironmentRevision: a.EnvironmentRevision, PolicyRevision: a.PolicyRevision, Summary: a.Summary, Releasing: a.Releasing,
			Checkpoint: string(a.Checkpoint), StopAfterMs: stopAfterRecord(a.StopAfter)}
	}
	return r
}

func sessionFrom(r *recordv1.Session) api.Session {
	s := api.Session{
		ID: api.SessionID(r.GetId()), Org: api.OrgID(r.GetOrg()), Agent: api.ObjectID(r.GetAgent()), AgentName: r.GetAgentName(), Key: r.GetKey(),
		Labels: r.GetLabels(), Intent: api.Intent(r.GetIntent()), Phase: api.Phase(r.GetPhase()), Reason: r.GetReason(),
		CreatedAt: timeFrom(r.GetCreatedAt()), LastSequence: r.GetLastSequence(), HubNumber: r.GetHubNumber(),
		Epoch: epochFrom(r.GetEpoch()), LastCluster: api.ClusterID(r.GetLastCluster()),
		TurnSource: api.Source{Epoch: epochFrom(r.GetTurnEpoch()), Attempt: r.GetTurnAttempt()}, TurnNumber: r.GetTurnNumber(),
		Pauses: texts[api.PauseReason](r.GetPauses()), StartFailures: r.GetStartFailures(), Checkpoints: texts[api.CheckpointID](r.GetCheckpoints()),
		Cancelled: api.Cancellation{UpTo: r.GetCancelledUpTo(), Reason: r.GetCancelledReason()}, SavedIn: epochFrom(r.GetSavedIn()),
	}
	if a := r.GetAssignment(); a != nil {
		s.Assignment = &api.Assignment{Cluster: api.ClusterID(a.GetCluster()), Epoch: epochFrom(a.GetEpoch()), AgentRevision: a.GetAgentRevision(),
			EnvironmentRevision: a.GetEnvironmentRevision(), PolicyRevision: a.GetPolicyRevision(), Summary: a.GetSummary(), Releasing: a.GetReleasing(),
			Checkpoint: api.CheckpointID(a.GetCheckpoint()), StopAfter: stopAfterFrom(a.GetStopAfterMs())}
	}
	return s
}

func signalRecord(org api.OrgID, s *api.Signal) *recordv1.Signal {
	r := &recordv1.Signal{
		Id: string(s.ID), Session: string(s.Session), Sequence: s.Sequence, IdempotencyKey: s.IdempotencyKey, PayloadHash: s.PayloadHash[:],
		Payload: s.Payload, PayloadRef: s.PayloadRef, Sender: s.Sender, AcceptedAt: timeRecord(s.AcceptedAt), Deliveries: s.Deliveries, Org: string(org),
		ReplayOf: string(s.ReplayOf), ConsumedEpoch: epochRecord(s.ConsumedBy.Epoch), ConsumedAttempt: s.ConsumedBy.Attempt, ConsumedNumber: s.ConsumedNumber,
		Approval: string(s.Approval), ConsumedAs: string(s.ConsumedAs), Reported: s.Reported,
	}
	for _, o := range s.Origin {
		r.Origin = append(r.Origin, &recordv1.Origin{Session: string(o.Session), Agent: o.Agent, Key: o.Key, Signal: string(o.Signal)})
	}
	return r
}

func signalFrom(r *recordv1.Signal) api.Signal {
	s := api.Signal{
		ID: api.SignalID(r.GetId()), Session: api.SessionID(r.GetSession()), Sequence: r.GetSequence(), IdempotencyKey: r.GetIdempotencyKey(),
		Payload: r.GetPayload(), PayloadRef: r.GetPayloadRef(), Sender: r.GetSender(), AcceptedAt: timeFrom(r.GetAcceptedAt()), Deliveries: r.GetDeliveries(),
		ReplayOf: api.SignalID(r.GetReplayOf()), ConsumedBy: api.Source{Epoch: epochFrom(r.GetConsumedEpoch()), Attempt: r.GetConsumedAttempt()}, ConsumedNumber: r.GetConsumedNumber(),
		Approval: api.ApprovalID(r.GetApproval()), ConsumedAs: api.Outcome(r.GetConsumedAs()), Reported: r.GetReported(),
	}
	for _, o := range r.GetOrigin() {
		s.Origin = append(s.Origin, api.Origin{Session: api.SessionID(o.GetSession()), Agent: o.GetAgent(), Key: o.GetKey(), Signal: api.SignalID(o.GetSignal())})
	}
	copy(s.PayloadHash[:], r.GetPayloadHash())
	return s
}

func eventRecord(e *api.Event) *recordv1.Event {
	return &recordv1.Event{
		Session: string(e.Session), Number: e.Number, Epoch: epochRecord(e.Source.Epoch), Attempt: e.Source.Attempt, SourceNumber: e.SourceNumber,
		Type: string(e.Type), Time: timeRecord(e.Time), Cluster: string(e.Cluster), Text: e.Text, Signals: e.Signals, Outcome: string(e.Outcome),
		Attributes: e.Attributes,
	}
}

func eventFrom(r *recordv1.Event) api.Event {
	return api.Event{
		Session: api.SessionID(r.GetSession()), Number: r.GetNumber(), Source: api.Source{Epoch: epochFrom(r.GetEpoch()), Attempt: r.GetAttempt()},
		SourceNumber: r.GetSourceNumber(), Type: api.EventType(r.GetType()), Time: timeFrom(r.GetTime()), Cluster: api.ClusterID(r.GetCluster()),
		Text: r.GetText(), Signals: r.GetSignals(), Outcome: api.Outcome(r.GetOutcome()), Attributes: r.GetAttributes(),
	}
}

func outboxRecord(key string, org api.OrgID, o *hub.OutboxItem) (*recordv1.OutboxItem, error) {
	r := &recordv1.OutboxItem{Event: eventRecord(&o.Event), Org: string(org)}
	if o.Decision != nil {
		b, err := json.Marshal(o.Decision)
		if err != nil {
			return nil, &recordError{key, err}
		}
		r.Decision = b
	}
	return r, nil
}

func outboxFrom(key string, r *recordv1.OutboxItem) (hub.OutboxItem, error) {
	o := hub.OutboxItem{Event: eventFrom(r.GetEvent())}
	if len(r.GetDecision()) > 0 {
		o.Decision = new(api.Decision)
		if err := json.Unmarshal(r.GetDecision(), o.Decision); err != nil {
			return o, &recordError{key, err}
		}
	}
	return o, nil
}

func approvalRecord(org api.OrgID, a *api.Approval) *recordv1.Approval {
	r := &recordv1.Approval{
		Id: string(a.ID), Session: string(a.Session), Org: string(org), Epoch: epochRecord(a.Source.Epoch), Attempt: a.Source.Attempt,
		Sequence: a.Sequence, Fingerprint: a.Fingerprint, Title: a.Title, Detail: a.Detail, AskedAt: timeRecord(a.AskedAt),
		ExpiresAt: timeRecord(a.ExpiresAt), HeldUntil: timeRecord(a.HeldUntil), State: string(a.State), Option: a.Option, By: a.By, Reason: a.Reason,
		AnsweredAt: timeRecord(a.AnsweredAt), Taken: a.Taken, Detached: a.Detached, Moot: a.Moot, Signal: string(a.Signal),
	}
	for _, o := range a.Options {
		r.Options = append(r.Options, &recordv1.ApprovalOption{Id: o.ID, Name: o.Name, Kind: string(o.Kind)})
	}
	return r
}

func approvalFrom(r *recordv1.Approval) api.Approval {
	a := api.Approval{
		ID: api.ApprovalID(r.GetId()), Session: api.SessionID(r.GetSession()), Org: api.OrgID(r.GetOrg()),
		Source: api.Source{Epoch: epochFrom(r.GetEpoch()), Attempt: r.GetAttempt()}, Sequence: r.GetSequence(), Fingerprint: r.GetFingerprint(),
		Title: r.GetTitle(), Detail: r.GetDetail(), AskedAt: timeFrom(r.GetAskedAt()), ExpiresAt: timeFrom(r.GetExpiresAt()),
		HeldUntil: timeFrom(r.GetHeldUntil()), State: api.ApprovalState(r.GetState()), Option: r.GetOption(), By: r.GetBy(), Reason: r.GetReason(),
		AnsweredAt: timeFrom(r.GetAnsweredAt()), Taken: r.GetTaken(), Detached: r.GetDetached(), Moot: r.GetMoot(), Signal: api.SignalID(r.GetSignal()),
	}
	for _, o := range r.GetOptions() {
		a.Options = append(a.Options, api.ApprovalOption{ID: o.GetId(), Name: o.GetName(), Kind: api.OptionKind(o.GetKind())})
	}
	return a
}
