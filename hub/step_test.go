package hub

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// TestPromisesHold drives the owner of one shard through signals and lists of them, intents, cancels, placements, turns, requests for permission
// and their answers, checkpoints, crashes, lost
// clusters, lapses, lost journals, lost answers and deaths at any call, judges the promises after every step, and in the end
// that everything settles and rests.
func TestPromisesHold(t *testing.T) {
	moves := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newShardWorld()
		cluster := func() api.ClusterID {
			return rapid.SampledFrom([]api.ClusterID{"aws", "gcp"}).Draw(t, "cluster")
		}
		one := func(n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == 0 }
		risk := func() { // what may go wrong in the next step
			switch rapid.IntRange(0, 11).Draw(t, "risk") {
			case 0:
				w.mem.fuse, w.mem.after = rapid.IntRange(1, 6).Draw(t, "fuse"), rapid.Bool().Draw(t, "behind")
			case 1:
				w.mem.lose = rapid.SliceOfN(rapid.SampledFrom([]outcome{applied, unheard, unmade}), 1, 3).Draw(t, "commits")
			}
		}
		held := func(do func(*modelSpoke, api.SessionID)) func(*rapid.T) {
			return func(t *rapid.T) {
				s := w.spokes[cluster()]
				if ids := slices.Sorted(maps.Keys(s.sessions)); len(ids) > 0 {
					risk()
					do(s, rapid.SampledFrom(ids).Draw(t, "session"))
				}
			}
		}
		outcomes := rapid.SampledFrom([]api.Outcome{api.OutcomeDone, api.OutcomeDone, api.OutcomeFailed, api.OutcomeCut, api.OutcomeCancelled})
		t.Repeat(map[string]func(*rapid.T){
			"signal": func(t *rapid.T) {
				risk()
				w.signal(rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "key"), rapid.SampledFrom([]string{"", "", "k1", "k2"}).Draw(t, "idem"),
					rapid.SampledFrom([]string{"x", "x", "x", "y"}).Draw(t, "payload"))
			},
			"list": func(t *rapid.T) {
				risk()
				var list []words
				for range rapid.IntRange(2, 6).Draw(t, "signals") {
					list = append(list, words{rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "key"), rapid.SampledFrom([]string{"", "", "k1", "k2", "k3"}).Draw(t, "idem"),
						rapid.SampledFrom([]string{"x", "x", "x", "y"}).Draw(t, "payload")})
				}
				w.signals(list...)
			},
			"place": func(t *rapid.T) {
				risk()
				w.place(rapid.SampledFrom([]api.ClusterID{"aws", "gcp", "gcp", ""}).Draw(t, "cluster"))
			},
			"archive": func(*rapid.T) { risk(); w.archived() },
			"settle":  func(*rapid.T) { w.settle() },
			"facts":   func(*rapid.T) { risk(); w.turn(CoreFacts()) },
			"intent": func(t *rapid.T) {
				if ids := slices.Sorted(maps.Keys(w.mem.sessions)); len(ids) > 0 {
					risk()
					_, _ = w.intent(rapid.SampledFrom(ids).Draw(t, "session"), rapid.SampledFrom([]Change{ChangePause, ChangePause, ChangeResume, ChangeResume, ChangeTerminate}).Draw(t, "change"))
				}
			},
			"turn": held(func(s *modelSpoke, id api.SessionID) {
				w.now = w.now.Add(time.Second)
				w.work(s, id, outcomes.Draw(t, "outcome"), one(5, "again"))
			}),
			"ask": held(func(s *modelSpoke, id api.SessionID) {
				w.ask(s, id, rapid.SampledFrom([]string{"rm", "rm", "mv", "rm mv"}).Draw(t, "what"))
			}),
			"take": held(func(s *modelSpoke, id api.SessionID) { w.takeAnswers(s, id) }),
			"answer": func(t *rapid.T) {
				if ids := slices.Sorted(maps.Keys(w.mem.approvals)); len(ids) > 0 {
					risk()
					w.answer(rapid.SampledFrom(ids).Draw(t, "approval"), rapid.Bool().Draw(t, "approve"))
				}
			},
			"cancel": func(t *rapid.T) {
				if ids := slices.Sorted(maps.Keys(w.mem.sessions)); len(ids) > 0 {
					risk()
					w.cancel(rapid.SampledFrom(ids).Draw(t, "session"), uint64(rapid.IntRange(0, 3).Draw(t, "up to")))
				}
			},
			"save":    held(func(s *modelSpoke, id api.SessionID) { w.save(s, id, !one(6, "false")) }),
			"crash":   held(func(s *modelSpoke, id api.SessionID) { w.crash(s, id, rapid.Bool().Draw(t, "stillborn")) }),
			"back":    held(func(s *modelSpoke, id api.SessionID) { w.begin(s, id, true) }),
			"report":  held(func(s *modelSpoke, id api.SessionID) { w.report(s, id) }),
			"restart": func(*rapid.T) { w.restart() },
			"upgrade": func(t *rapid.T) { w.older(rapid.Bool().Draw(t, "late")) },
			"refuse": held(func(s *modelSpoke, id api.SessionID) {
				if h := s.sessions[id]; h.attempt == 0 && !h.released && !h.lapsed {
					h.refused = true
					w.report(s, id)
				}
			}),
			"lose": func(*rapid.T) { risk(); w.lose(cluster(), 15*time.Second) },
			"link": func(*rapid.T) { risk(); w.connect(cluster()) },
			"forget": func(*rapid.T) { // the journal is replaced
				s := newModelSpoke(cluster())
				w.spokes[s.id] = s
				w.connect(s.id)
			},
			"revise":   func(*rapid.T) { w.revision++ },
			"takeover": func(*rapid.T) { w.takeover() },
			"": func(t *rapid.T) {
				if err := w.check(); err != nil {
					t.Fatal(err)
				}
			},
		})
		w.rest(t)
		moves += w.moves
	})
	if moves == 0 {
		t.Error("no session moved: nothing is shown about those that did")
	}
}

