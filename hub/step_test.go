package hub

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// place answers the oldest placement request.
func (w *shardWorld) place(c api.ClusterID, guardHolds, lost bool) {
	if len(w.placing) == 0 {
		return
	}
	r := w.placing[0]
	w.placing = w.placing[1:]
	rev := testRevision()
	w.do(evPlaced{session: r.session, decision: api.Decision{Session: r.session, Cluster: c, Summary: "s " + string(c)}, revision: rev}, guardHolds, lost)
}

func (w *shardWorld) archived(t interface{ Fatal(...any) }, lost bool) {
	if w.writing == nil {
		return
	}
	if err := w.archive(); err != nil {
		t.Fatal(err)
	}
	done := w.writing
	w.writing = nil
	w.do(evArchived{done}, true, lost)
}

func (w *shardWorld) held() (out []struct {
	c  api.ClusterID
	id api.SessionID
}) {
	for _, c := range slices.Sorted(maps.Keys(w.spokes)) {
		for _, id := range slices.Sorted(maps.Keys(w.spokes[c])) {
			out = append(out, struct {
				c  api.ClusterID
				id api.SessionID
			}{c, id})
		}
	}
	return out
}

// TestPromisesHold drives one shard through signals, placements, turns, sleeps, lost answers and changes of owner at any
// point, checks P1, P2 and P5 after every step, and in the end that everything settles and sleeps.
func TestPromisesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newShardWorld()
		lost := func() bool { return rapid.IntRange(0, 15).Draw(t, "lost") == 0 }
		crash := func(died bool) {
			if died {
				w.restart()
			}
		}
		outcomes := rapid.SampledFrom([]api.Outcome{api.OutcomeDone, api.OutcomeDone, api.OutcomeFailed, api.OutcomeCut})
		clusters := rapid.SampledFrom([]api.ClusterID{"aws", "gcp", ""})
		pick := func() (api.ClusterID, api.SessionID, bool) {
			all := w.held()
			if len(all) == 0 {
				return "", "", false
			}
			h := all[rapid.IntRange(0, len(all)-1).Draw(t, "held")]
			return h.c, h.id, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"signal": func(t *rapid.T) {
				died := lost()
				key := rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "key")
				idem := rapid.SampledFrom([]string{"", "k1", "k2"}).Draw(t, "idem")
				payload := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "payload")
				before, used := w.byKey[KeyScope{worldAgent, key, idem}]
				r := w.signal(key, idem, payload, died)
				if used && r.err == nil && (!r.accepted.Duplicate || r.accepted.Signal != before.Signal) {
					t.Fatalf("P2: key %s of %s was used for %+v, now %+v", idem, key, before, r.accepted)
				}
				crash(died)
			},
			"place": func(t *rapid.T) {
				died := lost()
				w.place(clusters.Draw(t, "cluster"), rapid.IntRange(0, 4).Draw(t, "guard") > 0, died)
				crash(died)
			},
			"refuse": func(t *rapid.T) {
				if c, id, ok := pick(); ok {
					w.refuse(c, id)
				}
			},
			"lost": func(t *rapid.T) {
				w.do(evHealth{rapid.SampledFrom([]api.ClusterID{"aws", "gcp"}).Draw(t, "cluster"), api.HealthLost}, true, false)
			},
			"facts": func(t *rapid.T) { w.do(evFacts{}, true, false) },
			"turn": func(t *rapid.T) {
				if c, id, ok := pick(); ok {
					w.now = w.now.Add(time.Second)
					w.turn(c, id, outcomes.Draw(t, "outcome"), rapid.IntRange(0, 4).Draw(t, "again") == 0)
				}
			},
			"idle": func(t *rapid.T) {
				if c, id, ok := pick(); ok {
					w.idle(c, id)
				}
			},
			"archive": func(t *rapid.T) {
				died := lost()
				w.archived(t, died)
				crash(died)
			},
			"reconnect": func(t *rapid.T) {
				c := rapid.SampledFrom([]api.ClusterID{"aws", "gcp"}).Draw(t, "cluster")
				w.attach(c)
				w.resend(c)
			},
			"restart": func(t *rapid.T) { w.restart() },
			"": func(t *rapid.T) {
				if err := w.check(); err != nil {
					t.Fatal(err)
				}
			},
		})
		w.settleAll(t)
	})
}

