package federation_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/federation"
)

// TestTwentySecondsWithoutHubAndOverlay takes away the hub, and then the overlay with the hub, for 20 s each while an agent
// works: the same processes work on.
func TestTwentySecondsWithoutHubAndOverlay(t *testing.T) {
	w := newWorld(t)
	w.up("one")
	r := w.begin("away", 5, task{})
	r.step(1)
	first := w.session(r.session)
	w.hub.Kill()
	w.passes(20 * time.Second)
	r.same()
	r.step(2)
	w.upHub()
	w.live("one")
	r.same()
	r.step(3)
	overlay := w.overlay()
	w.hub.Kill()
	for _, p := range overlay {
		p.Kill()
		w.must(p.Gone(w.within()))
	}
	w.passes(20 * time.Second)
	r.same()
	r.step(4)
	w.upHub()
	w.live("one")
	r.same()
	r.step(5)
	log := r.sleeps("[1] done")
	if n := len(log.of(api.EventStarted)); n != 1 {
		t.Errorf("%d workloads were started, want 1; the log:\n%s", n, log)
	}
	if got := w.session(r.session).GetEpoch(); got != first.GetEpoch() {
		t.Errorf("epoch %s, want still %s", got, first.GetEpoch())
	}
}

// passes waits.
func (w *world) passes(d time.Duration) {
	w.t.Helper()
	begin := time.Now()
	w.must(federation.Await(w.within(), d.String(), func() (bool, error) { return time.Since(begin) >= d, nil }))
}

// TestLifeOfASession does by the command line what people do with sessions.
func TestLifeOfASession(t *testing.T) {
	w := newWorld(t)
	w.up("one")
	nave := w.nave
	t.Run("pause and resume", func(t *testing.T) {
		w := w.at(t)
		r := w.begin("paused", 1, task{})
		nave("pause", r.session, "--note", "to look at it")
		w.must(r.agent.Gone(w.within()))
		w.phase(r.session, api.PhaseDormant)
		w.signal("paused", "paused-2", task{Say: "later"})
		if s := w.session(r.session); s.GetIntent() != string(api.IntentPaused) || s.GetPending() != 2 || !slices.Equal(s.GetPauses(), []string{string(api.PausePerson)}) {
			t.Fatalf("the paused session is %v", s)
		}
		nave("pause", r.session) // again changes nothing
		nave("resume", r.session)
		w.must(touch(r.dir + "/1"))
		w.await("both are settled", func() (bool, error) { return w.session(r.session).GetPending() == 0, nil })
		log := w.log(r.session)
		if got := log.outcomes(); got[0] != "[1] cut" || len(log.of(api.EventPaused)) != 1 || len(log.of(api.EventResumed)) != 1 {
			t.Fatalf("turns ended %q; the log:\n%s", got, log)
		}
	})
	t.Run("dead letter and replay", func(t *testing.T) {
		w := w.at(t)
		a := w.signal("dead", "dead-1", task{Say: "it", Fail: true})
		w.await("the dead letter", func() (bool, error) { return strings.Contains(nave("signals", "--dead"), a.GetSignalId()), nil })
		if out := nave("signals", "show", a.GetSignalId()); !strings.Contains(out, `"fail":true`) {
			t.Errorf("its payload is shown as %q", out)
		}
		first := nave("replay", a.GetSignalId())
		if again := nave("replay", a.GetSignalId()); !strings.HasPrefix(again, strings.TrimSpace(first)) {
			t.Errorf("the second replay says %q, the first %q", again, first)
		}
		var list string
		err := w.Await(w.within(), "the replay is dead too", func() (bool, error) {
			list = nave("signals", "--dead", "--session", a.GetSessionId(), "-o", "json")
			return strings.Count(list, a.GetSessionId()) == 2 && strings.Contains(strings.ToLower(list), "replayed"), nil
		})
		if err != nil {
			t.Fatalf("%v:\n%s", err, list)
		}
	})
	t.Run("terminate", func(t *testing.T) {
		w := w.at(t)
		r := w.begin("ended", 1, task{})
		w.signal("ended", "ended-2", task{Say: "never"})
		nave("terminate", r.session, "--yes")
		w.must(r.agent.Gone(w.within()))
		w.await("its signals are dead letters", func() (bool, error) {
			return strings.Count(nave("signals", "--dead", "--session", r.session), "terminated") == 2, nil
		})
		if s := w.session(r.session); s.GetIntent() != string(api.IntentTerminated) {
			t.Errorf("the session is %v", s)
		}
		next := w.signal("ended", "ended-3", task{Say: "anew"})
		if next.GetSessionId() == r.session {
			t.Error("the key's next signal went to the session that ended")
		}
		w.phase(next.GetSessionId(), api.PhaseDormant)
	})
	t.Run("rejoin", func(t *testing.T) {
		w := w.at(t)
		agent, err := os.ReadFile(w.Path("agent.json"))
		w.must(err)
		w.must(os.WriteFile(w.Path("agent.json"), []byte(strings.Replace(string(agent), `"turn_limit"`, `"stop_after":"14s","turn_limit"`, 1)), 0o600))
		nave("apply", "-f", w.Path("agent.json"))
		r := w.begin("moved", 1, task{})
		token := nave("clusters", "rejoin", "one")
		w.must(w.spokes["one"].Follow(w.within(), "removed or rejoined", new(strings.Builder)))
		r.same() // its right to act has not ended yet
		w.must(os.WriteFile(w.Path("second.token"), []byte(token), 0o600))
		w.upSpoke("second", small...) // another machine: it is let in when the former one's agents must have stopped
		w.must(w.spokes["second"].Follow(w.within(), "connected to the hub", new(strings.Builder)))
		if r.agent.Alive() {
			t.Error("the agent of the former spoke acts when the next one is let in")
		}
		w.must(touch(r.dir + "/1"))
		w.await("the signal is settled at the new spoke", func() (bool, error) { return w.session(r.session).GetPending() == 0, nil })
		if got := w.session(r.session).GetEpoch(); got != "1.2" {
			t.Errorf("epoch %s, want 1.2", got)
		}
		w.phase(r.session, api.PhaseDormant)
	})
}
