package federation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/realpart"
)

// patience bounds each wait. It is far above what a wait takes, since the machine may be busy with something else.
const patience = 60 * time.Second

// world is a federation in a test.
type world struct {
	*federation.Federation
	t      *testing.T
	hub    *federation.Process
	spokes map[string]*federation.Process
	client *client.Client
	agent  string // name of the agent that is this test binary
}

// newWorld returns a federation without programs, which is ended with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	for _, p := range []realpart.Part{realpart.NaveHub, realpart.NaveSpoke, realpart.NaveHarness, realpart.NaveOverlay, realpart.NaveCLI, realpart.Auditor} {
		realpart.Need(t, p)
	}
	dir, err := os.MkdirTemp("", "nf") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	f, err := federation.New(federation.Config{Bin: filepath.Dir(realpart.Path(t, realpart.NaveHub)), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Federation: f, t: t, spokes: map[string]*federation.Process{}, agent: "controlled"}
	t.Cleanup(func() {
		if w.client != nil {
			w.client.Close()
		}
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			w.dump()
		}
		os.RemoveAll(dir)
	})
	return w
}

// dump shows the end of every log.
func (w *world) dump() {
	logs, _ := filepath.Glob(w.Path("*.log"))
	for _, file := range logs {
		b, _ := os.ReadFile(file)
		if len(b) > 6000 {
			b = b[len(b)-6000:]
		}
		w.t.Logf("%s:\n%s", filepath.Base(file), b)
	}
}

// within is a context for one wait.
func (w *world) within() context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("not within %v", patience))
	w.t.Cleanup(cancel)
	return ctx
}

// at makes a world whose failures are those of a subtest.
func (w *world) at(t *testing.T) *world {
	c := *w
	c.t = t
	return &c
}

// await waits for a condition.
func (w *world) await(what string, ok func() (bool, error)) {
	w.t.Helper()
	if err := w.Await(w.within(), what, ok); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// upHub starts the hub, again or for the first time, and returns how long it took to be ready.
func (w *world) upHub() time.Duration {
	w.t.Helper()
	begin := time.Now()
	var err error
	w.hub, err = w.StartHub(w.within())
	w.must(err)
	took := time.Since(begin)
	if w.client == nil {
		w.client, err = w.Client()
		w.must(err)
	}
	return took
}

// upSpoke starts a spoke, again or for the first time.
func (w *world) upSpoke(name string, args ...string) {
	w.t.Helper()
	p, err := w.StartSpoke(name, args...)
	w.must(err)
	w.spokes[name] = p
}

// small is what each spoke of a test offers.
var small = []string{"--flavor", "small=4"}

// up starts hub and spokes, and applies the agent that is this test binary.
func (w *world) up(spokes ...string) {
	w.t.Helper()
	w.upHub()
	for _, name := range spokes {
		w.must(w.Join(w.within(), name, "cloud="+name))
		w.upSpoke(name, small...)
	}
	w.live(spokes...)
	self, err := os.Executable()
	w.must(err)
	document, err := json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": "Environment", "metadata": map[string]any{"name": "local"},
		"spec": map[string]any{"flavor": "small", "env": []any{map[string]any{"name": agentEnv, "value": "1"}}}})
	w.must(err)
	w.must(os.WriteFile(w.Path("environment.json"), document, 0o600))
	document, err = json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": "Agent", "metadata": map[string]any{"name": w.agent},
		"spec": map[string]any{"environment": "local", "harness": map[string]any{"protocol": "command", "command": []string{self}},
			"idle_timeout": "1s", "turn_limit": "300s", "max_deliveries": 3}})
	w.must(err)
	w.must(os.WriteFile(w.Path("agent.json"), document, 0o600))
	_, err = w.Nave(w.within(), "apply", "-f", w.Path("environment.json"), "-f", w.Path("agent.json"))
	w.must(err)
}

// live waits until clusters are live.
func (w *world) live(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.await(name+" live", func() (bool, error) {
			c, err := w.client.Clusters.Get(w.within(), &navev1.GetRequest{Name: name})
			return c.GetStatus().GetHealth() == string(api.HealthLive), err
		})
	}
}

// signal sends a signal and returns the answer.
func (w *world) signal(key, idempotency string, do task) *navev1.SignalResponse {
	w.t.Helper()
	a, err := w.send(key, idempotency, do)
	w.must(err)
	return a
}

