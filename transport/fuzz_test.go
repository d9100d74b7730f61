package transport

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

var (
	fuzzSource   = api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}
	fuzzPosition = api.Position{Shard: 255, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: 9}, Batch: 7}}
	fuzzHeld     = []api.Held{{Session: "s", Epoch: fuzzSource.Epoch, Attempt: 3, State: api.HeldRunning, Reason: "r", Seen: 4, Number: 5, StartFailures: 6}}
)

// bytesOf adds the encoding of messages to the corpus.
func bytesOf(f *testing.F, ms ...proto.Message) {
	f.Helper()
	for _, m := range ms {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add([]byte{0xff})
}

// stable: what was taken is written and read to the same again.
func stable[N any](t *testing.T, got N, pass func(N) (N, error)) {
	t.Helper()
	back, err := pass(got)
	if err != nil {
		t.Fatalf("what was taken cannot be passed on: %v", err)
	}
	if d := cmp.Diff(got, back, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-first +second):\n%s", d)
	}
}

// FuzzSpokeMessage: what a spoke sends is refused, or keeps the bounds that the hub and its archive rely on.
func FuzzSpokeMessage(f *testing.F) {
	bytesOf(f, spokeMessageTo(api.SpokeMessage{Held: fuzzHeld, Capacity: &api.Capacity{Runtime: "process", Missing: []string{"gpu"}, Flavors: []api.FlavorCapacity{{Flavor: "f", Total: 2, Used: 1}}},
		Deltas: []api.Delta{{Session: "s", Source: fuzzSource, Stream: "m1", Type: api.EventMessage, Offset: 3, Text: "hi"}},
		Events: []api.EventBatch{{Session: "s", Source: fuzzSource, Events: []api.Event{{SourceNumber: 1, Type: api.EventTurnDone, Time: time.Unix(9, 9).UTC(), Text: "t",
			Signals: []uint64{1, 2}, Outcome: api.OutcomeDone, Attributes: map[string]string{"a": "b"}}}}}}),
		&linkv1.SpokeMessage{Events: []*linkv1.EventBatch{{Session: "s", Events: []*linkv1.Event{{Type: "log\x00", Outcome: "\u202e"}}}}},
		&linkv1.SpokeMessage{Held: []*linkv1.Held{{State: "idle"}, {}}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m linkv1.SpokeMessage
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		if weight, err := scales[reflect.TypeFor[*linkv1.SpokeMessage]()].weigh(b, 1<<40); err != nil {
			t.Errorf("%d bytes that can be decoded weigh %d: %v", len(b), weight, err)
		}
		got, err := spokeMessageFrom(&m)
		if err != nil {
			return
		}
		for _, batch := range got.Events {
			for _, e := range batch.Events {
				if len(e.Text) > api.MaxEventBytes || !e.Type.Valid() || e.Outcome != "" && !e.Outcome.Valid() || e.Session != batch.Session || e.Source != batch.Source {
					t.Errorf("taken: %+v", e)
				}
			}
		}
		for _, d := range got.Deltas {
			if len(d.Text) > api.MaxDeltaBytes {
				t.Errorf("taken: a delta of %d bytes", len(d.Text))
			}
		}
		stable(t, got, func(n api.SpokeMessage) (api.SpokeMessage, error) { return spokeMessageFrom(spokeMessageTo(n)) })
	})
}

