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
				w.do(evAttach{c}, true, false)
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
		w.do(evAttach{c}, true, false)
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
