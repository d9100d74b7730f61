package spoke

import (
	"reflect"
	"strings"
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
		{"turns, checkpoints, signals forgotten and left out", append(full(id, source(3)), ackedRecord{id, source(3), 2}), true},
		{"its right lapsed", []record{lapsedRecord{id, epoch}}, false},
		{"failed starts and restarts", []record{endedRecord{Session: id, Source: source(1), Reason: "x", Failure: api.StartFailureCrash}, attemptRecord{id, source(2)},
			endedRecord{Session: id, Source: source(2), Reason: "y", Restart: true}}, false},
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
			if strings.HasPrefix(c.name, "turns") {
				v := reflect.ValueOf(st.sessions[id].progress)
				for i := range v.NumField() {
					if f := v.Type().Field(i); f.Name != "StartFailures" && f.Name != "Failures" && (v.Field(i).IsZero() || v.Field(i).Kind() == reflect.Map && v.Field(i).Len() == 0) {
						t.Errorf("%s is not set: the case says nothing about it", f.Name)
					}
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
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(st.sessions[id].desired, again.sessions[id].desired, cmp.AllowUnexported(desired{})); diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(st.outboxes[id], again.outboxes[id], cmp.AllowUnexported(outbox{}), cmpopts.IgnoreFields(outbox{}, "gone"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("outboxes (-want +got):\n%s", diff)
			}
		})
	}
}

// full is a life that sets every field of [progress] and leaves none at rest.
func full(id api.SessionID, source api.Source) []record {
	digit := func(d string) map[string]string { return map[string]string{api.AttrCheckpoint: strings.Repeat(d, 64)} }
	r := eventsRecord{Session: id, Source: source, First: 1}
	for _, e := range []api.Event{
		{Type: api.EventStarted},
		{Type: api.EventTurnDone, Outcome: api.OutcomeDone, Signals: []uint64{1}, Attributes: digit("a")},
		{Type: api.EventSaved, Attributes: digit("a")},
		{Type: api.EventTurnDone, Outcome: api.OutcomeDone, Signals: []uint64{2, 5}, Attributes: digit("b")},
		{Type: api.EventState, Signals: []uint64{5}, Attributes: digit("b")},
		{Type: api.EventTurnDone, Outcome: api.OutcomeCancelled, Signals: []uint64{3}},
		{Type: api.EventTurnDone, Outcome: api.OutcomeFailed, Signals: []uint64{4}},
		{Type: api.EventTurn, Signals: []uint64{4}},
		{Type: api.EventEnded, Attributes: map[string]string{api.AttrFailure: string(api.StartFailureConfig)}},
	} {
		e.Session, e.Source, e.SourceNumber, e.Time = id, source, uint64(len(r.Events)+1), time.Unix(9, 0).UTC()
		r.Events = append(r.Events, e)
	}
	var signals []api.Signal
	for n := uint64(1); n <= 5; n++ {
		signals = append(signals, api.Signal{ID: api.SignalID("s"), Session: id, Sequence: n, AcceptedAt: time.Unix(3, 0).UTC(), Approval: "approval",
			Origin: []api.Origin{{Session: "o", Agent: "agent", Key: "key", Signal: "before"}, {Session: "p", Agent: "other", Key: "key", Signal: "then"}}})
	}
	return []record{
		inboxRecord{Session: id, Epoch: source.Epoch, Put: signals},
		endedRecord{Session: id, Source: api.Source{Epoch: source.Epoch, Attempt: 1}, Restart: true},
		attemptRecord{id, source},
		r,
		inboxRecord{Session: id, Epoch: source.Epoch, Drop: []uint64{2}},
	}
}
