package spoke

import (
	"testing"

	"github.com/nave-dev/nave/api"
)

// Only what the hub says again may wait for the next append of the journal.
func TestWhichChangesWait(t *testing.T) {
	head := func(generation, batch uint64) api.Position {
		return api.Position{Shard: 7, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: generation}, Batch: batch}}
	}
	st := newState()
	if err := st.apply(positionRecord{head(3, 5)}); err != nil {
		t.Fatal(err)
	}
	const id = api.SessionID("01J00000000000000000000000")
	waits := map[string]bool{}
	for name, r := range map[string]record{
		"acknowledgement": ackedRecord{Session: id}, "settled signals": inboxRecord{Session: id, Drop: []uint64{1}}, "position": positionRecord{head(3, 6)},
		"signals": inboxRecord{Session: id, Put: []api.Signal{{Sequence: 2}}, Drop: []uint64{1}}, "position of another owner": positionRecord{head(4, 6)},
	} {
		waits[name] = st.mayWait(r)
	}
	for _, r := range fuzzRecords() {
		_, acked := r.(ackedRecord)
		if in, ok := r.(inboxRecord); st.mayWait(r) && !acked && (!ok || len(in.Put) > 0) {
			t.Errorf("%T waits", r)
		}
	}
	if len(waits) != 5 || !waits["acknowledgement"] || !waits["settled signals"] || !waits["position"] || waits["signals"] || waits["position of another owner"] {
		t.Errorf("these wait: %v", waits)
	}
}

// Which signals a spoke has seen is reported when it proposes to sleep, and not for each signal.
func TestWhatAReportIsMadeFor(t *testing.T) {
	held := func(state api.HeldState, seen uint64, failures uint32) api.Held {
		return api.Held{State: state, Seen: seen, StartFailures: failures}
	}
	for _, c := range []struct {
		name string
		a, b api.Held
		same bool
	}{
		{"another signal", held(api.HeldRunning, 1, 0), held(api.HeldRunning, 2, 0), true},
		{"another signal before it is idle", held(api.HeldIdle, 1, 0), held(api.HeldIdle, 2, 0), false},
		{"it becomes idle", held(api.HeldRunning, 1, 0), held(api.HeldIdle, 1, 0), false},
		{"it is not idle any more", held(api.HeldIdle, 1, 0), held(api.HeldRunning, 2, 0), false},
		{"a start failed", held(api.HeldAdmitted, 1, 0), held(api.HeldAdmitted, 1, 1), false},
	} {
		if got := sameHeld(c.a, c.b); got != c.same {
			t.Errorf("%s: same is %v", c.name, got)
		}
	}
}
