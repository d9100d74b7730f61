package sim

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/history"
	"github.com/nave-dev/nave/spoke"
)

// calm is a world in which nothing goes wrong but what a scenario does.
func calm(seed uint64) *World {
	w := New(seed)
	w.traced = true
	w.after(0, "", w.nurse)
	w.run(3 * time.Second)
	return w
}

// end mends the world and judges it. It returns what was counted.
func (w *World) end(t *testing.T) history.Tally {
	t.Helper()
	if len(w.broken) == 0 {
		w.mend()
	}
	var tally history.Tally
	if len(w.broken) == 0 {
		tally = w.judge()
	}
	w.close()
	if err := w.err(); err != nil {
		t.Fatalf("%v\n%s", err, w.story())
	}
	return tally
}

// await lets time pass until something holds.
func (w *World) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !w.until(10*time.Minute, ok) {
		w.close()
		t.Fatalf("%s: never\n%v\n%s", what, w.err(), w.story())
	}
}

// only is the session of a key.
func (w *World) only(key string) api.Session {
	for _, s := range w.store.shard(shard).sessions {
		if s.Key == key && s.Intent != api.IntentTerminated {
			return s
		}
	}
	return api.Session{}
}

func (w *World) phase(key string, p api.Phase) func() bool {
	return func() bool { return w.only(key).Phase == p }
}

// archived reports whether the log of a key's session has an event.
func (w *World) archived(id api.SessionID, ok func(api.Event) bool) func() bool {
	return func() bool {
		l := w.archive.logs[id]
		return l != nil && slices.ContainsFunc(l.events, ok)
	}
}

func isType(types ...api.EventType) func(api.Event) bool {
	return func(ev api.Event) bool { return slices.Contains(types, ev.Type) }
}

// site is the one that a key's session is assigned to.
func (w *World) site(key string) *site {
	s := w.only(key)
	for _, site := range w.spokes {
		if s.Assignment != nil && s.Assignment.Cluster == site.cluster {
			return site
		}
	}
	return nil
}

