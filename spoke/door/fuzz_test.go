package door

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// FuzzFromHarness: events of a harness are refused, or go on densely from what is durable, as those of the workload that it
// proved to be, with types that a database can hold; deltas that go on keep their bounds.
func FuzzFromHarness(f *testing.F) {
	id := spoke.WorkloadID{Session: "01J00000000000000000000000", Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}
	for durable, m := range []*harnessv1.FromHarness{
		{Message: &harnessv1.FromHarness_Events{Events: &harnessv1.Events{Events: []*harnessv1.Event{
			{Number: 1, Type: "log", Time: timestamppb.New(time.Unix(9, 9)), Text: "t", Attributes: map[string]string{"a": "b"}}, {Number: 2, Type: "turn.ended", Signals: []uint64{1}, Outcome: "done"}}}}},
		{Message: &harnessv1.FromHarness_Events{Events: &harnessv1.Events{Events: []*harnessv1.Event{{Number: 1, Type: "log"}, {Number: 2, Type: "log\x00"}, {Number: 2}}}}},
		{Message: &harnessv1.FromHarness_Events{Events: &harnessv1.Events{Events: []*harnessv1.Event{{Number: 1<<64 - 1, Type: "log"}, {Type: "log"}}}}},
		{Message: &harnessv1.FromHarness_Deltas{Deltas: &harnessv1.Deltas{Deltas: []*harnessv1.Delta{{Stream: "m1", Type: "message", Text: "hi", Offset: 7}, {}}}}},
		{Message: &harnessv1.FromHarness_Lease{Lease: &harnessv1.LeaseRequest{Number: 7}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(durable))
		f.Add(b, uint64(1<<64-1))
	}
	f.Fuzz(func(t *testing.T, b []byte, durable uint64) {
		var m harnessv1.FromHarness
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		in := m.GetEvents().GetEvents()
		if got, err := decode(id, in, durable); err == nil {
			if len(got) > len(in) {
				t.Errorf("%d events became %d", len(in), len(got))
			}
			for i, e := range got {
				if e.SourceNumber != durable+1+uint64(i) || e.Session != id.Session || e.Source != id.Source() || len(e.Text) > api.MaxEventBytes || !e.Type.Valid() || e.Outcome != "" && !e.Outcome.Valid() {
					t.Errorf("after %d: %+v", durable, e)
				}
			}
		}
		deltas := m.GetDeltas().GetDeltas()
		pass, dropped := newGate().pass(id, deltas, time.Unix(0, 0))
		if len(pass)+dropped != len(deltas) || len(pass) > deltasPerSecond {
			t.Errorf("%d deltas: %d pass, %d dropped", len(deltas), len(pass), dropped)
		}
		bytes := 0
		for _, d := range pass {
			if bytes += len(d.Text); d.Text == "" || len(d.Text) > api.MaxDeltaBytes || bytes > deltasMessage || d.Session != id.Session {
				t.Errorf("passed: %+v", d)
			}
		}
	})
}

// FuzzCalls: what a harness asks for besides, a signal or a part of a checkpoint, is refused as its own fault or is within
// the bounds of the hub.
func FuzzCalls(f *testing.F) {
	for _, m := range []proto.Message{
		&harnessv1.SignalRequest{Workload: "w", Agent: "reviewer", Key: "pr 7", Payload: []byte("look"), IdempotencyKey: "k"},
		&harnessv1.SignalRequest{Agent: "Reviewer\x00", Key: "\u202e"},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	hash := make([]byte, 32)
	for _, h := range []*harnessv1.CheckpointHeader{
		{Workload: "w", Id: strings.Repeat("0", 64), ManifestBytes: 1, PackBytes: 2, PackHash: hash, Packs: []string{strings.Repeat("1", 64)}},
		{Id: strings.Repeat("0", 64), ManifestBytes: 1<<63 - 1, PackBytes: 1<<63 - 1, PackHash: hash},
		{Id: strings.Repeat("0", 64), ManifestBytes: -1, PackHash: hash[1:]},
	} {
		b, err := proto.Marshal(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	id := spoke.WorkloadID{Session: "01J00000000000000000000000", Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h harnessv1.CheckpointHeader
		if proto.Unmarshal(b, &h) == nil {
			if got, err := decodeHeader(id, &h); err == nil && (!got.ID.Valid() || got.Session != id.Session || got.Manifest < 1 || got.Manifest > api.MaxManifestBytes ||
				got.Pack < 0 || got.Pack > api.MaxCheckpointBytes || len(got.Packs) > maxPacks) {
				t.Errorf("taken: %+v", got)
			}
		}
		var m harnessv1.SignalRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		s := api.AgentSignal{Agent: m.Agent, Key: m.Key, Payload: m.Payload, IdempotencyKey: m.IdempotencyKey}
		if err := checkSignal(s); err != nil {
			if c := status.Code(asStatus(err)); c != codes.InvalidArgument && c != codes.ResourceExhausted {
				t.Errorf("refused as %s: %v", c, err)
			}
			return
		}
		if api.ValidateName("", s.Agent) != nil || api.ValidateSessionKey("", s.Key) != nil || api.ValidateIdempotencyKey("", s.IdempotencyKey) != nil || len(s.Payload) > api.MaxPayload {
			t.Errorf("taken: %+v", s)
		}
	})
}
