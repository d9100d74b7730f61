package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

// The answer to a commit is lost, or the commit never arrived, at each of the commits of a session's way: the head says which,
// and what is done is what would have been done.
func TestACommitWhoseOutcomeIsUnknownIsMadeOnce(t *testing.T) {
	for _, what := range []outcome{unheard, unmade} {
		for at := range 12 {
			w := newShardWorld()
			w.mem.lose = append(make([]outcome, at), what, what)
			id := w.signal("alice", "k", "x").accepted.Session
			w.place("aws")
			w.settle()
			w.work(w.spokes["aws"], id, api.OutcomeDone, false)
			w.settle()
			w.save(w.spokes["aws"], id, true)
			w.settle()
			w.report(w.spokes["aws"], id)
			w.report(w.spokes["aws"], id)
			w.settle()
			if err := w.check(); err != nil {
				t.Fatalf("%v at commit %d: %v", what, at, err)
			}
			if err := w.checkRest(); err != nil {
				t.Fatalf("%v at commit %d: %v", what, at, err)
			}
			if v := w.view(id); v.Phase != api.PhaseDormant || v.Epoch.N != 1 || v.HubNumber != 3 {
				t.Errorf("%v at commit %d: %s in epoch %s after %d events of the hub, want Dormant in the first after 3", what, at, v.Phase, v.Epoch, v.HubNumber)
			}
		}
	}
}

// An owner is frozen when the archive has taken its append. The next one takes over and lets the session sleep. When the first
// one wakes, what it was about to do does not happen.
func TestAFrozenOwnerThatWakesDoesNothing(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "k", "x").accepted.Session
	w.place("aws")
	w.settle()
	w.work(w.spokes["aws"], id, api.OutcomeDone, false)
	w.settle()
	w.save(w.spokes["aws"], id, true)
	frozen, under := w.core, w.submitted
	if under == nil {
		t.Fatal("nothing is on its way to the archive")
	}
	if err := w.mem.Append(context.Background(), under); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if _, settled := w.mem.settled["sig-1"]; !settled || len(w.mem.signals) != 0 {
		t.Fatalf("the next owner has %d signals in the store, want that of the archived checkpoint settled", len(w.mem.signals))
	}
	w.report(w.spokes["aws"], id)
	w.report(w.spokes["aws"], id)
	w.settle()
	before, wire := w.mem.head, len(w.wire)
	if err := frozen.Turn(context.Background(), CoreArchived(under)); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("the frozen owner woke with %v, want a conflict", err)
	}
	if w.mem.head != before || len(w.wire) != wire {
		t.Errorf("the frozen owner moved the head from %v to %v, and sent %d messages", before, w.mem.head, len(w.wire)-wire)
	}
	if v := w.view(id); v.Phase != api.PhaseDormant {
		t.Errorf("the session is %s, want Dormant", v.Phase)
	}
	if err := w.checkRest(); err != nil {
		t.Error(err)
	}
}

// An owner dies when the archive has a request for permission and the store has not. The next one keeps it for as long as the
// session's revision says, not for the default.
func TestARequestThatTheNextOwnerFindsEndsByItsRevision(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "k", "x").accepted.Session
	w.place("aws")
	w.settle()
	w.ask(w.spokes["aws"], id, "rm")
	for w.submitted != nil && !slices.ContainsFunc(w.submitted[0].Events, func(ev api.Event) bool { return ev.Type == api.EventAsked }) {
		w.archived()
	}
	if err := w.mem.Append(context.Background(), w.submitted); err != nil {
		t.Fatal(err)
	}
	if len(w.mem.approvals) != 0 {
		t.Fatal("the first owner has made the record")
	}
	w.restart()
	if len(w.mem.approvals) != 1 {
		t.Fatalf("%d approvals are kept, want the one that the archive knows of", len(w.mem.approvals))
	}
	for _, a := range w.mem.approvals {
		if got := a.ExpiresAt.Sub(a.AskedAt); got != worldExpiry {
			t.Errorf("it ends after %v, want %v", got, worldExpiry)
		}
	}
}