// atEach plays a short story once for each point of an actor: f is asked at the n-th point of the actors that match.
func atEach(t *testing.T, actors string, least int, f func(w *World, a *actor, what string) fate) {
	points := 0
	story := func(n int) {
		w := calm(7)
		count := 0
		w.still = 15 * time.Second
		w.scripts = []script{func(a *actor, what string) fate {
			if len(a.name) < len(actors) || a.name[:len(actors)] != actors {
				return fateGoOn
			}
			if count++; count == n {
				w.note("point %d: %s", n, what)
				return f(w, a, what)
			}
			return fateGoOn
		}}
		w.signal(keys[0])
		w.run(400 * time.Millisecond)
		w.signal(keys[0])
		w.signal(keys[1])
		w.run(6 * time.Second)
		w.signal(keys[0])
		w.run(20 * time.Second)
		w.end(t)
		points = max(points, count)
	}
	story(0)
	n := points
	for i := 1; i <= n; i++ {
		story(i)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d points", n)
	if n < least {
		t.Errorf("%d points were tried, want at least %d", n, least)
	}
}

func TestTheHubDiesAtEveryStep(t *testing.T) {
	atEach(t, "hub", 90, func(*World, *actor, string) fate { return fateDie })
}

func TestTheSpokeDiesAtEveryStep(t *testing.T) {
	atEach(t, "spoke", 40, func(*World, *actor, string) fate { return fateDie })
}

func TestTheSpokeIsFrozenAtEveryStep(t *testing.T) {
	atEach(t, "spoke", 40, func(*World, *actor, string) fate { return fateSuspend })
}

// TestTheHubIsFrozenAtEveryStep freezes the owner at each of its steps, among them after the archive's append; another one
// takes over at once, and the first wakes 15 s later: whatever it says then comes after what the new one said.
func TestTheHubIsFrozenAtEveryStep(t *testing.T) {
	atEach(t, "hub", 90, func(w *World, a *actor, _ string) fate {
		w.after(time.Millisecond, "another hub takes over", w.startOwner)
		return fateSuspend
	})
}

// TestTheJournalIsReplacedAtEveryStep lets the spoke come back with an empty journal.
func TestTheJournalIsReplacedAtEveryStep(t *testing.T) {
	atEach(t, "spoke", 40, func(w *World, a *actor, _ string) fate {
		for _, s := range w.spokes {
			if s.actor == a {
				w.ids++
				s.journal = &journal{s: s, id: fmt.Sprintf("journal-%s-%d", s.cluster, w.ids)}
			}
		}
		return fateDie
	})
}

// TestTheLeaseComesBackWithTheCommit takes the leases away before each commit of the owner and gives them back right after
// it: an assignment that was decided before must not be made, and nothing may be lost.
func TestTheLeaseComesBackWithTheCommit(t *testing.T) {
	refused := 0
	atEach(t, "hub", 90, func(w *World, _ *actor, what string) fate {
		if what != "before commit" {
			return fateGoOn
		}
		before, leases := w.store.shard(shard).head, w.store.leases
		w.store.leases = map[api.ClusterID]*lease{}
		w.after(0, "", func() {
			if w.store.shard(shard).head == before {
				refused++
			}
		})
		w.after(time.Microsecond, "the leases are back", func() { w.store.leases = leases })
		return fateGoOn
	})
	if refused == 0 {
		t.Error("no commit was refused")
	}
}

// TestACommitOfUnknownOutcome loses the request, or the answer, of every commit of the owner.
func TestACommitOfUnknownOutcome(t *testing.T) {
	for _, lost := range []string{"request", "answer"} {
		t.Run(lost, func(t *testing.T) {
			atEach(t, "hub", 90, func(w *World, _ *actor, what string) fate {
				if what == "before commit" {
					w.lose = lost
				}
				return fateGoOn
			})
		})
	}
}

// TestASignalAtEveryStepOfGoingToSleep sends the second signal at each moment around the end of the idle time.
func TestASignalAtEveryStepOfGoingToSleep(t *testing.T) {
	slept, awake := 0, 0
	for at := 1900 * time.Millisecond; at < 3200*time.Millisecond; at += 7 * time.Millisecond {
		w := calm(11)
		w.signal(keys[0])
		w.await(t, "the first is settled", func() bool { return len(w.archive.settled) == 1 })
		w.run(at)
		if w.only(keys[0]).Phase == api.PhaseDormant {
			slept++
		} else {
			awake++
		}
		w.signal(keys[0])
		if tally := w.end(t); tally.Signals != 2 || tally.Turns != 2 {
			t.Fatalf("after %v: %+v", at, tally)
		}
	}
	t.Logf("it slept at %d moments and was awake at %d", slept, awake)
	if slept < 20 || awake < 20 {
		t.Error("the moments do not lie around the step to sleep")
	}
}

// TestRetries sends a key again after its signal was settled, after its session was terminated, and with another payload.
func TestRetries(t *testing.T) {
	w := calm(3)
	w.signal(keys[0])
	w.await(t, "settled", func() bool { return len(w.archive.settled) == 1 })
	first := w.notes[0]
	again := func() {
		n := len(w.notes)
		w.send(keys[0], first.Idem, func() {})
		w.await(t, "an answer", func() bool { return len(w.notes) > n })
		if w.notes[n] != first {
			t.Fatalf("the retry was answered with %+v, the first with %+v", w.notes[n], first)
		}
		w.mismatch(keys[0], first.Idem)
		w.run(time.Second)
	}
	again()
	w.intent(first.Session, hub.ChangeTerminate)
	w.await(t, "the session ends", func() bool { return w.archive.terminated[first.Session].ID != "" && w.only(keys[0]).ID == "" })
	again()
	w.killOwner()
	w.run(5 * time.Second)
	again()
	w.signal(keys[0])
	w.await(t, "a new session", func() bool { return w.only(keys[0]).ID != "" })
	if w.only(keys[0]).ID == first.Session {
		t.Fatal("the key's next signal went to the session that ended")
	}
	w.end(t)
}

// TestPausedAndTerminatedWhileUnreachable changes what people want of sessions whose cluster is not heard.
func TestPausedAndTerminatedWhileUnreachable(t *testing.T) {
	for _, change := range []hub.Change{hub.ChangePause, hub.ChangeTerminate} {
		for _, away := range []time.Duration{12 * time.Second, 60 * time.Second} {
			t.Run(fmt.Sprint(change, " for ", away), func(t *testing.T) {
				w := calm(5)
				w.signal(keys[0])
				w.await(t, "a turn", func() bool { return len(w.books) > 0 })
				s, id := w.site(keys[0]), w.only(keys[0]).ID
				s.cutUntil = w.now + away
				s.cut(errDown)
				w.await(t, "lost", w.phase(keys[0], api.PhaseLost))
				w.intent(id, change)
				w.signal(keys[0])
				w.run(2 * time.Second)
				if change == hub.ChangePause {
					if got := w.only(keys[0]); got.Intent != api.IntentPaused || !got.Paused(api.PausePerson) {
						t.Fatalf("the session is %+v", got)
					}
				} else if got := w.only(keys[0]); got.ID == id || got.ID == "" {
					t.Fatalf("the key's session is %q, the terminated one was %q", got.ID, id)
				}
				w.run(away)
				w.end(t)
				if change == hub.ChangeTerminate && w.archive.terminated[id].ID == "" {
					t.Error("the terminated session is not in the archive")
				}
			})
		}
	}
}

// TestAClusterIsLostBetweenArchiveAndCheckpoint loses a machine with its disk after a turn's record was archived and before its
// checkpoint was saved: the turn is forgotten, that is said, and its signal is done again on the state before it.
func TestAClusterIsLostBetweenArchiveAndCheckpoint(t *testing.T) {
	w := calm(9)
	w.signal(keys[0])
	w.await(t, "the first is settled", func() bool { return len(w.archive.settled) == 1 })
	id := w.only(keys[0]).ID
	s := w.site(keys[0])
	s.noVault = true
	w.signal(keys[0])
	w.await(t, "the second turn is archived", func() bool {
		c, _ := w.store.Load(context.Background(), shard)
		return len(c.Signals) == 1 && c.Signals[0].Sequence == 2 && c.Signals[0].Consumed()
	})
	for _, h := range s.runtime.ordered() {
		h.end("the machine is lost")
	}
	s.end()
	w.ids++
	s.journal = &journal{s: s, id: fmt.Sprint("journal-", w.ids)}
	s.disks = map[api.SessionID]*disk{}
	s.noVault = false
	if tally := w.end(t); tally.Forgotten != 1 || tally.Redone != 1 {
		t.Fatalf("%+v\n%s", tally, w.story())
	}
	if len(w.archive.logs[id].events) == 0 {
		t.Fatal("no log")
	}
}

// TestALateTurnRecordOfAFormerAttempt lets the harness of a former attempt speak when the next one works.
func TestALateTurnRecordOfAFormerAttempt(t *testing.T) {
	w := calm(13)
	w.signal(keys[0])
	w.await(t, "a turn", func() bool { return len(w.books) > 0 })
	s := w.site(keys[0])
	first := s.runtime.ordered()[0]
	first.killed("killed")
	w.await(t, "the second attempt works", func() bool { return len(w.books) > 1 })
	var answer error
	answered := false
	s.take(spoke.Events(first.id, []api.Event{{SourceNumber: uint64(len(first.out)) + 1, Type: api.EventTurnDone, Outcome: api.OutcomeDone, Signals: []uint64{1}}}, func(err error) {
		answer, answered = err, true
	}))
	w.await(t, "an answer", func() bool { return answered })
	if api.CodeOf(answer) != api.CodeDenied {
		t.Fatalf("the spoke says %v to a former attempt", answer)
	}
	w.owner.post(hub.CoreBatch(s.cluster, api.EventBatch{Session: first.id.Session, Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 99}, Attempt: 1},
		Events: []api.Event{{SourceNumber: 1, Type: api.EventTurnDone, Outcome: api.OutcomeDone, Signals: []uint64{1}}}}))
	w.run(time.Second)
	if tally := w.end(t); tally.Attempts != 2 {
		t.Fatalf("%+v", tally)
	}
}