func (w *world) send(key, idempotency string, do task) (*navev1.SignalResponse, error) {
	payload, err := json.Marshal(do)
	if err != nil {
		return nil, err
	}
	return w.client.Sessions.Signal(w.within(), &navev1.SignalRequest{Agent: w.agent, Key: key, Payload: payload, IdempotencyKey: idempotency})
}

// session returns a session as the API shows it.
func (w *world) session(id string) *navev1.Session {
	w.t.Helper()
	s, err := w.client.Sessions.Get(w.within(), &navev1.GetSessionRequest{Id: id})
	w.must(err)
	return s
}

// phase waits until a session is in a phase.
func (w *world) phase(id string, want api.Phase) *navev1.Session {
	w.t.Helper()
	var s *navev1.Session
	err := w.Await(w.within(), "phase "+string(want), func() (ok bool, err error) {
		s, err = w.client.Sessions.Get(w.within(), &navev1.GetSessionRequest{Id: id})
		return s.GetPhase() == string(want), err
	})
	if err != nil {
		w.t.Fatalf("session is %v: %v", s, err)
	}
	return s
}

// log reads a session's log from its beginning. It fails when the log is not dense.
func (w *world) log(id string) events {
	w.t.Helper()
	var out events
	stream, err := w.client.Sessions.Events(w.within(), &navev1.EventsRequest{SessionId: id})
	w.must(err)
	sources := map[string]uint64{}
	for stream.Receive() {
		e := stream.Msg()
		out = append(out, e)
		if e.GetNumber() != uint64(len(out)) {
			w.t.Fatalf("event %d has number %d", len(out), e.GetNumber())
		}
		if sources[e.GetSource()]++; e.GetSourceNumber() != sources[e.GetSource()] {
			w.t.Fatalf("event %d has number %d of source %s, want %d", len(out), e.GetSourceNumber(), e.GetSource(), sources[e.GetSource()])
		}
	}
	w.must(stream.Err())
	return out
}

// said waits until a log has a message that begins with a text, and returns its rest.
func (w *world) said(id, prefix string) string {
	w.t.Helper()
	rest := ""
	var last events
	err := w.Await(w.within(), fmt.Sprintf("message %q", prefix), func() (bool, error) {
		last = w.log(id)
		for _, text := range last.messages() {
			if r, ok := strings.CutPrefix(text, prefix); ok {
				rest = r
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		w.t.Fatalf("%v; the log:\n%s", err, last)
	}
	return rest
}

// events is a log.
type events []*navev1.Event

func (es events) messages() (out []string) {
	for _, e := range es {
		if e.GetType() == string(api.EventMessage) {
			out = append(out, e.GetText())
		}
	}
	return out
}

// of returns the events of a type.
func (es events) of(typ api.EventType) (out events) {
	for _, e := range es {
		if e.GetType() == string(typ) {
			out = append(out, e)
		}
	}
	return out
}

// outcomes lists the turn records: signals and how each turn ended.
func (es events) outcomes() (out []string) {
	for _, e := range es.of(api.EventTurnDone) {
		out = append(out, fmt.Sprint(e.GetSignals(), " ", e.GetOutcome()))
	}
	return out
}

// String shows a log, one line an event.
func (es events) String() string {
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "%4d %-6s/%d %-16s %-6s %v %.120s\n", e.GetNumber(), e.GetSource(), e.GetSourceNumber(), e.GetType(), e.GetOutcome(), e.GetSignals(), e.GetText())
	}
	return b.String()
}

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

// overlay returns the three processes of the hub's overlay: controller, then routers.
func (w *world) overlay() (out []federation.Proc) {
	w.t.Helper()
	for _, p := range federation.Naming(w.Path("hub", "overlay")) {
		if filepath.Base(p.Args[0]) != "nave-overlay" || len(p.Args) < 2 {
			continue
		}
		if p.Args[1] == "controller" {
			out = append([]federation.Proc{p}, out...)
		} else {
			out = append(out, p)
		}
	}
	return out
}

// exited returns the exit code of a program that has ended.
func exited(err error) int {
	var e interface{ ExitCode() int }
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	if err != nil {
		return -2
	}
	return 0
}
