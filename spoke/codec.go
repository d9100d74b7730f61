package spoke

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	pb "github.com/nave-dev/nave/spoke/journalv1"
)

// encodeRecord renders a record for the journal. Equal records give equal bytes.
func encodeRecord(r record) ([]byte, error) {
	var m pb.Record
	switch r := r.(type) {
	case positionRecord:
		h := r.Position.Head
		m.Change = &pb.Record_Position{Position: &pb.Position{Shard: uint32(r.Position.Shard), Incarnation: h.Generation.Incarnation, Generation: h.Generation.N, Batch: h.Batch}}
	case wantedRecord:
		d := r.Desired
		m.Change = &pb.Record_Wanted{Wanted: &pb.Wanted{Session: string(d.Session), Organization: string(d.Org), Key: d.Key, Epoch: epochOut(d.Epoch),
			Release: d.Release, RevisionJson: r.Raw, Signals: signalsOut(d.Signals), Seen: r.Seen, Checkpoint: string(d.Checkpoint)}}
	case inboxRecord:
		m.Change = &pb.Record_Inbox{Inbox: &pb.Inbox{Session: string(r.Session), Epoch: epochOut(r.Epoch), Put: signalsOut(r.Put), Drop: r.Drop}}
	case releasedRecord:
		m.Change = &pb.Record_Released{Released: &pb.Released{Session: string(r.Session), Epoch: epochOut(r.Epoch)}}
	case verdictRecord:
		m.Change = &pb.Record_Verdict{Verdict: &pb.Verdict{Session: string(r.Session), Epoch: epochOut(r.Epoch), Refused: r.Refused, Reason: r.Reason}}
	case attemptRecord:
		m.Change = &pb.Record_Attempt{Attempt: &pb.Attempt{Session: string(r.Session), Source: sourceOut(r.Source)}}
	case endedRecord:
		m.Change = &pb.Record_Ended{Ended: &pb.Ended{Session: string(r.Session), Source: sourceOut(r.Source), Reason: r.Reason, Failure: string(r.Failure), Restart: r.Restart}}
	case eventsRecord:
		m.Change = &pb.Record_Events{Events: &pb.Events{Session: string(r.Session), Source: sourceOut(r.Source), First: r.First, Events: eventsOut(r.Events)}}
	case ackedRecord:
		m.Change = &pb.Record_Acked{Acked: &pb.Acked{Session: string(r.Session), Source: sourceOut(r.Source), UpTo: r.UpTo}}
	case begunRecord:
		m.Change = &pb.Record_Begun{Begun: &pb.Begun{Session: string(r.Session), Epoch: epochOut(r.Epoch)}}
	case forgottenRecord:
		m.Change = &pb.Record_Forgotten{Forgotten: &pb.Forgotten{Session: string(r.Session), Epoch: epochOut(r.Epoch)}}
	case outboxRecord:
		m.Change = &pb.Record_Outbox{Outbox: &pb.Outbox{Session: string(r.Session), Source: sourceOut(r.Source), Acked: r.Acked}}
	case turnRecord:
		m.Change = &pb.Record_Turn{Turn: turnOut(r)}
	case lapsedRecord:
		m.Change = &pb.Record_Lapsed{Lapsed: &pb.Lapsed{Session: string(r.Session), Epoch: epochOut(r.Epoch)}}
	default:
		return nil, fmt.Errorf("encode journal record: %T has no encoding", r)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&m)
}

