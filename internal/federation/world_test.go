package federation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	agent  string   // name of the agent that is this test binary
	offers []string // what its spokes offer
}

// newWorld returns a federation without programs, which is ended with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	for _, p := range []realpart.Part{realpart.NaveHub, realpart.NaveSpoke, realpart.NaveHarness, realpart.NaveOverlay, realpart.NaveCLI, realpart.Auditor, realpart.Scribe} {
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
	w := &world{Federation: f, t: t, spokes: map[string]*federation.Process{}, agent: "controlled", offers: small}
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

// small is what a spoke offers if the test has no other wish.
var small = []string{"--flavor", "small=4"}

// up starts hub and spokes, and applies the agent that is this test binary.
func (w *world) up(spokes ...string) {
	w.t.Helper()
	w.upHub()
	for _, name := range spokes {
		w.must(w.Join(w.within(), name, "cloud="+name))
		w.upSpoke(name, w.offers...)
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
