package federation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/federation"
)

// TestFaultsDuringATurn kills one part after another of one federation while an agent works: what runs goes on, and the
// log afterwards is as if nothing had happened.
func TestFaultsDuringATurn(t *testing.T) {
	w := newWorld(t)
	w.up("one")
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"hub", killHub},
		{"spoke", killSpoke},
		{"overlay", killOverlay},
		{"harness", killHarness},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			at := w.at(t)
			c.test(at)
			w.hub = at.hub
		})
		if !ok {
			return // the federation may not be whole any more
		}
	}
}

func killHub(w *world) {
	r := w.begin("hub", 3, task{Say: "hub"})
	first := w.session(r.session)
	// A repeat with the same key is the same signal.
	do := task{Say: "hub", Steps: 3, Dir: r.dir}
	before := w.signal("hub", "hub-1", do)
	r.step(1)
	overlay := w.overlay()
	if len(overlay) != 3 {
		w.t.Fatalf("%d processes of the overlay run, want 3", len(overlay))
	}
	w.hub.Kill()
	r.step(2) // the agent goes on without a hub
	r.same()
	w.t.Logf("ready again on existing data after %v", w.upHub())
	w.live("one")
	r.same()
	r.step(3)
	if diff := cmp.Diff(overlay, w.overlay(), cmpopts.IgnoreFields(federation.Proc{}, "Parent")); diff != "" {
		w.t.Errorf("processes of the overlay (-before +after):\n%s", diff)
	}
	after := w.signal("hub", "hub-1", do)
	if !before.GetDuplicate() || !after.GetDuplicate() || after.GetSignalId() != before.GetSignalId() || after.GetSessionId() != r.session || after.GetSequence() != 1 {
		w.t.Errorf("repeat before the kill: %v, after the restart: %v; want both duplicates of one signal", before, after)
	}
	log := r.sleeps("[1] done")
	if n := len(log.of(api.EventStarted)); n != 1 {
		w.t.Errorf("%d workloads were started, want 1; the log:\n%s", n, log)
	}
	if n := len(log.of(api.EventEnded)); n != 1 {
		w.t.Errorf("%d workloads ended, want 1; the log:\n%s", n, log)
	}
	if s := w.session(r.session); s.GetEpoch() != first.GetEpoch() {
		w.t.Errorf("epoch %s, want still %s", s.GetEpoch(), first.GetEpoch())
	}
	// The key is known also now that the signal is settled.
	if again := w.signal("hub", "hub-1", do); again.GetSignalId() != before.GetSignalId() || !again.GetDuplicate() {
		w.t.Errorf("repeat after the signal was settled: %v, want a duplicate of %s", again, before.GetSignalId())
	}
	if _, err := w.send("hub", "hub-1", task{Say: "something else"}); api.CodeOf(err) != api.CodeExists || api.FieldOf(err) != "idempotency_key" {
		w.t.Errorf("another payload under the same key: %v, want CodeExists about idempotency_key", err)
	}
	if s := w.session(r.session); s.GetLastSequence() != 1 {
		w.t.Errorf("%d signals were accepted, want 1", s.GetLastSequence())
	}
}

func killSpoke(w *world) {
	r := w.begin("spoke", 3, task{})
	r.step(1)
	w.spokes["one"].Kill()
	r.step(2)
	r.same()
	w.upSpoke("one", small...)
	w.live("one")
	r.same()
	r.step(3)
	log := r.sleeps("[1] done")
	if started, ended := len(log.of(api.EventStarted)), len(log.of(api.EventEnded)); started != 1 || ended != 1 {
		w.t.Errorf("%d workloads were started and %d ended, want 1; the log:\n%s", started, ended, log)
	}
}

// killOverlay ends controller and routers at once: links are gone until the hub has started them anew.
func killOverlay(w *world) {
	r := w.begin("overlay", 3, task{})
	r.step(1)
	before := w.overlay()
	for _, p := range before {
		p.Kill()
	}
	for _, p := range before {
		w.must(p.Gone(w.within()))
	}
	r.step(2)
	r.same()
	w.await("the overlay runs again", func() (bool, error) { return len(w.overlay()) == 3, nil })
	r.same()
	r.step(3)
	w.said(r.session, fmt.Sprintf("step 3 line %d", linesPerStep)) // the link is back
	r.sleeps("[1] done")
	for _, p := range w.overlay() {
		for _, old := range before {
			if p.ID == old.ID && p.Start == old.Start {
				w.t.Errorf("%+v was killed and runs", p)
			}
		}
	}
}

// killHarness ends the harness of a turn: its agent must not live on, and the signal is delivered again.
func killHarness(w *world) {
	once := w.Path("harness-once")
	r := w.begin("harness", 1, task{Once: once})
	w.must(touch(once)) // the second delivery finds it and does nothing
	r.harness.Kill()
	for _, p := range []federation.Proc{r.harness, r.agent} {
		w.must(p.Gone(w.within()))
	}
	w.said(r.session, "signal 1 delivery 2")
	r.steps = 0
	log := r.sleeps("[1] failed", "[1] done")
	for _, name := range []string{r.session, strings.ToLower(r.session)} { // of agents, of harnesses
		if left := federation.Naming(name); len(left) > 0 {
			w.t.Errorf("processes of the session are left: %+v", left)
		}
	}
	var attempts []string
	for _, e := range log.of(api.EventStarted) {
		attempts = append(attempts, e.GetAttributes()["attempt"])
	}
	if diff := cmp.Diff([]string{"1", "2"}, attempts); diff != "" {
		w.t.Errorf("attempts (-want +got):\n%s", diff)
	}
}
