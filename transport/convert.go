package transport

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/transport/linkv1"
)

func epochTo(e api.Epoch) *linkv1.Counter {
	return &linkv1.Counter{Incarnation: e.Incarnation, N: e.N}
}

func epochFrom(c *linkv1.Counter) api.Epoch {
	return api.Epoch{Incarnation: c.GetIncarnation(), N: c.GetN()}
}

func sourceTo(s api.Source) *linkv1.Source {
	if s == api.HubSource {
		return nil
	}
	return &linkv1.Source{Epoch: epochTo(s.Epoch), Attempt: s.Attempt}
}

func sourceFrom(s *linkv1.Source) api.Source {
	return api.Source{Epoch: epochFrom(s.GetEpoch()), Attempt: s.GetAttempt()}
}

func positionTo(p api.Position) *linkv1.Position {
	g := p.Head.Generation
	return &linkv1.Position{Shard: uint32(p.Shard), Generation: &linkv1.Counter{Incarnation: g.Incarnation, N: g.N}, Batch: p.Head.Batch}
}

func positionFrom(p *linkv1.Position) (api.Position, error) {
	if p.GetShard() >= api.Shards {
		return api.Position{}, fmt.Errorf("shard %d: there are %d", p.GetShard(), api.Shards)
	}
	g := p.GetGeneration()
	return api.Position{Shard: api.Shard(p.GetShard()), Head: api.Head{Generation: api.Generation{Incarnation: g.GetIncarnation(), N: g.GetN()}, Batch: p.GetBatch()}}, nil
}

func capacityTo(c *api.Capacity) *linkv1.Capacity {
	if c == nil {
		return nil
	}
	out := &linkv1.Capacity{Runtime: c.Runtime, Missing: slices.Clone(c.Missing)}
	for _, f := range c.Flavors {
		out.Flavors = append(out.Flavors, &linkv1.FlavorCapacity{Flavor: f.Flavor, Total: int32(f.Total), Used: int32(f.Used)})
	}
	return out
}

func capacityFrom(c *linkv1.Capacity) *api.Capacity {
	if c == nil {
		return nil
	}
	out := &api.Capacity{Runtime: c.GetRuntime(), Missing: c.GetMissing()}
	for _, f := range c.GetFlavors() {
		out.Flavors = append(out.Flavors, api.FlavorCapacity{Flavor: f.GetFlavor(), Total: int(f.GetTotal()), Used: int(f.GetUsed())})
	}
	return out
}

func heldTo(held []api.Held) []*linkv1.Held {
	var out []*linkv1.Held
	for _, h := range held {
		out = append(out, &linkv1.Held{Session: string(h.Session), Epoch: epochTo(h.Epoch), Attempt: h.Attempt, State: string(h.State), Reason: h.Reason, Seen: h.Seen,
			Number: h.Number, StartFailures: h.StartFailures})
	}
	return out
}

var heldStates = []api.HeldState{api.HeldAdmitted, api.HeldRefused, api.HeldRunning, api.HeldIdle, api.HeldLapsed, api.HeldGone}

func heldFrom(held []*linkv1.Held) ([]api.Held, error) {
	var out []api.Held
	for i, h := range held {
		state := api.HeldState(h.GetState())
		if !slices.Contains(heldStates, state) {
			return nil, fmt.Errorf("held[%d].state: %q is unknown", i, h.GetState())
		}
		out = append(out, api.Held{Session: api.SessionID(h.GetSession()), Epoch: epochFrom(h.GetEpoch()), Attempt: h.GetAttempt(), State: state,
			Reason: h.GetReason(), Seen: h.GetSeen(), Number: h.GetNumber(), StartFailures: h.GetStartFailures()})
	}
	return out, nil
}

func helloTo(h api.Hello) *linkv1.Hello {
	out := &linkv1.Hello{ProtocolMin: h.ProtocolMin, ProtocolMax: h.ProtocolMax, Version: h.Version, Boot: h.Boot, Journal: h.Journal,
		Fingerprint: h.Fingerprint, Capacity: capacityTo(&h.Capacity), Held: heldTo(h.Held)}
	for _, p := range h.Positions {
		out.Positions = append(out.Positions, positionTo(p))
	}
	return out
}