// The session's cluster is lost between the archived turn and its checkpoint, and never seen again within its right: the turn's
// signal is delivered again, in the next epoch, from the checkpoint before.
func TestATurnThatNoCheckpointCoversIsDoneAgain(t *testing.T) {
	w := newShardWorld()
	s := w.spokes["aws"]
	id := w.signal("alice", "", "x").accepted.Session
	w.place("aws")
	w.settle()
	w.work(s, id, api.OutcomeDone, false)
	w.save(s, id, true)
	w.settle()
	w.signal("alice", "", "y")
	w.work(s, id, api.OutcomeDone, false)
	w.settle()
	if v := w.view(id); v.Pending != 1 || len(s.sessions[id].signals) != 0 {
		t.Fatalf("%d signals are unsettled and %d handed out, want one that is consumed", v.Pending, len(s.sessions[id].signals))
	}
	w.lose("aws", worldStop)
	if v := w.view(id); v.Phase != api.PhaseLost {
		t.Fatalf("the session is %s, want Lost", v.Phase)
	}
	w.connect("aws")
	w.settle()
	w.report(s, id)
	w.settle()
	w.place("gcp")
	h := w.spokes["gcp"].sessions[id]
	if h == nil || len(h.signals) != 1 || h.signals[0].Sequence != 2 {
		t.Fatalf("the next cluster holds %+v, want the second signal again", h)
	}
	if a := w.view(id).Assignment; a.Checkpoint != checkpointID(1) {
		t.Errorf("the next epoch begins from %q, want the first checkpoint", a.Checkpoint)
	}
	w.settle()
	log := w.mem.log[id]
	if got := log[len(log)-1]; got.Type != api.EventPlaced || got.Attributes["forgotten"] != "2" {
		t.Errorf("the last event is %s, forgotten %q, want session.placed that names 2", got.Type, got.Attributes["forgotten"])
	}
	if err := w.check(); err != nil {
		t.Error(err)
	}
}

// A consumed signal counts for the limit, as it may come again.
func TestConsumedSignalsCountForTheLimit(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "", "x").accepted.Session
	w.place("aws")
	for range 7 {
		w.signal("alice", "", "x")
	}
	w.settle()
	w.work(w.spokes["aws"], id, api.OutcomeDone, false)
	w.settle()
	if r := w.signal("alice", "", "x"); api.CodeOf(r.err) != api.CodeLimit {
		t.Errorf("the ninth while three are consumed: %+v, want the limit", r)
	}
	w.save(w.spokes["aws"], id, true)
	w.settle()
	if r := w.signal("alice", "", "x"); r.err != nil {
		t.Errorf("after the checkpoint: %v", r.err)
	}
}

// What stays of a former epoch goes beside the log, also when the archive is away for a while, and is acknowledged then.
func TestEventsOfAFormerEpochAreKeptBesideTheLog(t *testing.T) {
	w := newShardWorld()
	s := w.spokes["aws"]
	id := w.signal("alice", "", "x").accepted.Session
	w.place("aws")
	w.settle()
	w.lose("aws", worldStop)
	w.emit(s, id) // nothing goes up
	h := s.sessions[id]
	h.attempt, h.number = 1, 0
	box := spokeBox{id, h.source()}
	s.boxes[box] = []api.Event{{SourceNumber: 1, Type: api.EventMessage, Text: "late"}, {SourceNumber: 2, Type: api.EventTurnDone, Outcome: api.OutcomeDone, Signals: []uint64{1}}}
	if _, err := w.intent(id, ChangeTerminate); err != nil {
		t.Fatal(err)
	}
	w.lose("aws", worldStop)
	w.settle()
	if _, ended := w.mem.ended[id]; !ended {
		t.Fatal("the session has not ended though its epoch lapsed")
	}
	w.mem.sideAway = true
	w.connect("aws")
	if n := len(s.boxes[box]); n != 2 {
		t.Fatalf("%d events are left at the spoke while the archive is away, want 2", n)
	}
	w.mem.sideAway = false
	w.turn(CoreFacts())
	if kept := w.mem.side[id][box.source]; len(kept) != 2 || len(s.boxes[box]) != 0 {
		t.Errorf("%d events are beside the log and %d at the spoke, want 2 and none", len(kept), len(s.boxes[box]))
	}
	if row := w.mem.settled["sig-1"]; row.Outcome != settledDead {
		t.Errorf("the signal is %q, want a dead letter: a late record settles nothing", row.Outcome)
	}
	s.boxes[spokeBox{id, api.Source{Epoch: api.Epoch{Incarnation: 1, N: 7}, Attempt: 1}}] = []api.Event{{SourceNumber: 1, Type: api.EventMessage}}
	w.flush(s)
	if len(s.boxes) != 1 {
		t.Error("events of an epoch that was never placed were acknowledged")
	}
}

