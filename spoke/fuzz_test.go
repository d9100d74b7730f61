package spoke

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	pb "github.com/nave-dev/nave/spoke/journalv1"
)

// fuzzRecords is one record of every kind.
func fuzzRecords() []record {
	id, source := api.SessionID("01J00000000000000000000000"), api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}
	revision := &api.ResolvedRevision{AgentName: "a", Agent: &api.AgentSpec{Environment: "e", MaxDeliveries: 3}, Environment: &api.EnvironmentSpec{Image: "i"}}
	raw := []byte(`{"AgentName":"a","Agent":{"Environment":"e","MaxDeliveries":3},"Environment":{"Image":"i"}}`)
	signal := api.Signal{ID: "g", Session: id, Sequence: 1, Payload: []byte("p"), AcceptedAt: time.Unix(3, 0).UTC(), Origin: []api.Origin{{Session: "o", Agent: "a", Key: "k", Signal: "x"}}}
	return append([]record{
		positionRecord{api.Position{Shard: 255, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: 9}, Batch: 7}}},
		wantedRecord{Desired: api.Desired{Session: id, Org: "default", Key: "k", Epoch: source.Epoch, Revision: revision, Signals: []api.Signal{signal}}, Raw: raw, Seen: 4},
		verdictRecord{Session: id, Epoch: source.Epoch, Refused: true, Reason: "r"},
		begunRecord{id, source.Epoch}, releasedRecord{id, source.Epoch}, lapsedRecord{id, source.Epoch}, forgottenRecord{id, source.Epoch},
		ackedRecord{id, source, 3}, outboxRecord{id, source, 3},
		turnRecord{Session: id, Epoch: source.Epoch, Closed: true, Progress: progress{Done: map[uint64]bool{1: true}, Covered: map[uint64]at{2: {3, 4}}, Turn: []uint64{5}, Latest: "l", Saved: "s"}},
	}, full(id, source)...)
}

func seedRecords(f *testing.F) {
	for _, r := range fuzzRecords() {
		b, err := encodeRecord(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, m := range []*pb.Record{
		{Change: &pb.Record_Position{Position: &pb.Position{Shard: 256}}},
		{Change: &pb.Record_Wanted{Wanted: &pb.Wanted{Session: "s", RevisionJson: []byte("null")}}},
		{Change: &pb.Record_Wanted{Wanted: &pb.Wanted{Session: "s", RevisionJson: []byte(`{"Agent":{}}`)}}},
		{Change: &pb.Record_Events{Events: &pb.Events{First: 1<<64 - 1, Events: []*pb.Event{{}, {}}}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzRecord: a record of the journal is refused, or is encoded to what decodes to it again. Its revision is whole.
func FuzzRecord(f *testing.F) {
	seedRecords(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		if w, ok := r.(wantedRecord); ok && w.Desired.Revision != nil && (w.Desired.Revision.Agent == nil || w.Desired.Revision.Environment == nil) {
			t.Errorf("a revision in parts: %+v", w.Desired.Revision)
		}
		again, err := encodeRecord(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := decodeRecord(again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if d := cmp.Diff(r, back, cmp.AllowUnexported(progress{}, at{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("(-first +second):\n%s", d)
		}
		if third, err := encodeRecord(back); err != nil || !bytes.Equal(again, third) {
			t.Errorf("equal records have other bytes: %v", err)
		}
	})
}

// FuzzReplay: records in any order are refused or become a state, whose snapshot becomes the same positions and sessions.
func FuzzReplay(f *testing.F) {
	id := api.SessionID("01J00000000000000000000000")
	var life []byte
	for _, r := range append([]record{fuzzRecords()[1]}, full(id, api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3})...) {
		b, err := encodeRecord(r)
		if err != nil {
			f.Fatal(err)
		}
		life = append(append(life, byte(len(b)>>8), byte(len(b))), b...)
	}
	f.Add(life)
	f.Add([]byte{0, 1, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		st := newState()
		for len(b) > 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			r, err := decodeRecord(b[2 : 2+n])
			b = b[2+n:]
			if err != nil {
				continue
			}
			if st.apply(r) != nil {
				return // the spoke does not begin
			}
		}
		again := newState()
		for _, r := range st.snapshot() {
			b, err := encodeRecord(r)
			if err != nil {
				t.Fatal(err)
			}
			if r, err = decodeRecord(b); err == nil {
				err = again.apply(r)
			}
			if err != nil {
				t.Fatalf("the snapshot is refused: %v", err)
			}
		}
		if len(again.sessions) != len(st.sessions) || len(again.positions) != len(st.positions) {
			t.Errorf("%d sessions and %d positions became %d and %d", len(st.sessions), len(st.positions), len(again.sessions), len(again.positions))
		}
	})
}

// FuzzWorkloadID: what a harness says that it is has one text, which is a file name.
func FuzzWorkloadID(f *testing.F) {
	for _, s := range []string{"01j00000000000000000000000-1-2-3", "01J00000000000000000000000-1-2-3", "01j00000000000000000000000-1-2", "../x-1-2-3", "-1-2-3", "01j00000000000000000000000-1-2-3-4", "01j00000000000000000000000-4294967296-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseWorkloadID(s)
		if err != nil {
			return
		}
		if id.String() != s || len(s) > 80 || bytes.ContainsAny([]byte(s), "/.\x00") {
			t.Errorf("%q is taken as %q", s, id)
		}
	})
}