func helloFrom(h *linkv1.Hello) (api.Hello, error) {
	held, err := heldFrom(h.GetHeld())
	if err != nil {
		return api.Hello{}, err
	}
	out := api.Hello{ProtocolMin: h.GetProtocolMin(), ProtocolMax: h.GetProtocolMax(), Version: h.GetVersion(), Boot: h.GetBoot(),
		Journal: h.GetJournal(), Fingerprint: h.GetFingerprint(), Held: held}
	if c := capacityFrom(h.GetCapacity()); c != nil {
		out.Capacity = *c
	}
	for _, p := range h.GetPositions() {
		pos, err := positionFrom(p)
		if err != nil {
			return api.Hello{}, err
		}
		out.Positions = append(out.Positions, pos)
	}
	return out, nil
}

func welcomeTo(w api.Welcome) *linkv1.Welcome {
	return &linkv1.Welcome{Protocol: w.Protocol, ClusterId: string(w.Cluster), Name: w.Name, Labels: w.Labels, BeatMs: w.Beat.Milliseconds()}
}

// maxBeat is far beyond every beat that a hub asks for, and far below what a duration can hold.
const maxBeat = 24 * time.Hour

func welcomeFrom(w *linkv1.Welcome) api.Welcome {
	beat := min(max(w.GetBeatMs(), 0), maxBeat.Milliseconds())
	return api.Welcome{Protocol: w.GetProtocol(), Cluster: api.ClusterID(w.GetClusterId()), Name: w.GetName(), Labels: w.GetLabels(), Beat: time.Duration(beat) * time.Millisecond}
}

func revisionTo(r *api.ResolvedRevision) (*linkv1.Revision, error) {
	if r == nil {
		return nil, nil
	}
	agent, err := navev1.EncodeSpec(r.Agent)
	if err != nil {
		return nil, err
	}
	env, err := navev1.EncodeSpec(r.Environment)
	if err != nil {
		return nil, err
	}
	return &linkv1.Revision{AgentId: string(r.AgentID), AgentName: r.AgentName, AgentRevision: r.AgentRevision, EnvironmentRevision: r.EnvironmentRevision,
		PolicyRevision: r.PolicyRevision, Agent: agent, Environment: env}, nil
}

func revisionFrom(r *linkv1.Revision) (*api.ResolvedRevision, error) {
	if r == nil {
		return nil, nil
	}
	agent, err := navev1.DecodeSpec(api.KindAgent, r.GetAgent())
	if err != nil {
		return nil, err
	}
	env, err := navev1.DecodeSpec(api.KindEnvironment, r.GetEnvironment())
	if err != nil {
		return nil, err
	}
	out := &api.ResolvedRevision{AgentID: api.ObjectID(r.GetAgentId()), AgentName: r.GetAgentName(), AgentRevision: r.GetAgentRevision(),
		EnvironmentRevision: r.GetEnvironmentRevision(), PolicyRevision: r.GetPolicyRevision()}
	out.Agent, _ = agent.(*api.AgentSpec)
	out.Environment, _ = env.(*api.EnvironmentSpec)
	return out, nil
}

func desiredTo(d api.Desired) (*linkv1.Desired, error) {
	rev, err := revisionTo(d.Revision)
	if err != nil {
		return nil, err
	}
	out := &linkv1.Desired{Session: string(d.Session), Organization: string(d.Org), Key: d.Key, Epoch: epochTo(d.Epoch), Release: d.Release, Revision: rev,
		Checkpoint: string(d.Checkpoint), CancelUpTo: d.Cancelled.UpTo, CancelReason: d.Cancelled.Reason, Answers: answersTo(d.Answers)}
	for _, s := range d.Signals {
		out.Signals = append(out.Signals, &linkv1.Signal{Id: string(s.ID), Sequence: s.Sequence, Payload: s.Payload, PayloadRef: s.PayloadRef,
			Sender: s.Sender, AcceptedAt: timestamppb.New(s.AcceptedAt), Deliveries: s.Deliveries, Origin: originTo(s.Origin), Approval: string(s.Approval)})
	}
	return out, nil
}