// decodeRecord is the inverse of encodeRecord.
func decodeRecord(b []byte) (record, error) {
	var m pb.Record
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode journal record: %w", err)
	}
	switch c := m.Change.(type) {
	case *pb.Record_Position:
		p := c.Position
		if p.Shard >= api.Shards {
			return nil, api.Errorf(api.CodeFailed, "decode journal record: shard %d: there are %d", p.Shard, api.Shards)
		}
		return positionRecord{api.Position{Shard: api.Shard(p.Shard), Head: api.Head{Generation: api.Generation{Incarnation: p.Incarnation, N: p.Generation}, Batch: p.Batch}}}, nil
	case *pb.Record_Wanted:
		return wantedIn(c.Wanted)
	case *pb.Record_Inbox:
		p := c.Inbox
		return inboxRecord{api.SessionID(p.Session), epochIn(p.Epoch), signalsIn(p.Session, p.Put), p.Drop}, nil
	case *pb.Record_Released:
		return releasedRecord{api.SessionID(c.Released.Session), epochIn(c.Released.Epoch)}, nil
	case *pb.Record_Verdict:
		p := c.Verdict
		return verdictRecord{api.SessionID(p.Session), epochIn(p.Epoch), p.Refused, p.Reason}, nil
	case *pb.Record_Attempt:
		return attemptRecord{api.SessionID(c.Attempt.Session), sourceIn(c.Attempt.Source)}, nil
	case *pb.Record_Ended:
		p := c.Ended
		return endedRecord{api.SessionID(p.Session), sourceIn(p.Source), p.Reason, api.StartFailure(p.Failure), p.Restart}, nil
	case *pb.Record_Events:
		p := c.Events
		return eventsRecord{api.SessionID(p.Session), sourceIn(p.Source), p.First, eventsIn(p)}, nil
	case *pb.Record_Acked:
		return ackedRecord{api.SessionID(c.Acked.Session), sourceIn(c.Acked.Source), c.Acked.UpTo}, nil
	case *pb.Record_Begun:
		return begunRecord{api.SessionID(c.Begun.Session), epochIn(c.Begun.Epoch)}, nil
	case *pb.Record_Forgotten:
		return forgottenRecord{api.SessionID(c.Forgotten.Session), epochIn(c.Forgotten.Epoch)}, nil
	case *pb.Record_Outbox:
		return outboxRecord{api.SessionID(c.Outbox.Session), sourceIn(c.Outbox.Source), c.Outbox.Acked}, nil
	case *pb.Record_Turn:
		return turnIn(c.Turn), nil
	case *pb.Record_Lapsed:
		return lapsedRecord{api.SessionID(c.Lapsed.Session), epochIn(c.Lapsed.Epoch)}, nil
	}
	return nil, api.Errorf(api.CodeUnsupported, "decode journal record: a change that this version does not know: a newer spoke wrote the journal, run that version")
}

func wantedIn(p *pb.Wanted) (record, error) {
	r := wantedRecord{Raw: p.RevisionJson, Seen: p.Seen, Desired: api.Desired{Session: api.SessionID(p.Session), Org: api.OrgID(p.Organization), Key: p.Key,
		Epoch: epochIn(p.Epoch), Release: p.Release, Signals: signalsIn(p.Session, p.Signals), Checkpoint: api.CheckpointID(p.Checkpoint)}}
	if len(p.RevisionJson) > 0 {
		r.Desired.Revision = new(api.ResolvedRevision)
		if err := json.Unmarshal(p.RevisionJson, r.Desired.Revision); err != nil {
			return nil, fmt.Errorf("decode journaled revision of session %s: %w", p.Session, err)
		}
		if r.Desired.Revision.Agent == nil || r.Desired.Revision.Environment == nil {
			return nil, api.Errorf(api.CodeFailed, "decode journaled revision of session %s: it has no agent or no environment", p.Session)
		}
	}
	return r, nil
}

func turnOut(r turnRecord) *pb.Turn {
	p := r.Progress
	var covered []*pb.Covered
	for _, n := range sortedKeys(p.Covered) {
		covered = append(covered, &pb.Covered{Sequence: n, Attempt: p.Covered[n].Attempt, Number: p.Covered[n].Number})
	}
	return &pb.Turn{Covered: covered, Session: string(r.Session), Epoch: epochOut(r.Epoch), Open: p.TurnOpen, Signals: p.Turn, Failed: p.Failed, Done: sortedKeys(p.Done),
		Closed: r.Closed, Latest: string(p.Latest), Saved: string(p.Saved), Uncovered: sortedKeys(p.Uncovered), StartFailures: p.StartFailures,
		Failures: p.Failures, Since: sortedKeys(p.Since), Unlisted: sortedKeys(p.Unlisted), Forgotten: sortedKeys(p.Forgotten),
		ForgottenAttempt: p.ForgotBy, ForgottenNumber: p.ForgotAt, Began: p.Began, Number: p.Number, Failure: string(p.Failure)}
}