// settleAll lets everything run to its end and checks that it gets there.
func (w *shardWorld) settleAll(t *rapid.T) {
	for round := 0; ; round++ {
		if round > 500 {
			t.Fatalf("does not come to rest: %d signals pending, %d placements asked, sessions %+v", len(w.signals), len(w.placing), w.sessions)
		}
		w.now = w.now.Add(time.Hour) // the pauses after refusals are over
		w.do(evFacts{}, true, false)
		for len(w.placing) > 0 {
			w.place("aws", true, false)
		}
		w.archived(t, false)
		for _, h := range w.held() {
			w.turn(h.c, h.id, api.OutcomeDone, false)
			w.archived(t, false)
			w.idle(h.c, h.id)
		}
		if w.atRest() {
			break
		}
	}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []api.ClusterID{"aws", "gcp"} {
		w.attach(c)
		w.resend(c)
		if len(w.boxes[c]) > 0 {
			t.Fatalf("at rest spoke %s keeps events that nobody acknowledges: %v", c, w.boxes[c])
		}
	}
	if len(w.outbox) > 0 {
		t.Fatalf("at rest with %d events in outboxes", len(w.outbox))
	}
}

func (w *shardWorld) atRest() bool {
	for _, s := range w.sessions {
		if s.Phase != api.PhaseDormant || s.Assignment != nil {
			return false
		}
	}
	return len(w.signals) == 0 && w.writing == nil && len(w.m.queue) == 0
}

// A spoke says once that a session is idle. That may be before the archive has the turn that made it so: after an outage of
// either of them the turn and the report arrive together.
func TestIdleIsRememberedUntilTheTurnIsArchived(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "", "x", false).accepted.Session
	w.place("aws", true, false)
	w.turn("aws", id, api.OutcomeDone, false)
	w.idle("aws", id)
	if s := w.m.sessions[id]; s.Phase != api.PhaseRunning || len(s.pending) != 1 {
		t.Fatalf("before the archive has the turn: %s with %d pending signals, want Running with 1", s.Phase, len(s.pending))
	}
	for w.writing != nil {
		w.archived(t, false)
	}
	if s := w.m.sessions[id]; s.Phase != api.PhaseStopping || !w.spokes["aws"][id].released {
		t.Fatalf("after the archive has it: %s, released %t; want Stopping, and the spoke told", s.Phase, w.spokes["aws"][id].released)
	}
}

// What the spoke said before a later signal does not count any more.
func TestIdleDoesNotOutliveALaterSignal(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "", "x", false).accepted.Session
	w.place("aws", true, false)
	w.turn("aws", id, api.OutcomeDone, false)
	w.idle("aws", id)
	w.signal("alice", "", "y", false)
	for w.writing != nil {
		w.archived(t, false)
	}
	if s := w.m.sessions[id]; s.Phase != api.PhaseRunning {
		t.Fatalf("with a later signal: %s, want Running", s.Phase)
	}
	w.turn("aws", id, api.OutcomeDone, false)
	for w.writing != nil {
		w.archived(t, false)
	}
	if s := w.m.sessions[id]; s.Phase != api.PhaseRunning {
		t.Fatalf("idle was reported before the second signal, and now: %s, want Running until it is reported again", s.Phase)
	}
}