func desiredFrom(d *linkv1.Desired) (api.Desired, error) {
	rev, err := revisionFrom(d.GetRevision())
	if err != nil {
		return api.Desired{}, err
	}
	out := api.Desired{Session: api.SessionID(d.GetSession()), Org: api.OrgID(d.GetOrganization()), Key: d.GetKey(), Epoch: epochFrom(d.GetEpoch()), Release: d.GetRelease(), Revision: rev,
		Checkpoint: api.CheckpointID(d.GetCheckpoint()), Cancelled: api.Cancellation{UpTo: d.GetCancelUpTo(), Reason: d.GetCancelReason()},
		Answers: answersFrom(d.GetAnswers())}
	for _, s := range d.GetSignals() {
		out.Signals = append(out.Signals, api.Signal{ID: api.SignalID(s.GetId()), Session: out.Session, Sequence: s.GetSequence(), Payload: s.GetPayload(),
			PayloadRef: s.GetPayloadRef(), Sender: s.GetSender(), AcceptedAt: s.GetAcceptedAt().AsTime(), Deliveries: s.GetDeliveries(),
			Origin: originFrom(s.GetOrigin()), Approval: api.ApprovalID(s.GetApproval())})
	}
	return out, nil
}

func hubMessageTo(m api.HubMessage) (*linkv1.HubMessage, error) {
	out := &linkv1.HubMessage{}
	for _, u := range m.Updates {
		update := &linkv1.ShardUpdate{Position: positionTo(u.Position), Full: u.Full}
		for _, d := range u.Sessions {
			desired, err := desiredTo(d)
			if err != nil {
				return nil, err
			}
			update.Sessions = append(update.Sessions, desired)
		}
		out.Updates = append(out.Updates, update)
	}
	for _, a := range m.Acks {
		out.Acks = append(out.Acks, &linkv1.Ack{Session: string(a.Session), Source: sourceTo(a.Source), UpTo: a.UpTo, Position: positionTo(a.Position)})
	}
	return out, nil
}

func hubMessageFrom(m *linkv1.HubMessage) (api.HubMessage, error) {
	var out api.HubMessage
	for _, u := range m.GetUpdates() {
		pos, err := positionFrom(u.GetPosition())
		if err != nil {
			return out, err
		}
		update := api.ShardUpdate{Position: pos, Full: u.GetFull()}
		for _, d := range u.GetSessions() {
			desired, err := desiredFrom(d)
			if err != nil {
				return out, fmt.Errorf("session %s: %w", d.GetSession(), err)
			}
			update.Sessions = append(update.Sessions, desired)
		}
		out.Updates = append(out.Updates, update)
	}
	for _, a := range m.GetAcks() {
		pos, err := positionFrom(a.GetPosition())
		if err != nil {
			return out, err
		}
		out.Acks = append(out.Acks, api.Ack{Session: api.SessionID(a.GetSession()), Source: sourceFrom(a.GetSource()), UpTo: a.GetUpTo(), Position: pos})
	}
	return out, nil
}

func spokeMessageTo(m api.SpokeMessage) *linkv1.SpokeMessage {
	out := &linkv1.SpokeMessage{Held: heldTo(m.Held), Capacity: capacityTo(m.Capacity), Deltas: deltasTo(m.Deltas)}
	for _, b := range m.Events {
		batch := &linkv1.EventBatch{Session: string(b.Session), Source: sourceTo(b.Source)}
		for _, e := range b.Events {
			batch.Events = append(batch.Events, &linkv1.Event{SourceNumber: e.SourceNumber, Type: string(e.Type), Time: timestamppb.New(e.Time),
				Text: e.Text, Signals: e.Signals, Outcome: string(e.Outcome), Attributes: e.Attributes})
		}
		out.Events = append(out.Events, batch)
	}
	return out
}

