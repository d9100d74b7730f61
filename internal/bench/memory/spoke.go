package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// Spoke is the memory of a spoke.
var Spoke = measure.Scenario{
	Name: "spoke",
	About: "memory of a spoke that runs sessions whose agents are idle; their harnesses are processes of their own and are shown apart. " +
		"The floor: a program of grpc-go and the OpenZiti SDK with one connection to the same hub, and nothing else.",
	Run: func(ctx context.Context, b *measure.Bench) error { return with(ctx, b, measureSpoke) },
}

func measureSpoke(ctx context.Context, w *world) (err error) {
	counts := []int{0, 10, 100}
	if w.b.Quick {
		counts = []int{0, 10}
	}
	f, err := w.contextFloor(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	profiles, err := freePort()
	if err != nil {
		return err
	}
	args := []string{"--flavor", fmt.Sprintf("%s=%d", flavor, counts[len(counts)-1])}
	if w.b.Folder != "" {
		args = append(args, "--profiling-listen", profiles)
	}
	if err := w.Join(ctx, "one"); err != nil {
		return err
	}
	spoke, err := w.StartSpoke("one", args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.endSpoke(spoke)) }()
	if err := w.live(ctx, "one"); err != nil {
		return err
	}
	if err := w.apply(ctx); err != nil {
		return err
	}
	for i, n := range counts {
		if i > 0 {
			if err := w.sessions(ctx, counts[i-1], n); err != nil {
				return err
			}
		}
		if err := pause(ctx, w.b.Long(10*time.Second, 2*time.Second)); err != nil {
			return err
		}
		if err := w.reportSpoke(n, spoke.ID(), f.pid()); err != nil {
			return err
		}
		if w.b.Folder != "" {
			if err := w.keep(ctx, fmt.Sprintf("spoke-%d", n), profiles); err != nil {
				return err
			}
		}
	}
	return w.reportHarness()
}

// reportSpoke looks at the spoke with n sessions, and at the floor.
func (w *world) reportSpoke(n, spoke, floor int) error {
	m, err := measure.MemoryOf(spoke)
	if err != nil {
		return err
	}
	base, err := measure.MemoryOf(floor)
	if err != nil {
		return err
	}
	resident := measure.Figure{Name: fmt.Sprintf("resident, %d sessions", n), Unit: "MiB", Value: mib(m.Resident), Floor: mib(base.Resident), Gate: true}
	anonymous := measure.Figure{Name: fmt.Sprintf("anonymous, %d sessions", n), Unit: "MiB", Value: mib(m.Anonymous), Floor: mib(base.Anonymous), Gate: true}
	if n == 10 {
		resident.Target, anonymous.Target = 30, 12
	}
	w.b.Report(resident)
	w.b.Report(anonymous)
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// reportHarness looks at the harnesses that run: the middle one.
func (w *world) reportHarness() error {
	var resident, anonymous []float64
	for _, p := range federation.Naming(w.Path("one")) {
		if filepath.Base(p.Args[0]) != "nave-harness" {
			continue
		}
		m, err := measure.MemoryOf(p.ID)
		if err != nil {
			return err
		}
		resident, anonymous = append(resident, mib(m.Resident)), append(anonymous, mib(m.Anonymous))
	}
	if len(resident) == 0 {
		return errors.New("no harness runs")
	}
	w.b.Report(measure.Figure{Name: "resident, one harness", Unit: "MiB", Value: measure.Median(resident)})
	w.b.Report(measure.Figure{Name: "anonymous, one harness", Unit: "MiB", Value: measure.Median(anonymous)})
	return nil
}

// apply applies the agent: a program that prints its signals and ends.
func (w *world) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for kind, document := range map[string]map[string]any{
		"Environment": {"flavor": flavor},
		"Agent":       {"environment": "local", "idle_timeout": "1h", "harness": map[string]any{"protocol": "command", "command": []string{"/bin/cat"}}},
	} {
		name := map[string]string{"Environment": "local", "Agent": "cat"}[kind]
		text, err := json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": document})
		if err != nil {
			return err
		}
		if err := os.WriteFile(w.Path(kind+".json"), text, 0o600); err != nil {
			return err
		}
	}
	_, err := w.Quiet(ctx, "apply", "-f", w.Path("Environment.json"), "-f", w.Path("Agent.json"))
	return err
}

// starters are how many sessions are started at a time.
const starters = 4

// sessions brings the spoke from one number of sessions to another, and waits until all of them run and have nothing to do.
func (w *world) sessions(ctx context.Context, from, to int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	g := run.NewGroup(ctx)
	for s := range starters {
		g.Go("start", func(ctx context.Context) error {
			for i := from + s; i < to; i += starters {
				if _, err := w.client.Sessions.Signal(ctx, &navev1.SignalRequest{Agent: "cat", Key: fmt.Sprint("s", i), Payload: []byte("hello")}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return w.Await(ctx, fmt.Sprintf("%d sessions run and are idle", to), func() (bool, error) {
		res, err := w.client.Sessions.List(ctx, &navev1.ListSessionsRequest{PageSize: 1000})
		for _, s := range res.GetSessions() {
			if s.GetPhase() != string(api.PhaseRunning) || s.GetPending() > 0 {
				return false, err
			}
		}
		return len(res.GetSessions()) == to, err
	})
}

// endSpoke ends the spoke, and its workloads, which outlive it.
func (w *world) endSpoke(spoke *federation.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := spoke.End(ctx)
	for _, p := range federation.Naming(w.Path("one")) {
		p.Kill()
	}
	return err
}