// takeover lets a second owner begin while the first one is frozen, and the first one wake.
func (w *shardWorld) takeover() {
	first, under := w.core, w.submitted
	w.restart()
	mine := w.submitted
	w.submitted = nil
	sessions, signals, wire := maps.Clone(w.mem.sessions), maps.Clone(w.mem.signals), w.wire
	answered := false
	var late []CoreEvent
	if under != nil {
		if w.mem.Append(context.Background(), under) == nil {
			w.mem.breaks("the archive took an append of a former owner")
		}
		late = append(late, CoreArchived(under))
	}
	r := SignalRequest{Org: api.DefaultOrg, Agent: "a", Key: "late", Payload: []byte("x")}
	late = append(late, CoreSignal(r, worldAgent, api.NewSessionID(w.now, 0, [10]byte{9: 1}), "sig-late", func(api.Accepted, error) { answered = true }))
	if err := first.Turn(context.Background(), late...); err == nil || answered {
		w.mem.breaks("a former owner goes on: answered %t, %v", answered, err)
	}
	if !maps.EqualFunc(sessions, w.mem.sessions, sameRecord) || len(signals) != len(w.mem.signals) {
		w.mem.breaks("a former owner changed the store")
	}
	w.submitted, w.wire = mine, wire
}

func sameRecord(a, b api.Session) bool { return a.HubNumber == b.HubNumber && a.Phase == b.Phase }

// rest lets everything run to its end and checks that it gets there.
func (w *shardWorld) rest(t *rapid.T) {
	w.mem.fuse, w.mem.lose = 0, nil
	for _, c := range []api.ClusterID{"aws", "gcp"} {
		w.connect(c)
	}
	for round := 0; !w.resting(); round++ {
		if round > 300 {
			t.Fatalf("does not come to rest: %d signals, %d questions, %d appends, sessions %+v", len(w.mem.signals), len(w.asked), len(w.submitted), w.mem.sessions)
		}
		w.now = w.now.Add(time.Hour) // the pauses after refusals are over
		for _, id := range slices.Sorted(maps.Keys(w.mem.sessions)) {
			if w.mem.sessions[id].Intent == api.IntentPaused {
				_, _ = w.intent(id, ChangeResume)
			}
		}
		w.turn(CoreFacts())
		for n := len(w.asked); n > 0; n-- {
			w.place("aws")
		}
		w.settle()
		for _, c := range []api.ClusterID{"aws", "gcp"} {
			s := w.spokes[c]
			for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
				w.takeAnswers(s, id)
				w.settle()
				if s.sessions[id] == nil {
					continue
				}
				w.work(s, id, api.OutcomeDone, false)
				w.settle()
				if h := s.sessions[id]; h != nil && len(h.uncovered) > 0 {
					w.begin(s, id, false) // what was consumed is still to be saved
				}
				if h := s.sessions[id]; h != nil && h.runs && len(h.deliverable()) == 0 {
					w.save(s, id, true)
					w.settle()
				}
				w.report(s, id)
				w.settle()
			}
		}
		if err := w.check(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []api.ClusterID{"aws", "gcp"} {
		w.connect(c)
	}
	w.settle()
	if err := w.checkRest(); err != nil {
		t.Fatal(err)
	}
}

func (w *shardWorld) resting() bool {
	for _, s := range w.mem.sessions {
		if s.Phase != api.PhaseDormant || s.Assignment != nil || s.Intent != api.IntentActive {
			return false
		}
	}
	return len(w.mem.signals) == 0 && w.submitted == nil
}