func turnIn(p *pb.Turn) turnRecord {
	out := newProgress(api.CheckpointID(p.Saved))
	for m, ns := range map[*map[uint64]bool][]uint64{&out.Done: p.Done, &out.Uncovered: p.Uncovered, &out.Since: p.Since, &out.Unlisted: p.Unlisted,
		&out.Forgotten: p.Forgotten} {
		for _, n := range ns {
			(*m)[n] = true
		}
	}
	for _, c := range p.Covered {
		out.Covered[c.Sequence] = at{c.Attempt, c.Number}
	}
	out.ForgotBy, out.ForgotAt, out.Latest = p.ForgottenAttempt, p.ForgottenNumber, api.CheckpointID(p.Latest)
	out.TurnOpen, out.Turn, out.Failed, out.Began, out.Number = p.Open, p.Signals, p.Failed, p.Began, p.Number
	out.StartFailures, out.Failures, out.Failure = p.StartFailures, p.Failures, api.StartFailure(p.Failure)
	return turnRecord{api.SessionID(p.Session), epochIn(p.Epoch), out, p.Closed}
}

func epochOut(e api.Epoch) *pb.Epoch { return &pb.Epoch{Incarnation: e.Incarnation, N: e.N} }
func epochIn(p *pb.Epoch) api.Epoch  { return api.Epoch{Incarnation: p.GetIncarnation(), N: p.GetN()} }
func sourceOut(s api.Source) *pb.Source {
	return &pb.Source{Epoch: epochOut(s.Epoch), Attempt: s.Attempt}
}
func sourceIn(p *pb.Source) api.Source {
	return api.Source{Epoch: epochIn(p.GetEpoch()), Attempt: p.GetAttempt()}
}

func signalsOut(ss []api.Signal) []*pb.Signal {
	var out []*pb.Signal
	for _, s := range ss {
		out = append(out, &pb.Signal{Id: string(s.ID), Sequence: s.Sequence, IdempotencyKey: s.IdempotencyKey, PayloadHash: s.PayloadHash[:], Payload: s.Payload,
			PayloadRef: s.PayloadRef, Sender: s.Sender, AcceptedAt: timestamppb.New(s.AcceptedAt), Deliveries: s.Deliveries, Origin: originOut(s.Origin),
			Approval: string(s.Approval)})
	}
	return out
}

func signalsIn(session string, ps []*pb.Signal) []api.Signal {
	var out []api.Signal
	for _, p := range ps {
		s := api.Signal{ID: api.SignalID(p.Id), Session: api.SessionID(session), Sequence: p.Sequence, IdempotencyKey: p.IdempotencyKey, Payload: p.Payload,
			PayloadRef: p.PayloadRef, Sender: p.Sender, AcceptedAt: p.AcceptedAt.AsTime(), Deliveries: p.Deliveries, Origin: originIn(p.Origin),
			Approval: api.ApprovalID(p.Approval)}
		copy(s.PayloadHash[:], p.PayloadHash)
		out = append(out, s)
	}
	return out
}

func originOut(chain []api.Origin) []*pb.Origin {
	var out []*pb.Origin
	for _, o := range chain {
		out = append(out, &pb.Origin{Session: string(o.Session), Agent: o.Agent, Key: o.Key, Signal: string(o.Signal)})
	}
	return out
}

func originIn(chain []*pb.Origin) []api.Origin {
	var out []api.Origin
	for _, o := range chain {
		out = append(out, api.Origin{Session: api.SessionID(o.Session), Agent: o.Agent, Key: o.Key, Signal: api.SignalID(o.Signal)})
	}
	return out
}

func eventsOut(es []api.Event) []*pb.Event {
	var out []*pb.Event
	for _, e := range es {
		out = append(out, &pb.Event{Type: string(e.Type), Time: timestamppb.New(e.Time), Text: e.Text, Signals: e.Signals, Outcome: string(e.Outcome), Attributes: e.Attributes})
	}
	return out
}

func eventsIn(p *pb.Events) []api.Event {
	var out []api.Event
	source := sourceIn(p.Source)
	for i, e := range p.Events {
		out = append(out, api.Event{Session: api.SessionID(p.Session), Source: source, SourceNumber: p.First + uint64(i), Type: api.EventType(e.Type), Time: e.Time.AsTime(),
			Text: e.Text, Signals: e.Signals, Outcome: api.Outcome(e.Outcome), Attributes: e.Attributes})
	}
	return out
}