// FuzzHubMessage: what a hub sends is refused, or has shards that exist and revisions that are whole.
func FuzzHubMessage(f *testing.F) {
	m, err := hubMessageTo(api.HubMessage{
		Updates: []api.ShardUpdate{{Position: fuzzPosition, Full: true, Sessions: []api.Desired{{
			Session: "s", Org: "default", Key: "k", Epoch: fuzzSource.Epoch, Checkpoint: "c", Cancelled: api.Cancellation{UpTo: 1, Reason: "r"},
			Answers:  []api.ApprovalAnswer{{Approval: "a", Allow: true, Option: "o", By: "b", Reason: "r"}},
			Revision: &api.ResolvedRevision{AgentID: "i", AgentName: "n", AgentRevision: 1, Agent: &api.AgentSpec{Environment: "e", StopAfter: time.Minute}, Environment: &api.EnvironmentSpec{Image: "i"}},
			Signals:  []api.Signal{{ID: "g", Session: "s", Sequence: 1, Payload: []byte("p"), AcceptedAt: time.Unix(3, 0).UTC(), Origin: []api.Origin{{Session: "o", Agent: "a", Key: "k", Signal: "x"}}}},
		}}}},
		Acks: []api.Ack{{Session: "s", Source: fuzzSource, UpTo: 4, Position: fuzzPosition}},
	})
	if err != nil {
		f.Fatal(err)
	}
	bytesOf(f, m, &linkv1.HubMessage{Acks: []*linkv1.Ack{{Position: &linkv1.Position{Shard: 256}}}},
		&linkv1.HubMessage{Updates: []*linkv1.ShardUpdate{{Sessions: []*linkv1.Desired{{Revision: &linkv1.Revision{}}}}}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m linkv1.HubMessage
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		got, err := hubMessageFrom(&m)
		if err != nil {
			return
		}
		for _, u := range got.Updates {
			for _, d := range u.Sessions {
				if r := d.Revision; r != nil && (r.Agent == nil || r.Environment == nil) {
					t.Errorf("a revision in parts: %+v", r)
				}
			}
		}
		stable(t, got, func(n api.HubMessage) (api.HubMessage, error) {
			m, err := hubMessageTo(n)
			if err != nil {
				return n, err
			}
			return hubMessageFrom(m)
		})
	})
}

// FuzzHello: the first message of either side is refused, or says the same when it is passed on. A hub cannot ask for beats
// that come without a pause.
func FuzzHello(f *testing.F) {
	bytesOf(f, helloTo(api.Hello{ProtocolMin: 1, ProtocolMax: 2, Version: "v", Boot: "b", Journal: "j", Fingerprint: "f", Held: fuzzHeld, Positions: []api.Position{fuzzPosition},
		Capacity: api.Capacity{Runtime: "process", Flavors: []api.FlavorCapacity{{Flavor: "f", Total: 1}}}}),
		welcomeTo(api.Welcome{Protocol: 1, Cluster: "c", Name: "n", Labels: map[string]string{"a": "b"}, Beat: 2 * time.Second}),
		&linkv1.Welcome{BeatMs: 1<<63 - 1}, &linkv1.Welcome{BeatMs: -1 << 63}, &linkv1.Welcome{BeatMs: 18446744073710})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h linkv1.Hello
		if proto.Unmarshal(b, &h) == nil {
			if got, err := helloFrom(&h); err == nil {
				stable(t, got, func(n api.Hello) (api.Hello, error) { return helloFrom(helloTo(n)) })
			}
		}
		var w linkv1.Welcome
		if proto.Unmarshal(b, &w) == nil {
			got := welcomeFrom(&w)
			if (got.Beat > 0) != (w.BeatMs > 0) || got.Beat > 0 && got.Beat < time.Millisecond || got.Beat > maxBeat {
				t.Errorf("%d ms is a beat every %v", w.BeatMs, got.Beat)
			}
			stable(t, got, func(n api.Welcome) (api.Welcome, error) { return welcomeFrom(welcomeTo(n)), nil })
		}
	})
}

// FuzzSaveHeader: the first message of an upload is refused with a field, or is the header of a checkpoint within its bounds.
func FuzzSaveHeader(f *testing.F) {
	id := api.CheckpointID("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")
	good := headerTo(api.CheckpointHeader{Session: "s", Source: fuzzSource, ID: id, Manifest: 10, Pack: 20, Packs: []api.CheckpointID{id}})
	short := headerTo(api.CheckpointHeader{Session: "s", ID: id, Manifest: 1})
	short.PackHash = short.PackHash[:31]
	bytesOf(f, &linkv1.SaveRequest{Header: good}, &linkv1.SaveRequest{Header: good, Data: []byte("x")}, &linkv1.SaveRequest{Header: short})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m linkv1.SaveRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		got, err := headerFrom(&m)
		if err != nil {
			if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) == "" || len(err.Error()) > 1000 {
				t.Errorf("refused as %s, field %q, %d bytes", api.CodeOf(err), api.FieldOf(err), len(err.Error()))
			}
			return
		}
		if !got.ID.Valid() || got.Session == "" || got.Manifest < 1 || got.Manifest > api.MaxManifestBytes || got.Pack < 0 || got.Pack > api.MaxCheckpointBytes {
			t.Errorf("taken: %+v", got)
		}
		stable(t, got, func(n api.CheckpointHeader) (api.CheckpointHeader, error) {
			return headerFrom(&linkv1.SaveRequest{Header: headerTo(n)})
		})
	})
}
