package hub

import (
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

// log is what the archive has of a session, as types.
func (w *shardWorld) log(id api.SessionID) (types []api.EventType) {
	for _, ev := range w.mem.log[id] {
		types = append(types, ev.Type)
	}
	return types
}

// That a signal was accepted costs no record beside the signal's own and the session's; what the archive lacks of it when an
// owner ends, the next one makes again, in its place among the other events of the hub's own.
func TestAnAcceptanceIsInItsSignalsRecord(t *testing.T) {
	for name, end := range map[string]func(*shardWorld){
		"new owner":                    func(w *shardWorld) { w.restart() },
		"owner after an older version": func(w *shardWorld) { w.older(false) },
		"owner after an older version that did not clean": func(w *shardWorld) { w.older(true) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newShardWorld()
			id := w.signal("alice", "k1", "x").accepted.Session
			w.signal("alice", "k2", "x")
			if n := len(w.mem.outbox); n != 0 {
				t.Fatalf("%d events in the outbox", n)
			}
			w.archived() // of the first one; the second one is under way
			if _, err := w.intent(id, ChangePause); err != nil {
				t.Fatal(err)
			}
			w.signal("alice", "k3", "x")
			end(w)
			w.settle()
			want := []api.EventType{api.EventAccepted, api.EventAccepted, api.EventPaused, api.EventAccepted}
			got := w.log(id)
			if len(got) != len(want) {
				t.Fatalf("the log has %v, want %v", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("the log has %v, want %v", got, want)
				}
			}
			w.turn(CoreFacts())
			if n := len(w.mem.outbox); n != 0 {
				t.Errorf("%d events in the outbox", n)
			}
			if err := w.check(); err != nil {
				t.Error(err)
			}
			w.restart()
			if w.submitted != nil {
				t.Errorf("a later owner appends %+v again", w.submitted)
			}
		})
	}
}

// A list for one session is one batch with one record of the session, within what etcd takes by default.
func TestAListForOneSessionIsOneBatch(t *testing.T) {
	w := newShardWorld()
	w.core.l.limits.PendingPerSession, w.core.l.m.limits.PendingPerSession = 1000, 1000
	before := w.core.Head().Batch
	var list []words
	for range api.MaxSignalsPerCall {
		list = append(list, words{key: "alice", payload: "x"})
	}
	for i, r := range w.signals(list...) {
		if r.err != nil || r.accepted.Sequence != uint64(i+1) {
			t.Fatalf("signal %d: %+v", i, r)
		}
	}
	if n := w.core.Head().Batch - before; n != 1 {
		t.Errorf("%d batches, want 1", n)
	}
	for _, s := range w.mem.sessions {
		if s.LastSequence != api.MaxSignalsPerCall || s.HubNumber != api.MaxSignalsPerCall {
			t.Errorf("the session's record is of signal %d and event %d", s.LastSequence, s.HubNumber)
		}
	}
}

// A session that waits for a place asks again when facts change, not with each signal.
func TestSignalsOfASessionThatWaitsDoNotAskForAPlace(t *testing.T) {
	w := newShardWorld()
	w.signal("alice", "", "x")
	w.place("") // nothing fits
	w.signal("alice", "", "y")
	if n := len(w.asked); n != 0 {
		t.Fatalf("asked %d times for a place", n)
	}
	w.turn(CoreFacts())
	if n := len(w.asked); n != 1 {
		t.Fatalf("asked %d times after facts changed, want once", n)
	}
	w.place("aws")
	if s := w.view(w.asked0()); s.Assignment == nil {
		t.Errorf("session is %+v, want it assigned", s)
	}
}

// asked0 is the only session.
func (w *shardWorld) asked0() api.SessionID { return w.core.Sessions()[0].ID }

// An append that nobody waits for is hurried when what somebody waits for comes behind it, once.
func TestWhatIsUrgentHurriesTheArchive(t *testing.T) {
	m := newMachine(0, api.Head{}, Limits{}.withDefaults())
	s := m.add(api.Session{ID: "s", Org: api.DefaultOrg, Intent: api.IntentActive, Phase: api.PhaseDormant})
	hurries := func() (n int) {
		var o output
		m.flush(&o)
		for _, e := range o.effects {
			if _, ok := e.(effHurry); ok {
				n++
			}
		}
		return n
	}
	src := api.Source{Epoch: api.Epoch{N: 1}, Attempt: 1}
	m.enqueue(s, api.Event{Session: "s", Source: api.HubSource, SourceNumber: 1, Type: api.EventAccepted}, nil)
	if n := hurries(); n != 0 || !m.writing {
		t.Fatalf("%d hurries with nothing behind", n)
	}
	m.enqueue(s, api.Event{Session: "s", Source: api.HubSource, SourceNumber: 2, Type: api.EventAccepted}, nil)
	if n := hurries(); n != 0 {
		t.Errorf("%d hurries for an event of the hub's own", n)
	}
	m.enqueue(s, api.Event{Session: "s", Source: src, SourceNumber: 1, Type: api.EventLog}, nil)
	if n := hurries(); n != 1 {
		t.Errorf("%d hurries for an event of a spoke, want 1", n)
	}
	m.enqueue(s, api.Event{Session: "s", Source: src, SourceNumber: 2, Type: api.EventLog}, nil)
	if n := hurries(); n != 0 {
		t.Errorf("%d hurries again", n)
	}
}

// A batch that was not written yet has a signal as it was, whatever comes of it meanwhile.
func TestASignalOfABatchIsNotChanged(t *testing.T) {
	m := newMachine(0, api.Head{}, Limits{}.withDefaults())
	s := m.add(api.Session{ID: "s", Org: api.DefaultOrg, Intent: api.IntentActive, Phase: api.PhaseDormant})
	var first, later output
	sig := m.admit(&first, s, time.Unix(9, 0), api.Signal{ID: "x", IdempotencyKey: "k"})
	m.digest(&later, time.Unix(10, 0), s, api.Event{Session: "s", Source: api.Source{Epoch: api.Epoch{N: 1}, Attempt: 1}, SourceNumber: 1, Type: api.EventTurnDone,
		Outcome: api.OutcomeFailed, Signals: []uint64{1}}, nil)
	if sig.Deliveries != 0 || first.mutations[0].PutSignal.Deliveries != 0 || s.pending[0].Deliveries != 1 {
		t.Errorf("%d failures in the batch, %d in the inbox: want 0 and 1", first.mutations[0].PutSignal.Deliveries, s.pending[0].Deliveries)
	}
}
