package spoke

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nave-dev/nave/api"
)

// TestSnapshotMakesTheSameState: what a compacted journal holds gives the state that it was made of, also where the events
// that led to it are settled and forgotten.
func TestSnapshotMakesTheSameState(t *testing.T) {
	id := api.NewSessionID(time.Unix(1, 0), 7, [10]byte{1})
	epoch := api.Epoch{Incarnation: 1, N: 1}
	source := func(attempt uint32) api.Source { return api.Source{Epoch: epoch, Attempt: attempt} }
	events := func(attempt uint32, first uint64, types ...api.EventType) eventsRecord {
		r := eventsRecord{Session: id, Source: source(attempt), First: first}
		for i, typ := range types {
			r.Events = append(r.Events, api.Event{Session: id, Source: r.Source, SourceNumber: first + uint64(i), Type: typ, Time: time.Unix(9, 0).UTC()})
		}
		return r
	}
	begin := []record{
		wantedRecord{Desired: api.Desired{Session: id, Org: api.DefaultOrg, Key: "k", Epoch: epoch}},
		verdictRecord{Session: id, Epoch: epoch},
		attemptRecord{id, source(1)},
	}
	for _, c := range []struct {
		name string
		then []record
		want bool // closed
	}{
		{"runs", []record{events(1, 1, api.EventStarted)}, false},
		{"reported its end", []record{events(1, 1, api.EventStarted, api.EventEnded)}, true},
		{"its end is settled", []record{events(1, 1, api.EventStarted, api.EventEnded), ackedRecord{id, source(1), 2}}, true},
		{"an older attempt reported its end", []record{events(1, 1, api.EventStarted, api.EventEnded), endedRecord{Session: id, Source: source(1), Reason: "x"},
			attemptRecord{id, source(2)}, events(2, 1, api.EventStarted)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newState()
			for _, r := range append(begin[:len(begin):len(begin)], c.then...) {
				if err := st.apply(r); err != nil {
					t.Fatal(err)
				}
			}
			if got := st.sessions[id].Closed; got != c.want {
				t.Errorf("closed = %t, want %t", got, c.want)
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
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(st.sessions[id].desired, again.sessions[id].desired, cmp.AllowUnexported(desired{})); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(st.outboxes[id], again.outboxes[id], cmp.AllowUnexported(outbox{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("outboxes (-want +got):\n%s", diff)
			}
		})
	}
}