// Turns may fail faster than the archive takes them: each counts for the ones after it.
func TestFailuresThatAreNotArchivedYetCount(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "k1", "x", false).accepted.Session
	w.place("aws", true, false)
	for range testRevision().Agent.MaxDeliveries {
		w.turn("aws", id, api.OutcomeFailed, false)
	}
	for w.writing != nil {
		w.archived(t, false)
	}
	var outcomes []string
	for _, row := range w.settled {
		outcomes = append(outcomes, row.Outcome)
	}
	if s := w.m.sessions[id]; len(s.pending) != 0 || !slices.Equal(outcomes, []string{"dead"}) {
		t.Fatalf("%d signals are pending and settled are %v, want one dead letter", len(s.pending), outcomes)
	}
	if n := len(w.m.sessions[id].failing); n != 0 {
		t.Errorf("%d signals have failures that are not archived, want none", n)
	}
}

func TestPhasesOnlyChangeByTheTable(t *testing.T) {
	for _, from := range api.Phases() {
		for _, to := range api.Phases() {
			legal := from == to || slices.Contains(api.PhaseTransitions[from], to)
			func() {
				defer func() {
					if refused := recover() != nil; refused == legal {
						t.Errorf("%s to %s: refused %v, want %v", from, to, refused, !legal)
					}
				}()
				s := &session{Session: api.Session{Phase: from}}
				s.setPhase(to, "")
			}()
		}
	}
}

func TestAnOrganizationsLimitRefusesNewSignalsAndAnswersOldOnes(t *testing.T) {
	w := newShardWorld()
	first := w.signal("alice", "k", "x", false)
	ask := func(idem string) signalReply {
		reply := make(chan signalReply, 1)
		w.do(evSignal{org: api.DefaultOrg, agent: worldAgent, agentName: "a", key: "alice", orgFull: true, reply: reply,
			signal: api.Signal{ID: "sig-new", IdempotencyKey: idem, Payload: []byte("x"), PayloadHash: [32]byte{'x'}}}, true, false)
		return <-reply
	}
	if r := ask("other"); api.CodeOf(r.err) != api.CodeLimit || api.FieldOf(r.err) != "organization" {
		t.Errorf("a new signal at the limit = %+v, want CodeLimit that names the organization", r)
	}
	if r := ask("k"); r.err != nil || !r.accepted.Duplicate || r.accepted.Signal != first.accepted.Signal {
		t.Errorf("the repeat of an accepted one at the limit = %+v, want the first one's answer", r)
	}
	if n := len(w.signals); n != 1 {
		t.Errorf("%d signals are pending, want 1", n)
	}
}

// A spoke that lost its journal would number a session's attempts from 1 again. The epoch is given up instead, and what the
// next one reports is taken.
func TestASpokeThatForgotASessionGetsItsNextEpoch(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "", "x", false).accepted.Session
	w.place("aws", true, false)
	w.do(evHeld{"aws", api.Held{Session: id, Epoch: w.sessions[id].Epoch, Attempt: 1, State: api.HeldRunning}}, true, false)
	w.turn("aws", id, api.OutcomeFailed, false)
	for w.writing != nil {
		w.archived(t, false)
	}
	first := w.sessions[id].Epoch
	delete(w.spokes["aws"], id)
	w.attach("aws")
	if a := w.sessions[id].Assignment; a == nil || !a.Releasing {
		t.Fatalf("assignment after the spoke forgot the session: %+v, want it released", a)
	}
	w.idle("aws", id) // nothing runs there
	w.place("aws", true, false)
	if e := w.sessions[id].Epoch; e.Compare(first) <= 0 {
		t.Fatalf("epoch %s after %s, want a later one", e, first)
	}
	before := len(w.log[id])
	w.turn("aws", id, api.OutcomeDone, false)
	for w.writing != nil {
		w.archived(t, false)
	}
	if got := len(w.log[id]); got < before+3 || len(w.signals) != 0 {
		t.Fatalf("%d events after %d, %d signals pending: the next epoch's turn was not taken", got, before, len(w.signals))
	}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
}