// A spoke that has seen a later owner is not heard by this one.
func TestASpokeThatIsAheadIsCutOff(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "", "x").accepted.Session
	w.place("aws")
	w.spokes["aws"].seen.Generation.N += 5
	w.connect("aws")
	if len(w.cuts) != 1 {
		t.Fatalf("%d links were ended, want 1", len(w.cuts))
	}
	if a := w.view(id).Assignment; a == nil || a.Releasing {
		t.Errorf("the assignment is %+v, want it as it was", a)
	}
}

// However much waits for the archive, what follows from it fits the store's transactions: many signals that fail at once and are
// all dead, many sessions that end at once, many large payloads.
func TestWhatFollowsFromTheArchiveFitsTheStore(t *testing.T) {
	w := newShardWorld()
	s := w.spokes["aws"]
	w.core = NewCore(0, w.core.l.ports, Limits{PendingPerSession: 100, Lease: 10 * time.Second}, w.core.l.now)
	if err := w.core.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.connect("aws")
	var ids []api.SessionID
	large := strings.Repeat("x", 8<<10) // a window of 64 is 512 KiB
	for i := range 40 {
		key := fmt.Sprint("k", i)
		id := w.signal(key, "", large).accepted.Session
		ids = append(ids, id)
		if w.place("aws"); i < 2 {
			for range 70 {
				w.signal(key, "", large)
			}
		}
	}
	w.settle()
	for range 2 { // the second failure makes them dead letters; nothing is archived before both
		for _, id := range ids {
			w.work(s, id, api.OutcomeFailed, true)
		}
	}
	for _, id := range ids {
		if _, err := w.intent(id, ChangeTerminate); err != nil {
			t.Fatal(err)
		}
		w.report(s, id)
	}
	w.settle()
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	if n := len(w.mem.ended); n != len(ids) || len(w.mem.signals) != 0 {
		t.Errorf("%d of %d sessions ended, %d signals are left", n, len(ids), len(w.mem.signals))
	}
}

// After a change of owner a signal that failed once and was then done and saved, all in the append that the former owner did not
// see archived, is done and no dead letter.
func TestAFailureBeforeASuccessInTheSameAppendIsNoDeadLetter(t *testing.T) {
	w := newShardWorld()
	s := w.spokes["aws"]
	id := w.signal("alice", "", "x").accepted.Session
	w.place("aws")
	w.settle()
	w.signal("bob", "", "x") // keeps the archive busy
	w.work(s, id, api.OutcomeFailed, false)
	w.work(s, id, api.OutcomeDone, false)
	w.save(s, id, true)
	w.archived()
	if err := w.mem.Append(t.Context(), w.submitted); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.settle()
	for _, ev := range w.mem.log[id] {
		if ev.Type == api.EventDead {
			t.Errorf("the log says that signal %v is dead: %s", ev.Signals, ev.Text)
		}
	}
	if row := w.mem.settled["sig-1"]; row.Outcome != settledDone || len(w.mem.signals) != 1 {
		t.Errorf("the signal is %q and %d are in the store, want done and bob's", row.Outcome, len(w.mem.signals))
	}
}