// TestAnOutageWithinTheRightStopsNothing cuts a cluster off for 12 s of its 20: the same workload goes on. One of 60 s stops it,
// and the next epoch begins when the cluster is back.
func TestAnOutageWithinTheRightStopsNothing(t *testing.T) {
	for _, c := range []struct {
		away   time.Duration
		epochs uint64
	}{{12 * time.Second, 1}, {60 * time.Second, 2}} {
		t.Run(c.away.String(), func(t *testing.T) {
			w := calm(17)
			w.signal(keys[0])
			w.await(t, "a turn", func() bool { return len(w.books) > 0 })
			s := w.site(keys[0])
			before := s.runtime.ordered()[0]
			s.cutUntil = w.now + c.away
			s.cut(errDown)
			w.await(t, "lost", w.phase(keys[0], api.PhaseLost))
			if !w.archived(before.id.Session, isType(api.EventLost))() {
				w.await(t, "the log says so", w.archived(before.id.Session, isType(api.EventLost)))
			}
			w.signal(keys[0])
			w.await(t, "settled", func() bool { return len(w.archive.settled) == 2 })
			if got := w.only(keys[0]).Epoch.N; got != c.epochs {
				t.Errorf("epoch %d, want %d\n%s", got, c.epochs, w.story())
			}
			if c.epochs == 1 && (s.runtime.workloads[before.id] != before || !before.alive) {
				t.Errorf("another workload runs\n%s", w.story())
			}
			w.end(t)
		})
	}
}
