package federation_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/federation"
)

// turn is one turn that runs under the test's control.
type turn struct {
	w       *world
	dir     string
	session string
	steps   int
	agent   federation.Proc
	harness federation.Proc
}

// begin sends a signal whose turn waits before each of its steps, and waits until its agent runs.
func (w *world) begin(key string, steps int, also task) *turn {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.Path(), "turn")
	w.must(err)
	also.Steps, also.Dir = steps, dir
	a := w.signal(key, key+"-1", also)
	r := &turn{w: w, dir: dir, session: a.GetSessionId(), steps: steps}
	r.find()
	return r
}

// find looks up the processes of the turn that runs now.
func (r *turn) find() {
	r.w.t.Helper()
	var id int
	_, err := fmt.Sscan(r.w.said(r.session, "pid "), &id)
	r.w.must(err)
	r.processes(id)
}

func (r *turn) processes(id int) {
	r.w.t.Helper()
	var alive bool
	if r.agent, alive = federation.Find(id); !alive {
		r.w.t.Fatalf("the agent, process %d, does not run:\n%s", id, r.w.log(r.session))
	}
	if r.harness, alive = federation.Find(r.agent.Parent); !alive || filepath.Base(r.harness.Args[0]) != "nave-harness" {
		r.w.t.Fatalf("the parent of the agent is %+v, want a harness", r.harness)
	}
}

// step lets the agent do a step, and waits until it has done it, whatever hub and spoke do.
func (r *turn) step(n int) {
	r.w.t.Helper()
	file := filepath.Join(r.dir, fmt.Sprint(n))
	r.w.must(os.WriteFile(file, nil, 0o600))
	err := federation.Await(r.w.within(), fmt.Sprintf("step %d of the agent", n), func() (bool, error) { return there(file + ".done"), nil })
	r.w.must(err)
}

// same fails unless agent and harness are the processes that they were.
func (r *turn) same() {
	r.w.t.Helper()
	if !r.agent.Alive() || !r.harness.Alive() {
		r.w.t.Fatalf("agent %d alive: %t, harness %d alive: %t; want both", r.agent.ID, r.agent.Alive(), r.harness.ID, r.harness.Alive())
	}
}

// sleeps waits until the session sleeps, and checks that the log has each line of every step once, in order, that the
// signal is settled once, and that nothing runs any more.
func (r *turn) sleeps(outcomes ...string) events {
	r.w.t.Helper()
	r.w.phase(r.session, api.PhaseDormant)
	log := r.w.log(r.session)
	var want, got []string
	for n := 1; n <= r.steps; n++ {
		for i := 1; i <= linesPerStep; i++ {
			want = append(want, fmt.Sprintf("step %d line %d", n, i))
		}
	}
	for _, text := range log.messages() {
		if strings.HasPrefix(text, "step ") {
			got = append(got, text)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.w.t.Fatalf("lines of the agent:\n%q\nwant:\n%q", got, want)
	}
	if fmt.Sprint(log.outcomes()) != fmt.Sprint(outcomes) || len(log.of(api.EventAccepted)) != 1 {
		r.w.t.Fatalf("turns ended %q, want %q, of one accepted signal; the log:\n%s", log.outcomes(), outcomes, log)
	}
	if s := r.w.session(r.session); s.GetPending() != 0 {
		r.w.t.Fatalf("%d signals are pending", s.GetPending())
	}
	for _, p := range []federation.Proc{r.agent, r.harness} {
		r.w.must(p.Gone(r.w.within()))
	}
	return log
}