func spokeMessageFrom(m *linkv1.SpokeMessage) (api.SpokeMessage, error) {
	held, err := heldFrom(m.GetHeld())
	if err != nil {
		return api.SpokeMessage{}, err
	}
	deltas, err := deltasFrom(m.GetDeltas())
	if err != nil {
		return api.SpokeMessage{}, err
	}
	out := api.SpokeMessage{Held: held, Capacity: capacityFrom(m.GetCapacity()), Deltas: deltas}
	for _, b := range m.GetEvents() {
		batch := api.EventBatch{Session: api.SessionID(b.GetSession()), Source: sourceFrom(b.GetSource())}
		for _, e := range b.GetEvents() {
			if len(e.GetText()) > api.MaxEventBytes {
				return out, fmt.Errorf("event %d of session %s: %d bytes, at most %d are allowed", e.GetSourceNumber(), b.GetSession(), len(e.GetText()), api.MaxEventBytes)
			}
			if typ, outcome := api.EventType(e.GetType()), api.Outcome(e.GetOutcome()); !typ.Valid() || outcome != "" && !outcome.Valid() {
				return out, fmt.Errorf("event %d of session %s: %.80q with outcome %.80q is not what an event can be", e.GetSourceNumber(), b.GetSession(), typ, outcome)
			}
			batch.Events = append(batch.Events, api.Event{Session: batch.Session, Source: batch.Source, SourceNumber: e.GetSourceNumber(),
				Type: api.EventType(e.GetType()), Time: e.GetTime().AsTime(), Text: e.GetText(), Signals: e.GetSignals(),
				Outcome: api.Outcome(e.GetOutcome()), Attributes: e.GetAttributes()})
		}
		out.Events = append(out.Events, batch)
	}
	return out, nil
}

func headerTo(h api.CheckpointHeader) *linkv1.CheckpointHeader {
	out := &linkv1.CheckpointHeader{Session: string(h.Session), Source: sourceTo(h.Source), Id: string(h.ID), ManifestBytes: h.Manifest,
		PackBytes: h.Pack, PackHash: h.PackHash[:]}
	for _, p := range h.Packs {
		out.Packs = append(out.Packs, string(p))
	}
	return out
}

// headerFrom reads the first message of an upload.
func headerFrom(m *linkv1.SaveRequest) (api.CheckpointHeader, error) {
	h := m.GetHeader()
	if h == nil || len(m.GetData()) > 0 {
		return api.CheckpointHeader{}, api.Invalid("header", "the first message is not a header alone")
	}
	out := api.CheckpointHeader{Session: api.SessionID(h.GetSession()), Source: sourceFrom(h.GetSource()), ID: api.CheckpointID(h.GetId()),
		Manifest: h.GetManifestBytes(), Pack: h.GetPackBytes()}
	if copy(out.PackHash[:], h.GetPackHash()) != len(out.PackHash) || len(h.GetPackHash()) != len(out.PackHash) {
		return out, api.Invalid("pack_hash", "%d bytes: want %d", len(h.GetPackHash()), len(out.PackHash))
	}
	for _, p := range h.GetPacks() {
		out.Packs = append(out.Packs, api.CheckpointID(p))
	}
	return out, validHeader(out)
}

// validHeader refuses a header that no checkpoint has.
func validHeader(h api.CheckpointHeader) error {
	switch {
	case h.Session == "":
		return api.Invalid("session", "is empty")
	case !h.ID.Valid():
		return api.Invalid("id", "%.80q is not the id of a checkpoint", h.ID)
	case h.Manifest < 1 || h.Manifest > api.MaxManifestBytes:
		return api.Invalid("manifest_bytes", "%d: want 1 to %d", h.Manifest, api.MaxManifestBytes)
	case h.Pack < 0 || h.Pack > api.MaxCheckpointBytes:
		return api.Invalid("pack_bytes", "%d: want 0 to %d", h.Pack, int64(api.MaxCheckpointBytes))
	}
	for i, p := range h.Packs {
		if !p.Valid() {
			return api.Invalid("packs", "packs[%d]: %.80q is not the id of a checkpoint", i, p)
		}
	}
	return nil
}
